/* Names to addresses: nlist(3)'s loop, over the names that are given. */
#include "consumer.h"

int main(int argc, char **argv)
{
	kvm_t *kd = consumer_open(&argc, &argv);
	struct nlist *nl = calloc(argc + 1, sizeof(*nl));
	struct kvm_nlist *nl2 = calloc(argc + 1, sizeof(*nl2));

	for (int i = 0; i < argc; i++)
		nl2[i].n_name = nl[i].n_name = argv[i];
	nl2[argc].n_name = "";		/* either ends a list */
	printf("%d", kvm_nlist(kd, nl));
	printf(" %d\n", kvm_nlist2(kd, nl2));
	for (int i = 0; i < argc; i++)
		printf("%s %#x %d %d %#llx %#x %#llx\n", nl[i].n_name, nl[i].n_type, nl[i].n_other, nl[i].n_desc,
		    (unsigned long long)nl[i].n_value, nl2[i].n_type, (unsigned long long)nl2[i].n_value);
	free(nl);
	free(nl2);
	consumer_close(kd);
	return 0;
}
