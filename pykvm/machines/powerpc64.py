"""64-bit PowerPC: the radix tree of POWER9 (Power ISA 3.0B, book III, 5.7.10); looking into the hashed table is C's
(hashed.c), here is what its entries say.

Entries are big-endian whatever the kernel is.
"""

from __future__ import annotations

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
SMALL_PAGE = 4096
HASHED_FRAME = 0x0FFFFFFFFFFFF000
# Of an entry's first doubleword: not valid, another size of segments than 256 MB, large pages.
_VALID, _SECONDARY, _LARGE, _SIZES = 1, 2, 4, 3 << 62
_HASH = (1 << 39) - 1
# FreeBSD's number of a kernel segment: its address, turned by 8 of 36 bits, times 0x13bb.
_KERNEL, _BITS, _FACTOR = 1 << 36, (1 << 36) - 1, 0x13BB
_INVERSE = pow(_FACTOR, -1, 1 << 36)
SMALLEST = 1 << 11  # groups: fewer would not say which page it is


def address_of(high: int, group: int, groups: int) -> int | None:
    """The kernel's address that an entry of a hashed table, by its first doubleword and its group, is of; None if it is
    none, or not of a small page of the kernel's."""
    segment = (high & ~_SIZES) >> 12
    if not high & _VALID or high & (_SIZES | _LARGE) or segment & ~_BITS != _KERNEL or groups < SMALLEST:
        return None
    hashed = ~group if high & _SECONDARY else group
    page = (high >> 7 & 0x1F) << 11 | (hashed ^ segment & _HASH) & SMALLEST - 1
    turned = (segment & _BITS) * _INVERSE & _BITS
    return (turned >> 8 | turned << 28 & _BITS) << 28 | page << 12
