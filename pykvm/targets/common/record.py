"""Process records that are rows of a batch: attributes and members are read when they are asked for first."""

from __future__ import annotations

from collections.abc import Container
from typing import Any, ClassVar, Generic, TypeVar

from pykvm.memory import Memory
from pykvm.records import PROCESS_NAMES, ProcessRecord
from pykvm.targets.common.batch import Batch
from pykvm.types.layout import Struct

B = TypeVar("B", bound=Batch[Any])


class Records(Generic[B]):
    """What the records of one list share: their batch, and the bytes of their structures. LATER: members that are put
    there for one record at a time, when one of them is asked for: to find all of them would take much longer."""

    LATER: ClassVar[Container[str]] = ()

    def __init__(self, batch: B, layout: Struct) -> None:
        self.batch = batch
        self.known = batch.known
        self.layout = layout
        self._buf: bytearray | None = None

    @property
    def buf(self) -> bytearray:
        """All records' structures."""
        if self._buf is None:
            self._buf = self.pack()
        return self._buf

    def pack(self) -> bytearray:
        """Make them."""
        raise NotImplementedError

    def fill(self, index: int) -> None:
        """Put LATER's members into a record."""


class RowRecord(ProcessRecord):
    """A row. After the handle is closed, what was not read yet raises KvmError."""

    __slots__ = ("_index", "_records")

    def __init__(self, records: Records[Any], index: int, length: int | None = None) -> None:
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

    @property
    def memory(self) -> Memory | None:  # type: ignore[override]
        """What it was read from."""
        memory: Memory = self._records.batch.parts.memory
        return memory

    def __getattr__(self, name: str) -> Any:
        if name == "_buf":
            self._buf = self._records.buf
            return self._buf
        if name[0] != "_" and name in self._records.LATER:
            self._records.fill(self._index)
        return super().__getattr__(name)

    def __bytes__(self) -> bytes:
        self._records.fill(self._index)
        return super().__bytes__()


def attribute(name: str) -> property:
    """A record's attribute that is the column of that name."""

    def get(record: RowRecord) -> Any:
        records = record._records
        column = records.known.get(name)
        return (records.batch[name] if column is None else column)[record._index]

    return property(get)


# What ProcessRecord has in __getattr__, by a shorter way: lists are long. A kernel's own class replaces those of which
# it has no column.
for _name in PROCESS_NAMES:
    setattr(RowRecord, _name, attribute(_name))
