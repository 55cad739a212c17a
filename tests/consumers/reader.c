/* Memory: ADDRESS LENGTH [CHUNK], in hexadecimal; read in pieces, put out as it is; an error ends it. */
#include "consumer.h"

int main(int argc, char **argv)
{
	kvm_t *kd = consumer_open(&argc, &argv);

	if (argc < 2)
		errx(2, "usage: ADDRESS LENGTH [CHUNK]");
	uint64_t at = strtoull(argv[0], NULL, 16), left = strtoull(argv[1], NULL, 16);
	const size_t chunk = argc > 2 ? strtoull(argv[2], NULL, 16) : left;
	char *buf = malloc(chunk ? chunk : 1);

	while (left > 0) {
		const size_t want = left < chunk ? left : chunk;
		const ssize_t got = kvm_read2(kd, at, buf, want);

		if (got < 0)
			errx(1, "%s", kvm_geterr(kd));
		fwrite(buf, 1, got, stdout);
		if ((size_t)got < want)
			errx(3, "short");
		at += got;
		left -= got;
	}
	free(buf);
	consumer_close(kd);
	return 0;
}
