/* The running kernel by libkvm.so, beside pread(2) of /proc/kcore: OFFSET ADDRESS, of the same words. Prints reads a second
 * of each, and whether the words are the same.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <kvm.h>

#define ROUNDS 5
#define COUNT 100000
#define WORDS 512

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

int main(int argc, char **argv)
{
	char errbuf[2048];
	unsigned long word, other;
	double ours = 0, theirs = 0;

	if (argc != 3)
		errx(2, "usage: OFFSET ADDRESS");
	const off_t offset = (off_t)strtoull(argv[1], NULL, 0);
	const unsigned long addr = strtoull(argv[2], NULL, 0);
	const int fd = open("/proc/kcore", O_RDONLY);
	kvm_t *kd = kvm_openfiles(NULL, NULL, NULL, O_RDONLY, errbuf);

	if (kd == NULL || fd < 0)
		errx(1, "%s", kd == NULL ? errbuf : "/proc/kcore");
	for (int round = 0; round < ROUNDS; round++) {
		double start = now(), took;

		for (int i = 0; i < COUNT; i++)
			if (kvm_read(kd, addr + (unsigned)i % WORDS * 8, &word, 8) != 8)
				errx(1, "%s", kvm_geterr(kd));
		took = now() - start;
		if (COUNT / took > ours)
			ours = COUNT / took;
		start = now();
		for (int i = 0; i < COUNT; i++)
			if (pread(fd, &other, 8, offset + i % WORDS * 8) != 8)
				err(1, "pread");
		took = now() - start;
		if (COUNT / took > theirs)
			theirs = COUNT / took;
	}
	printf("%.0f %.0f %d\n", ours, theirs, word == other);
	return kvm_close(kd) != 0;
}
