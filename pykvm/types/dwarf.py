"""DWARF: the types that compilers describe in a kernel file (DWARF 5, and 2 to 4).

The C core finds and reads entries; pyelftools finds the sections. Types that are in files of their own (dwz, split
DWARF) or in units of their own (-fdebug-types-section) are not followed: kernels are not built so.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pykvm._native.ffi import ffi, lib
from pykvm.errors import FormatError, KvmError
from pykvm.images.hostfile import HostFile
from pykvm.types import graph, sections
from pykvm.types.graph import VOID, GraphTypes, Member, Node

NAME = 512  # bytes of a name
MAX_NODES = 1 << 18  # that are kept
MAX_COUNT = 1 << 32  # of an array's elements; an upper bound of -1, of whatever width, is no bound
DIMENSION = 56  # numbers of types are offsets; in their high bits, how many dimensions of an array are left out
DIMENSIONS = 16
# DW_TAG_*
ARRAY, ENUMERATION, MEMBER, POINTER, STRUCTURE, SUBROUTINE, TYPEDEF = 0x01, 0x04, 0x0D, 0x0F, 0x13, 0x15, 0x16
CLASS, REFERENCE, UNION, SUBRANGE, BASE, CONST, ENUMERATOR, VOLATILE = 0x02, 0x10, 0x17, 0x21, 0x24, 0x26, 0x28, 0x35
RESTRICT, RVALUE, ATOMIC = 0x37, 0x42, 0x47
# DW_ATE_*
COMPLEX, FLOAT, SIGNED, SIGNED_CHAR = 3, 4, 5, 6
KINDS = {
    ENUMERATION: graph.ENUM,
    STRUCTURE: graph.STRUCT,
    CLASS: graph.STRUCT,
    UNION: graph.UNION,
    TYPEDEF: graph.TYPEDEF,
    SUBROUTINE: graph.FUNC,
}
DECLARED = {graph.STRUCT: graph.FWD, graph.UNION: graph.FWD_UNION, graph.ENUM: graph.OTHER}
WORDS = {CONST: "const", VOLATILE: "volatile", RESTRICT: "restrict", ATOMIC: "_Atomic"}
FIND = {
    graph.STRUCT: lib.PK_DWARF_STRUCT,
    graph.UNION: lib.PK_DWARF_UNION,
    graph.ENUM: lib.PK_DWARF_ENUM,
    graph.TYPEDEF: lib.PK_DWARF_TYPEDEF,
}
FOUND = {found: kind for kind, found in FIND.items() if kind != graph.ENUM}


class DwarfTypes(GraphTypes):
    """The types of DWARF at the top of its units. Of two with one name the first in the file is found; what refers to
    either gets the right one."""

    def __init__(self, elf: sections.Elf, source: str) -> None:
        """FormatError if the sections make no sense."""
        super().__init__(source, elf.pointer_size, "big" if elf.big_endian else "little")
        parts = ffi.new("pk_dwarf_sections *")
        parts.big_endian = elf.big_endian
        self._keep: list[Any] = [parts]
        for name in ("info", "abbrev", "str", "line_str", "str_offsets"):
            data = elf.section(f".debug_{name}") or b""
            self._keep.append(ffi.from_buffer("uint8_t[]", data))
            setattr(parts, name, self._keep[-1])
            setattr(parts, f"{name}_size", len(data))
        bad = ffi.new("uint64_t *")
        index = lib.pk_dwarf_new(parts, bad)
        if index == ffi.NULL:
            if bad[0] == 2**64 - 1:
                raise KvmError("out of memory")
            raise self._odd(bad[0])
        self._index = ffi.gc(index, lib.pk_dwarf_free)
        self._nodes: dict[int, Node] = {0: VOID}

    def node(self, number: int) -> Node:
        found = self._nodes.get(number)
        if found is None:
            if len(self._nodes) > MAX_NODES:
                self._nodes = {0: VOID}
            found = self._nodes[number] = self._node(number)
        return found

    def members(self, number: int) -> Iterator[Member]:
        for die in self._children(number):
            if die.tag == MEMBER and not die.has & lib.PK_DIE_DECLARATION:
                if die.has & lib.PK_DIE_ODD:
                    raise self._odd(die.offset)
                yield Member(_name(die), self._bit_offset(die), die.bit_size, die.type)

    def find(self, name: str, kind: int) -> int:
        found = FIND.get(kind)
        return self._find(name, found) if found is not None else 0

    def names(self) -> Iterator[tuple[int, str]]:
        kind, name, size = ffi.new("uint32_t *"), ffi.new("char **"), ffi.new("uint32_t *")
        index = 0
        while lib.pk_dwarf_name(self._index, index, kind, name, size):
            if kind[0] in FOUND:
                yield FOUND[kind[0]], _text(name[0], size[0])
            index += 1

    def values_of(self, number: int) -> dict[str, int]:
        return {_name(die): die.value for die in self._children(number) if die.tag == ENUMERATOR}

    def is_same(self, number: int, other: int) -> bool:
        """Every unit describes the types that it uses: they are one if name, size and members' places are."""
        if number == other:
            return True
        return self.node(number) == self.node(other) and self._places(number) == self._places(other)

    def constant(self, name: str, default: int | None = None) -> int | None:
        number = self._find(name, lib.PK_DWARF_ENUMERATOR)
        return int(self._die(number).value) if number else default

    def _places(self, number: int) -> list[Member]:
        kind = self.node(number).kind
        return [m._replace(target=0) for m in self.members(number)] if kind in (graph.STRUCT, graph.UNION) else []

    # -- entries ------------------------------------------------------------------------------------------------

    def _odd(self, offset: int) -> FormatError:
        return FormatError(f"{self.source}: DWARF at offset {offset} makes no sense, or is of a kind that is not read")

    def _find(self, name: str, kind: int) -> int:
        try:
            raw = name.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            return 0
        return int(lib.pk_dwarf_find(self._index, raw, len(raw), kind))

    def _die(self, number: int) -> Any:
        die = ffi.new("pk_die *")
        if lib.pk_dwarf_read(self._index, number, die) != 1:
            raise self._odd(number)
        return die

    def _children(self, number: int) -> Iterator[Any]:
        """The entries below one."""
        parent = self._die(number)
        if not parent.has_children:
            return
        die = ffi.new("pk_die *")
        got = lib.pk_dwarf_read(self._index, parent.next, die)
        while got == 1:
            yield die
            got = lib.pk_dwarf_next(self._index, die, die)
        if got < 0:
            raise self._odd(number)

    def _bit_offset(self, die: Any) -> int:
        first = 8 * int(die.location)
        if die.has & lib.PK_DIE_DATA_BIT_OFFSET:
            return first + int(die.data_bit_offset)
        if die.bit_size and die.has & lib.PK_DIE_BIT_OFFSET:  # DWARF 2 and 3: from the highest bit of a storage unit
            if self.byteorder == "big":
                return first + int(die.bit_offset)
            unit = die.byte_size if die.has & lib.PK_DIE_BYTE_SIZE else self.size(die.type)
            return first + 8 * int(unit) - int(die.bit_offset) - int(die.bit_size)
        return first

    def _node(self, number: int) -> Node:
        offset, left_out = number & (1 << DIMENSION) - 1, number >> DIMENSION
        die = self._die(offset)
        if die.has & lib.PK_DIE_ODD:
            raise self._odd(offset)
        if die.tag == ARRAY:
            return self._array(die, left_out)
        if die.tag in (POINTER, REFERENCE, RVALUE):
            return Node(graph.PTR, "", die.byte_size or die.address_size, die.type)
        if die.tag in WORDS:
            return Node(graph.QUALIFIER, WORDS[die.tag], 0, die.type)
        name = _name(die)
        if die.tag == BASE:
            kind = graph.FLOAT if die.encoding in (FLOAT, COMPLEX) else graph.INT
            return Node(kind, name, die.byte_size, 0, 0, die.encoding in (SIGNED, SIGNED_CHAR))
        kind = KINDS.get(die.tag, graph.OTHER)
        if die.has & lib.PK_DIE_DECLARATION:
            return Node(DECLARED.get(kind, kind), name)
        if kind == graph.ENUM:
            signed = any(value < 0 for value in self.values_of(number).values())
            return Node(kind, name, die.byte_size or self.node(die.type).size, 0, 0, signed)
        return Node(kind, name, die.byte_size, die.type)

    def _array(self, die: Any, left_out: int) -> Node:
        """The first dimension of an array that is not left out; what it is made of are the others."""
        element, offset = int(die.type), int(die.offset)
        bounds = [int(child.count) for child in self._children(offset) if child.tag == SUBRANGE]
        counts = [count if count < MAX_COUNT else 0 for count in bounds]
        if len(counts) <= left_out or len(counts) > DIMENSIONS:
            raise self._odd(offset)
        if left_out + 1 < len(counts):
            element = offset | left_out + 1 << DIMENSION
        return Node(graph.ARRAY, "", 0, element, counts[left_out])


def _name(die: Any) -> str:
    return _text(die.name, die.name_len) if die.name != ffi.NULL else ""


def _text(name: Any, size: int) -> str:
    raw: bytes = ffi.buffer(name, min(size, NAME))[:]
    return raw.decode("utf-8", "surrogateescape")


def read(file: HostFile) -> DwarfTypes | None:
    """The DWARF of an ELF file; None if it has none. FormatError if it cannot be understood."""
    elf = sections.Elf.of(file)
    return DwarfTypes(elf, file.path) if elf is not None and ".debug_info" in elf else None
