/*
 * <kvm/abi.h>: how targets lay out their integers, for the structures of <kvm/mirbsd.h> and <kvm/freebsd.h>.
 *
 * These structures are what the target's own compiler makes of its headers, on every host: members have a fixed width,
 * pointers of the target are integers, and 64-bit integers lie at multiples of 4 where that is the target's rule (i386).
 * The byte order is the target's too: of a big-endian one (sparc) members are taken with be32toh(3) and the like.
 */
#ifndef _KVM_ABI_H_
#define _KVM_ABI_H_

#include <stdint.h>

typedef uint64_t kvm_u64_4 __attribute__((__aligned__(4)));
typedef int64_t kvm_s64_4 __attribute__((__aligned__(4)));
typedef uint64_t kvm_u64_8 __attribute__((__aligned__(8)));
typedef int64_t kvm_s64_8 __attribute__((__aligned__(8)));

#endif /* !_KVM_ABI_H_ */
