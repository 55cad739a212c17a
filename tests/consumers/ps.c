/* ps(1) as MirBSD has it: kvm_getproc2, and of each process its arguments and environment. -DKVM_TARGET_... says whose
   records; of sparc they are big-endian. */
#include "consumer.h"

#include <kvm/mirbsd.h>

#ifdef KVM_TARGET_SPARC
#define H32(v) ((int32_t)__builtin_bswap32((uint32_t)(v)))
#define H64(v) __builtin_bswap64(v)
#else
#define H32(v) ((int32_t)(v))
#define H64(v) (v)
#endif

int main(int argc, char **argv)
{
	kvm_t *kd = consumer_open(&argc, &argv);
	struct kinfo_proc2 *kp, one;
	int count;

	kp = kvm_getproc2(kd, KERN_PROC_KTHREAD, 0, sizeof(struct kinfo_proc2), &count);
	if (kp == NULL)
		errx(1, "%s", kvm_geterr(kd));
	for (int i = 0; i < count; i++) {
		one = kp[i];	/* as ps(1) does, before it sorts them */
		printf("%d %d %d %d %.24s %#llx", H32(one.p_pid), H32(one.p_ppid), H32(one.p_uid), one.p_stat, one.p_comm,
		    (unsigned long long)H64(one.p_paddr));
		consumer_words("", kvm_getargv2(kd, &one, 0));
		consumer_words("+", kvm_getenvv2(kd, &one, 0));
		printf("\n");
	}
	consumer_close(kd);
	return 0;
}
