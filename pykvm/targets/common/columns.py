"""Members of many structures at once, gathered in C: a column holds one member of each."""

from __future__ import annotations

import re
import struct
from array import array
from collections.abc import Sequence
from typing import NamedTuple

from pykvm.errors import FormatError, KvmError
from pykvm.memory import Memory
from pykvm.targets.base import Parts, Target
from pykvm.types.decode import CODES
from pykvm.types.layout import Field, Struct, Types

BITS = re.compile(r" : (\d+)@(\d+)$")  # how layouts spell a member of some bits

MAX_NAME = 256  # bytes of a name within a structure

# One value for each structure; None where its address is NULL or None, or it cannot be read.
Column = Sequence[int | None]


class Member(NamedTuple):
    """Which column it is: a member of the structures that another column points at.

    `paths` are the names that it has had; the first one that this kernel knows is taken, and a kernel that knows none
    of them gives a column of None.
    """

    base: str
    struct: str
    paths: tuple[str, ...]
    signed: bool = False


class Columns:
    """Reads columns by the layouts of one kernel."""

    def __init__(self, memory: Memory, types: Types, byteorder: str, pointer_size: int) -> None:
        self.memory = memory
        self.types = types
        self.byteorder = byteorder
        self.order = "<" if byteorder == "little" else ">"
        self.pointer_size = pointer_size
        self.pointer_mask = (1 << 8 * pointer_size) - 1

    @classmethod
    def of(cls, target: Target, parts: Parts) -> Columns:
        """Of a target's structures."""
        return cls(parts.memory, target.types, target.byteorder, target.pointer_size)

    def layout(self, name: str) -> Struct | None:
        """A structure, if this kernel has it."""
        return self.types.struct(name) if name in self.types else None

    def field(self, name: str, *paths: str) -> Field | None:
        """The first of these members that this kernel has."""
        layout = self.layout(name)
        if layout is None:
            return None
        for path in paths:
            if path in layout:
                return layout.field(path)
        return None

    def offset(self, name: str, *paths: str) -> int:
        """Its offset; KvmError if this kernel has none of them."""
        found = self.field(name, *paths)
        return self.types.struct(name).offset(paths[0]) if found is None else found.offset

    def raw(self, addrs: Column, offset: int, size: int) -> tuple[bytearray, bytearray]:
        """`size` bytes at an offset from each address, and a 1 for each of them that could be read."""
        out = bytearray(len(addrs) * size)
        mask = self.pointer_mask
        table = array("Q", [a + offset & mask if a else 0 for a in addrs])
        ok = self.memory.gather_into(table, size, out, 0, size, partial=True)
        if 0 in ok and self.memory.unreadable is not None:  # closed by another thread meanwhile
            raise KvmError(self.memory.unreadable)
        if not all(addrs):  # nothing of a kernel's is at 0, though some kernels have memory there
            ok = bytearray(1 if a and good else 0 for a, good in zip(addrs, ok, strict=True))
        return out, ok

    def text_field(self, name: str, path: str) -> Field:
        """A member that is a name, of a length that names have."""
        field = self.types.struct(name).field(path)
        if not 0 < field.size <= MAX_NAME:
            raise FormatError(f"struct {name}: {path} has {field.size} bytes")
        return field

    def blocks(self, addrs: Column, offset: int, size: int) -> list[bytes | None]:
        """The same, one by one."""
        data, ok = self.raw(addrs, offset, size)
        return [bytes(data[i * size : i * size + size]) if good else None for i, good in enumerate(ok)]

    def ints(self, addrs: Column, offset: int, size: int, signed: bool = False) -> Column:
        """An integer at an offset from each address."""
        code = CODES.get(size)
        if code is None:
            raise FormatError(f"a member of {size} bytes, which is no integer")
        data, ok = self.raw(addrs, offset, size)
        values: tuple[int, ...] = struct.unpack(f"{self.order}{len(addrs)}{code.lower() if signed else code}", data)
        if 0 in ok:
            return [v if good else None for v, good in zip(values, ok, strict=True)]
        return values

    def pointers(self, addrs: Column, offset: int = 0) -> Column:
        """A pointer, or a long, at an offset from each address."""
        return self.ints(addrs, offset, self.pointer_size)

    def member(self, addrs: Column, name: str, *paths: str, signed: bool = False) -> Column:
        """A member of each structure: the first of these paths that this kernel has."""
        field = self.field(name, *paths)
        if field is None:
            return [None] * len(addrs)
        if field.size not in CODES:
            raise FormatError(f"struct {name}: {paths[0]} has {field.size} bytes, which is no integer")
        bits = BITS.search(field.type)
        if bits is None:
            return self.ints(addrs, field.offset, field.size, signed)
        mask, shift = (1 << int(bits[1])) - 1, int(bits[2])
        return [v if v is None else v >> shift & mask for v in self.ints(addrs, field.offset, field.size)]

    def texts(self, addrs: Column, limit: int) -> list[bytes | None]:
        """The string at each address, up to its NUL, at most `limit` bytes of it."""
        found = [None if block is None else block.split(b"\0", 1)[0] for block in self.blocks(addrs, 0, limit)]
        for i, addr in enumerate(addrs):
            if found[i] is None and addr:  # the memory ends within the limit
                try:
                    found[i] = self.memory.read_cstr(addr, limit)
                except KvmError:
                    continue
        return found


def total(parts: Sequence[int | None]) -> int | None:
    """A sum of which every part must be known."""
    return None if None in parts else sum(parts)  # type: ignore[arg-type]
