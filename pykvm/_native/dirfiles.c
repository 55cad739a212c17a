/* Small files of many directories at once. */
#define _GNU_SOURCE /* O_PATH */
#include "core.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define FIRST 8192u /* bytes: all of most files */
/* Where a directory is not of the kernel's, a pipe may be called like a file. */
#define FILE_FLAGS (O_RDONLY | O_CLOEXEC | O_NONBLOCK)
#ifdef O_PATH
#define DIR_FLAGS (O_PATH | O_DIRECTORY | O_CLOEXEC)
#else
#define DIR_FLAGS (O_RDONLY | O_DIRECTORY | O_CLOEXEC)
#endif

typedef struct {
    int root;
    const uint32_t *dirs;
    const char *names;
    const uint64_t *limits;
    uint32_t nnames, once;
    pk_text *files;
    uint8_t **pieces; /* what each directory's files have, one after another */
} job_t;

/* A growing buffer of a thread's. */
typedef struct {
    uint8_t *data;
    uint64_t size, room;
} buffer_t;

static int grow(buffer_t *b, uint64_t room)
{
    if (b->room < room) {
        uint8_t *more = realloc(b->data, room);

        if (more == NULL)
            return 0;
        b->data = more;
        b->room = room;
    }
    return 1;
}

/* 0 or an errno: append all of a file. */
static int append(buffer_t *b, int fd, int once, uint64_t limit)
{
    const uint64_t start = b->size;
    uint64_t ask = FIRST;

    for (;;) {
        ssize_t got;

        if (ask - 1 > limit - (b->size - start)) /* one more than there may be */
            ask = limit - (b->size - start) + 1;
        if (!grow(b, b->size + ask))
            return ENOMEM;
        do
            got = read(fd, b->data + b->size, ask);
        while (got < 0 && errno == EINTR);
        if (got < 0)
            return errno;
        b->size += (uint64_t)got;
        if (b->size - start > limit)
            return E2BIG;
        if (got == 0 || (once && (uint64_t)got < ask))
            return 0;
        ask = b->size - start > FIRST ? b->size - start : FIRST;
    }
}

static void file(const job_t *job, int dir, const char *name, uint32_t j, buffer_t *b, pk_text *found)
{
    const int fd = openat(dir, name, FILE_FLAGS);

    found->at = b->size;
    if (fd < 0) {
        found->error = errno;
        return;
    }
    found->error = append(b, fd, job->once >> j & 1, job->limits[j]);
    close(fd);
    if (found->error != 0)
        b->size = found->at;
    found->size = b->size - found->at;
}

static int work(void *arg, void *own, uint64_t i)
{
    job_t *job = arg;
    buffer_t *b = own;
    pk_text *found = job->files + i * job->nnames;
    const char *name = job->names;
    char number[16];
    int dir, why;

    b->size = 0;
    snprintf(number, sizeof number, "%u", job->dirs[i]);
    dir = openat(job->root, number, DIR_FLAGS);
    why = dir < 0 ? errno : 0;
    for (uint32_t j = 0; j < job->nnames; j++, name += strlen(name) + 1)
        if (dir < 0)
            found[j].error = why;
        else
            file(job, dir, name, j, b, &found[j]);
    if (dir >= 0)
        close(dir);
    if (b->size == 0)
        return 1;
    job->pieces[i] = malloc(b->size);
    if (job->pieces[i] == NULL)
        return 0;
    memcpy(job->pieces[i], b->data, b->size);
    return 1;
}

static void done(void *own)
{
    free(((buffer_t *)own)->data);
}

/* Put the pieces one after another. */
static int join(pk_texts *texts, uint8_t **pieces, uint32_t nnames)
{
    uint64_t total = 0, at = 0;

    for (uint64_t k = 0; k < texts->count; k++)
        total += texts->files[k].size;
    texts->data = malloc(total ? total : 1);
    if (texts->data == NULL)
        return 0;
    for (uint64_t k = 0; k < texts->count; k++) {
        pk_text *text = &texts->files[k];

        if (text->size != 0)
            memcpy(texts->data + at, pieces[k / nnames] + text->at, text->size);
        text->at = at;
        at += text->size;
        if ((k + 1) % nnames == 0) { /* not all of it twice */
            free(pieces[k / nnames]);
            pieces[k / nnames] = NULL;
        }
    }
    return 1;
}

pk_texts *pk_texts_read(int root, const uint32_t *dirs, uint64_t count, const char *names, uint32_t nnames,
                        const uint64_t *limits, uint32_t once)
{
    pk_texts *texts = calloc(1, sizeof *texts);
    job_t job = {.root = root, .dirs = dirs, .names = names, .limits = limits, .nnames = nnames, .once = once};
    int ok = 0;

    if (nnames == 0 || nnames > 32) {
        free(texts);
        return NULL;
    }
    if (texts == NULL)
        return NULL;
    texts->count = count * nnames;
    texts->files = job.files = calloc(texts->count + 1, sizeof *texts->files);
    job.pieces = calloc(count + 1, sizeof *job.pieces);
    if (job.files != NULL && job.pieces != NULL)
        ok = pk_parallel(count, work, &job, sizeof(buffer_t), done) == count && join(texts, job.pieces, nnames);
    for (uint64_t i = 0; job.pieces != NULL && i < count; i++)
        free(job.pieces[i]);
    free(job.pieces);
    if (!ok) {
        pk_texts_free(texts);
        return NULL;
    }
    return texts;
}

void pk_texts_free(pk_texts *texts)
{
    if (texts == NULL)
        return;
    free(texts->data);
    free(texts->files);
    free(texts);
}
