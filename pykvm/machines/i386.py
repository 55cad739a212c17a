"""i386 paging: two levels of 32-bit entries, or with PAE three of 64 bits (Intel SDM volume 3, chapters 4.3, 4.4)."""

from pykvm.machines.mmu import Level

PG_V = 1
PG_PS = 0x80  # in a directory entry: a 4 MB page

LEVELS = (
    Level(22, 10, 4, (PG_V, PG_V), table_mask=0xFFFFF000, page_mask=0xFFC00000, leaf=(PG_PS, PG_PS)),
    Level(12, 10, 4, (PG_V, PG_V), table_mask=0, page_mask=0xFFFFF000),
)
PAE_FRAME = 0x000FFFFFFFFFF000
PAE_LEVELS = (
    Level(30, 2, 8, (PG_V, PG_V), PAE_FRAME, 0),
    Level(21, 9, 8, (PG_V, PG_V), PAE_FRAME, PAE_FRAME, leaf=(PG_PS, PG_PS)),
    Level(12, 9, 8, (PG_V, PG_V), 0, PAE_FRAME),
)
PAGE_SIZE = 4096
VA_MASK = 0xFFFFFFFF
