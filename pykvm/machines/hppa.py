"""PA-RISC: no tables that hardware knows, but those of NetBSD and OpenBSD (pmap.c of 2002 and newer): a page directory
of physical addresses, and pages of entries whose low 12 bits are for the TLB."""

from pykvm.machines.mmu import PRESENT_UNLESS, Level

VA_MASK = 0xFFFFFFFF
_PRESENT = (0xFFFFF000, 0)
LEVELS = (
    Level(22, 10, 4, _PRESENT, table_mask=0xFFFFF000, page_mask=0, unless=PRESENT_UNLESS),
    Level(12, 10, 4, _PRESENT, table_mask=0, page_mask=0xFFFFF000, unless=PRESENT_UNLESS),
)
