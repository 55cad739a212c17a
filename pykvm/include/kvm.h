/*
 * <kvm.h>: kvm(3), the kernel data access library, as libkvm.so of pykvm has it.
 *
 * The prototypes are those of MirBSD and FreeBSD, which agree where both have a function. A program that is written for
 * either compiles unchanged; see kvm(3), kvm_open(3), kvm_read(3), kvm_nlist(3), kvm_getprocs(3) ... of these systems.
 * Unlike theirs, this library reads the dumps of any kernel on any host, so records (struct kinfo_proc and the like)
 * are in the layout and byte order of the kernel that is looked at: <kvm/mirbsd.h>, <kvm/freebsd.h>.
 */
#ifndef _KVM_H_
#define _KVM_H_

#include <sys/types.h>

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "nlist.h"	/* as the BSDs' own <kvm.h> does; never another library's that is found first */

#ifdef __cplusplus
extern "C" {
#endif

/* A kernel that is looked at. */
typedef struct __kvm kvm_t;

/* Addresses of the target, whatever the host's are. */
typedef uint64_t kvaddr_t;
typedef uint64_t kpaddr_t;
typedef int64_t kssize_t;

#define VRS_SYM "_version"
#define VRS_KEY "VERSION"

/* A flag of kvm_open: no files are opened; the handle can only be asked what sysctl(3) tells. */
#define KVM_NO_FILES 0x80000000u

/* kvm_getswapinfo's: device names with "/dev/". */
#define SWIF_DEV_PREFIX 0x0002

#define LIBKVM_WALK_PAGES_VERSION 2

/*
 * What kvm_getprocs selects by (<sys/sysctl.h>). The numbers are MirBSD's, whatever the target. KERN_PROC_KTHREAD is
 * every process, the kernel's own included, KERN_PROC_ALL those that are not the kernel's.
 */
#ifndef KERN_PROC_PID
#if defined(KVM_FREEBSD) && !defined(KERN_PROC_ALL)
#define KERN_PROC_ALL (KERN_PROC_KTHREAD | KERN_PROC_INC_THREAD)	/* every thread, as FreeBSD's means it */
#elif !defined(KERN_PROC_ALL)
#define KERN_PROC_ALL 0
#endif
#define KERN_PROC_PID 1
#define KERN_PROC_PGRP 2
#define KERN_PROC_SESSION 3
#define KERN_PROC_TTY 4
#define KERN_PROC_UID 5
#define KERN_PROC_RUID 6
#define KERN_PROC_KTHREAD 7
#define KERN_PROC_PROC 8	/* of FreeBSD's kernels: as KERN_PROC_KTHREAD */
#define KERN_PROC_RGID 10
#define KERN_PROC_GID 11
#define KERN_PROC_INC_THREAD 0x10
#define KERN_PROC_SHOW_THREADS 0x40000000
#endif

#ifndef VM_PROT_READ
typedef unsigned char vm_prot_t;
#define VM_PROT_READ ((vm_prot_t)0x01)
#define VM_PROT_WRITE ((vm_prot_t)0x02)
#define VM_PROT_EXECUTE ((vm_prot_t)0x04)
#endif

struct kvm_nlist {
	const char	*n_name;
	unsigned char	 n_type;
	kvaddr_t	 n_value;
};

/* Sizes in pages. */
struct kvm_swap {
	char		 ksw_devname[32];
	unsigned int	 ksw_used;
	unsigned int	 ksw_total;
	int		 ksw_flags;
	unsigned int	 ksw_reserved1;
	unsigned int	 ksw_reserved2;
};

struct kvm_page {
	unsigned int	 kp_version;
	kpaddr_t	 kp_paddr;
	kvaddr_t	 kp_kmap_vaddr;
	kvaddr_t	 kp_dmap_vaddr;
	vm_prot_t	 kp_prot;
	int64_t		 kp_offset;	/* in the dump's file (off_t of the BSDs); -1: not there */
	size_t		 kp_len;
};

struct kinfo_proc;
struct kinfo_proc2;
struct kinfo_lwp;
struct proc;

typedef int kvm_walk_pages_cb_t(struct kvm_page *, void *);

kvm_t	*kvm_open(const char *, const char *, const char *, int, const char *);
kvm_t	*kvm_openfiles(const char *, const char *, const char *, int, char *);
kvm_t	*kvm_open2(const char *, const char *, int, char *, int (*)(const char *, kvaddr_t *));
int	 kvm_close(kvm_t *);
char	*kvm_geterr(kvm_t *);
int	 kvm_native(kvm_t *);

ssize_t	 kvm_read(kvm_t *, unsigned long, void *, size_t);
ssize_t	 kvm_read2(kvm_t *, kvaddr_t, void *, size_t);
ssize_t	 kvm_write(kvm_t *, unsigned long, const void *, size_t);
int	 kvm_nlist(kvm_t *, struct nlist *);
int	 kvm_nlist2(kvm_t *, struct kvm_nlist *);
kssize_t kvm_kerndisp(kvm_t *);
int	 kvm_walk_pages(kvm_t *, kvm_walk_pages_cb_t *, void *);

struct kinfo_proc *kvm_getprocs(kvm_t *, int, int, int *);
struct kinfo_proc2 *kvm_getproc2(kvm_t *, int, int, size_t, int *);
struct kinfo_lwp *kvm_getlwps(kvm_t *, int, unsigned long, size_t, int *);	/* NetBSD's */
char	**kvm_getargv(kvm_t *, const struct kinfo_proc *, int);
char	**kvm_getenvv(kvm_t *, const struct kinfo_proc *, int);
char	**kvm_getargv2(kvm_t *, const struct kinfo_proc2 *, int);
char	**kvm_getenvv2(kvm_t *, const struct kinfo_proc2 *, int);
char	*kvm_getfiles(kvm_t *, int, int, int *);
int	 kvm_getloadavg(kvm_t *, double [], int);

int	 kvm_getmaxcpu(kvm_t *);
int	 kvm_getncpus(kvm_t *);
void	*kvm_getpcpu(kvm_t *, int);
int	 kvm_dpcpu_setcpu(kvm_t *, unsigned int);
ssize_t	 kvm_read_zpcpu(kvm_t *, unsigned long, void *, size_t, int);
uint64_t kvm_counter_u64_fetch(kvm_t *, unsigned long);
int	 kvm_getswapinfo(kvm_t *, struct kvm_swap *, int, int);
int	 kvm_getcptime(kvm_t *, long *);

int	 kvm_dump_mkheader(kvm_t *, int64_t);	/* off_t of the BSDs, which has 64 bits everywhere */
int	 kvm_dump_wrtheader(kvm_t *, FILE *, int);
int	 kvm_dump_inval(kvm_t *);
int	 kvm_dump_header(kvm_t *, bool (*)(void *, const void *, size_t), void *, int);	/* NetBSD's */
const char *kvm_getkernelname(kvm_t *);

/*
 * OpenBSD's flavour, for programs that are compiled with -DKVM_OPENBSD: kvm_getprocs and kvm_getfiles take the size of
 * the records that the program knows, and a struct kinfo_proc has the members that kinfo_proc2 has elsewhere
 * (<kvm/mirbsd.h> declares it so). Records of kvm_getfiles are the target's. (One library cannot have both under one
 * name; kvm_getprocs5 gives kvm_getprocs' records, cut to a size.)
 */
struct kinfo_proc *kvm_getprocs5(kvm_t *, int, int, size_t, int *);
char	*kvm_getfiles5(kvm_t *, int, int, size_t, int *);
#ifdef KVM_OPENBSD
#define kvm_getprocs(kd, op, arg, size, cnt) \
	((struct kinfo_proc *)kvm_getproc2((kd), (op), (arg), (size), (cnt)))
#define kvm_getargv(kd, p, n) kvm_getargv2((kd), (const struct kinfo_proc2 *)(p), (n))
#define kvm_getenvv(kd, p, n) kvm_getenvv2((kd), (const struct kinfo_proc2 *)(p), (n))
#define kvm_getfiles(kd, op, arg, size, cnt) ((struct kinfo_file *)kvm_getfiles5((kd), (op), (arg), (size), (cnt)))
#endif

/*
 * What processes of all systems have in common, for programs that read several: kvm_getprocs' records with one meaning
 * and in the host's own form. -1 (an empty string, 0 of `stat`) stands for what the kernel does not have or the dump
 * does not tell. `record` is the kernel's own record, for kvm_getargv and the like. The array is the handle's, and valid
 * until it is called again.
 */
struct kvm_procinfo {
	int64_t		 pid, ppid, pgid, sid, tpgid;
	int64_t		 uid, ruid, svuid, gid, rgid, svgid;
	int64_t		 tdev;
	int64_t		 rssize;	/* bytes */
	int64_t		 start, utime, stime;	/* microseconds; start: since 1970 */
	int64_t		 threads;
	int64_t		 nice;		/* -20 to 20; -128: not known */
	uint64_t	 flags, wchan, paddr;	/* 0: not known */
	char		 stat;		/* ps(1)'s letter: R S D T Z I */
	char		 comm[64], login[64], wmesg[64];
	const struct kinfo_proc *record;
};
struct kvm_procinfo *kvm_getprocinfo(kvm_t *, int, int, int *);

#ifdef __cplusplus
}
#endif

#endif /* !_KVM_H_ */
