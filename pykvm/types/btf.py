"""BTF: the types that Linux kernels carry (Documentation/bpf/btf.rst)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from pykvm._native.ffi import ffi, lib
from pykvm.errors import FormatError, KvmError
from pykvm.images.hostfile import HostFile
from pykvm.loading import loading
from pykvm.types import graph
from pykvm.types.graph import VOID, GraphTypes, Member, Node
from pykvm.types.layout import Struct

MAGIC = 0xEB9F
MAX_SIZE = 64 << 20
MAX_NODES = 1 << 18  # that are kept: a large kernel has some 150,000 types
NAME = 512  # bytes of a name, as the kernel has it (KSYM_NAME_LEN)
INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, FUNC_PROTO = range(1, 14)
FLOAT, TYPE_TAG, ENUM64 = 16, 18, 19
INT_SIGNED = 1
KINDS = {
    INT: graph.INT,
    PTR: graph.PTR,
    ARRAY: graph.ARRAY,
    STRUCT: graph.STRUCT,
    UNION: graph.UNION,
    ENUM: graph.ENUM,
    ENUM64: graph.ENUM,
    FWD: graph.FWD,
    TYPEDEF: graph.TYPEDEF,
    VOLATILE: graph.QUALIFIER,
    CONST: graph.QUALIFIER,
    RESTRICT: graph.QUALIFIER,
    TYPE_TAG: graph.QUALIFIER,
    FUNC_PROTO: graph.FUNC,
    FLOAT: graph.FLOAT,
}
WORDS = {VOLATILE: "volatile", CONST: "const", RESTRICT: "restrict", TYPE_TAG: ""}
FIND = {
    graph.STRUCT: 1 << STRUCT,
    graph.UNION: 1 << UNION,
    graph.ENUM: 1 << ENUM | 1 << ENUM64,
    graph.TYPEDEF: 1 << TYPEDEF,
    graph.INT: 1 << INT,
}
LONG = ("long int", "long unsigned int", "long", "unsigned long")  # a pointer's size, on every Linux


class BtfTypes(GraphTypes):
    """The types of BTF. Of two structures with one name the first is found: the kernel's own before those of drivers,
    as it was linked. What refers to either gets the right one.

    With a base, this is a module's: its types refer to those of its kernel, and only its own are found by name.
    """

    def __init__(self, data: bytes, source: str, pointer_size: int | None = None, base: BtfTypes | None = None) -> None:
        """data: header, types and strings; FormatError if they make no sense. pointer_size: None for that of long."""
        if len(data) < 24:
            raise FormatError(f"{source}: BTF header: only {len(data)} bytes")
        self._order = "<" if data[:2] == MAGIC.to_bytes(2, "little") else ">"
        magic, _, _, hdr_len, type_off, type_len, str_off, str_len = struct.unpack_from(self._order + "HBBIIIII", data)
        if magic != MAGIC:
            raise FormatError(f"{source}: BTF magic is {magic:#x}, must be {MAGIC:#x}")
        super().__init__(source, pointer_size or 8, "little" if self._order == "<" else "big")
        for name, off, size in (("type", type_off, type_len), ("str", str_off, str_len)):
            if hdr_len + off + size > len(data):
                raise FormatError(f"{source}: BTF {name}_off {off}, {name}_len {size}: beyond its {len(data)} bytes")
        end = hdr_len + str_off + str_len
        if data[end - 1] if str_len else base is None:  # a module may need no strings of its own
            raise FormatError(f"{source}: BTF str_off {str_off}, str_len {str_len}: the last string has no end")
        self.base = base
        self._types = data[hdr_len + type_off : hdr_len + type_off + type_len]
        self._strings = data[hdr_len + str_off : hdr_len + str_off + str_len]
        self._strings_start: int = 0 if base is None else base.strings_end
        self.strings_end: int = self._strings_start + str_len
        bad = ffi.new("uint64_t *")
        self._keep = (ffi.from_buffer("uint8_t[]", self._types), ffi.from_buffer("char[]", self._strings))
        below = ffi.NULL if base is None else base._index
        index = lib.pk_btf_new(self._keep[0], type_len, self._keep[1], str_len, below, self._order == ">", bad)
        if index == ffi.NULL:
            if bad[0] == 2**64 - 1:
                raise KvmError("out of memory")
            raise FormatError(f"{source}: BTF type at offset {bad[0]} makes no sense")
        self._index: Any = ffi.gc(index, lib.pk_btf_free)
        self.first = lib.pk_btf_first(index)
        self.end = lib.pk_btf_end(index)
        self._nodes: dict[int, Node] = {0: VOID}
        self._unpack = struct.Struct(self._order + "III").unpack_from
        self._triples = struct.Struct(self._order + "III").iter_unpack
        if pointer_size is None:
            longs = (self.node(self.find(name, graph.INT)).size for name in LONG)
            self.pointer_size = next((size for size in longs if size), 8)

    def node(self, number: int) -> Node:
        found = self._nodes.get(number)
        if found is None:
            if number < self.first and self.base is not None:
                return self.base.node(number)
            if len(self._nodes) > MAX_NODES:
                self._nodes = {0: VOID}
            found = self._nodes[number] = self._node(number)
        return found

    def _node(self, number: int) -> Node:
        at = lib.pk_btf_at(self._index, number)
        if at == 0xFFFFFFFF:
            return VOID
        name_off, info, last = self._unpack(self._types, at)
        kind = info >> 24 & 31
        sort = KINDS.get(kind, graph.OTHER)
        if kind == PTR:
            return Node(sort, "", self.pointer_size, last)
        if kind == ARRAY:
            element, _, count = self._unpack(self._types, at + 12)
            return Node(sort, "", 0, element, count)
        if sort == graph.QUALIFIER:
            return Node(sort, WORDS[kind], 0, last)
        name = self._string(name_off)
        if kind in (TYPEDEF, FUNC_PROTO):
            return Node(sort, name, 0, last)
        if kind == INT:
            # pahole tells a signed char from others by its name only.
            signed = bool(self._tail(number) >> 24 & INT_SIGNED) or name == "signed char"
            return Node(sort, name, last, 0, 0, signed)
        if kind in (ENUM, ENUM64):
            signed = bool(info >> 31) or (self._before_flags and any(v < 0 for _, v in self._values(number)))
            return Node(sort, name, last, 0, 0, signed)
        if kind == FWD and info >> 31:
            sort = graph.FWD_UNION
        return Node(sort, name, last if kind in (STRUCT, UNION, FLOAT) else 0)

    def members(self, number: int) -> Iterator[Member]:
        if number < self.first and self.base is not None:
            yield from self.base.members(number)
            return
        _, info, at = self._record(number)
        for name_off, target, where in self._triples(self._types[at : at + 12 * (info & 0xFFFF)]):
            name = self._string(name_off)
            if info >> 31:
                yield Member(name, where & 0xFFFFFF, where >> 24, target)
            else:
                yield self._plain_member(name, where, target)

    def _plain_member(self, name: str, where: int, target: int) -> Member:
        """A member of a structure without bit fields, or (from Linux before 5.0) of one in which their type says that
        they are such: an INT of fewer bits than its bytes have."""
        inner = self.strip(target)
        node = self.node(inner)
        data = self._tail(inner) if node.kind == graph.INT else 0
        bits = data & 0xFF
        if bits and bits != 8 * node.size:
            return Member(name, where + (data >> 16 & 0xFF), bits, target)
        return Member(name, where, 0, target)

    def find(self, name: str, kind: int) -> int:
        try:
            raw = name.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            return 0
        return int(lib.pk_btf_find(self._index, raw, FIND[kind])) if b"\0" not in raw else 0

    def names(self) -> Iterator[tuple[int, str]]:
        wanted = {kind: KINDS[kind] for kind in (STRUCT, UNION, TYPEDEF)}
        for number in range(self.first, self.end):
            name_off, info, _ = self._record(number)
            kind = wanted.get(info >> 24 & 31)
            if kind is not None:
                yield kind, self._string(name_off)

    def values_of(self, number: int) -> dict[str, int]:
        if number < self.first and self.base is not None:
            return self.base.values_of(number)
        return {self._string(name_off): value for name_off, value in self._values(number)}

    def constant(self, name: str, default: int | None = None) -> int | None:
        index = ffi.new("uint32_t *")
        number = lib.pk_btf_enumerator(self._index, name.encode("utf-8", "surrogateescape"), index)
        return self._values(number)[index[0]][1] if number else default

    def struct_of(self, number: int, name: str = "") -> Struct:
        if number < self.first and self.base is not None:
            return self.base.struct_of(number, name)
        return super().struct_of(number, name)

    def meant(self, name: str) -> int:
        return (self.base.meant(name) if self.base is not None else 0) or self.number_of(name)

    # -- records ------------------------------------------------------------------------------------------------

    def _record(self, number: int) -> tuple[int, int, int]:
        """(offset of the name, kind and vlen, offset of what follows) of one of this BTF's own types."""
        at = lib.pk_btf_at(self._index, number)
        name_off, info, _ = self._unpack(self._types, at)
        return name_off, info, at + 12

    def _tail(self, number: int) -> int:
        """The word that follows an INT's record: its encoding, where its bits begin, and how many they are."""
        if number < self.first and self.base is not None:
            return self.base._tail(number)
        tail: int = struct.unpack_from(self._order + "I", self._types, self._record(number)[2])[0]
        return tail

    def _values(self, number: int) -> list[tuple[int, int]]:
        """(offset of the name, value) of an enum's constants."""
        _, info, at = self._record(number)
        count, signed = info & 0xFFFF, info >> 31
        if info >> 24 & 31 == ENUM64:
            rows = struct.iter_unpack(f"{self._order}II{'i' if signed else 'I'}", self._types[at : at + 12 * count])
            return [(name_off, high << 32 | low) for name_off, low, high in rows]
        code = "i" if signed or self._before_flags else "I"
        return list(struct.iter_unpack(f"{self._order}I{code}", self._types[at : at + 8 * count]))

    @cached_property
    def _before_flags(self) -> bool:
        """Whether this is from before enums said if they are signed (Linux 6.0): every kernel has some that are."""
        flagged: bool = lib.pk_btf_flagged(self._index, FIND[graph.ENUM])
        return not flagged and (self.base is None or self.base._before_flags)

    def _string(self, offset: int) -> str:
        start = self._strings_start
        if offset < start and self.base is not None:
            return self.base._string(offset)
        offset -= start
        return self._strings[offset : offset + NAME].split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def from_memory(memory: Any, start: int, stop: int, source: str, pointer_size: int) -> BtfTypes:
    """BTF between two kernel addresses (__start_BTF and __stop_BTF)."""
    if not 24 <= stop - start <= MAX_SIZE:
        raise FormatError(f"{source}: __start_BTF {start:#x} and __stop_BTF {stop:#x} make no sense")
    return BtfTypes(memory.read(start, stop - start), source, pointer_size)


def read(file: HostFile) -> BtfTypes | None:
    """The BTF of an ELF file (section .BTF), or of a file that is nothing else; None if it has none.

    FormatError if it cannot be understood. That of a module's file is not whole without its kernel's: None if there is
    DWARF too.
    """
    magic = file.pread(0, 2)
    if magic in (MAGIC.to_bytes(2, "little"), MAGIC.to_bytes(2, "big")):
        if file.size > MAX_SIZE:
            raise FormatError(f"{file.path}: BTF of {file.size} bytes (at most {MAX_SIZE})")
        return BtfTypes(file.pread(0, file.size), file.path)
    with loading:
        from pykvm.types import sections  # and pyelftools with it, which the BTF of a dump does without

    elf = sections.Elf.of(file)
    data = elf.section(".BTF", MAX_SIZE) if elf is not None else None
    if elf is None or data is None:
        return None
    if ".gnu.linkonce.this_module" in elf:
        if ".debug_info" in elf:
            return None
        raise FormatError(f"{file.path}: a module: its BTF is not whole without its kernel's")
    return BtfTypes(bytes(data), file.path, elf.pointer_size)
