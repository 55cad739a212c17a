"""A process of Linux, as ProcessRecord: its attributes and members are read when they are asked for first."""

from __future__ import annotations

from typing import Any

from pykvm.records import PROCESS_NAMES, ProcessRecord
from pykvm.targets.linux.procs import kinfo
from pykvm.targets.linux.procs.batch import Batch
from pykvm.types.layout import Struct


class Records:
    """What the records of one list share: their batch, where they wait, and the bytes of their structures."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.known = batch.known
        self.layout: Struct = batch.target.types.struct("kinfo_proc2")
        self._buf: bytearray | None = None
        self._waits: dict[int, tuple[str | None, int | None]] = {}

    @property
    def buf(self) -> bytearray:
        """All records' structures."""
        if self._buf is None:
            self._buf = kinfo.pack(self.batch, self.layout)
        return self._buf

    def wait(self, index: int) -> tuple[str | None, int | None]:
        """(wmesg, wchan) of one process."""
        found = self._waits.get(index)
        if found is None:
            batch = self.batch
            found = self._waits[index] = batch.target.waits(batch.parts).channel(batch.tasks[index])
        return found

    def fill_wait(self, index: int) -> None:
        """Put where a process waits into its structure."""
        kinfo.pack_wait(self.buf, index * self.layout.size, self.layout, self.batch.read.order, *self.wait(index))


class LinuxProcess(ProcessRecord):
    """A kinfo_proc2. After the handle is closed, what was not read yet raises KvmError."""

    __slots__ = ("_index", "_records")

    def __init__(self, records: Records, index: int, length: int | None) -> None:
        layout = records.layout
        # Not the parent's: the bytes come when they are asked for, see __getattr__.
        self._records = records
        self._index = index
        self._struct = layout
        self._base = index * layout.size
        self._order = records.batch.target.byteorder
        self._prefix = ""
        self._neutral = {}
        self._more = {}
        self._length = layout.size if length is None else length

    def __getattr__(self, name: str) -> Any:
        if name == "_buf":
            self._buf = self._records.buf
            return self._buf
        if name in kinfo.WAIT:
            self._records.fill_wait(self._index)
        return super().__getattr__(name)

    @property
    def wmesg(self) -> str | None:
        """The function of the kernel that the process waits in."""
        return self._records.wait(self._index)[0]

    @property
    def wchan(self) -> int | None:
        """Its address."""
        return self._records.wait(self._index)[1]

    def __bytes__(self) -> bytes:
        self._records.fill_wait(self._index)
        return super().__bytes__()


def _attribute(name: str) -> property:
    def get(record: LinuxProcess) -> Any:
        records = record._records
        column = records.known.get(name)
        return (records.batch[name] if column is None else column)[record._index]

    return property(get)


# What ProcessRecord has in __getattr__, by a shorter way: lists are long.
for _name in PROCESS_NAMES - {"login", "wmesg", "wchan"}:
    setattr(LinuxProcess, _name, _attribute(_name))
