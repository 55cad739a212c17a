"""The MMUs of 32-bit SPARC: the SRMMU of sun4m by its last level, the PMEGs of sun4 and sun4c.

MirBSD's kernels map by segments of 256 KB from KERNBASE up; the segment map says which table (sun4m) or PMEG
(sun4, sun4c) serves each. SRMMU entries: SPARC V8 manual, appendix H.
"""

from pykvm.machines.mmu import PRESENT_UNLESS, Level, PmegShape

SEG_SHIFT = 18
VA_MASK = 0xFFFFFFFF

# Type bits 2: a page table entry. Bits 31..8 are the page frame, of a 36-bit physical address.
_PAGE, _FRAME = (3, 2), 0xFFFFFF00
SUN4M_LEVELS = (Level(12, 6, 4, _PAGE, table_mask=0, page_mask=_FRAME, lshift=4),)

# The whole tree, as processes have it: type 1 is a table, 2 a page on any level, 3 is reserved.
_UPPER = Level(24, 8, 4, (3, 0), 0xFFFFFFFC, _FRAME, leaf=_PAGE, lshift=4, unless=PRESENT_UNLESS, refuse=(3, 3))
SRMMU_LEVELS = (_UPPER, _UPPER._replace(shift=18, bits=6), *SUN4M_LEVELS)


def pmeg_shape(base: int, page_shift: int) -> PmegShape:
    """sun4: pages of 8192 bytes (shift 13); sun4c: 4096 (shift 12)."""
    return PmegShape(base, 1 << (SEG_SHIFT - page_shift), SEG_SHIFT, page_shift, 0x80000000, 0x7FFFF)
