/* What the programs here share: BSD's flags, and giving up. */
#ifndef CONSUMER_H
#define CONSUMER_H

#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <kvm.h>
#include <nlist.h>

/* -M core -N kernel -W swap [-w], or -n: the system that runs, without files; argv goes on to what follows. */
static inline kvm_t *consumer_open(int *argc, char ***argv)
{
	char *core = NULL, *kernel = NULL, *swap = NULL, errbuf[2048];
	int c, flags = O_RDONLY;
	kvm_t *kd;

	while ((c = getopt(*argc, *argv, "M:N:W:wn")) != -1)
		switch (c) {
		case 'M':
			core = optarg;
			break;
		case 'N':
			kernel = optarg;
			break;
		case 'W':
			swap = optarg;
			break;
		case 'w':
			flags = O_RDWR;
			break;
		case 'n':
			flags = (int)KVM_NO_FILES;
			break;
		default:
			errx(2, "usage: [-M core] [-N kernel] [-W swap] [-w | -n]");
		}
	*argc -= optind;
	*argv += optind;
	kd = kvm_openfiles(kernel, core, swap, flags, errbuf);
	if (kd == NULL)
		errx(1, "%s", errbuf);
	return kd;
}

static inline void consumer_close(kvm_t *kd)
{
	if (kvm_close(kd) != 0)
		errx(1, "kvm_close");
}

/* Arguments or variables, each after a blank and `what`; control characters as ps(1) has them by vis(3): one process
   is one line whatever it calls itself. */
static inline void consumer_words(const char *what, char **vector)
{
	for (int i = 0; vector != NULL && vector[i] != NULL; i++) {
		printf(" %s", what);
		for (const unsigned char *c = (const unsigned char *)vector[i]; *c != 0; c++)
			if (*c < ' ' || *c == 127)
				printf("\\%03o", *c);
			else
				putchar(*c);
	}
}

#endif
