"""Motorola 88100 and 88110: a segment table and page tables (MC88200 User's Manual, chapter 2)."""

from pykvm.machines.mmu import Level

VA_MASK = 0xFFFFFFFF
VALID, FRAME = 1, 0xFFFFF000
LEVELS = (
    Level(22, 10, 4, (VALID, VALID), table_mask=FRAME, page_mask=0),
    Level(12, 10, 4, (VALID, VALID), table_mask=0, page_mask=FRAME),
)
