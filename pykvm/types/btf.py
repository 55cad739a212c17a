"""BTF: the types that Linux kernels carry (Documentation/bpf/btf.rst)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from pykvm._native.ffi import ffi, lib
from pykvm.errors import FormatError, KvmError
from pykvm.types.layout import MAX_STRUCT, Field, Struct, Types

MAGIC = 0xEB9F
MAX_SIZE = 64 << 20
NAME = 512  # bytes of a name, as the kernel has it (KSYM_NAME_LEN)
INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT = range(1, 12)
FUNC_PROTO, FLOAT, TYPE_TAG, ENUM64 = 13, 16, 18, 19
QUALIFIERS = {VOLATILE: "volatile ", CONST: "const ", RESTRICT: "", TYPE_TAG: ""}
DEPTH = 32
MEMBERS = 1 << 14
VISITS = 1 << 16  # members looked at for one structure: nameless ones may hold themselves in a damaged dump


class BtfTypes(Types):
    """The structures of BTF, each worked out when it is asked for first."""

    def __init__(self, data: bytes, source: str, pointer_size: int) -> None:
        """data: header, types and strings; FormatError if they make no sense."""
        super().__init__(source)
        self.pointer_size = pointer_size
        if len(data) < 24:
            raise FormatError(f"{source}: BTF header: only {len(data)} bytes")
        self.order = "<" if data[:2] == MAGIC.to_bytes(2, "little") else ">"
        magic, _, _, hdr_len, type_off, type_len, str_off, str_len = struct.unpack_from(self.order + "HBBIIIII", data)
        if magic != MAGIC:
            raise FormatError(f"{source}: BTF magic is {magic:#x}, must be {MAGIC:#x}")
        for name, off, size in (("type", type_off, type_len), ("str", str_off, str_len)):
            if hdr_len + off + size > len(data):
                raise FormatError(f"{source}: BTF {name}_off {off}, {name}_len {size}: beyond its {len(data)} bytes")
        self._types = data[hdr_len + type_off : hdr_len + type_off + type_len]
        self._strings = data[hdr_len + str_off : hdr_len + str_off + str_len]
        bad = ffi.new("uint64_t *")
        self._keep = (ffi.from_buffer(self._types), ffi.from_buffer("char[]", self._strings))
        index = lib.pk_btf_new(
            ffi.cast("uint8_t *", self._keep[0]), type_len, self._keep[1], str_len, 1, self.order == ">", bad
        )
        if index == ffi.NULL:
            if bad[0] == 2**64 - 1:
                raise KvmError("out of memory")
            raise FormatError(f"{source}: BTF type at offset {bad[0]} makes no sense")
        self._index = ffi.gc(index, lib.pk_btf_free)

    # -- Types ------------------------------------------------------------------------------------------------

    def struct(self, name: str) -> Struct:
        found = self._structs.get(name) or self._load(name)
        if found is None:
            raise KvmError(f"struct {name}: not in the BTF of {self.source}")
        return found

    def structure_of(self, c_type: str) -> Struct | None:
        if not c_type.startswith("struct "):
            return None
        return self._structs.get(c_type[7:]) or self._load(c_type[7:])

    def __getitem__(self, name: str) -> Struct:
        found = self._structs.get(name) or self._load(name)
        if found is None:
            raise KeyError(name)
        return found

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (name in self._structs or self._find(name) != 0)

    def __iter__(self) -> Iterator[str]:
        seen = set()
        for i in range(1, lib.pk_btf_count(self._index) + 1):
            name, kind, _, _, _ = self._record(i)
            if kind == STRUCT and name and name not in seen:
                seen.add(name)
                yield name

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def enumerators(self, name: str) -> dict[str, int]:
        """The constants of an enum by its tag; empty if there is none."""
        type_id = lib.pk_btf_find(self._index, name.encode(), 1 << ENUM)
        if not type_id:
            return {}
        _, _, vlen, _, at = self._record(type_id)
        rows = struct.iter_unpack(self.order + "Ii", self._types[at : at + 8 * vlen])
        return {self._string(n): value for n, value in rows}

    # -- records ----------------------------------------------------------------------------------------------

    def _find(self, name: str) -> int:
        return int(lib.pk_btf_find(self._index, name.encode("utf-8", "surrogateescape"), 1 << STRUCT))

    def _string(self, offset: int) -> str:
        return self._strings[offset : offset + NAME].split(b"\0", 1)[0].decode("utf-8", "surrogateescape")

    def _record(self, type_id: int) -> tuple[str, int, int, int, int]:
        """(name, kind, vlen with the kind flag in bit 16, size or type, offset of what follows)."""
        at = lib.pk_btf_at(self._index, type_id)
        if at == 0xFFFFFFFF:
            return "", 0, 0, 0, 0
        name, info, last = struct.unpack_from(self.order + "III", self._types, at)
        return self._string(name), info >> 24 & 31, info & 0xFFFF | info >> 31 << 16, last, at + 12

    def _load(self, name: str) -> Struct | None:
        type_id = self._find(name)
        if not type_id:
            return None
        fields: dict[str, Field] = {}
        _, _, _, size, _ = self._record(type_id)
        self._members(fields, type_id, "", 0, 0, iter(range(VISITS)))
        size = min(size, MAX_STRUCT)
        self.add(name, size, {n: f for n, f in fields.items() if f.offset + f.size <= size})
        return self._structs[name]

    def _members(
        self, fields: dict[str, Field], type_id: int, prefix: str, base: int, depth: int, visits: Iterator[int]
    ) -> None:
        _, _, vlen, _, at = self._record(type_id)
        flag, count = vlen >> 16, vlen & 0xFFFF
        members = struct.iter_unpack(self.order + "III", self._types[at : at + 12 * count])
        for _, (name_off, member, where) in zip(visits, members, strict=False):
            if len(fields) >= MEMBERS:
                return
            bits, bit_offset = (where >> 24, where & 0xFFFFFF) if flag else (0, where)
            name, offset = self._string(name_off), base + bit_offset // 8
            target = self._strip(member)
            inner, kind, _, _, _ = self._record(target)
            if name and bits:
                unit = self._size(member, 0) or 1
                start = base + bit_offset // 8 // unit * unit
                shift = (bit_offset + base * 8) - start * 8
                fields[prefix + name] = Field(start, unit, f"{self._spell(member, 0)} : {bits}@{shift}")
                continue
            if name:
                fields[prefix + name] = Field(offset, self._size(member, 0), self._spell(member, 0))
            # Members of nameless structures belong to the outer one; those of a structure with a tag are found
            # through it.
            if kind in (STRUCT, UNION) and (not inner or kind == UNION) and depth < 8:
                self._members(fields, target, f"{prefix}{name}." if name else prefix, offset, depth + 1, visits)

    def _strip(self, type_id: int) -> int:
        """Behind typedefs and qualifiers."""
        for _ in range(DEPTH):
            _, kind, _, last, _ = self._record(type_id)
            if kind != TYPEDEF and kind not in QUALIFIERS:
                return type_id
            type_id = last
        return 0

    def _array(self, at: int) -> tuple[int, int]:
        element, _, count = struct.unpack_from(self.order + "III", self._types, at)
        return element, count

    def _size(self, type_id: int, depth: int) -> int:
        type_id = self._strip(type_id)
        _, kind, _, last, at = self._record(type_id)
        if kind == PTR:
            return self.pointer_size
        if kind == ARRAY and depth < DEPTH:
            element, count = self._array(at)
            return min(count * self._size(element, depth + 1), MAX_STRUCT + 1)
        return last if kind in (INT, STRUCT, UNION, ENUM, ENUM64, FLOAT) else 0

    def _spell(self, type_id: int, depth: int) -> str:
        """The type as C spells it."""
        name, kind, _, last, at = self._record(type_id)
        if depth > DEPTH or kind == 0:
            return "void"
        if kind == PTR:
            if self._record(self._strip(last))[1] == FUNC_PROTO:
                return "void (*)()"
            inner = self._spell(last, depth + 1)
            return inner + ("*" if inner.endswith("*") else " *")
        if kind == ARRAY:
            element, count = self._array(at)
            return f"{self._spell(element, depth + 1)} [{count}]"
        if kind in QUALIFIERS:
            return QUALIFIERS[kind] + self._spell(last, depth + 1)
        tag = {STRUCT: "struct ", UNION: "union ", ENUM: "enum ", ENUM64: "enum "}.get(kind, "")
        if kind == FWD:
            tag = "struct "
        return (tag + name).strip() or "void"


def from_memory(memory: Any, start: int, stop: int, source: str, pointer_size: int) -> BtfTypes:
    """BTF between two kernel addresses (__start_BTF and __stop_BTF)."""
    if not 24 <= stop - start <= MAX_SIZE:
        raise FormatError(f"{source}: __start_BTF {start:#x} and __stop_BTF {stop:#x} make no sense")
    return BtfTypes(memory.read(start, stop - start), source, pointer_size)
