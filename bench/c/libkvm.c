/* What libkvm.so takes: CORE KERNEL ADDRESSES PIECES NAME... The files hold 64-bit words: addresses of words, and pairs of
 * address and length. Prints one figure a line: its name, seconds, how many.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <kvm.h>
#include <nlist.h>

#define ROUNDS 7
#define PIECE ((size_t)1 << 20)

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

static uint64_t *numbers(const char *path, size_t *count)
{
	struct stat st;
	const int fd = open(path, O_RDONLY);

	if (fd < 0 || fstat(fd, &st) != 0)
		err(1, "%s", path);
	*count = (size_t)st.st_size / 8;
	uint64_t *all = malloc((size_t)st.st_size + 8);
	if (read(fd, all, (size_t)st.st_size) != st.st_size)
		err(1, "%s", path);
	close(fd);
	return all;
}

static void words(kvm_t *kd, const char *what, const uint64_t *at, size_t count, size_t step)
{
	double best = 1e9;
	uint64_t word, sum = 0;

	for (int round = 0; round < ROUNDS; round++) {
		const double start = now();

		for (size_t i = 0; i < count; i++) {
			if (kvm_read(kd, at[i * step], &word, 8) != 8)
				errx(1, "%s: %s", what, kvm_geterr(kd));
			sum += word;
		}
		if (now() - start < best)
			best = now() - start;
	}
	printf("%s %.9f %zu %llu\n", what, best, count, (unsigned long long)sum);
}

/* Long pieces, and the same amount copied out of the mapped file by memcpy(3). */
static void bulk(kvm_t *kd, const char *core, const uint64_t *pieces, size_t count)
{
	const int fd = open(core, O_RDONLY);
	char *buf = malloc(PIECE);
	struct stat st;
	size_t bytes = 0, copied = 0;
	double best = 1e9, plain = 1e9;

	if (fd < 0 || fstat(fd, &st) != 0)
		err(1, "%s", core);
	const char *file = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
	memset(buf, 1, PIECE);
	for (int round = 0; round < ROUNDS; round++) {
		double start = now();

		bytes = 0;
		for (size_t i = 0; i + 1 < count; i += 2) {
			if (kvm_read(kd, pieces[i], buf, pieces[i + 1]) != (ssize_t)pieces[i + 1])
				errx(1, "bulk: %s", kvm_geterr(kd));
			bytes += pieces[i + 1];
		}
		if (now() - start < best)
			best = now() - start;
		start = now();
		for (copied = 0; copied < bytes; copied += PIECE) {
			const size_t at = copied % ((size_t)st.st_size - PIECE);

			memcpy(buf, file + at, PIECE);
			__asm__ volatile("" : : "r"(buf) : "memory");
		}
		if (now() - start < plain)
			plain = now() - start;
	}
	printf("bulk %.9f %zu\nmemcpy %.9f %zu\n", best, bytes, plain, copied);
}

/* What the host itself takes for words at random in the mapped file, without any library. */
static void plain(const char *core, size_t count)
{
	const int fd = open(core, O_RDONLY);
	struct stat st;
	double best = 1e9;
	uint64_t sum = 0, word, seed = 1;

	if (fd < 0 || fstat(fd, &st) != 0)
		err(1, "%s", core);
	const char *file = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	size_t *at = malloc(count * sizeof(*at));
	for (size_t i = 0; i < count; i++) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		at[i] = (seed >> 20) % ((size_t)st.st_size / 8 - 1) * 8;
	}
	for (int round = 0; round < ROUNDS; round++) {
		const double start = now();

		for (size_t i = 0; i < count; i++) {
			memcpy(&word, file + at[i], sizeof(word));
			sum += word;
		}
		if (now() - start < best)
			best = now() - start;
	}
	printf("plain %.9f %zu %llu\n", best, count, (unsigned long long)sum);
}

int main(int argc, char **argv)
{
	char errbuf[2048];
	size_t count, pieces;
	int n;

	if (argc < 6)
		errx(2, "usage: CORE KERNEL ADDRESSES PIECES NAME...");
	const char *kernel = *argv[2] ? argv[2] : NULL;
	double start = now();
	kvm_t *kd = kvm_openfiles(kernel, argv[1], NULL, O_RDONLY, errbuf);
	if (kd == NULL)
		errx(1, "%s", errbuf);
	printf("first %.9f 1\n", now() - start);
	start = now();
	kvm_t *second = kvm_openfiles(kernel, argv[1], NULL, O_RDONLY, errbuf);
	printf("open %.9f 1\n", now() - start);
	start = now();
	kvm_close(second);
	printf("close %.9f 1\n", now() - start);

	struct nlist *nl = calloc((size_t)argc, sizeof(*nl));
	for (n = 0; n + 5 < argc; n++)
		nl[n].n_name = argv[n + 5];
	double best = 1e9;
	for (int round = 0; round < 20; round++) {
		start = now();
		if (kvm_nlist(kd, nl) != 0)
			errx(1, "names: %s", kvm_geterr(kd));
		if (round == 0)
			printf("names-first %.9f %d\n", now() - start, n);
		if (now() - start < best)
			best = now() - start;
	}
	printf("names %.9f %d\n", best, n);

	uint64_t *at = numbers(argv[3], &count);
	words(kd, "random", at, count, 1);
	words(kd, "same", at, count, 0);
	plain(argv[1], count);
	uint64_t *long_pieces = numbers(argv[4], &pieces);
	bulk(kd, argv[1], long_pieces, pieces);

	best = 1e9;
	for (int round = 0; round < ROUNDS; round++) {
		start = now();
		if (kvm_getprocinfo(kd, KERN_PROC_KTHREAD, 0, &n) == NULL)
			errx(1, "processes: %s", kvm_geterr(kd));
		if (now() - start < best)
			best = now() - start;
	}
	printf("processes %.9f %d\n", best, n);
	return kvm_close(kd) != 0;
}
