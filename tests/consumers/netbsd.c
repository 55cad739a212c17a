/* As NetBSD's ps -s asks: kvm_getproc2, and of each process its LWPs; then the kernel's name and the dump's header. */
#include "consumer.h"

#include <kvm/netbsd.h>

static bool count_bytes(void *cookie, const void *buf, size_t n)
{
	(void)buf;
	*(size_t *)cookie += n;
	return n < 1000000;
}

static bool refuse(void *cookie, const void *buf, size_t n)
{
	(void)cookie, (void)buf, (void)n;
	return false;
}

int main(int argc, char **argv)
{
	kvm_t *kd = consumer_open(&argc, &argv);
	int count, lwps;
	size_t bytes = 0;
	struct kinfo_proc2 *p = kvm_getproc2(kd, KERN_PROC_ALL, 0, sizeof(*p), &count);

	if (p == NULL)
		errx(1, "%s", kvm_geterr(kd));
	for (int i = 0; i < count; i++) {
		printf("%d %d %d %.24s %llu %.8s", p[i].p_pid, p[i].p_ppid, p[i].p_stat, p[i].p_comm,
		    (unsigned long long)p[i].p_nlwps, p[i].p_wmesg);
		struct kinfo_lwp *l = kvm_getlwps(kd, p[i].p_pid, (unsigned long)p[i].p_paddr, sizeof(*l), &lwps);
		if (l == NULL)
			errx(1, "%s", kvm_geterr(kd));
		for (int k = 0; k < lwps; k++)
			printf(" %d:%d:%.20s:%u", l[k].l_lid, l[k].l_stat, l[k].l_name, l[k].l_pid);
		printf("\n");
	}
	if (kvm_getlwps(kd, 0, 8, sizeof(struct kinfo_lwp), &lwps) != NULL)
		errx(1, "LWPs of none");
	printf("%s\n", kvm_geterr(kd));
	printf("%s\n", kvm_getkernelname(kd));
	const int written = kvm_dump_header(kd, count_bytes, &bytes, 0);
	printf("%d %zu\n", written, bytes);
	printf("%d %s\n", kvm_dump_header(kd, refuse, NULL, 0), kvm_geterr(kd));
	consumer_close(kd);
	return 0;
}
