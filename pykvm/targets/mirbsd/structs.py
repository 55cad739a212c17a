"""MirBSD's structures, taken apart in bulk: some members of many records at once."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from functools import lru_cache
from struct import Struct as Packer
from typing import Any, NamedTuple

from pykvm.errors import FormatError
from pykvm.memory import Memory
from pykvm.types.decode import CODES, SIGNED, element
from pykvm.types.layout import Struct, Types


class Structs(NamedTuple):
    """Layouts and the byte order they are read in."""

    types: Types
    byteorder: str

    def struct(self, name: str) -> Struct:
        """A structure by its tag."""
        return self.types.struct(name)

    def size(self, name: str) -> int:
        """Bytes of a structure."""
        return self.types.struct(name).size

    def offset(self, name: str, member: str) -> int:
        """Offset of a member."""
        return self.types.struct(name).offset(member)

    def unpacker(self, name: str, members: Sequence[str]) -> Packer:
        """A packer of a whole structure that yields (or packs) these members, and skips the others.

        Members are given in the order of their offsets in every layout; arrays of integers give one value for
        each element, arrays of char one bytes.
        """
        return _unpacker(self.types.struct(name), self.byteorder, tuple(members))

    def table(
        self, memory: Memory, name: str, addrs: Iterable[int], members: Sequence[str]
    ) -> dict[int, tuple[Any, ...]]:
        """The members of the structure at each address (each read once); addresses that are 0 or cannot be read
        are left out."""
        distinct = array("Q", [a for a in dict.fromkeys(addrs) if a])
        one = self.unpacker(name, members)
        raw = bytearray(len(distinct) * one.size)
        ok = memory.gather_into(distinct, one.size, raw, 0, one.size, partial=True)
        rows = zip(distinct, ok, one.iter_unpack(raw), strict=True)
        return {addr: row for addr, good, row in rows if good}


@lru_cache(maxsize=256)
def _unpacker(layout: Struct, byteorder: str, members: tuple[str, ...]) -> Packer:
    parts = ["<" if byteorder == "little" else ">"]
    at = 0
    for member in members:
        field = layout.field(member)
        if field.offset < at:
            raise FormatError(f"struct {layout.name}: {member} is not behind the member before it")
        base, count = element(field.type)
        parts.append(f"{field.offset - at}x")
        if base == "char" and count is not None:
            parts.append(f"{field.size}s")
        else:
            code = CODES.get(field.size // (count or 1))
            if code is None:
                raise FormatError(f"struct {layout.name}: {member} has {field.size} bytes, which is no integer")
            parts.append(f"{count or 1}{code.lower() if base in SIGNED else code}")
        at = field.offset + field.size
    parts.append(f"{layout.size - at}x")
    return Packer("".join(parts))
