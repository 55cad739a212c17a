"""A process or an LWP of NetBSD, as a record: a kinfo_proc2, a kinfo_lwp."""

from __future__ import annotations

from pykvm.targets.common.record import Records, RowRecord
from pykvm.targets.netbsd.procs import kinfo
from pykvm.targets.netbsd.procs.batch import Batch


class KinfoProcs2(Records[Batch]):
    """The records of one list."""

    def pack(self) -> bytearray:
        return kinfo.pack(self.batch, self.layout)


class NetBSDProcess(RowRecord):
    """A kinfo_proc2."""

    __slots__ = ()


class KinfoLwps(Records[Batch]):
    """The LWPs of one process."""

    def pack(self) -> bytearray:
        return kinfo.pack_lwps(self.batch, self.layout)


class NetBSDLwp(RowRecord):
    """A kinfo_lwp; its attributes are its process's, but for the state and what it waits for."""

    __slots__ = ()
