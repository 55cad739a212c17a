"""Alpha: three levels of tables for addresses of 43 bits, and K0SEG, which is memory as it is.

Sources: Alpha Architecture Reference Manual, part II-A (OSF/1); sys/arch/alpha/include/{alpha_cpu,pte,vmparam}.h of
NetBSD and OpenBSD. An entry's upper half is the number of the page.
"""

from __future__ import annotations

from pykvm.machines.mmu import Level, Root

PAGE_SHIFT = 13
ALL = (1 << 64) - 1
K0SEG, K1SEG, SEG_SIZE = 0xFFFFFC0000000000, 0xFFFFFE0000000000, 1 << 41
USER_LAST = (1 << 42) - 1
LINEAR = Root(K0SEG, K1SEG - 1, 0, linear=True)
_VALID, _FRAME = (1, 1), 0xFFFFFFFF << 32
LEVELS = tuple(Level(at, 10, 8, _VALID, _FRAME, _FRAME, rshift=32, lshift=PAGE_SHIFT) for at in (33, 23, PAGE_SHIFT))


def physical(va: int) -> int:
    """Of an address in K0SEG."""
    return va & SEG_SIZE - 1
