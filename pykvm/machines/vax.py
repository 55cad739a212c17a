"""VAX: one table for system space, and one for each half of a process's, which lie in system space themselves.

Source: VAX Architecture Reference Manual, chapter 4; OpenBSD sys/arch/vax/include/pte.h.
"""

from pykvm.machines.mmu import PRESENT_UNLESS, Level

VA_MASK = 0xFFFFFFFF
SYSTEM, SYSTEM_END = 0x80000000, 0xC0000000
PAGE_SHIFT = 9

# OpenBSD takes the valid bit off pages to see whether they are referred to: with a frame, an entry is one.
_FRAME = 0x1FFFFF
_PRESENT = (0x80000000 | _FRAME, 0)
_PAGE = Level(PAGE_SHIFT, 21, 4, _PRESENT, 0, _FRAME, lshift=PAGE_SHIFT, unless=PRESENT_UNLESS)
LEVELS = (_PAGE,)

# Processes' tables by the pages that they lie in: 16 MB of addresses to a root.
WINDOW = 24
USER_LEVELS = (
    _PAGE._replace(shift=16, bits=WINDOW - 16, table_mask=_FRAME),
    _PAGE._replace(bits=16 - PAGE_SHIFT),
)
