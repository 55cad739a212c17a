/* The same work on many pieces, shared among the host's CPUs. */
#include "core.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#define BATCH 16u           /* pieces that a thread takes at a time */
#define MIN_PER_THREAD 64u  /* pieces that are worth a thread */
#define MAX_THREADS 16u

typedef struct {
    uint64_t count;
    int (*work)(void *job, void *own, uint64_t index);
    void (*done)(void *own);
    void *job;
    size_t own_size;
    _Atomic uint64_t next, bad;
} shared_t;

static void failed(shared_t *s, uint64_t index)
{
    uint64_t bad = atomic_load(&s->bad);

    while (index < bad && !atomic_compare_exchange_weak(&s->bad, &bad, index))
        ;
}

static void *run(void *arg)
{
    shared_t *s = arg;
    void *own = calloc(1, s->own_size);

    for (;;) {
        const uint64_t start = atomic_fetch_add(&s->next, BATCH);
        const uint64_t end = s->count - start < BATCH ? s->count : start + BATCH;

        if (start >= s->count || start > atomic_load(&s->bad))
            break;
        for (uint64_t i = start; i < end; i++)
            if (own == NULL || !s->work(s->job, own, i)) {
                failed(s, i);
                break;
            }
    }
    if (own != NULL)
        s->done(own);
    free(own);
    return NULL;
}

uint64_t pk_parallel(uint64_t count, int (*work)(void *job, void *own, uint64_t index), void *job, size_t own_size,
                     void (*done)(void *own))
{
    shared_t s = {.count = count, .work = work, .done = done, .job = job, .own_size = own_size};
    const long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t want = cpus > 1 ? (uint64_t)cpus : 1;
    pthread_t threads[MAX_THREADS];
    unsigned made = 0;
    sigset_t all, before;

    atomic_init(&s.next, 0);
    atomic_init(&s.bad, count);
    if (want > count / MIN_PER_THREAD)
        want = count / MIN_PER_THREAD;
    if (want > MAX_THREADS)
        want = MAX_THREADS;
    if (want > 1) {
        /* The program's signals are for its own threads. */
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        while (made < want - 1 && pthread_create(&threads[made], NULL, run, &s) == 0)
            made++;
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    run(&s);
    while (made > 0)
        pthread_join(threads[--made], NULL);
    return atomic_load(&s.bad);
}
