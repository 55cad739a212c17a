"""kvm_getfiles(3): every descriptor of every process, with its struct file. (NetBSD's and OpenBSD's own libraries give
what their kernels list; which process has a file only OpenBSD's says.)"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pykvm.errors import AddressError, KvmError
from pykvm.records import FileRecord
from pykvm.targets.base import Parts
from pykvm.targets.common.columns import Columns
from pykvm.targets.common.descriptors import Files, Opened, room

if TYPE_CHECKING:
    from pykvm.targets.bsd.family import Bsd

MAX_SLOTS = 1 << 20  # of one process: more than kern.maxfiles is


def getfiles(
    target: Bsd,
    parts: Parts,
    owners: Sequence[tuple[int, int]],
    slots: Callable[[Columns, int], tuple[int, int]],
    follow: Callable[[Columns, Sequence[int | None]], Sequence[int | None]],
) -> list[FileRecord]:
    """The records of these (pid, struct filedesc); processes that share one have each its own records.

    slots: where a struct filedesc has its slots, and how many; follow: from what is in the slots to struct files.
    AddressError where a table or a file cannot be read, KvmError if there are too many.
    """
    read, most = Columns.of(target, parts), room(parts)
    struct = target.types.struct("file")
    tables: dict[int, list[tuple[int, int]]] = {}
    looked = 0
    for pid, at in owners:
        if at in tables:
            continue
        where, count = slots(read, at)
        looked += count
        if count > MAX_SLOTS or looked > 4 * most:
            raise KvmError(f"process {pid}: {count} open files, for a dump of this size")
        places = [where + i * read.pointer_size for i in range(count)]
        taken = follow(read, read.pointers(places))
        if None in taken:
            i = taken.index(None)
            raise AddressError(f"process {pid}: can't read descriptor {i} at {places[i]:#x}", places[i])
        tables[at] = [(fd, file) for fd, file in enumerate(taken) if file]
    rows = [Opened(pid, fd, file) for pid, at in owners for fd, file in tables[at]]
    if len(rows) > most:
        raise KvmError(f"more than {most} open files, for a dump of this size")
    files = Files(read, struct, rows, most)
    return files.records([None] * len(files.addrs))
