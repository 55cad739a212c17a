/* vmstat(8), w(1) and swapinfo(8): load, CPU times, swap. */
#include "consumer.h"

int main(int argc, char **argv)
{
	kvm_t *kd = consumer_open(&argc, &argv);
	struct kvm_swap swap[16];
	double loads[3];
	long times[5];
	int n;

	n = kvm_getloadavg(kd, loads, 3);
	printf("load");
	if (n < 0)
		printf(" %s", kvm_geterr(kd));
	for (int i = 0; i < n; i++)
		printf(" %.17g", loads[i]);
	printf("\nload of one %d\n", kvm_getloadavg(kd, loads, 1));
	printf("times");
	if (kvm_getcptime(kd, times) != 0)
		printf(" %s", kvm_geterr(kd));
	else
		for (int i = 0; i < 5; i++)
			printf(" %ld", times[i]);
	n = kvm_getswapinfo(kd, swap, 16, SWIF_DEV_PREFIX);
	printf("\nswap %d", n);
	if (n < 0)
		printf(" %s", kvm_geterr(kd));
	for (int i = 0; n >= 0 && i <= n; i++)
		printf(" %s %u %u %d", swap[i].ksw_devname, swap[i].ksw_used, swap[i].ksw_total, swap[i].ksw_flags);
	printf("\ncpus %d of %d, native %d\n", kvm_getncpus(kd), kvm_getmaxcpu(kd), kvm_native(kd));
	consumer_close(kd);
	return 0;
}
