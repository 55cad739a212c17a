"""kvm_getfiles(3) on FreeBSD: every descriptor of every process, with its struct file.

Source: sys/sys/filedesc.h and kern_descrip.c. A process's filedesc has a bitmap of descriptors that are taken (fd_map)
and their slots: in a table behind fd_files since 11, before behind fd_ofiles, of struct filedescent in 10 and of
pointers before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykvm.errors import AddressError, KvmError
from pykvm.records import FileRecord
from pykvm.targets.base import Parts
from pykvm.targets.common.columns import Columns
from pykvm.targets.common.descriptors import Files, Slots, Table, opened, room
from pykvm.targets.freebsd.files import kinds
from pykvm.targets.freebsd.procs.batch import Batch

if TYPE_CHECKING:
    from pykvm.targets.freebsd.kernel import FreeBSD

MAX_SLOTS = 1 << 30  # of one process: kern.maxfilesperproc is far below


def getfiles(target: FreeBSD, parts: Parts) -> list[FileRecord]:
    """One record for each descriptor, by process in the kernel's order, then by number; processes that share a table
    have each its own records of it.

    AddressError if a process's table, or a file in it, cannot be read.
    """
    layout = target.types.struct("file")
    batch = Batch.of(target, parts)
    read, most = batch.read, room(parts)
    owners = _owners(batch)
    rows = opened(read, _tables(read, owners), owners, _slots(read), most)
    files = Files(read, layout, rows, most)
    return files.records(kinds.names(target, parts, read, files.addrs))


def _owners(batch: Batch) -> list[tuple[int, int]]:
    """(pid, filedesc) of the processes that have one; AddressError if that cannot be read."""
    found = []
    for at, pid, table in zip(batch["proc"], batch["pid"], batch["fd"], strict=True):
        if pid is None or table is None:
            raise AddressError(f"can't read proc at {at:#x}", at)
        if table:
            found.append((pid, table))
    return found


def _slots(read: Columns) -> Slots:
    entry = read.layout("filedescent")
    if entry is None:
        return Slots("fd_map", read.pointer_size)
    return Slots("fd_map", entry.size, entry.offset("fde_file"))


def _tables(read: Columns, owners: list[tuple[int, int]]) -> dict[int, Table]:
    """The table of each filedesc that is in use."""
    owner: dict[int, int] = {}
    for pid, at in owners:
        owner.setdefault(at, pid)
    addrs = list(owner)
    if read.field("filedesc", "fd_files") is not None:
        behind = read.member(addrs, "filedesc", "fd_files")
        sizes = read.member(behind, "fdescenttbl", "fdt_nfiles", signed=True)
        inside = read.offset("fdescenttbl", "fdt_ofiles")
        slots = [None if at is None else at + inside & read.pointer_mask for at in behind]
    else:
        sizes = read.member(addrs, "filedesc", "fd_nfiles", signed=True)
        slots = list(read.member(addrs, "filedesc", "fd_ofiles"))
    bits = read.member(addrs, "filedesc", "fd_map")
    uses = read.member(addrs, "filedesc", "fd_refcnt", signed=True)
    found = {}
    for (at, pid), size, start, where, count in zip(owner.items(), sizes, slots, bits, uses, strict=True):
        if count == 0:  # it is being destroyed
            found[at] = Table(pid, 0, 0, 0)
            continue
        if size is None or start is None or where is None:
            raise AddressError(f"process {pid}: can't read filedesc at {at:#x}", at)
        if not 0 <= size <= MAX_SLOTS:
            raise KvmError(f"process {pid}: a table of {size} open files (at most {MAX_SLOTS} are possible)")
        found[at] = Table(pid, size, start, where)
    return found
