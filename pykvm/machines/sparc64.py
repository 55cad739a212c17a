"""sparc64: the page tables of NetBSD and OpenBSD, from which their trap handlers load the TLB: three levels of words,
addresses of tables (0: none), then translation table entries (TTEs).

Sources: sys/arch/sparc64/include/{pmap,pte,param}.h of both; UltraSPARC I & II User's Manual, UltraSPARC Architecture
2005 (TTEs of the sun4u and the sun4v). Each page of 8 KB has a TTE of its own that says where it is, within larger
pages, too.
"""

from __future__ import annotations

from pykvm.machines.mmu import PRESENT_UNLESS, Level

PAGE_SHIFT = 13
ALL = (1 << 64) - 1
REACH = 1 << 43  # a table serves the lowest addresses and the highest, between which the processor has a hole
SUN4U_MEMORY = 1 << 43  # no more physical addresses than that
SUN4U_FRAME, SUN4V_FRAME = 0x000007FFFFFFE000, 0x00FFFFFFFFFFE000
_VALID = 1 << 63
_POINTER = Level(23, 10, 8, (ALL, 0), SUN4V_FRAME, 0, unless=PRESENT_UNLESS)


def levels(frame: int) -> tuple[Level, ...]:
    """frame: where a TTE has the address."""
    return (_POINTER._replace(shift=33), _POINTER, Level(PAGE_SHIFT, 10, 8, (_VALID, _VALID), 0, frame))
