/* dmesg(8) of a dump: MirBSD's message buffer of either byte order, or (with an argument) FreeBSD's of 64 bits. */
#include "consumer.h"

#define MSG_MAGIC 0x063061
#define MSG_MAGIC_FREEBSD 0x063062

static struct nlist nl[] = {
	{ .n_name = "_msgbufp" },
	{ .n_name = NULL },
};

static uint32_t word(const unsigned char *p, int swapped)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return swapped ? __builtin_bswap32(v) : v;
}

static void get(kvm_t *kd, uint64_t addr, void *buf, size_t n)
{
	if (kvm_read(kd, addr, buf, n) != (ssize_t)n)
		errx(1, "kvm_read: %s", kvm_geterr(kd));
}

/* From the place that is written next, without NULs. */
static void show(kvm_t *kd, uint64_t addr, uint32_t size, uint32_t at)
{
	char *ring = malloc(size);

	if (ring == NULL || size == 0)
		errx(1, "a buffer of %u bytes", size);
	get(kd, addr, ring, size);
	for (uint32_t i = 0; i < size; i++)
		if (ring[(at + i) % size] != '\0')
			putchar(ring[(at + i) % size]);
	free(ring);
}

int main(int argc, char **argv)
{
	kvm_t *kd = consumer_open(&argc, &argv);
	unsigned char raw[8], head[24];
	uint64_t at;
	int swapped;

	if (kvm_nlist(kd, nl) != 0)
		errx(1, "msgbufp: %s", nl[0].n_type == 0 ? "not in the kernel" : kvm_geterr(kd));
	get(kd, nl[0].n_value, raw, argc > 0 ? 8 : 4);
	if (argc > 0) {		/* msg_ptr, msg_magic, msg_size, msg_wseq */
		memcpy(&at, raw, sizeof(at));
		get(kd, at, head, 20);
		if (word(head + 8, 0) != MSG_MAGIC_FREEBSD)
			errx(1, "bad magic %x", word(head + 8, 0));
		memcpy(&at, head, sizeof(at));
		show(kd, at, word(head + 12, 0), word(head + 16, 0) % word(head + 12, 0));
	} else {		/* msg_magic, msg_bufx, msg_bufr, msg_bufs, msg_bufl */
		for (swapped = 0; swapped < 2; swapped++)
			if (kvm_read(kd, word(raw, swapped), head, 20) == 20 && word(head, swapped) == MSG_MAGIC)
				break;
		if (swapped == 2)
			errx(1, "bad magic");
		show(kd, word(raw, swapped) + 20, word(head + 12, swapped), word(head + 4, swapped));
	}
	consumer_close(kd);
	return 0;
}
