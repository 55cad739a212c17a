/* Over and over: what is asked for and given back leaves no memory behind. ROUNDS -M core ...; prints how many kilobytes
   the process grew by in the second half. */
#include "consumer.h"

static long resident(void)
{
	long pages = 0;
	FILE *fp = fopen("/proc/self/statm", "r");

	if (fp == NULL || fscanf(fp, "%*d %ld", &pages) != 1)
		errx(1, "/proc/self/statm");
	fclose(fp);
	return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

int main(int argc, char **argv)
{
	const int rounds = atoi(argv[1]), all = argc - 1;
	char errbuf[2048], *bad = "no_such_name", word[8];
	long half = 0;

	for (int i = 0; i < rounds; i++) {
		struct nlist nl[] = { { .n_name = bad }, { .n_name = NULL } };
		char **args = argv + 1;
		double loads[3];
		int n = all, count;

		if (i == rounds / 2)
			half = resident();
		optind = 1;
		kvm_t *kd = consumer_open(&n, &args);
		for (int j = 0; j < 3; j++) {
			struct kvm_procinfo *p = kvm_getprocinfo(kd, KERN_PROC_KTHREAD, 0, &count);
			for (int k = 0; p != NULL && k < count; k++)
				kvm_getargv(kd, p[k].record, 0);
			kvm_getprocs(kd, KERN_PROC_KTHREAD, 0, &count);
			kvm_getfiles(kd, 0, 0, &count);
			kvm_nlist(kd, nl);
			kvm_getloadavg(kd, loads, 3);
			kvm_read(kd, 1, word, 8);
			void *pcpu = kvm_getpcpu(kd, 0);
			if (pcpu != (void *)-1)
				free(pcpu);
		}
		consumer_close(kd);
		if (kvm_openfiles(bad, "/no/such/file", NULL, O_RDONLY, errbuf) != NULL)
			errx(1, "opened");
	}
	printf("%ld\n", resident() - half);
	return 0;
}
