/*
 * <kvm/freebsd.h>: what kvm_getprocs(3) gives of FreeBSD's kernels (<sys/user.h> there).
 *
 * struct kinfo_proc_lp64 is of machines of 64 bits, struct kinfo_proc_i386 of i386 and struct kinfo_proc_ilp32 of the
 * other machines of 32 bits (arm ...), whose time_t has 64. struct kinfo_proc is one of them, for programs that know but
 * one: that of 64 bits; with -DKVM_TARGET_I386 or -DKVM_TARGET_ILP32 another. ki_structsize tells which a record is.
 */
#ifndef _KVM_FREEBSD_H_
#define _KVM_FREEBSD_H_

#ifdef _KVM_KINFO_PROC_
#error "struct kinfo_proc is MirBSD's or OpenBSD's already: include <kvm/freebsd.h> in another file"
#endif

#include <kvm/abi.h>

#define KI_NSPARE_INT 2
#define KI_NSPARE_LONG 12
#define KI_NSPARE_PTR 4
#define KI_NGROUPS 16
#define TDNAMLEN 16
#define WMESGLEN 8
#define LOCKNAMELEN 8
#define COMMLEN 19
#ifndef KI_EMULNAMELEN	/* MirBSD's is another */
#define KI_EMULNAMELEN 16
#endif
#define LOGNAMELEN 17
#define LOGINCLASSLEN 17

/* ki_kiflag */
#define KI_LOCKBLOCK 0x00000001	/* waits for a lock: ki_lockname */
#define KI_CTTY 0x00000002	/* has a terminal */
#define KI_SLEADER 0x00000004	/* leads its session */

/* ki_stat */
#ifndef SIDL
#define SIDL 1
#define SRUN 2
#define SSLEEP 3
#define SSTOP 4
#define SZOMB 5
#define SWAIT 6
#define SLOCK 7
#endif

struct kvm_sigset { uint32_t __bits[4]; };
struct kvm_priority { uint8_t pri_class, pri_level, pri_native, pri_user; };

/* struct timeval, struct rusage and struct kinfo_proc of a target: its time_t, long, unsigned long (which a pointer is
   as wide as), and 64-bit integers. */
#define KVM_TIMES(TARGET, TIME, LONG) \
struct kvm_timeval_##TARGET { TIME tv_sec; LONG tv_usec; }; \
struct kvm_rusage_##TARGET { \
	struct kvm_timeval_##TARGET ru_utime, ru_stime; \
	LONG	 ru_maxrss, ru_ixrss, ru_idrss, ru_isrss, ru_minflt, ru_majflt, ru_nswap, ru_inblock, ru_oublock, \
		 ru_msgsnd, ru_msgrcv, ru_nsignals, ru_nvcsw, ru_nivcsw; \
}
#define KVM_KINFO_PROC(NAME, TARGET, LONG, ULONG, U64) \
struct NAME { \
	int32_t	 ki_structsize, ki_layout; \
	ULONG	 ki_args, ki_paddr, ki_addr, ki_tracep, ki_textvp, ki_fd, ki_vmspace, ki_wchan; \
	int32_t	 ki_pid, ki_ppid, ki_pgid, ki_tpgid, ki_sid, ki_tsid; \
	int16_t	 ki_jobc, ki_spare_short1; \
	uint32_t ki_tdev_freebsd11; \
	struct kvm_sigset ki_siglist, ki_sigmask, ki_sigignore, ki_sigcatch; \
	uint32_t ki_uid, ki_ruid, ki_svuid, ki_rgid, ki_svgid; \
	int16_t	 ki_ngroups, ki_spare_short2; \
	uint32_t ki_groups[KI_NGROUPS]; \
	ULONG	 ki_size;			/* bytes */ \
	LONG	 ki_rssize, ki_swrss, ki_tsize, ki_dsize, ki_ssize;	/* pages */ \
	uint16_t ki_xstat, ki_acflag; \
	uint32_t ki_pctcpu, ki_estcpu, ki_slptime, ki_swtime, ki_cow; \
	U64	 ki_runtime;			/* microseconds */ \
	struct kvm_timeval_##TARGET ki_start, ki_childtime; \
	LONG	 ki_flag, ki_kiflag; \
	int32_t	 ki_traceflag; \
	int8_t	 ki_stat, ki_nice, ki_lock, ki_rqindex; \
	uint8_t	 ki_oncpu_old, ki_lastcpu_old; \
	char	 ki_tdname[TDNAMLEN + 1], ki_wmesg[WMESGLEN + 1], ki_login[LOGNAMELEN + 1], \
		 ki_lockname[LOCKNAMELEN + 1], ki_comm[COMMLEN + 1], ki_emul[17], \
		 ki_loginclass[LOGINCLASSLEN + 1], ki_moretdname[4], ki_sparestrings[46]; \
	int32_t	 ki_spareints[KI_NSPARE_INT]; \
	U64	 ki_tdev; \
	int32_t	 ki_oncpu, ki_lastcpu, ki_tracer, ki_flag2, ki_fibnum; \
	uint32_t ki_cr_flags; \
	int32_t	 ki_jid, ki_numthreads, ki_tid; \
	struct kvm_priority ki_pri; \
	struct kvm_rusage_##TARGET ki_rusage, ki_rusage_ch; \
	ULONG	 ki_pcb, ki_kstack, ki_udata, ki_tdaddr, ki_pd, ki_uerrmsg, ki_spareptrs[KI_NSPARE_PTR]; \
	LONG	 ki_sparelongs[KI_NSPARE_LONG], ki_sflag, ki_tdflags; \
}

KVM_TIMES(lp64, kvm_s64_8, kvm_s64_8);
KVM_TIMES(i386, int32_t, int32_t);
KVM_TIMES(ilp32, kvm_s64_8, int32_t);
KVM_KINFO_PROC(kinfo_proc_lp64, lp64, kvm_s64_8, kvm_u64_8, kvm_u64_8);
KVM_KINFO_PROC(kinfo_proc_i386, i386, int32_t, uint32_t, kvm_u64_4);
KVM_KINFO_PROC(kinfo_proc_ilp32, ilp32, int32_t, uint32_t, kvm_u64_8);

#if defined(KVM_TARGET_I386)
KVM_KINFO_PROC(kinfo_proc, i386, int32_t, uint32_t, kvm_u64_4);
#elif defined(KVM_TARGET_ILP32)
KVM_KINFO_PROC(kinfo_proc, ilp32, int32_t, uint32_t, kvm_u64_8);
#else
KVM_KINFO_PROC(kinfo_proc, lp64, kvm_s64_8, kvm_u64_8, kvm_u64_8);
#endif

#endif /* !_KVM_FREEBSD_H_ */
