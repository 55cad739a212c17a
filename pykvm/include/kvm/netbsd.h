/*
 * <kvm/netbsd.h>: struct kinfo_proc2 and struct kinfo_lwp of NetBSD's kernels, on every machine the same.
 *
 * Memory is in pages, times in seconds and microseconds; p_stat is the state of the LWP that stands for the process (L...
 * numbers), p_realstat the process's own. <kvm/mirbsd.h> has another struct kinfo_proc2.
 */
#ifndef _KVM_NETBSD_H_
#define _KVM_NETBSD_H_

#include <kvm/abi.h>

#ifdef _KVM_MIRBSD_H_
#error "struct kinfo_proc2 is MirBSD's already: a program can know one of them"
#endif

#define U64 kvm_u64_8
#define S64 kvm_s64_8

typedef struct {
	uint32_t __bits[4];
} ki_sigset_t;

struct kinfo_proc2 {
	U64	 p_forw, p_back, p_paddr, p_addr, p_fd, p_cwdi, p_stats, p_limit, p_vmspace, p_sigacts,
		 p_sess, p_tsess, p_ru;
	int32_t	 p_eflag, p_exitsig, p_flag, p_pid, p_ppid, p_sid, p__pgid, p_tpgid;
	uint32_t p_uid, p_ruid, p_gid, p_rgid, p_groups[16];
	int16_t	 p_ngroups, p_jobc;
	uint32_t p_tdev, p_estcpu, p_rtime_sec, p_rtime_usec;
	int32_t	 p_cpticks;
	uint32_t p_pctcpu, p_swtime, p_slptime;
	int32_t	 p_schedflags;
	U64	 p_uticks, p_sticks, p_iticks, p_tracep;
	int32_t	 p_traceflag, p_holdcnt;
	ki_sigset_t p_siglist, p_sigmask, p_sigignore, p_sigcatch;
	int8_t	 p_stat;
	uint8_t	 p_priority, p_usrpri, p_nice;
	uint16_t p_xstat, p_acflag;
	char	 p_comm[24], p_wmesg[8];
	U64	 p_wchan;
	char	 p_login[24];
	int32_t	 p_vm_rssize, p_vm_tsize, p_vm_dsize, p_vm_ssize;
	S64	 p_uvalid;
	uint32_t p_ustart_sec, p_ustart_usec, p_uutime_sec, p_uutime_usec, p_ustime_sec, p_ustime_usec;
	U64	 p_uru_maxrss, p_uru_ixrss, p_uru_idrss, p_uru_isrss, p_uru_minflt, p_uru_majflt,
		 p_uru_nswap, p_uru_inblock, p_uru_oublock, p_uru_msgsnd, p_uru_msgrcv, p_uru_nsignals,
		 p_uru_nvcsw, p_uru_nivcsw;
	uint32_t p_uctime_sec, p_uctime_usec;
	U64	 p_cpuid, p_realflag, p_nlwps, p_nrlwps, p_realstat;
	uint32_t p_svuid, p_svgid;
	char	 p_ename[16];
	S64	 p_vm_vsize, p_vm_msize;
};

struct kinfo_lwp {
	U64	 l_forw, l_back, l_laddr, l_addr;
	int32_t	 l_lid, l_flag;
	uint32_t l_swtime, l_slptime;
	int32_t	 l_schedflags, l_holdcnt;
	uint8_t	 l_priority, l_usrpri;
	int8_t	 l_stat, l_pad1;
	int32_t	 l_pad2;
	char	 l_wmesg[8];
	U64	 l_wchan, l_cpuid;
	uint32_t l_rtime_sec, l_rtime_usec, l_cpticks, l_pctcpu, l_pid;
	char	 l_name[20];
};

#undef U64
#undef S64

#endif /* !_KVM_NETBSD_H_ */
