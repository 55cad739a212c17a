/*
 * <kvm/mirbsd.h>: what kvm_getproc2(3) gives of MirBSD's kernels, and of Linux' by the same structure.
 *
 * struct kinfo_proc2_i386, struct kinfo_proc2_sparc and struct kinfo_proc2_lp64 (Linux, of any machine) are all there.
 * struct kinfo_proc2 is one of them, for programs that know but one: i386's; with -DKVM_TARGET_SPARC or
 * -DKVM_TARGET_LP64 (which <kvm/linux.h> says) another. Sizes are in the target's pages, times in seconds and
 * microseconds; p_uvalid is 1 where the p_u members hold something.
 */
#ifndef _KVM_MIRBSD_H_
#define _KVM_MIRBSD_H_

#include <kvm/abi.h>

#define KI_NGROUPS 16
#define KI_MAXCOMLEN 24
#define KI_WMESGLEN 8
#define KI_MAXLOGNAME 32
#ifndef KI_EMULNAMELEN	/* FreeBSD's is another */
#define KI_EMULNAMELEN 8
#endif

/* p_eflag */
#ifndef EPROC_CTTY
#define EPROC_CTTY 0x01		/* has a terminal */
#define EPROC_SLEADER 0x02	/* leads its session */
#endif

/* p_stat */
#ifndef SIDL
#define SIDL 1
#define SRUN 2
#define SSLEEP 3
#define SSTOP 4
#define SZOMB 5
#endif

/* A structure of this name: its 64-bit integers, and its time_t. */
#define KVM_KINFO_PROC2(NAME, U64, S64, TIME) \
struct NAME { \
	U64	 p_forw, p_back, p_paddr, p_addr, p_fd, p_stats, p_limit, p_vmspace, p_sigacts, p_sess, p_tsess, p_ru; \
	int32_t	 p_eflag, p_exitsig, p_flag, p_pid, p_ppid, p_sid, p__pgid, p_tpgid; \
	uint32_t p_uid, p_ruid, p_gid, p_rgid, p_groups[KI_NGROUPS]; \
	int16_t	 p_ngroups, p_jobc; \
	uint32_t p_tdev, p_estcpu; \
	U64	 p_rtime_sec_32;	/* unused */ \
	int32_t	 p_cpticks; \
	uint32_t p_pctcpu, p_swtime, p_slptime; \
	int32_t	 p_schedflags; \
	U64	 p_uticks, p_sticks, p_iticks, p_tracep; \
	int32_t	 p_traceflag, p_holdcnt, p_siglist; \
	uint32_t p_sigmask, p_sigignore, p_sigcatch; \
	int8_t	 p_stat; \
	uint8_t	 p_priority, p_usrpri, p_nice; \
	uint16_t p_xstat, p_acflag; \
	char	 p_comm[KI_MAXCOMLEN], p_wmesg[KI_WMESGLEN]; \
	U64	 p_wchan; \
	char	 p_login[KI_MAXLOGNAME]; \
	int32_t	 p_vm_rssize, p_vm_tsize, p_vm_dsize, p_vm_ssize; \
	S64	 p_uvalid; \
	uint32_t p_ustart_sec, p_ustart_usec, p_uutime_sec, p_uutime_usec, p_ustime_sec, p_ustime_usec; \
	U64	 p_uru_maxrss, p_uru_ixrss, p_uru_idrss, p_uru_isrss, p_uru_minflt, p_uru_majflt, p_uru_nswap, \
		 p_uru_inblock, p_uru_oublock, p_uru_msgsnd, p_uru_msgrcv, p_uru_nsignals, p_uru_nvcsw, p_uru_nivcsw; \
	uint32_t p_uctime_sec, p_uctime_usec; \
	U64	 p_realflag; \
	uint32_t p_svuid, p_svgid; \
	char	 p_emul[8]; \
	U64	 p_rlim_rss_cur; \
	TIME	 p_rtime_sec; \
	uint32_t p_rtime_usec; \
}

KVM_KINFO_PROC2(kinfo_proc2_i386, kvm_u64_4, kvm_s64_4, kvm_s64_4);
KVM_KINFO_PROC2(kinfo_proc2_sparc, kvm_u64_8, kvm_s64_8, int32_t);
KVM_KINFO_PROC2(kinfo_proc2_lp64, kvm_u64_8, kvm_s64_8, kvm_s64_8);

/* Of the kind of machine that the program knows. */
#if defined(KVM_TARGET_SPARC)
#define KVM_KINFO_PROC2_AS(NAME) KVM_KINFO_PROC2(NAME, kvm_u64_8, kvm_s64_8, int32_t)
#elif defined(KVM_TARGET_LP64)
#define KVM_KINFO_PROC2_AS(NAME) KVM_KINFO_PROC2(NAME, kvm_u64_8, kvm_s64_8, kvm_s64_8)
#else
#define KVM_KINFO_PROC2_AS(NAME) KVM_KINFO_PROC2(NAME, kvm_u64_4, kvm_s64_4, kvm_s64_4)
#endif

KVM_KINFO_PROC2_AS(kinfo_proc2);
#ifdef KVM_OPENBSD	/* whose struct kinfo_proc is this one */
#define _KVM_KINFO_PROC_
KVM_KINFO_PROC2_AS(kinfo_proc);
#endif

#endif /* !_KVM_MIRBSD_H_ */
