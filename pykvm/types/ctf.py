"""CTF: the types that the kernels of FreeBSD, OpenBSD, NetBSD and illumos carry.

Source of the format: ctf(5) of illumos and FreeBSD; version 3 (wider ids and sizes) is FreeBSD's from 14 on.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any

from pykvm._native.ffi import ffi, lib
from pykvm.errors import FormatError, KvmError
from pykvm.images.hostfile import HostFile
from pykvm.types import graph, sections
from pykvm.types.graph import VOID, GraphTypes, Member, Node
from pykvm.types.layout import Struct

SECTION = ".SUNW_ctf"
MAGIC, GNU_MAGIC = 0xCFF1, 0xDFF2
HEADER = 36
VERSIONS = (2, 3)
COMPRESSED = 1  # cth_flags: what follows the header is a zlib stream
MAX_SIZE = 64 << 20  # that of FreeBSD 12.1 has 519198 bytes, of which zlib makes 206370
MAX_NODES = 1 << 17  # that are kept
NAME = 512  # bytes of a name
INTEGER, FLOAT, POINTER, ARRAY, FUNCTION, STRUCT, UNION, ENUM, FORWARD, TYPEDEF = range(1, 11)
VOLATILE, CONST, RESTRICT = range(11, 14)
SIGNED = 1 << 24  # of an integer's encoding
KINDS = {
    INTEGER: graph.INT,
    FLOAT: graph.FLOAT,
    POINTER: graph.PTR,
    ARRAY: graph.ARRAY,
    FUNCTION: graph.FUNC,
    STRUCT: graph.STRUCT,
    UNION: graph.UNION,
    ENUM: graph.ENUM,
    FORWARD: graph.FWD,
    TYPEDEF: graph.TYPEDEF,
    VOLATILE: graph.QUALIFIER,
    CONST: graph.QUALIFIER,
    RESTRICT: graph.QUALIFIER,
}
WORDS = {VOLATILE: "volatile", CONST: "const", RESTRICT: "restrict"}
FIND = {
    graph.STRUCT: 1 << STRUCT,
    graph.UNION: 1 << UNION,
    graph.ENUM: 1 << ENUM,
    graph.TYPEDEF: 1 << TYPEDEF,
    graph.INT: 1 << INTEGER,
}
LONG = ("long", "long int", "unsigned long", "long unsigned int")  # a pointer's size, on all these systems
ARRAYS = {2: "HHI", 3: "III"}  # element, index, count
# Members (name, type, offset in bits, the wide ones' in two halves) by version and bytes of each.
MEMBERS = {(2, 8): "IHH", (2, 16): "IHxxII", (3, 12): "III", (3, 16): "IIII"}


class CtfTypes(GraphTypes):
    """The types of CTF. Of two structures with one name the first is found, of those that are for use by name.

    With a base, this is the CTF of a module: its types refer to those of its kernel. By name its own are found first.
    """

    def __init__(
        self,
        data: bytes | memoryview,
        source: str,
        pointer_size: int | None = None,
        linked: bytes | memoryview = b"",
        base: CtfTypes | None = None,
    ) -> None:
        """data: from the header on; FormatError if it makes no sense. pointer_size: None for that of long.
        linked: the names of the symbols of its file, which types may share."""
        if len(data) < HEADER:
            raise FormatError(f"{source}: CTF header: only {len(data)} bytes")
        self._order = byte_order(data) or "<"
        fields = struct.unpack_from(self._order + "HBB8I", data)
        magic, self._version, flags, _, parent, _, _, _, types_at, strings_at, strings_size = fields
        if magic != MAGIC:
            what = " (GNU's CTF, which is not read)" if magic == GNU_MAGIC else ""
            raise FormatError(f"{source}: CTF magic is {magic:#x}{what}, must be {MAGIC:#x}")
        if self._version not in VERSIONS:
            raise FormatError(f"{source}: CTF version is {self._version} (2 and 3 are read)")
        super().__init__(source, pointer_size or 8, "little" if self._order == "<" else "big")
        end = strings_at + strings_size
        if types_at > strings_at or end > MAX_SIZE:
            raise FormatError(
                f"{source}: CTF cth_typeoff {types_at}, cth_stroff {strings_at}, cth_strlen {strings_size}: no sense"
            )
        body = data[HEADER:]
        if flags & COMPRESSED:
            body = _expanded(body, end, source)
        elif len(body) < end:
            raise FormatError(f"{source}: CTF cth_stroff {strings_at}, cth_strlen {strings_size}: beyond its end")
        self._types = bytes(body[types_at:strings_at])
        self._strings = (bytes(body[strings_at:end]), bytes(linked))
        if not strings_size or self._strings[0][-1]:
            raise FormatError(f"{source}: CTF cth_strlen {strings_size}: the last string has no end")
        if bool(parent) != (base is not None):
            need = f"is not whole without that of {self._string(parent)}" if parent else "refers to no other"
            raise FormatError(f"{source}: its CTF {need}")
        if base is not None and (base._version, base._order) != (self._version, self._order):
            raise FormatError(f"{source}: its CTF is of another version or byte order than that of {base.source}")
        self.base = base
        self._index_types()
        self._nodes: dict[int, Node] = {0: VOID}
        if pointer_size is None:
            longs = (self.node(self.find(name, graph.INT)).size for name in LONG)
            self.pointer_size = next((size for size in longs if size), 8)

    def _index_types(self) -> None:
        bad_at = ffi.new("uint64_t *")
        strings, linked = self._strings
        base = self.base._index if self.base is not None else ffi.NULL
        index = lib.pk_ctf_new(
            ffi.from_buffer(self._types), len(self._types), ffi.from_buffer(strings), len(strings),
            ffi.from_buffer(linked), len(linked), base, self._version, self._order == ">", bad_at,
        )  # fmt: skip
        if index == ffi.NULL:
            if bad_at[0] == 0xFFFFFFFFFFFFFFFF:
                raise KvmError(f"{self.source}: out of memory for an index of CTF")
            raise FormatError(f"{self.source}: CTF type record at offset {bad_at[0]} makes no sense")
        self._index: Any = ffi.gc(index, lib.pk_ctf_free)
        self.first: int = lib.pk_ctf_first(index)
        self.end: int = lib.pk_ctf_end(index)

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
        record = self._record(number)
        if record is None:
            return VOID
        kind, name, size = record.kind, self._string(record.name), record.size
        sort = KINDS.get(kind, graph.OTHER)
        if kind == POINTER:
            return Node(sort, "", self.pointer_size, size)
        if kind == ARRAY:
            element, _, count = struct.unpack_from(self._order + ARRAYS[self._version], self._types, record.at)
            return Node(sort, "", 0, element, count)
        if sort == graph.QUALIFIER:
            return Node(sort, WORDS[kind], 0, size)
        if kind in (TYPEDEF, FUNCTION):
            return Node(sort, name, 0, size)
        if kind == INTEGER:
            if not size:  # void
                return Node(graph.OTHER, name)
            return Node(sort, name, size, 0, 0, bool(self._encoding(record.at) & SIGNED))
        if kind == ENUM:
            return Node(sort, name, size, 0, 0, any(value < 0 for _, value in self._values(record)))
        if kind == FORWARD:  # its kind; 0 where that is not told, as before 2018
            return Node({UNION: graph.FWD_UNION, ENUM: graph.ENUM}.get(size, graph.FWD), name)
        return Node(sort, name, size)

    def members(self, number: int) -> Iterator[Member]:
        if number < self.first and self.base is not None:
            yield from self.base.members(number)
            return
        record = self._record(number)
        if record is None or record.kind not in (STRUCT, UNION):
            return
        at, each = record.at, record.each
        form = self._order + MEMBERS[self._version, each]
        for name, target, *where in struct.iter_unpack(form, self._types[at : at + each * record.vlen]):
            offset = where[0] if len(where) == 1 else where[0] << 32 | where[1]
            yield self._member(self._string(name), offset, target)

    def _member(self, name: str, offset: int, target: int) -> Member:
        """A bit field is a member whose type is an integer of fewer bits than its bytes have."""
        inner = self.strip(target)
        node = self.node(inner)
        if node.kind == graph.INT:
            word = self._word(inner)
            bits, first = word & 0xFFFF, word >> 16 & 0xFF
            if first or bits != 8 * node.size:
                return Member(name, offset + first, bits, target)
        return Member(name, offset, 0, target)

    def find(self, name: str, kind: int) -> int:
        try:
            raw = name.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            return 0
        if b"\0" in raw:
            return 0
        found = int(lib.pk_ctf_find(self._index, raw, FIND[kind], 0))
        return found or (self.base.find(name, kind) if self.base is not None else 0)

    def numbers(self, name: str, kind: int) -> Iterator[int]:
        number = self.find(name, kind)
        while number >= self.first:
            yield number
            raw = name.encode("utf-8", "surrogateescape")
            number = int(lib.pk_ctf_find(self._index, raw, FIND[kind], number))

    def names(self) -> Iterator[tuple[int, str]]:
        wanted = {kind: KINDS[kind] for kind in (STRUCT, UNION, TYPEDEF)}
        for number in range(self.first, self.end):
            record = self._record(number)
            if record is not None and record.kind in wanted:
                yield wanted[record.kind], self._string(record.name)
        if self.base is not None:
            yield from self.base.names()

    def values_of(self, number: int) -> dict[str, int]:
        if number < self.first and self.base is not None:
            return self.base.values_of(number)
        record = self._record(number)
        if record is None or record.kind != ENUM:
            return {}
        return {self._string(name): value for name, value in self._values(record)}

    def constant(self, name: str, default: int | None = None) -> int | None:
        index = ffi.new("uint32_t *")
        number = lib.pk_ctf_enumerator(self._index, name.encode("utf-8", "surrogateescape"), index)
        if number:
            return int(self._values(self._record(number))[index[0]][1])
        return self.base.constant(name, default) if self.base is not None else default

    def struct_of(self, number: int, name: str = "") -> Struct:
        if number < self.first and self.base is not None:
            return self.base.struct_of(number, name)
        return super().struct_of(number, name)

    # -- records ------------------------------------------------------------------------------------------------

    def _record(self, number: int) -> Any:
        """One of this CTF's own types (pk_ctf_type), or None if there is none of that number."""
        record = ffi.new("pk_ctf_type *")
        return record if lib.pk_ctf_get(self._index, number, record) else None

    def _values(self, record: Any) -> list[tuple[int, int]]:
        """(reference to the name, value) of an enum's constants."""
        return list(struct.iter_unpack(self._order + "Ii", self._types[record.at : record.at + 8 * record.vlen]))

    def _encoding(self, at: int) -> int:
        word: int = struct.unpack_from(self._order + "I", self._types, at)[0]
        return word

    def _word(self, number: int) -> int:
        """The word of an integer: its encoding, where its bits begin, and how many they are."""
        if number < self.first and self.base is not None:
            return self.base._word(number)
        record = self._record(number)
        return self._encoding(record.at)

    def _string(self, reference: int) -> str:
        offset = reference & 0x7FFFFFFF
        raw = self._strings[reference >> 31][offset : offset + NAME]
        return raw.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def byte_order(data: bytes | memoryview) -> str | None:
    """ "<" or ">" if that is how CTF begins (of either kind), else None."""
    for order in "<>":
        if int.from_bytes(data[:2], "little" if order == "<" else "big") in (MAGIC, GNU_MAGIC):
            return order
    return None


