/* KERN_PROC_ALL as FreeBSD's programs mean it (-DKVM_FREEBSD): every thread's pid and tid. */
#include <kvm/freebsd.h>

#include "consumer.h"

int main(int argc, char **argv)
{
	int count = 0;
	kvm_t *kd = consumer_open(&argc, &argv);
	struct kinfo_proc *p = kvm_getprocs(kd, KERN_PROC_ALL, 0, &count);

	if (p == NULL)
		errx(1, "%s", kvm_geterr(kd));
	for (int i = 0; i < count; i++)
		printf("%d %d\n", (int)p[i].ki_pid, (int)p[i].ki_tid);
	consumer_close(kd);
	return 0;
}
