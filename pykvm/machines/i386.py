"""i386 paging without PAE: two levels of 32-bit entries (Intel SDM volume 3, chapter 4.3)."""

from pykvm.machines.mmu import Level

PG_V = 1
PG_PS = 0x80  # in a directory entry: a 4 MB page

LEVELS = (
    Level(22, 10, 4, (PG_V, PG_V), table_mask=0xFFFFF000, page_mask=0xFFC00000, leaf=(PG_PS, PG_PS)),
    Level(12, 10, 4, (PG_V, PG_V), table_mask=0, page_mask=0xFFFFF000),
)
PAGE_SIZE = 4096
VA_MASK = 0xFFFFFFFF