def _has_parent(data: bytes | memoryview) -> bool:
    """Whether CTF has a cth_parname."""
    return bytes(data[8:12]).strip(b"\0") != b""


def _expanded(packed: bytes | memoryview, size: int, source: str) -> bytes:
    if size > sections.RATIO * len(packed) + 4096:
        raise FormatError(f"{source}: CTF of {len(packed)} compressed bytes cannot expand to {size}")
    try:
        body = zlib.decompressobj().decompress(packed, size) if size else b""
    except zlib.error as e:
        raise FormatError(f"{source}: compressed CTF: {e}") from e
    if len(body) != size:
        raise FormatError(f"{source}: compressed CTF expands to {len(body)} bytes, not to {size}")
    return body


def read(file: HostFile, base: CtfTypes | None = None) -> CtfTypes | None:
    """The CTF of an ELF file (section .SUNW_ctf), or of a file that is nothing else; None if it has none.

    FormatError if it cannot be understood. What refers to a parent (that of a module) is not whole without it, `base`:
    None then if there is DWARF too.
    """
    if byte_order(file.pread(0, 2)) is not None:
        if file.size > MAX_SIZE:
            raise FormatError(f"{file.path}: CTF of {file.size} bytes (at most {MAX_SIZE})")
        return CtfTypes(file.pread(0, file.size), file.path, base=base)
    elf = sections.Elf.of(file)
    data = elf.section(SECTION, MAX_SIZE) if elf is not None else None
    if elf is None or data is None or (base is None and _has_parent(data) and ".debug_info" in elf):
        return None
    return CtfTypes(data, file.path, elf.pointer_size, elf.linked_strings(SECTION, MAX_SIZE), base)
