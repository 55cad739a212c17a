/*
 * <kvm/mirbsd_proc.h>: what kvm_getprocs(3) and kvm_getfiles(3) give of MirBSD's kernels: struct kinfo_proc, which is the
 * kernel's own struct proc and a struct eproc, and struct file.
 *
 * struct kinfo_proc_i386 and struct kinfo_proc_sparc are both there, and so the others. struct kinfo_proc (struct proc,
 * struct eproc, struct file) is i386's; with -DKVM_TARGET_SPARC sparc's. Pointers of the kernel are integers.
 */
#ifndef _KVM_MIRBSD_PROC_H_
#define _KVM_MIRBSD_PROC_H_

#ifdef _KVM_FREEBSD_H_
#error "struct kinfo_proc is FreeBSD's already: include <kvm/freebsd.h> in another file"
#endif
#define _KVM_KINFO_PROC_

#include <kvm/mirbsd.h>

/* e_flag */
#ifndef EPROC_CTTY
#define EPROC_CTTY 0x01
#define EPROC_SLEADER 0x02
#endif

typedef uint32_t kvm_p32;	/* a pointer of a machine of 32 bits */

struct kvm_list32 { kvm_p32 le_next, le_prev; };
struct kvm_head32 { kvm_p32 lh_first; };
struct kvm_klist32 { kvm_p32 slh_first; };
struct kvm_circq32 { kvm_p32 next, prev; };
struct kvm_timeout32 { struct kvm_circq32 to_list; kvm_p32 to_func, to_arg; int32_t to_time, to_flags; };
struct kvm_pcred32 { kvm_p32 pc_ucred; uint32_t p_ruid, p_svuid, p_rgid, p_svgid; int32_t p_refcnt; };
struct kvm_ucred32 { uint32_t cr_ref, cr_uid, cr_gid; int16_t cr_ngroups; uint32_t cr_groups[16]; };
struct kvm_uprof32 { uint32_t pr_word[5]; };
struct kvm_mdproc_i386 { kvm_p32 md_regs; int32_t md_flags; };
struct kvm_mdproc_sparc { kvm_p32 md_tf, md_fpstate; int32_t md_flags; };

/* What the structures of a machine are made of: its time_t, its 64-bit integers, and the bytes of its struct vm_map. */
#define KVM_MIRBSD_PARTS(TARGET, TIME, U64, VM_MAP) \
struct kvm_mirbsd_timeval_##TARGET { TIME tv_sec; int32_t tv_usec; }; \
struct kvm_itimerval_##TARGET { struct kvm_mirbsd_timeval_##TARGET it_interval, it_value; }; \
struct kvm_mirbsd_rusage_##TARGET { \
	struct kvm_mirbsd_timeval_##TARGET ru_utime, ru_stime; \
	int32_t	 ru_maxrss, ru_ixrss, ru_idrss, ru_isrss, ru_minflt, ru_majflt, ru_nswap, ru_inblock, ru_oublock, \
		 ru_msgsnd, ru_msgrcv, ru_nsignals, ru_nvcsw, ru_nivcsw; \
}; \
struct kvm_vmspace_##TARGET { \
	U64	 vm_map[VM_MAP / 8]; \
	int32_t	 vm_refcnt; \
	kvm_p32	 vm_shm; \
	int32_t	 vm_rssize, vm_swrss, vm_tsize, vm_dsize, vm_ssize;	/* pages */ \
	kvm_p32	 vm_taddr, vm_daddr, vm_maxsaddr, vm_minsaddr; \
}; \
struct kvm_pstats_##TARGET { \
	struct kvm_mirbsd_rusage_##TARGET p_ru, p_cru; \
	struct kvm_itimerval_##TARGET p_timer[3]; \
	struct kvm_uprof32 p_prof; \
	struct kvm_mirbsd_timeval_##TARGET p_start; \
}

