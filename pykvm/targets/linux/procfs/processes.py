"""The list of processes: each that stat and status tell of; kvm_getproc2(3)'s choice of them; their records."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pykvm import constants as k
from pykvm.records import ProcessRecord
from pykvm.targets.base import Parts
from pykvm.targets.common import kinfo2, select
from pykvm.targets.common import pack as packing
from pykvm.targets.common.record import Records, RowRecord
from pykvm.targets.linux.procfs import parse, single
from pykvm.targets.linux.procfs.batch import Batch, Row
from pykvm.targets.linux.procfs.parse import Stat
from pykvm.targets.linux.procfs.tree import File, Tree
from pykvm.targets.linux.procs.kinfo import MEMBERS, PRIORITIES
from pykvm.targets.linux.procs.neutral import PF_KTHREAD

if TYPE_CHECKING:
    from pykvm.targets.linux.procfs.target import ProcFs

PID_MAX_LIMIT = 1 << 22
LISTED = (File("stat"), File("status"))
CMDLINE = File("cmdline", once=False, limit=1 << 12)  # longer ones are read one by one


class Listed(Records[Batch]):
    """Records of one list. What has files of its own is read for each when it is asked for first: all of them would
    cost several times more than the list."""

    LATER = single.LATER

    def __init__(self, batch: Batch) -> None:
        super().__init__(batch, kinfo2.structure(batch.target))
        self._waits: dict[int, str | None] = {}
        self._filled: set[int] = set()

    def pack(self) -> bytearray:
        return kinfo2.pack(self.batch, kinfo2.columns(self.batch, self.layout, MEMBERS, PRIORITIES), self.layout)

    def wait(self, index: int) -> str | None:
        """The function of the kernel that a process waits in."""
        if index not in self._waits:
            self._waits[index] = single.wait(self.batch.target, self.batch["told"][index])
        return self._waits[index]

    def fill(self, index: int) -> None:
        if index not in self._filled:
            found = single.later(self.batch.target, self.batch["told"][index], self.batch["threads"][index])
            found["p_wmesg"] = self._waits.setdefault(index, found["p_wmesg"])
            packing.put(self.buf, index * self.layout.size, self.layout, self.batch.read.order, found)
            self._filled.add(index)


class LiveProcess(RowRecord):
    """A kinfo_proc2."""

    __slots__ = ()
    login = None  # Linux does not have it
    wchan = None  # an address, which /proc does not tell
    _records: Listed

    @property
    def wmesg(self) -> str | None:
        """The function of the kernel that the process waits in; None also where that is not for this user."""
        return self._records.wait(self._index)

    @property
    def told(self) -> Stat:
        """What stat said."""
        found: Stat = self._records.batch["told"][self._index]
        return found

    @property
    def cmdline(self) -> bytes | None:
        """What cmdline said, if it was read with the list."""
        found: bytes | None = self._records.batch["cmdline"][self._index]
        return found


def getproc2(
    target: ProcFs, parts: Parts, op: int, arg: int, elemsize: int | None, *, argv: bool = False
) -> list[ProcessRecord]:
    """One record a process, in the order of their numbers; argv: with their arguments as they are now."""
    select.check("kvm_getproc2", op, elemsize)
    if op == k.KERN_PROC_PID:
        batch = read(target, parts, [arg] if 0 < arg <= PID_MAX_LIMIT else [], argv=argv)
        batch.alone = lambda: everyone(target, parts)
    else:
        batch = everyone(target, parts, argv=argv)
        batch = batch.choose(select.places(batch, op, arg, "flags", PF_KTHREAD))
    records = Listed(batch)
    return [LiveProcess(records, i, elemsize) for i in range(len(batch))]


def everyone(target: ProcFs, parts: Parts, *, argv: bool = False) -> Batch:
    """All processes that are for this user to see. KvmError if the directory cannot be read."""
    return read(target, parts, target.tree.processes(), argv=argv)


def read(target: ProcFs, parts: Parts, pids: Sequence[int], *, argv: bool = False) -> Batch:
    """These, without those that end meanwhile."""
    found = target.tree.texts(pids, (*LISTED, CMDLINE) if argv else LISTED)
    rows = [row for pid, texts in zip(pids, found, strict=True) if (row := one(target.tree, pid, texts)) is not None]
    return Batch.of(target, parts, rows, target.boot())


def one(tree: Tree, pid: int, texts: Sequence[bytes | int]) -> Row | None:
    """A process; None if it has ended, is not for this user (hidepid), or no process is called so, but a thread."""
    raw, status, *more = texts
    if isinstance(raw, int) or isinstance(status, int):
        for why in (raw, status):
            if isinstance(why, int):
                tree.left_out(pid, OSError(why, os.strerror(why)))
        return None
    told, ids = parse.stat(raw), parse.ids(status)
    if told is None or ids is None or told.pid != pid or parse.leader(status) != pid:
        return None
    return Row(told, ids, status, more[0] if more and isinstance(more[0], bytes) else None)
