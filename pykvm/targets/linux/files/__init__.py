"""kvm_getfiles(3) on Linux: every descriptor of every process, with its struct file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykvm.records import FileRecord
from pykvm.targets.base import Parts
from pykvm.targets.common.descriptors import room
from pykvm.targets.linux.files import running, tables
from pykvm.targets.linux.procs import tasks

if TYPE_CHECKING:
    from pykvm.targets.linux.kernel import Linux


def getfiles(target: Linux, parts: Parts) -> list[FileRecord]:
    """One record for each descriptor, by process in the kernel's order, then by number. Threads that share their
    process's files have none of their own; processes that share files have each its own records of them.

    AddressError if a process's table, or a file in it, cannot be read.
    """
    if parts.image.live:
        return running.getfiles(target, parts)
    batch, most = tasks.everyone(target, parts), room(parts)
    return tables.records(target, batch, tables.descriptors(target, batch, most), most)
