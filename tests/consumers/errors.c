/* What fails, and how it says so: CORE KERNEL ADDRESS. */
#include "consumer.h"

#include <errno.h>

#define SAY(call) \
	do { \
		errno = 0; \
		const long long result = (long long)(intptr_t)(call); \
		printf("%s: %lld%s: %s\n", #call, result, errno == EINVAL ? " EINVAL" : "", kvm_geterr(kd)); \
	} while (0)

static int one_page(struct kvm_page *page, void *closure)
{
	(void)page;
	(void)closure;
	return 0;
}

int main(int argc, char **argv)
{
	struct nlist nl[] = { { .n_name = "no_such_name" }, { .n_name = NULL } };
	struct kvm_nlist nl2[] = { { .n_name = "no_such_name" }, { .n_name = NULL } };
	char errbuf[2048], word[8];
	double loads[3];
	int count = -7;

	if (argc < 4)
		errx(2, "usage: CORE KERNEL ADDRESS");
	char *core = argv[1], *kernel = *argv[2] ? argv[2] : NULL;
	const unsigned long at = strtoull(argv[3], NULL, 0);
	setbuf(stdout, NULL);

	/* Nothing to ask. */
	kvm_t *kd = NULL;
	SAY(kvm_close(kd));
	SAY(kvm_read(kd, at, word, 8));
	SAY(kvm_write(kd, at, word, 8));
	SAY(kvm_nlist(kd, nl));
	SAY(kvm_nlist2(kd, nl2));
	SAY(kvm_getprocs(kd, 0, 0, &count));
	SAY(kvm_getproc2(kd, 0, 0, 8, &count));
	SAY(kvm_getprocinfo(kd, 0, 0, &count));
	SAY(kvm_getfiles(kd, 0, 0, &count));
	SAY(kvm_getargv(kd, (struct kinfo_proc *)word, 0));
	SAY(kvm_getloadavg(kd, loads, 3));
	SAY(kvm_getmaxcpu(kd));
	SAY(kvm_walk_pages(kd, one_page, NULL));
	SAY(kvm_dump_inval(kd));

	/* Openings that fail, with and without a place for the message. */
	memset(errbuf, 'x', sizeof(errbuf));
	kd = kvm_openfiles(kernel, "/no/such/core", NULL, O_RDONLY, errbuf);
	printf("%d %s\n", kd == NULL, errbuf);
	kd = kvm_openfiles(kernel, "/no/such/core", NULL, O_RDONLY, NULL);
	printf("%d\n", kd == NULL);
	kd = kvm_openfiles(kernel, core, NULL, 0x7000, errbuf);
	printf("%d %s\n", kd == NULL, errbuf);
	kd = kvm_openfiles(kernel, NULL, NULL, O_RDONLY, errbuf);
	printf("%d %s\n", kd == NULL, errbuf);
	kd = kvm_open(kernel, "/no/such/core", NULL, O_RDONLY, "prog");	/* says so itself */
	printf("%d\n", kd == NULL);
	kd = kvm_open(kernel, "/no/such/core", NULL, O_RDONLY, NULL);
	printf("%d\n", kd == NULL);
	char *longer = malloc(5000);
	memset(longer, 'a', 4999);
	longer[4999] = '\0';
	kd = kvm_openfiles(longer, core, NULL, O_RDONLY, errbuf);
	printf("%d %s\n", kd == NULL, errbuf);
	kd = kvm_openfiles(NULL, longer, NULL, O_RDONLY, errbuf);
	printf("%d %zu\n", kd == NULL, strlen(errbuf));
	free(longer);

	/* Sun's rule: hard errors are printed, soft ones are kept. */
	kd = kvm_open(kernel, core, NULL, O_RDONLY, "prog");
	if (kd == NULL)
		return 1;
	SAY(kvm_read(kd, 1, word, 1));
	SAY(kvm_write(kd, at, word, 1));
	SAY(kvm_getprocs(kd, 999, 0, &count));
	consumer_close(kd);

	kd = kvm_openfiles(kernel, core, NULL, O_RDONLY, errbuf);
	if (kd == NULL)
		errx(1, "%s", errbuf);
	SAY(kvm_read(kd, at, word, 0));		/* no message so far */
	SAY(kvm_read(kd, at, NULL, 0));
	SAY(kvm_read(kd, at, NULL, 8));
	SAY(kvm_read(kd, at, word, (size_t)-1));
	SAY(kvm_read(kd, 1, word, 8));
	SAY(kvm_read(kd, at, word, 8));		/* the message stays */
	SAY(kvm_read(kd, (unsigned long)-1, word, 8));
	SAY(kvm_write(kd, at, NULL, 8));
	SAY(kvm_write(kd, at, word, (size_t)-1));
	SAY(kvm_write(kd, at, word, 8));
	SAY(kvm_nlist(kd, NULL));
	SAY(kvm_nlist(kd, nl));
	SAY(kvm_nlist(kd, nl + 1));
	SAY(kvm_nlist2(kd, NULL));
	SAY(kvm_getprocs(kd, 0, 0, NULL));
	SAY(kvm_getprocs(kd, 999, 0, &count));
	SAY(kvm_getprocs(kd, -1, -1, &count));
	SAY(kvm_getprocs5(kd, KERN_PROC_KTHREAD, 0, 0, &count));
	SAY(kvm_getprocs5(kd, KERN_PROC_KTHREAD, 0, (size_t)1 << 40, &count));
	SAY(kvm_getproc2(kd, KERN_PROC_KTHREAD, 0, 0, &count));
	SAY(kvm_getproc2(kd, KERN_PROC_KTHREAD, 0, (size_t)1 << 40, &count));
	SAY(kvm_getproc2(kd, KERN_PROC_KTHREAD, 0, (size_t)-1, &count));
	printf("count is %d still\n", count);
	SAY(kvm_getargv(kd, NULL, 0));
	SAY(kvm_getenvv2(kd, NULL, 0));
	SAY(kvm_getloadavg(kd, NULL, 3));
	SAY(kvm_getloadavg(kd, loads, 0));
	SAY(kvm_getloadavg(kd, loads, 1 << 30));
	SAY(kvm_getloadavg(kd, loads, -1));
	SAY(kvm_getpcpu(kd, -5) == NULL || kvm_getpcpu(kd, -5) == (void *)-1);
	SAY(kvm_getswapinfo(kd, NULL, 1, 0));
	SAY(kvm_getcptime(kd, NULL));
	SAY(kvm_read_zpcpu(kd, 8, NULL, 8, -1) < 0);
	SAY(kvm_walk_pages(kd, NULL, NULL));
	SAY(kvm_dump_wrtheader(kd, NULL, 0));
	SAY(kvm_dump_mkheader(kd, -1));
	SAY(kvm_dump_mkheader(kd, (off_t)1 << 62));
	SAY(kvm_read(kd, at, word, 8));		/* still */
	consumer_close(kd);

	kd = kvm_openfiles(NULL, NULL, NULL, KVM_NO_FILES, errbuf);
	if (kd == NULL)
		errx(1, "%s", errbuf);
	SAY(kvm_read(kd, at, word, 8));
	SAY(kvm_nlist(kd, nl));
	SAY(kvm_getprocs(kd, 0, 0, &count));
	consumer_close(kd);
	return 0;
}
