"""64-bit PowerPC: the radix tree of POWER9 (Power ISA 3.0B, book III, 5.7.10); the hashed table is C's (hashed.c).

Entries are big-endian whatever the kernel is.
"""

from pykvm.machines.mmu import Level

VALID, LEAF = 1 << 63, 1 << 62
TABLE, FRAME = 0x00FFFFFFFFFFFF00, 0x00FFFFFFFFFFF000
LEVELS = (
    *(Level(shift, bits, 8, (VALID, VALID), TABLE, FRAME, leaf=(LEAF, LEAF)) for shift, bits in ((39, 13), (30, 9))),
    Level(21, 9, 8, (VALID, VALID), TABLE, FRAME, leaf=(LEAF, LEAF)),
    Level(12, 9, 8, (VALID, VALID), 0, FRAME, refuse=(LEAF, 0)),
)
ROOT_SIZE = 8 << LEVELS[0].bits
GROUP_SIZE = 128  # of the hashed table: eight entries
