/*
 * <kvm/openbsd.h>: struct kinfo_proc of OpenBSD's kernels, as it has been since 6.1 (648 bytes; of i386 644).
 *
 * struct kinfo_proc_openbsd_lp64 and struct kinfo_proc_openbsd_i386 are both there; struct kinfo_proc is the first, with
 * -DKVM_TARGET_I386 the second. Memory is in pages, times in seconds and microseconds; p_tid is -1 in the record of a
 * process, and a thread's number in that of a thread (KERN_PROC_SHOW_THREADS). For the five arguments of OpenBSD's own
 * kvm_getprocs say -DKVM_OPENBSD and include this before <kvm/mirbsd.h>, whose kinfo_proc is that of older ones.
 */
#ifndef _KVM_OPENBSD_H_
#define _KVM_OPENBSD_H_

#include <kvm/abi.h>

#ifdef _KVM_KINFO_PROC_
#error "struct kinfo_proc is another system's already: use struct kinfo_proc_openbsd_lp64 or _i386"
#endif
#define _KVM_KINFO_PROC_

/* A structure of this name: its 64-bit integers. */
#define KVM_OPENBSD_KINFO_PROC(NAME, U64, S64) \
struct NAME { \
	U64	 p_forw, p_back, p_paddr, p_addr, p_fd, p_stats, p_limit, p_vmspace, p_sigacts, p_sess, \
		 p_tsess, p_ru; \
	int32_t	 p_eflag, p_exitsig, p_flag, p_pid, p_ppid, p_sid, p__pgid, p_tpgid; \
	uint32_t p_uid, p_ruid, p_gid, p_rgid, p_groups[16]; \
	int16_t	 p_ngroups, p_jobc; \
	uint32_t p_tdev, p_estcpu, p_rtime_sec, p_rtime_usec; \
	int32_t	 p_cpticks; \
	uint32_t p_pctcpu, p_swtime, p_slptime; \
	int32_t	 p_schedflags; \
	U64	 p_uticks, p_sticks, p_iticks, p_tracep; \
	int32_t	 p_traceflag, p_holdcnt, p_siglist; \
	uint32_t p_sigmask, p_sigignore, p_sigcatch; \
	int8_t	 p_stat; \
	uint8_t	 p_priority, p_usrpri, p_nice; \
	uint16_t p_xstat, p_spare; \
	char	 p_comm[24], p_wmesg[8]; \
	U64	 p_wchan; \
	char	 p_login[32]; \
	int32_t	 p_vm_rssize, p_vm_tsize, p_vm_dsize, p_vm_ssize; \
	S64	 p_uvalid; \
	U64	 p_ustart_sec; \
	uint32_t p_ustart_usec, p_uutime_sec, p_uutime_usec, p_ustime_sec, p_ustime_usec; \
	U64	 p_uru_maxrss, p_uru_ixrss, p_uru_idrss, p_uru_isrss, p_uru_minflt, p_uru_majflt, \
		 p_uru_nswap, p_uru_inblock, p_uru_oublock, p_uru_msgsnd, p_uru_msgrcv, p_uru_nsignals, \
		 p_uru_nvcsw, p_uru_nivcsw; \
	uint32_t p_uctime_sec, p_uctime_usec, p_psflags, p_acflag, p_svuid, p_svgid; \
	char	 p_emul[8]; \
	U64	 p_rlim_rss_cur, p_cpuid, p_vm_map_size; \
	int32_t	 p_tid; \
	uint32_t p_rtableid; \
	U64	 p_pledge; \
	char	 p_name[24]; \
}

KVM_OPENBSD_KINFO_PROC(kinfo_proc_openbsd_lp64, kvm_u64_8, kvm_s64_8);
KVM_OPENBSD_KINFO_PROC(kinfo_proc_openbsd_i386, kvm_u64_4, kvm_s64_4);

/* Of the kind of machine that the program knows. */
#ifdef KVM_TARGET_I386
KVM_OPENBSD_KINFO_PROC(kinfo_proc, kvm_u64_4, kvm_s64_4);
#else
KVM_OPENBSD_KINFO_PROC(kinfo_proc, kvm_u64_8, kvm_s64_8);
#endif

/* With OpenBSD's flavour of <kvm.h> these are the records that are asked for. */
#ifdef KVM_OPENBSD
#include <kvm.h>
#undef kvm_getprocs
#undef kvm_getargv
#undef kvm_getenvv
#define kvm_getprocs(kd, op, arg, size, cnt) kvm_getprocs5((kd), (op), (arg), (size), (cnt))
#endif

#endif /* !_KVM_OPENBSD_H_ */