/* struct proc, struct eproc, struct kinfo_proc and struct file of these names, of a machine and its 64-bit integers. */
#define KVM_MIRBSD_PROC(PROC, EPROC, KINFO_PROC, KFILE, TARGET, U64, S64) \
struct PROC { \
	kvm_p32	 p_forw, p_back; \
	struct kvm_list32 p_list; \
	kvm_p32	 p_cred, p_fd, p_stats, p_limit, p_vmspace, p_sigacts; \
	int32_t	 p_exitsig, p_flag; \
	uint8_t	 p_os; \
	int8_t	 p_stat; \
	int8_t	 p_pad1[1]; \
	uint8_t	 p_descfd; \
	int32_t	 p_pid; \
	struct kvm_list32 p_hash, p_pglist; \
	kvm_p32	 p_pptr; \
	struct kvm_list32 p_sibling; \
	struct kvm_head32 p_children; \
	int32_t	 p_oppid, p_dupfd; \
	uint32_t p_estcpu; \
	int32_t	 p_cpticks; \
	uint32_t p_pctcpu; \
	kvm_p32	 p_wchan; \
	struct kvm_timeout32 p_sleep_to; \
	kvm_p32	 p_wmesg; \
	uint32_t p_swtime, p_slptime; \
	int32_t	 p_schedflags; \
	struct kvm_itimerval_##TARGET p_realtimer; \
	struct kvm_timeout32 p_realit_to; \
	struct kvm_mirbsd_timeval_##TARGET p_rtime; \
	U64	 p_uticks, p_sticks, p_iticks; \
	int32_t	 p_traceflag; \
	kvm_p32	 p_tracep, p_systrace; \
	int32_t	 p_siglist; \
	kvm_p32	 p_textvp; \
	int32_t	 p_holdcnt; \
	kvm_p32	 p_emul, p_emuldata; \
	struct kvm_klist32 p_klist; \
	uint32_t p_sigmask, p_sigignore, p_sigcatch; \
	uint8_t	 p_priority, p_usrpri; \
	int8_t	 p_nice; \
	char	 p_comm[17]; \
	kvm_p32	 p_pgrp, p_sigcode, p_addr; \
	struct kvm_mdproc_##TARGET p_md; \
	uint16_t p_xstat, p_acflag; \
	kvm_p32	 p_ru; \
}; \
struct EPROC { \
	kvm_p32	 e_paddr, e_sess; \
	struct kvm_pcred32 e_pcred; \
	struct kvm_ucred32 e_ucred; \
	struct kvm_vmspace_##TARGET e_vm; \
	struct kvm_pstats_##TARGET e_pstats; \
	int32_t	 e_pstats_valid; \
	int32_t	 e_ppid, e_pgid; \
	int16_t	 e_jobc; \
	int32_t	 e_tdev, e_tpgid; \
	kvm_p32	 e_tsess; \
	char	 e_wmesg[8]; \
	int32_t	 e_xsize; \
	int16_t	 e_xrssize, e_xccount, e_xswrss; \
	int32_t	 e_flag; \
	char	 e_login[32], e_emul[8]; \
	S64	 e_maxrss; \
}; \
struct KINFO_PROC { \
	struct PROC kp_proc; \
	struct EPROC kp_eproc; \
}; \
struct KFILE { \
	struct kvm_list32 f_list; \
	int16_t	 f_flag, f_type; \
	int32_t	 f_count, f_msgcount; \
	kvm_p32	 f_cred, f_ops; \
	S64	 f_offset; \
	kvm_p32	 f_data; \
	int32_t	 f_iflags, f_usecount; \
}

KVM_MIRBSD_PARTS(i386, kvm_s64_4, kvm_u64_4, 168);
KVM_MIRBSD_PARTS(sparc, int32_t, kvm_u64_8, 176);
KVM_MIRBSD_PROC(proc_i386, eproc_i386, kinfo_proc_mirbsd_i386, file_i386, i386, kvm_u64_4, kvm_s64_4);
KVM_MIRBSD_PROC(proc_sparc, eproc_sparc, kinfo_proc_mirbsd_sparc, file_sparc, sparc, kvm_u64_8, kvm_s64_8);

#if defined(KVM_TARGET_SPARC)
KVM_MIRBSD_PROC(proc, eproc, kinfo_proc, file, sparc, kvm_u64_8, kvm_s64_8);
#else
KVM_MIRBSD_PROC(proc, eproc, kinfo_proc, file, i386, kvm_u64_4, kvm_s64_4);
#endif

#endif /* !_KVM_MIRBSD_PROC_H_ */
