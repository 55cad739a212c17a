/* libfbsdvmcore at work, as a program in C would use it: fbsdvmcore KERNEL DUMP JOB [FILE].

   The jobs: open; words FILE (addresses: 8 bytes from each, one call each); bulk FILE (pairs of address and bytes,
   into one buffer); walk (all pages). To stdout goes a line with the seconds of each part of the work, and a line with
   a number made of what was found. The prototypes are those of its fvc.h. */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>

#define PARTS 20u
#define OPENS 20

typedef struct __fvc fvc_t;
struct fvc_page;

fvc_t *fvc_open(const char *kernel, const char *core, char *error, int (*resolver)(const char *, uint64_t *, void *),
                void *data);
ssize_t fvc_read(fvc_t *kd, uint64_t addr, void *buf, size_t len);
int fvc_walk_pages(fvc_t *kd, int (*each)(struct fvc_page *, void *), void *closure);
int fvc_close(fvc_t *kd);

static uint64_t *table, count;

static double now(void)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

static void fail(const char *why)
{
    fprintf(stderr, "%s\n", why);
    exit(1);
}

static void load(const char *path)
{
    FILE *f = fopen(path, "rb");

    if (f == NULL || fseek(f, 0, SEEK_END) != 0)
        fail("cannot read the numbers");
    count = (uint64_t)ftell(f) / sizeof(*table);
    rewind(f);
    table = malloc(count * sizeof(*table) + 1);
    if (table == NULL || fread(table, sizeof(*table), count, f) != count)
        fail("cannot read the numbers");
    fclose(f);
}

static fvc_t *start(char **argv)
{
    char error[_POSIX2_LINE_MAX] = "";
    fvc_t *kd = fvc_open(argv[1], argv[2], error, NULL, NULL);

    if (kd == NULL)
        fail(error);
    return kd;
}

static void opens(char **argv)
{
    double best = 1e9;

    for (int i = 0; i < OPENS; i++) {
        const double before = now();

        fvc_close(start(argv));
        if (now() - before < best)
            best = now() - before;
    }
    printf("%.9f \n0\n", best);
}

static void words(fvc_t *kd)
{
    const uint64_t size = (count + PARTS - 1) / PARTS;
    uint64_t sum = 0;

    for (uint64_t from = 0; from < count; from += size) {
        const uint64_t end = from + size < count ? from + size : count;
        const double before = now();

        for (uint64_t i = from; i < end; i++) {
            uint64_t value;

            if (fvc_read(kd, table[i], &value, sizeof(value)) != sizeof(value))
                fail("a word could not be read");
            sum += value;
        }
        printf("%.9f ", now() - before);
    }
    printf("\n%" PRIu64 "\n", sum);
}

static void bulk(fvc_t *kd)
{
    const uint64_t pieces = count / 2, size = (pieces + PARTS - 1) / PARTS;
    uint64_t longest = 0, sum = 0, *buf;

    for (uint64_t i = 0; i < pieces; i++)
        longest = table[i * 2 + 1] > longest ? table[i * 2 + 1] : longest;
    buf = malloc(longest);
    if (buf == NULL)
        fail("out of memory");
    memset(buf, 0, longest);
    for (uint64_t from = 0; from < pieces; from += size) {
        const uint64_t end = from + size < pieces ? from + size : pieces;
        const double before = now();

        for (uint64_t i = from; i < end; i++)
            if (fvc_read(kd, table[i * 2], buf, table[i * 2 + 1]) != (ssize_t)table[i * 2 + 1])
                fail("a piece could not be read");
        printf("%.9f ", now() - before);
        for (uint64_t i = 0; i < table[(end - 1) * 2 + 1] / sizeof(*buf); i++)
            sum += buf[i];
    }
    printf("\n%" PRIu64 "\n", sum);
}

static int one(struct fvc_page *page, void *closure)
{
    (void)page;
    ++*(uint64_t *)closure;
    return 1;
}

static void walk(fvc_t *kd)
{
    uint64_t pages = 0;
    const double before = now();

    if (!fvc_walk_pages(kd, one, &pages))
        fail("its pages could not be walked");
    printf("%.9f \n%" PRIu64 "\n", now() - before, pages);
}

int main(int argc, char **argv)
{
    fvc_t *kd;

    if (argc < 4)
        fail("usage: fbsdvmcore KERNEL DUMP open|words|bulk|walk [FILE]");
    if (argc > 4)
        load(argv[4]);
    if (strcmp(argv[3], "open") == 0) {
        opens(argv);
        return 0;
    }
    kd = start(argv);
    if (strcmp(argv[3], "words") == 0)
        words(kd);
    else if (strcmp(argv[3], "bulk") == 0)
        bulk(kd);
    else if (strcmp(argv[3], "walk") == 0)
        walk(kd);
    else
        fail("no such job");
    fvc_close(kd);
    return 0;
}
