"""A process or a thread of OpenBSD, as a record: a kinfo_proc."""

from __future__ import annotations

from pykvm.targets.common.record import Records, RowRecord
from pykvm.targets.openbsd.procs import kinfo
from pykvm.targets.openbsd.procs.batch import Batch, ThreadBatch


class KinfoProcs(Records[Batch]):
    """The records of one list."""

    def pack(self) -> bytearray:
        return kinfo.pack(self.batch, self.layout, threads=isinstance(self.batch, ThreadBatch))


class OpenBSDProcess(RowRecord):
    """A kinfo_proc."""

    __slots__ = ()
