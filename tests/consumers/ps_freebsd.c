/* ps(1) as FreeBSD has it. -DKVM_TARGET_I386: of a kernel of 32 bits. */
#include "consumer.h"

#include <kvm/freebsd.h>

int main(int argc, char **argv)
{
	kvm_t *kd = consumer_open(&argc, &argv);
	struct kinfo_proc *kp, *copy;
	int count;

	kp = kvm_getprocs(kd, KERN_PROC_KTHREAD, 0, &count);
	if (kp == NULL)
		errx(1, "%s", kvm_geterr(kd));
	copy = malloc(count * sizeof(*copy));
	memcpy(copy, kp, count * sizeof(*copy));
	for (int i = 0; i < count; i++) {
		if ((size_t)kp[i].ki_structsize != sizeof(*kp))
			errx(1, "kinfo_proc has %d bytes, not %zu", kp[i].ki_structsize, sizeof(*kp));
		printf("%d %d %u %d %s %lld", kp[i].ki_pid, kp[i].ki_ppid, kp[i].ki_uid, kp[i].ki_stat, kp[i].ki_comm,
		    (long long)kp[i].ki_start.tv_sec);
		consumer_words("", kvm_getargv(kd, &copy[i], 0));
		consumer_words("+", kvm_getenvv(kd, &copy[i], 0));
		printf("\n");
	}
	free(copy);
	consumer_close(kd);
	return 0;
}
