"""kvm_getfiles(3) on Linux: every descriptor of every process, with its struct file.

Source: fs/file.c: task_struct's files, whose fdt has max_fds slots in fd, and a bit in open_fds for each that is taken.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pykvm.errors import AddressError, KvmError
from pykvm.images.hostfile import HostFile
from pykvm.records import FileRecord
from pykvm.targets.base import Parts
from pykvm.targets.common.columns import Columns
from pykvm.targets.linux.files import paths
from pykvm.targets.linux.procs import tasks
from pykvm.targets.linux.procs.batch import Batch
from pykvm.types.decode import CODES

if TYPE_CHECKING:
    from pykvm.targets.linux.kernel import Linux

MAX_SLOTS = 1 << 30  # of one process: more than sysctl_nr_open_max
CHUNK = 4096  # bytes of a bitmap that are read at a time
# Descriptors that any dump may have; and bytes of the dump's files for each, where there are more: a descriptor is a
# pointer, and most have a struct file of their own.
FEW, BYTES = 1 << 16, 8
STRUCT = 512  # bytes of a struct file, about twice what it has


class Table(NamedTuple):
    """A struct fdtable of a process: its number of slots, where they are, and where their bits are."""

    pid: int
    size: int
    slots: int
    bits: int


def getfiles(target: Linux, parts: Parts) -> list[FileRecord]:
    """One record for each descriptor, by process in the kernel's order, then by number. Threads that share their
    process's files have none of their own; processes that share files have each its own records of them.

    AddressError if a process's table, or a file in it, cannot be read.
    """
    batch = tasks.everyone(target, parts)
    room = max(FEW, sum(_size(file) for file in parts.image.files) // BYTES)
    opened = _descriptors(batch.read, _tables(batch), room)
    owners = [(pid, opened[files]) for pid, files in zip(batch["pid"], batch["files"], strict=True) if files]
    if sum(len(own) for _, own in owners) > room:
        raise KvmError(f"more than {room} open files, for a dump of this size")
    found = [(pid, fd, file) for pid, own in owners for fd, file in own]
    addrs = list(dict.fromkeys(file for _, _, file in found))
    layout = target.types.struct("file")
    if len(addrs) * layout.size > room * STRUCT:
        raise KvmError(f"{len(addrs)} open files of {layout.size} bytes each, in a dump of this size")
    buf, ok = batch.read.raw(addrs, 0, layout.size)
    if 0 in ok:
        pid, fd, at = next(row for row in found if row[2] == addrs[ok.index(0)])
        raise AddressError(f"process {pid}: descriptor {fd}: can't read file at {at:#x}", at)
    base = {addr: i * layout.size for i, addr in enumerate(addrs)}
    names = dict(zip(addrs, paths.of_files(batch, addrs), strict=True))
    order = target.byteorder
    return [FileRecord(layout, buf, base[at], order, at, pid, fd, names[at]) for pid, fd, at in found]


def _size(file: HostFile) -> int:
    """Bytes of a dump's file as it is, compressed or not."""
    try:
        return Path(file.path).stat().st_size or file.size
    except OSError:  # it was removed since
        return file.size


def _tables(batch: Batch) -> dict[int, Table]:
    """The table of each files_struct."""
    read, owner = batch.read, dict[int, int]()
    for pid, files, task in zip(batch["pid"], batch["files"], batch["task"], strict=True):
        if files is None:
            raise AddressError(f"process {pid}: can't read the files of task at {task:#x}", task)
        if files:
            owner.setdefault(files, pid)
    fdts = read.member(list(owner), "files_struct", "fdt")
    columns = (
        read.member(fdts, "fdtable", "max_fds"),
        read.member(fdts, "fdtable", "fd"),
        read.member(fdts, "fdtable", "open_fds"),
    )
    found = {}
    for (files, pid), size, slots, bits in zip(owner.items(), *columns, strict=True):
        if size is None or slots is None or bits is None:
            raise AddressError(f"process {pid}: can't read files_struct at {files:#x}", files)
        if size > MAX_SLOTS:
            raise KvmError(f"process {pid}: max_fds of {size} open files (at most {MAX_SLOTS} are possible)")
        found[files] = Table(pid, size, slots, bits)
    return found


def _descriptors(read: Columns, tables: dict[int, Table], room: int) -> dict[int, list[tuple[int, int]]]:
    """(number, struct file) of each open descriptor of each table."""
    word = 8 * read.pointer_size
    small = [files for files, table in tables.items() if table.size <= word]
    first = dict(zip(small, read.pointers([tables[files].bits for files in small]), strict=True))
    rows: list[tuple[int, int]] = []
    for files, table in tables.items():
        bits = first.get(files)
        for number in set_bits([bits], word) if bits is not None else _large(read, table):
            if number >= table.size:
                break
            rows.append((files, number))
            if len(rows) > room:
                raise KvmError(f"process {table.pid}: more than {room} open files, for a dump of this size")
    pointers = read.pointers([tables[files].slots + fd * read.pointer_size for files, fd in rows])
    found: dict[int, list[tuple[int, int]]] = {files: [] for files in tables}
    for (files, fd), file in zip(rows, pointers, strict=True):
        if file is None:
            at = tables[files].slots + fd * read.pointer_size
            raise AddressError(f"process {tables[files].pid}: can't read descriptor {fd} at {at:#x}", at)
        if file:  # a number may be taken before there is a file
            found[files].append((fd, file))
    return found


def _large(read: Columns, table: Table) -> Iterator[int]:
    """The numbers in a bitmap of more than a word, which is read piece by piece: what max_fds promises need not be
    there."""
    word = read.pointer_size
    size = -(-table.size // (8 * word)) * word
    for start in range(0, size, CHUNK):
        try:
            raw = read.memory.read(table.bits + start, min(CHUNK, size - start))
        except AddressError as e:
            raise AddressError(f"process {table.pid}: can't read its open_fds: {e}", e.address) from e
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
