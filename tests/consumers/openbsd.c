/* As OpenBSD's programs ask for processes: five arguments, and p_ members in a struct kinfo_proc (-DKVM_OPENBSD). Prints
   them, and behind a line "2" what kvm_getproc2 gives. */
#include <kvm/mirbsd.h>

#include "consumer.h"

static void show(kvm_t *kd, const struct kinfo_proc *p)
{
	char **args = kvm_getargv(kd, p, 0);

	printf("%d %s", (int)p->p_pid, p->p_comm);
	for (int i = 0; args != NULL && args[i] != NULL; i++)
		printf(" %s", args[i]);
	printf("\n");
}

int main(int argc, char **argv)
{
	int count = 0;
	kvm_t *kd = consumer_open(&argc, &argv);
	struct kinfo_proc *p = kvm_getprocs(kd, KERN_PROC_ALL, 0, sizeof(*p), &count);

	if (p == NULL)
		errx(1, "%s", kvm_geterr(kd));
	for (int i = 0; i < count; i++)
		show(kd, &p[i]);
	printf("2\n");
	struct kinfo_proc2 *two = kvm_getproc2(kd, KERN_PROC_ALL, 0, sizeof(*two), &count);
	for (int i = 0; two != NULL && i < count; i++)
		show(kd, (const struct kinfo_proc *)&two[i]);
	consumer_close(kd);
	return 0;
}
