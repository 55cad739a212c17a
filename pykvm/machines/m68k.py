"""The MMUs of the 68000 family: 68851 and 68030, 68040 and 68060 (short descriptors), and Sun's PMEGs before them.

Sources: NetBSD sys/arch/m68k/include/pte_motorola.h and sys/arch/sun3/include/pte3x.h; MC68851 User's Manual.
"""

from __future__ import annotations

from collections.abc import Iterable

from pykvm.machines.mmu import PRESENT_UNLESS, Level, PmegShape

VA_MASK = 0xFFFFFFFF

# The trees of processes on a sun3x: long descriptors, of which the second word has the address, then short ones. The
# low two bits are a descriptor's type: 0 none, 1 a page, 2 and 3 a table.
_TABLE = 2
SUN3X_LEVELS = (
    Level(25, 7, 8, (_TABLE << 32, _TABLE << 32), table_mask=0xFFFFFFF0, page_mask=0),
    Level(19, 6, 4, (_TABLE, _TABLE), table_mask=0xFFFFFFF0, page_mask=0),
    Level(13, 6, 4, (3, 1), table_mask=0, page_mask=0xFFFFE000),
)


def levels(steps: Iterable[tuple[int, int, int, int]]) -> tuple[Level, ...]:
    """Of (shift, bits, valid, frame), with entries of 32 bits: one is valid with any of the bits of `valid`."""
    return tuple(
        Level(shift, bits, 4, (valid, 0), frame, frame & -(1 << shift), unless=PRESENT_UNLESS)
        for shift, bits, valid, frame in steps
    )


def pmeg_shape(base: int, page_shift: int, seg_shift: int, valid: int, frame: int) -> PmegShape:
    """sun2: pages of 2 KB, segments of 32 KB; sun3: 8 KB, 128 KB."""
    return PmegShape(base, 1 << (seg_shift - page_shift), seg_shift, page_shift, valid, frame)
