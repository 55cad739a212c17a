/* What the files of libkvm.so share. */
#ifndef LIBKVM_H
#define LIBKVM_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "kvm.h"
#include "nlist.h"

typedef struct pk_space pk_space;

#include "../_native/decl/fault.h"
#include "../_native/decl/capi.h"

/* Python fills these in by pykvm's own declarations. */
_Static_assert(sizeof(struct kvm_procinfo) == sizeof(pk_procinfo), "struct kvm_procinfo");
_Static_assert(sizeof(struct kvm_swap) == sizeof(pk_swap), "struct kvm_swap");
_Static_assert(sizeof(struct kvm_page) == sizeof(pk_kvm_page), "struct kvm_page");
_Static_assert(offsetof(struct kvm_procinfo, record) == offsetof(pk_procinfo, record), "struct kvm_procinfo");
_Static_assert(offsetof(struct kvm_page, kp_len) == offsetof(pk_kvm_page, kp_len), "struct kvm_page");

#define LIBKVM_ERRBUF 2048	/* _POSIX2_LINE_MAX of the BSDs */

/* Results that a handle keeps until they are asked for again. */
enum libkvm_slot { SLOT_PROCS, SLOT_PROCS2, SLOT_ARGV, SLOT_ENVV, SLOT_FILES, SLOT_INFO, SLOT_LWPS, SLOT_KERNEL, SLOTS };

typedef uint64_t libkvm_read(pk_space *, uint64_t, void *, uint64_t, pk_fault *);
typedef uint64_t libkvm_write(pk_space *, uint64_t, const void *, uint64_t, pk_fault *);
typedef int libkvm_quick(pk_space *, uint64_t, void *, uint64_t);

struct __kvm {
	uint64_t	 number;	/* Python's, of its handle */
	pk_space *_Atomic space;	/* what memory is read through; NULL: there is none */
	libkvm_read	*read;		/* of the core, as pk_space_read and pk_space_quick */
	libkvm_quick	*quick;
	libkvm_write	*write;		/* NULL: it cannot be written to */
	int		 maxcpu, ncpus;	/* 0: not asked for yet */
	char		*program;	/* kvm_open's errstr, or NULL */
	pthread_mutex_t	 lock;		/* of what follows; never held while Python works */
	void		*kept[SLOTS];
	size_t		 elemsize[2];	/* of kvm_getprocs' and kvm_getproc2's records; 0: all of them */
	char		 message[LIBKVM_ERRBUF];
};

/* The core's functions, of a Python that runs; NULL, with why in `message`, if none can be had. */
const pk_capi *libkvm_capi(char message[LIBKVM_ERRBUF]);

/* Let a program that is a Python have the SIGINT that came while it was in here. */
void libkvm_interrupt(void);
/* Ask Python: 0, or -1 with the message kept or printed. */
int libkvm_ask(kvm_t *kd, uint32_t op, pk_call *call);
/* A call that is about nothing yet. */
void libkvm_blank(pk_call *call);
/* Keep a message for kvm_geterr(3), or print it: Sun's errstr rule. */
void libkvm_report(kvm_t *kd, const char *message, int soft);
/* A call that cannot be: errno is EINVAL, and so says the handle, if it is one. */
void libkvm_refuse(kvm_t *kd, const char *what);
/* Keep a result instead of the one before. */
void *libkvm_keep(kvm_t *kd, enum libkvm_slot slot, void *result);

#endif
