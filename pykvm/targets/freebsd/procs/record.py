"""A process or thread of FreeBSD, as a record: a kinfo_proc."""

from __future__ import annotations

from pykvm.targets.common.record import Records, RowRecord, attribute
from pykvm.targets.freebsd.procs import kinfo
from pykvm.targets.freebsd.procs.batch import Batch


class KinfoProcs(Records[Batch]):
    """The records of one list."""

    def pack(self) -> bytearray:
        return kinfo.pack(self.batch, self.layout)


class FreeBSDProcess(RowRecord):
    """A kinfo_proc."""

    __slots__ = ()
    flags = attribute("ki_flag")
