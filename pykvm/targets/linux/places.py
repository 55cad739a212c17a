"""Where variables and members of structures are: by the kernel's types and symbols, or by VMCOREINFO alone."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from pykvm.errors import FormatError, KvmError
from pykvm.images.vmcoreinfo import VmcoreInfo
from pykvm.targets.base import Parts

if TYPE_CHECKING:
    from pykvm.targets.linux.kernel import Linux

MAX_SIZE = 1 << 16  # of a structure that VMCOREINFO describes
WORDS = {1: "B", 2: "H", 4: "I", 8: "Q"}


class Places:
    """A structure that the types describe is as they say; of others VMCOREINFO has SIZE() and OFFSET(), decimal."""

    def __init__(self, target: Linux, parts: Parts) -> None:
        self.target = target
        self.parts = parts
        self.memory = parts.memory
        self.types = target.types
        self.info: VmcoreInfo = target.vmcoreinfo
        self.live = parts.image.live
        self.word = target.pointer_size
        self.order = "<" if target.byteorder == "little" else ">"

    def symbol(self, name: str) -> int | None:
        """A variable's address; None if neither VMCOREINFO nor the symbols have it."""
        told = self.info.symbol(name)
        if told is not None:
            return told
        found = self.parts.symbols.find(name)
        return None if found is None else found.value

    def address(self, name: str) -> int:
        """A variable's address, or KvmError."""
        found = self.symbol(name)
        if found is None:
            flaw = self.parts.symbols.flaw
            raise KvmError(f"{name}: no such symbol" + (f" ({flaw})" if flaw else ""))
        return found

    def describes(self, name: str) -> bool:
        """Whether anything is known of this structure."""
        return name in self.types or self.info.decimal(f"SIZE({name})") is not None

    def size(self, name: str) -> int:
        """sizeof(struct name)."""
        if name in self.types:
            return self.types.struct(name).size
        told = self.info.decimal(f"SIZE({name})")
        if told is None:
            raise KvmError(f"struct {name}: neither in the kernel's types nor, as SIZE({name}), in VMCOREINFO")
        if not 0 < told <= MAX_SIZE:
            raise FormatError(f"VMCOREINFO: SIZE({name}) is {told}")
        return told

    def member(self, name: str, member: str, size: int) -> int:
        """Offset of a member, from which so many bytes lie within the structure."""
        if name in self.types:
            offset = self.types.struct(name).offset(member)
        else:
            told = self.info.decimal(f"OFFSET({name}.{member})")
            if told is None:
                raise KvmError(f"struct {name}: VMCOREINFO has no OFFSET({name}.{member})")
            offset = told
        if not 0 <= offset <= self.size(name) - size:
            raise FormatError(f"struct {name}: {member} at {offset} is beyond its {self.size(name)} bytes")
        return offset

    def integer(self, size: int) -> struct.Struct:
        """An unsigned integer of the target."""
        return struct.Struct(self.order + WORDS[size])

    def room(self) -> int:
        """The most bytes that the log in this dump may have: a small file must not make its reader take much."""
        if self.live:  # whose file may be as large as the address space
            return max(8 << 20, self.parts.image.memory_size)
        return max(8 << 20, 4 * sum(file.size for file in self.parts.image.files))
