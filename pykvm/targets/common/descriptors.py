"""Tables of open files: slots by number, and a bit for each that is taken."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pykvm.errors import AddressError, KvmError
from pykvm.images.hostfile import HostFile
from pykvm.records import FileRecord
from pykvm.targets.base import Parts
from pykvm.targets.common.columns import Columns
from pykvm.types.decode import CODES
from pykvm.types.layout import Struct

CHUNK = 4096  # bytes of a bitmap that are read at a time
# Descriptors that any dump may have; and bytes of the dump's files for each, where there are more: a descriptor is a
# pointer, and most have a struct file of their own.
FEW, BYTES = 1 << 16, 8
STRUCT = 512  # bytes of a struct file, about twice what it has


class Table(NamedTuple):
    """A table of a process: its number of slots, where they are, and where their bits are."""

    pid: int
    size: int
    slots: int
    bits: int


class Slots(NamedTuple):
    """How tables look: what their bitmap is called; from a slot to the next; where the pointer is in it."""

    bitmap: str
    step: int
    pointer: int = 0


class Opened(NamedTuple):
    """A descriptor of a process, and its struct file."""

    pid: int
    fd: int
    file: int


def room(parts: Parts) -> int:
    """How many descriptors a dump of this size may have, or a system that runs with so much memory."""
    if parts.image.live:
        return max(FEW, parts.image.memory_size // BYTES)
    return max(FEW, sum(_size(file) for file in parts.image.files) // BYTES)


def _size(file: HostFile) -> int:
    """Bytes of a dump's file as it is, compressed or not."""
    try:
        return Path(file.path).stat().st_size or file.size
    except OSError:  # it was removed since
        return file.size


def opened(
    read: Columns, tables: Mapping[int, Table], owners: Sequence[tuple[int, int]], slots: Slots, most: int
) -> list[Opened]:
    """Every descriptor of these (pid, table); processes that share a table have each its own. most: room().

    AddressError if a table cannot be read, KvmError if there are too many.
    """
    by_table = _descriptors(read, tables, slots, most)
    if sum(len(by_table[table]) for _, table in owners) > most:
        raise KvmError(f"more than {most} open files, for a dump of this size")
    return [Opened(pid, fd, file) for pid, table in owners for fd, file in by_table[table]]


def _descriptors(
    read: Columns, tables: Mapping[int, Table], slots: Slots, most: int
) -> dict[int, list[tuple[int, int]]]:
    """(number, struct file) of each open descriptor of each table."""
    word = 8 * read.pointer_size
    small = [at for at, table in tables.items() if table.size <= word]
    first = dict(zip(small, read.pointers([tables[at].bits for at in small]), strict=True))
    rows: list[tuple[int, int]] = []
    for at, table in tables.items():
        bits = first.get(at)
        for number in set_bits([bits], word) if bits is not None else _large(read, table, slots):
            if number >= table.size:
                break
            rows.append((at, number))
            if len(rows) > most:
                raise KvmError(f"process {table.pid}: more than {most} open files, for a dump of this size")
    places = [tables[at].slots + fd * slots.step + slots.pointer for at, fd in rows]
    found: dict[int, list[tuple[int, int]]] = {at: [] for at in tables}
    for (at, fd), place, file in zip(rows, places, read.pointers(places), strict=True):
        if file is None:
            raise AddressError(f"process {tables[at].pid}: can't read descriptor {fd} at {place:#x}", place)
        if file:  # a number may be taken before there is a file
            found[at].append((fd, file))
    return found


def _large(read: Columns, table: Table, slots: Slots) -> Iterator[int]:
    """The numbers in a bitmap of more than a word, which is read piece by piece: what the size promises need not be
    there."""
    word = read.pointer_size
    size = -(-table.size // (8 * word)) * word
    for start in range(0, size, CHUNK):
        try:
            raw = read.memory.read(table.bits + start, min(CHUNK, size - start))
        except AddressError as e:
            raise AddressError(f"process {table.pid}: can't read its {slots.bitmap}: {e}", e.address) from e
        words = struct.unpack(f"{read.order}{len(raw) // word}{CODES[word]}", raw)
        for number in set_bits(words, 8 * word):
            yield start * 8 + number


def set_bits(words: Sequence[int], size: int) -> Iterator[int]:
    """The numbers of the bits that are set in words of so many bits."""
    for i, word in enumerate(words):
        while word:
            low = word & -word
            yield i * size + low.bit_length() - 1
            word ^= low


class Files:
    """The struct files of descriptors, each read once."""

    def __init__(self, read: Columns, layout: Struct, rows: Sequence[Opened], most: int) -> None:
        """AddressError for one that cannot be read, KvmError if they are too many. most: room()."""
        self.layout, self.rows, self.order = layout, rows, read.byteorder
        self.addrs = list(dict.fromkeys(row.file for row in rows))
        if len(self.addrs) * layout.size > most * STRUCT:
            raise KvmError(f"{len(self.addrs)} open files of {layout.size} bytes each, in a dump of this size")
        self.buf, ok = read.raw(self.addrs, 0, layout.size)
        if 0 in ok:
            pid, fd, at = next(row for row in rows if row.file == self.addrs[ok.index(0)])
            raise AddressError(f"process {pid}: descriptor {fd}: can't read file at {at:#x}", at)

    def records(self, names: Sequence[str | None]) -> list[FileRecord]:
        """A record for each descriptor; names: of `addrs`."""
        base = {addr: i for i, addr in enumerate(self.addrs)}
        size = self.layout.size
        return [
            FileRecord(self.layout, self.buf, base[at] * size, self.order, at, pid, fd, names[base[at]])
            for pid, fd, at in self.rows
        ]
