/* savecore(8): DEVICE KERNEL OFFSET OUTPUT: finds the dump, writes what is before the memory, and takes the mark away. */
#include "consumer.h"

int main(int argc, char **argv)
{
	struct nlist nl[] = { { .n_name = "_nprocs" }, { .n_name = "_dumpmag" }, { .n_name = NULL } };
	char errbuf[2048];
	int nprocs = -1;

	if (argc < 5)
		errx(2, "usage: DEVICE KERNEL OFFSET OUTPUT");
	kvm_t *kd = kvm_openfiles(argv[2], argv[1], NULL, O_RDWR, errbuf);
	if (kd == NULL)
		errx(1, "%s", errbuf);
	printf("%d\n", kvm_nlist(kd, nl));
	printf("%zd %s\n", kvm_read(kd, nl[0].n_value, &nprocs, 4), kvm_geterr(kd));
	printf("%d\n", kvm_dump_mkheader(kd, 0x7fffffffffffffff));
	printf("%s\n", kvm_geterr(kd));
	printf("mkheader %d\n", kvm_dump_mkheader(kd, strtoll(argv[3], NULL, 0)));
	printf("%zd", kvm_read(kd, nl[0].n_value, &nprocs, 4));
	printf(" %d\n", nprocs);
	printf("%d ", kvm_dump_mkheader(kd, strtoll(argv[3], NULL, 0)));
	printf("%s\n", kvm_geterr(kd));
	FILE *fp = fopen(argv[4], "w");
	printf("wrtheader %d\n", kvm_dump_wrtheader(kd, fp, 0x100000));
	fclose(fp);
	printf("inval %d\n", kvm_dump_inval(kd));
	uint32_t magic = 1;
	printf("%zd", kvm_read(kd, nl[1].n_value, &magic, 4));
	printf(" %x\n", magic);
	magic = 0x12345678;
	printf("%zd", kvm_write(kd, nl[1].n_value, &magic, 4));
	magic = 0;
	printf(" %zd", kvm_read(kd, nl[1].n_value, &magic, 4));
	printf(" %x\n", magic);
	printf("%zd ", kvm_write(kd, 4, &magic, 4));
	printf("%s\n", kvm_geterr(kd));
	consumer_close(kd);
	return 0;
}
