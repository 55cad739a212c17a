/*
 * <kvm/linux.h>: what kvm_getprocs(3) and kvm_getproc2(3) both give of Linux' kernels: struct kinfo_proc2 as a BSD of 64
 * bits has it.
 */
#ifndef _KVM_LINUX_H_
#define _KVM_LINUX_H_

#if defined(_KVM_MIRBSD_H_) && !defined(KVM_TARGET_LP64)
#error "struct kinfo_proc2 is MirBSD's already: use struct kinfo_proc2_lp64 of <kvm/mirbsd.h>, without <kvm/linux.h>"
#endif
#ifndef KVM_TARGET_LP64
#define KVM_TARGET_LP64
#endif
#include <kvm/mirbsd.h>

#endif /* !_KVM_LINUX_H_ */
