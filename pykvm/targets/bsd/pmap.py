"""A process's struct pmap, as the kernel's types have it: what a machine takes its page tables from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from pykvm.errors import FormatError
from pykvm.memory import Memory
from pykvm.types.decode import element
from pykvm.types.layout import Types

MAX_ARRAY = 4  # elements: the page directories of i386 with PAE


@dataclass(frozen=True)
class Pmap:
    """The one at a kernel address. names: of the member that says where its tables are, by what it has been called;
    root: the physical address out of that."""

    memory: Memory
    types: Types
    at: int
    byteorder: str
    names: tuple[str, ...]
    root: Callable[[int], int]

    @property
    def order(self) -> Literal["little", "big"]:
        """The machine's byte order."""
        return "big" if self.byteorder == "big" else "little"

    def words(self, *names: str) -> list[int]:
        """A member by the first of the names that the kernel has; of an array all its elements."""
        struct = self.types.struct("pmap")
        name = next((name for name in names if name in struct), names[0])
        field = struct.field(name)
        count = element(field.type)[1] or 1
        size = field.size // max(count, 1)
        if not 0 < count <= MAX_ARRAY or size not in (4, 8):
            raise FormatError(f"struct pmap: {name} is {field.type!r} of {field.size} bytes, which is no address")
        raw = self.memory.read(self.at + field.offset, size * count)
        return [int.from_bytes(raw[i : i + size], self.order) for i in range(0, len(raw), size)]

    def word(self, *names: str) -> int:
        """As words(), of a member that is no array."""
        return self.words(*names)[0]

    def pointed(self, name: str) -> bool:
        """Whether a member is a pointer."""
        return self.types.struct("pmap").field(name).type.endswith("*")

    def roots(self, own: Sequence[str] = ()) -> list[int]:
        """The physical addresses of the tables; own: the names that one kind of tables has for the member."""
        return [self.root(word) for word in self.words(*(own or self.names))]
