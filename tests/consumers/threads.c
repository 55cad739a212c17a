/* Threads: each with a handle of its own, opened at once, while others read by one that they share.
   CORE KERNEL NAME ADDRESS VALUE SHARE: what they look up, and read there; with SHARE 1 a handle is open before. */
#include "consumer.h"

#include <pthread.h>

#define THREADS 6
#define ROUNDS 2000

static char **words;
static kvm_t *shared;
static uint64_t at, value;
static pthread_barrier_t together;

static void check(kvm_t *kd, int rounds)
{
	for (int i = 0; i < rounds; i++) {
		uint64_t found = 0;
		char bad;

		if (kvm_read2(kd, at, &found, sizeof(found)) != sizeof(found) || found != value)
			errx(1, "%#llx is not %#llx", (unsigned long long)found, (unsigned long long)value);
		if (i % 100 == 0 && kvm_read2(kd, 1, &bad, 1) != -1)
			errx(1, "address 1 can be read");
		if (i % 100 == 0) {
			struct nlist nl[] = { { .n_name = words[0] }, { .n_name = NULL } };

			if (kvm_nlist(kd, nl) != 0 || nl[0].n_value != at)
				errx(1, "kvm_nlist: %s", kvm_geterr(kd));
		}
	}
}

static void *own(void *arg)
{
	int processes = 0;
	char errbuf[2048];

	(void)arg;
	pthread_barrier_wait(&together);
	kvm_t *kd = kvm_openfiles(words[2], words[1], NULL, O_RDONLY, errbuf);
	if (kd == NULL)
		errx(1, "%s", errbuf);
	check(kd, ROUNDS);
	if (kvm_getprocinfo(kd, KERN_PROC_KTHREAD, 0, &processes) == NULL)
		errx(1, "%s", kvm_geterr(kd));
	if (strncmp(kvm_geterr(kd), "invalid address", 15) != 0)
		errx(1, "message: %s", kvm_geterr(kd));
	consumer_close(kd);
	return (void *)(intptr_t)processes;
}

static void *others(void *arg)
{
	(void)arg;
	pthread_barrier_wait(&together);
	check(shared, ROUNDS);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS];
	char errbuf[2048];
	void *found;

	if (argc < 7)
		errx(2, "usage: CORE KERNEL NAME ADDRESS VALUE SHARE");
	words = (char *[]){ argv[3], argv[1], *argv[2] ? argv[2] : NULL };
	at = strtoull(argv[4], NULL, 0);
	value = strtoull(argv[5], NULL, 0);
	const int share = atoi(argv[6]);
	if (share && (shared = kvm_openfiles(words[2], words[1], NULL, O_RDONLY, errbuf)) == NULL)
		errx(1, "%s", errbuf);
	pthread_barrier_init(&together, NULL, THREADS);
	for (int i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, share && i % 2 ? others : own, NULL);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], &found);
		printf("%d\n", (int)(intptr_t)found);
	}
	if (share)
		consumer_close(shared);
	return 0;
}
