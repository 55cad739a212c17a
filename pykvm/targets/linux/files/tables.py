"""The tables of descriptors of some processes, and the struct files in them.

Source: fs/file.c: task_struct's files, whose fdt has max_fds slots in fd, and a bit in open_fds for each that is taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykvm.errors import AddressError, KvmError
from pykvm.records import FileRecord
from pykvm.targets.common.descriptors import Files, Opened, Slots, Table, opened
from pykvm.targets.linux.files import paths
from pykvm.targets.linux.procs.batch import Batch

if TYPE_CHECKING:
    from pykvm.targets.linux.kernel import Linux

MAX_SLOTS = 1 << 30  # of one process: more than sysctl_nr_open_max


def records(target: Linux, batch: Batch, rows: list[Opened], most: int) -> list[FileRecord]:
    """A record of each of these descriptors."""
    files = Files(batch.read, target.types.struct("file"), rows, most)
    return files.records(paths.of_files(batch, files.addrs))


def descriptors(target: Linux, batch: Batch, most: int) -> list[Opened]:
    """Every descriptor of some processes, by their tables."""
    owners = [(pid, files) for pid, files in zip(batch["pid"], batch["files"], strict=True) if files]
    slots = Slots("open_fds", target.pointer_size)
    return opened(batch.read, _tables(batch), owners, slots, most)


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
