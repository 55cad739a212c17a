"""All pages that a radix tree maps: what the C walker finds one by one, in order of their addresses.

Tables are read whole, and blocks of zeros are passed over without a look at their entries: page maps of minidumps are
gigabytes of them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from pykvm.errors import FormatError
from pykvm.machines.mmu import LEAF_UNLESS, PRESENT_UNLESS, Level, Root

BLOCK = 4096
CHUNK = 1 << 20
ZEROS = bytes(CHUNK)
ADDRESS = (1 << 64) - 1

# Pieces (place, bytes) of `size` bytes of a table from an address on: what is left out is zeros, or not there.
Reader = Callable[[int, int], Iterator[tuple[int, bytes]]]


class Leaf(NamedTuple):
    """A page: where it is mapped, its physical address and size, and the entry that says so."""

    va: int
    pa: int
    size: int
    entry: int


class Tree(NamedTuple):
    """A radix tree: how its entries look, how its tables are read, and what to call it in messages."""

    levels: Sequence[Level]
    byteorder: str
    read: Reader
    path: str

    def leaves(self, root: Root) -> Iterator[Leaf]:
        """The pages from root.start to root.last. FormatError for a table that is used twice, which no kernel does:
        it would make many pages of a few bytes."""
        return self._below(0, root.table, root.start, root.last, set())

    def _below(self, depth: int, table: int, start: int, last: int, used: set[int]) -> Iterator[Leaf]:
        level = self.levels[depth]
        width = (1 << level.bits) - 1
        high = start & ~((width << level.shift) | (1 << level.shift) - 1)
        first, end = start >> level.shift & width, (last >> level.shift & width) + 1
        test = _Test(level, depth + 1 == len(self.levels))
        for place, entry in self._entries(table + first * level.entry_size, end - first, level.entry_size):
            va = high | (first + place) << level.shift
            kind = test.kind(entry)
            if kind == LEAF:
                yield Leaf(va, test.page(entry, va), 1 << level.shift, entry)
            elif kind == TABLE:
                below = test.address(entry, level.table_mask)
                if below in used:
                    raise FormatError(f"{self.path}: page map: the table at {below:#x} is used again, for {va:#x}")
                used.add(below)
                yield from self._below(depth + 1, below, max(start, va), min(last, va + (1 << level.shift) - 1), used)

    def _entries(self, table: int, count: int, size: int) -> Iterator[tuple[int, int]]:
        """(index, entry) of those that are not 0."""
        order, letter = "<" if self.byteorder == "little" else ">", "Q" if size == 8 else "I"
        for place, raw in self.read(table & ADDRESS, count * size):
            if raw == ZEROS[: len(raw)]:
                continue
            for at in range(0, len(raw), BLOCK):
                block = raw[at : at + BLOCK]
                if block == ZEROS[: len(block)]:
                    continue
                number = len(block) // size
                for i, entry in enumerate(struct.unpack_from(f"{order}{number}{letter}", block), (place + at) // size):
                    if entry:
                        yield i, entry


NOTHING, TABLE, LEAF = range(3)


class _Test:
    """What an entry of a level is, as mmu.c's walker has it."""

    def __init__(self, level: Level, last: bool) -> None:
        self.level = level
        self.last = last
        self.inside = (1 << level.shift) - 1

    def kind(self, entry: int) -> int:
        """NOTHING, TABLE or LEAF."""
        level = self.level
        same = entry & level.present[0] == level.present[1]
        if same == bool(level.unless & PRESENT_UNLESS):
            return NOTHING
        if level.refuse[0] and entry & level.refuse[0] == level.refuse[1]:
            return NOTHING
        if self.last:
            return LEAF
        same = entry & level.leaf[0] == level.leaf[1]
        return LEAF if level.leaf[0] and same != bool(level.unless & LEAF_UNLESS) else TABLE

    def address(self, entry: int, mask: int) -> int:
        """The address in an entry."""
        level = self.level
        return ((entry & mask) >> level.rshift << level.lshift | (entry & level.high[0]) << level.high[1]) & ADDRESS

    def page(self, entry: int, va: int) -> int:
        """Where the page at va begins in memory."""
        wide = self.level.wide
        if wide.shift and entry & wide.mask == wide.value:
            inside = (1 << wide.shift) - 1
            return self.address(entry, wide.page_mask) & ~inside | va & inside
        return self.address(entry, self.level.page_mask) & ~self.inside
