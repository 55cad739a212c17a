"""What the files of this room are written in: levels and roots for the C walker."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from pykvm._native.ffi import ffi, lib
from pykvm.errors import KvmError

PRESENT_UNLESS = int(lib.PK_PRESENT_UNLESS)
LEAF_UNLESS = int(lib.PK_LEAF_UNLESS)


class Wide(NamedTuple):
    """Pages of another size than their level's, each of whose entries says the same (pk_level in decl/mmu.h)."""

    shift: int
    mask: int
    value: int
    page_mask: int


NO_WIDE = Wide(0, 0, 0, 0)


class Level(NamedTuple):
    """One level of a radix tree, from the top down (pk_level in decl/mmu.h).

    An entry is present if entry & present[0] == present[1]; above the last level it is a page if
    entry & leaf[0] == leaf[1]; `unless` turns tests round (PRESENT_UNLESS, LEAF_UNLESS). Addresses are
    (entry & mask) >> rshift << lshift, with (entry & high[0]) << high[1] for top bits that are kept elsewhere. A page
    whose entry & wide.mask == wide.value is of 1 << wide.shift bytes; entry & refuse[0] == refuse[1] is no entry. A
    table whose entry & other[0] == other[1] is at entry & other[2].
    """

    shift: int
    bits: int
    entry_size: int
    present: tuple[int, int]
    table_mask: int
    page_mask: int
    leaf: tuple[int, int] = (0, 0)
    lshift: int = 0
    unless: int = 0
    high: tuple[int, int] = (0, 0)
    wide: Wide = NO_WIDE
    refuse: tuple[int, int] = (0, 0)
    other: tuple[int, int, int] = (0, 0, 0)
    rshift: int = 0


class Root(NamedTuple):
    """The table that serves virtual addresses start ... last; linear: the range is memory itself, from `table` on."""

    start: int
    last: int
    table: int
    linear: bool = False


def radix(roots: Iterable[Root], levels: Sequence[Level], byteorder: str) -> Any:
    """An MMU that walks page tables in memory. No levels: each root maps its range linearly."""
    root_list = list(roots)
    c_roots = ffi.new("pk_root[]", [(*root, 0) for root in root_list])
    c_levels = ffi.new(
        "pk_level[]",
        [_level(v) for v in levels],
    )
    return _owned(lib.pk_mmu_radix(c_roots, len(root_list), c_levels, len(levels), byteorder == "big"))


def hashed(roots: Iterable[Root], table: int, groups: int) -> Any:
    """The hashed page table of 64-bit PowerPC (groups: a power of two), for the roots that are not linear."""
    c_roots = [(*root, 0) for root in roots]
    shape = ffi.new("pk_hashed_shape *", (table, groups))
    return _owned(lib.pk_mmu_hashed(ffi.new("pk_root[]", c_roots), len(c_roots), shape))


def _level(v: Level) -> tuple[int, ...]:
    """A pk_level, member by member."""
    masks = (*v.present, *v.leaf, v.table_mask, v.page_mask, v.high[0], *v.wide[1:], *v.refuse, *v.other)
    return (v.shift, v.bits, v.entry_size, v.lshift, v.unless, v.high[1], v.wide.shift, v.rshift, *masks)


class PmegShape(NamedTuple):
    """The fixed part of a sun4 or sun4c (pk_pmeg_shape in decl/mmu.h)."""

    base: int
    ptes_per_pmeg: int
    seg_shift: int
    page_shift: int
    valid_mask: int
    pfn_mask: int


def pmeg(shape: PmegShape, segments: Sequence[tuple[int, int]], npmegs: int, ptes: Sequence[int]) -> Any:
    """Sun's segment map: `segments` are (PMEG, number of PTEs); `ptes` those of all PMEGs in turn."""
    if len(ptes) != npmegs * shape.ptes_per_pmeg:
        raise ValueError("PTEs do not match the number of PMEGs")
    c_shape = ffi.new(
        "pk_pmeg_shape *",
        (
            shape.base,
            len(segments),
            npmegs,
            shape.ptes_per_pmeg,
            shape.seg_shift,
            shape.page_shift,
            0,
            shape.valid_mask,
            shape.pfn_mask,
        ),
    )
    pmegs = ffi.new("uint16_t[]", [s[0] for s in segments])
    counts = ffi.new("uint8_t[]", [s[1] for s in segments])
    return _owned(lib.pk_mmu_pmeg(c_shape, pmegs, counts, ffi.new("uint32_t[]", list(ptes))))


def _owned(mmu: Any) -> Any:
    if mmu == ffi.NULL:
        raise KvmError("out of memory")
    return ffi.gc(mmu, lib.pk_mmu_unref)


class Translation(NamedTuple):
    """An MMU, the target's address width, and the message for a page table that is missing."""

    mmu: Any
    va_mask: int
    pte_error: str = "invalid address ({:x})"
