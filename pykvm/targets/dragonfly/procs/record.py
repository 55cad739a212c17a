"""A process, lwp or thread of the kernel of DragonFly, as a record: a kinfo_proc."""

from __future__ import annotations

from pykvm.targets.common.record import Records, RowRecord
from pykvm.targets.dragonfly.procs import kinfo
from pykvm.targets.dragonfly.procs.batch import Batch


class KinfoProcs(Records[Batch]):
    """The records of one list."""

    def pack(self) -> bytearray:
        return kinfo.pack(self.batch, self.layout)


class DragonFlyProcess(RowRecord):
    """A kinfo_proc."""

    __slots__ = ()
