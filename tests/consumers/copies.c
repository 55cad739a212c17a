/* Records that the program has copied, whole or in part, and how long results last. -M core ... [ELEMSIZE ...] */
#include "consumer.h"

static void line(kvm_t *kd, const char *what, char **words)
{
	if (words == NULL) {
		printf("%s none %s\n", what, kvm_geterr(kd));
		return;
	}
	printf("%s", what);
	consumer_words("", words);
	printf("\n");
}

int main(int argc, char **argv)
{
	kvm_t *kd = consumer_open(&argc, &argv);
	int count, count2;

	/* Of each size that is given, every record in a block of just that size: valgrind sees what is read beyond it. */
	for (; argc > 1; argc -= 2, argv += 2) {
		const int five = argv[0][0] == '5';
		const size_t size = strtoull(argv[1], NULL, 0);
		char *all = five ? (char *)kvm_getprocs5(kd, KERN_PROC_KTHREAD, 0, size, &count)
				 : (char *)kvm_getproc2(kd, KERN_PROC_KTHREAD, 0, size, &count);

		if (all == NULL) {
			printf("%zu: %s\n", size, kvm_geterr(kd));
			continue;
		}
		printf("%zu: %d\n", size, count);
		for (int i = 0; i < count; i++) {
			void *copy = malloc(size);

			memcpy(copy, all + i * size, size);
			line(kd, "argv", five ? kvm_getargv(kd, copy, 0) : kvm_getargv2(kd, copy, 0));
			line(kd, "envv", five ? kvm_getenvv(kd, copy, 20) : kvm_getenvv2(kd, copy, 20));
			free(copy);
		}
	}
	/* A result lasts until the function that made it is called again. */
	struct kvm_procinfo *p = kvm_getprocinfo(kd, KERN_PROC_KTHREAD, 0, &count);
	char **args = NULL, **env;
	for (int i = 0; args == NULL && i < count; i++)
		args = kvm_getargv(kd, p[i].record, 0);
	struct kinfo_proc *other = kvm_getprocs(kd, KERN_PROC_KTHREAD, 0, &count2);
	for (int i = 0; i < count; i++)
		env = kvm_getenvv(kd, p[i].record, 0);
	(void)env;
	printf("%d %d %d", count, count2, other != NULL);
	line(kd, "", args);
	consumer_close(kd);
	return 0;
}
