"""Writes BTF (Documentation/bpf/btf.rst), for tests: types by number, in either byte order, right or wrong."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, FUNC_PROTO, VAR = range(1, 15)
DATASEC, FLOAT, DECL_TAG, TYPE_TAG, ENUM64 = range(15, 20)

Member = tuple[str, int, int] | tuple[str, int, int, int]  # name, type, offset in bits, bits


class Maker:
    """Each method adds a type and gives its number. With a base, numbers and strings go on behind that one's."""

    def __init__(self, order: str = "<", base: Maker | None = None) -> None:
        self.order = order
        self.types = b""
        self.number = 0 if base is None else base.number
        self.start = 0 if base is None else base.start + len(base.strings)
        self.strings = b"\0" if base is None else b""
        self.base = base

    def text(self, name: str) -> int:
        """The offset of a string, which may be one of the base's."""
        raw = name.encode() + b"\0"
        if self.base is not None and b"\0" + raw in self.base.strings:
            return self.base.start + self.base.strings.index(b"\0" + raw) + 1
        if not name:
            return 0
        at = (b"\0" + self.strings).find(b"\0" + raw)
        if at < 0:
            at = len(self.strings)
            self.strings += raw
        return self.start + at

    def words(self, *values: int) -> bytes:
        return struct.pack(f"{self.order}{len(values)}I", *(v & 0xFFFFFFFF for v in values))

    def add(self, kind: int, name: str = "", last: int = 0, tail: bytes = b"", vlen: int = 0, flag: int = 0) -> int:
        """A record: last is its size or type."""
        self.types += self.words(self.text(name), flag << 31 | kind << 24 | vlen, last) + tail
        self.number += 1
        return self.number

    def integer(self, name: str, size: int, encoding: int = 0, bits: int | None = None, offset: int = 0) -> int:
        """encoding: 1 signed, 2 char, 4 bool."""
        return self.add(
            INT, name, size, self.words(encoding << 24 | offset << 16 | (8 * size if bits is None else bits))
        )

    def array(self, element: int, count: int) -> int:
        return self.add(ARRAY, tail=self.words(element, element, count))

    def struct(self, name: str, size: int, members: Sequence[Member], kind: int = STRUCT, flag: int = 1) -> int:
        """flag 0: members cannot say that they are bit fields."""
        tail = b""
        for member, number, where, *bits in members:
            tail += self.words(self.text(member), number, where | (bits[0] << 24 if bits else 0))
        return self.add(kind, name, size, tail, len(members), flag)

    def union(self, name: str, size: int, members: Sequence[Member]) -> int:
        return self.struct(name, size, members, UNION)

    def enum(self, name: str, values: Mapping[str, int], size: int = 4, flag: int = 0) -> int:
        """flag 1: signed."""
        rows = [(self.text(n), v) for n, v in values.items()]
        if size <= 4:
            return self.add(ENUM, name, size, b"".join(self.words(*row) for row in rows), len(rows), flag)
        tail = b"".join(self.words(at, value, value >> 32) for at, value in rows)
        return self.add(ENUM64, name, size, tail, len(rows), flag)

    def data(self, **header: int) -> bytes:
        """The whole; header: fields that are to be wrong."""
        told = {"magic": 0xEB9F, "version": 1, "flags": 0, "hdr_len": 24, "type_off": 0, "type_len": len(self.types)}
        told |= {"str_off": len(self.types), "str_len": len(self.strings)} | header
        return struct.pack(self.order + "HBBIIIII", *told.values()) + self.types + self.strings
