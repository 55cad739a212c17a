"""A process of Linux, as a record: a kinfo_proc2."""

from __future__ import annotations

from pykvm.targets.common.record import Records, RowRecord
from pykvm.targets.linux.procs import kinfo
from pykvm.targets.linux.procs.batch import Batch


class Waiting(Records[Batch]):
    """Records with where their processes wait."""

    LATER = kinfo.WAIT

    def __init__(self, batch: Batch) -> None:
        super().__init__(batch, batch.target.types.struct("kinfo_proc2"))
        self._waits: dict[int, tuple[str | None, int | None]] = {}

    def pack(self) -> bytearray:
        return kinfo.pack(self.batch, self.layout)

    def wait(self, index: int) -> tuple[str | None, int | None]:
        """(wmesg, wchan) of one process."""
        found = self._waits.get(index)
        if found is None:
            batch = self.batch
            found = self._waits[index] = batch.target.channel(batch.parts, batch, index)
        return found

    def fill(self, index: int) -> None:
        kinfo.pack_wait(self.buf, index * self.layout.size, self.layout, self.batch.read.order, *self.wait(index))


class LinuxProcess(RowRecord):
    """A kinfo_proc2."""

    __slots__ = ()
    login = None  # Linux does not have it
    _records: Waiting

    @property
    def wmesg(self) -> str | None:
        """The function of the kernel that the process waits in."""
        return self._records.wait(self._index)[0]

    @property
    def wchan(self) -> int | None:
        """Its address."""
        return self._records.wait(self._index)[1]
