"""A process, lwp or thread of the kernel of DragonFly, as a record: a kinfo_proc or a kinfo_proc2."""

from __future__ import annotations

from pykvm.targets.common.record import Records, RowRecord, attribute
from pykvm.targets.dragonfly.procs import kinfo, kinfo2
from pykvm.targets.dragonfly.procs.batch import Batch


class KinfoProcs(Records[Batch]):
    """The records of one list."""

    def pack(self) -> bytearray:
        return kinfo.pack(self.batch, self.layout)


class KinfoProcs2(Records[Batch]):
    """The same as kinfo_proc2."""

    def pack(self) -> bytearray:
        return kinfo2.pack(self.batch, self.layout)


class DragonFlyProcess(RowRecord):
    """A kinfo_proc, or a kinfo_proc2: a row of a batch either way."""

    __slots__ = ()
    td = attribute("td")  # the address of the thread
