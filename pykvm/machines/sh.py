"""SuperH (SH-3, SH-4): segments P1, P2 and P3, and OpenBSD's page tables, which its TLB handlers walk in software.

Sources: OpenBSD sys/arch/sh/include/{mmu,pmap,vmparam}.h, sys/arch/sh/sh/pmap.c.
"""

from pykvm.machines.mmu import PRESENT_UNLESS, Level, Root

P1, P2, P3, SEG_SIZE = 0x80000000, 0xA0000000, 0xC0000000, 0x20000000
PHYS_MASK = SEG_SIZE - 1
VA_MASK = 0xFFFFFFFF
LINEAR = tuple(Root(at, at + SEG_SIZE - 1, 0, linear=True) for at in (P1, P2))
# The first table has addresses in P1, 0 for none. A page whose use is watched has no valid bit: all but 0 is one.
LEVELS = (
    Level(22, 9, 4, (VA_MASK, 0), PHYS_MASK, 0, unless=PRESENT_UNLESS),
    Level(12, 10, 4, (VA_MASK, 0), 0, 0x1FFFF000, unless=PRESENT_UNLESS),
)
# The kernel's first table begins with P3, whose index in a process's would be this.
P3_INDEX = P3 >> 22 & 511
