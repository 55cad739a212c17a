"""Bytes of the target seen through a structure's layout."""

from __future__ import annotations

from typing import Any

from pykvm.errors import FormatError
from pykvm.types.decode import decoder
from pykvm.types.layout import Struct


class StructView:
    """Members as attributes: view.p_pid, view.p_rtime.tv_sec. `bytes(view)` is the structure itself.

    Integers are ints, pointers addresses, arrays of char bytes up to the NUL, other arrays tuples; what has no
    simple form is bytes.
    """

    __slots__ = ("_base", "_buf", "_order", "_prefix", "_struct")

    def __init__(self, struct: Struct, buf: Any, base: int, byteorder: str, prefix: str = "") -> None:
        self._struct = struct
        self._buf = buf
        self._base = base
        self._order = byteorder
        self._prefix = prefix

    def __getattr__(self, name: str) -> Any:
        struct = self._struct
        path = self._prefix + name
        step = struct.plan.get(path)
        if step is None:
            step = struct.plan[path] = self._plan(path)
        kind, what, offset = step
        if kind == "value":
            return what(self._buf, self._base + offset)
        if kind == "struct":
            return StructView(what, self._buf, self._base + offset, self._order)
        if kind == "inner":
            return StructView(struct, self._buf, self._base, self._order, path + ".")
        raise AttributeError(f"struct {struct.name} has no member {path}")

    def _plan(self, path: str) -> tuple[str, Any, int]:
        """How to get at a member: worked out once for each structure (whose byte order is always the same)."""
        struct = self._struct
        if path not in struct:
            inner = any(member.startswith(path + ".") for member in struct.fields)
            return ("inner", None, 0) if inner else ("none", None, 0)
        field = struct.field(path)
        nested = struct.types.structure_of(field.type)
        if nested is not None and nested.size != field.size:
            raise FormatError(
                f"struct {struct.name}: {path} has {field.size} bytes, but struct {nested.name} has {nested.size}"
            )
        if nested is not None:
            return "struct", nested, field.offset
        if any(member.startswith(path + ".") for member in struct.fields):
            return "inner", None, 0
        return "value", decoder(field.type, field.size, self._order), field.offset

    def __bytes__(self) -> bytes:
        if self._prefix:
            field = self._struct.field(self._prefix[:-1])
            return bytes(self._buf[self._base + field.offset : self._base + field.offset + field.size])
        return bytes(self._buf[self._base : self._base + self._struct.size])

    def __dir__(self) -> list[str]:
        depth = len(self._prefix)
        inner = (member[depth:] for member in self._struct.fields if member.startswith(self._prefix))
        return sorted({member.partition(".")[0] for member in inner})

    def __repr__(self) -> str:
        return f"<struct {self._struct.name}{' ' + self._prefix[:-1] if self._prefix else ''}>"
