/* FreeBSD's functions: a resolver, kvm_nlist2, kvm_read2, kvm_walk_pages, per-CPU data, counters.
   KERNEL CORE NAME ADDRESS COUNTER: the resolver knows NAME to be at ADDRESS; COUNTER is a counter(9). */
#include "consumer.h"

static const char *own_name;
static kvaddr_t own_address;
static int asked;

static int resolver(const char *name, kvaddr_t *addr)
{
	asked++;
	if (strcmp(name, own_name) != 0)
		return -1;
	*addr = own_address;
	return 0;
}

struct sum {
	unsigned long pages, version;
	uint64_t bytes, paddr, kmap, dmap, offset, prot;
	unsigned long most;
};

static int count(struct kvm_page *page, void *closure)
{
	struct sum *sum = closure;

	sum->pages++;
	sum->version += page->kp_version == LIBKVM_WALK_PAGES_VERSION;
	sum->bytes += page->kp_len;
	sum->paddr += page->kp_paddr;
	sum->kmap += page->kp_kmap_vaddr;
	sum->dmap += page->kp_dmap_vaddr;
	sum->offset += (uint64_t)page->kp_offset;
	sum->prot += page->kp_prot;
	return sum->most == 0 || sum->pages < sum->most;
}

int main(int argc, char **argv)
{
	char errbuf[2048];

	if (argc < 6)
		errx(2, "usage: KERNEL CORE NAME ADDRESS COUNTER");
	own_name = argv[3];
	own_address = strtoull(argv[4], NULL, 0);
	kvm_t *kd = kvm_open2(argv[1], argv[2], O_RDONLY, errbuf, resolver);
	if (kd == NULL)
		errx(1, "%s", errbuf);

	struct kvm_nlist nl[] = { { .n_name = own_name }, { .n_name = "allproc" }, { .n_name = "no_such_name" },
		{ .n_name = argv[5] }, { .n_name = NULL } };
	printf("nlist2 %d", kvm_nlist2(kd, nl));
	for (int i = 0; i < 4; i++)
		printf(" %d %#llx", nl[i].n_type, (unsigned long long)nl[i].n_value);
	printf("\nasked %d\n", asked >= 2);

	uint64_t value = 0;
	ssize_t got = kvm_read2(kd, nl[1].n_value, &value, sizeof(value));
	printf("read2 %zd %#llx\n", got, (unsigned long long)value);

	struct sum all = { 0 }, some = { .most = 3 };
	const int whole = kvm_walk_pages(kd, count, &all);
	printf("walk %d %lu %lu %#llx %#llx %#llx %#llx %#llx %llu\n", whole, all.pages, all.version,
	    (unsigned long long)all.bytes, (unsigned long long)all.paddr, (unsigned long long)all.kmap,
	    (unsigned long long)all.dmap, (unsigned long long)all.offset, (unsigned long long)all.prot);
	const int part = kvm_walk_pages(kd, count, &some);
	printf("walk %d %lu\n", part, some.pages);

	const int cpus = kvm_getmaxcpu(kd);
	printf("cpus %d %d\n", cpus, kvm_getncpus(kd));
	for (int cpu = -1; cpu < 4; cpu++) {
		unsigned char *pcpu = kvm_getpcpu(kd, cpu);

		if (pcpu == NULL || pcpu == (void *)-1) {
			printf("pcpu %d: %s\n", cpu, pcpu == NULL ? "none" : kvm_geterr(kd));
			continue;
		}
		printf("pcpu %d:", cpu);
		for (int i = 0; i < 16; i++)
			printf(" %02x", pcpu[i]);
		printf("\n");
		free(pcpu);
	}
	printf("setcpu %d", kvm_dpcpu_setcpu(kd, 0));
	printf(" %d\n", kvm_dpcpu_setcpu(kd, 99));
	uint64_t base = 0, copy = 0;
	kvm_read2(kd, nl[3].n_value, &base, sizeof(base));
	printf("counter %#llx %llu", (unsigned long long)base, (unsigned long long)kvm_counter_u64_fetch(kd, base));
	got = kvm_read_zpcpu(kd, base, &copy, sizeof(copy), 0);
	printf(" %zd %llu\n", got, (unsigned long long)copy);
	printf("kerndisp %lld, native %d\n", (long long)kvm_kerndisp(kd), kvm_native(kd));
	consumer_close(kd);
	return 0;
}
