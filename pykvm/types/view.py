"""Bytes of the target seen through a structure's layout."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pykvm.errors import FormatError
from pykvm.types.decode import MAX_ELEMENTS, Decoder, decoder, nested
from pykvm.types.layout import Field, Struct

if TYPE_CHECKING:
    from pykvm.handle import Kvm


class StructView:
    """Members as attributes: view.p_pid, view.p_rtime.tv_sec. `bytes(view)` is the structure itself.

    Integers, enums and bit fields are ints, pointers addresses, structures and unions views, arrays of char bytes up
    to the NUL, other arrays tuples (of tuples, if they have more dimensions; of views, if they are of structures); what
    has no simple form is bytes. A flexible array is an empty tuple (of char: no bytes): how long it is, the structure
    does not say.
    """

    __slots__ = ("_base", "_buf", "_order", "_prefix", "_struct")

    def __init__(self, struct: Struct, buf: Any, base: int, byteorder: str, prefix: str = "") -> None:
        self._struct = struct
        self._buf = buf
        self._base = base
        self._order = byteorder
        self._prefix = prefix

    def __getattr__(self, name: str) -> Any:
        # copy() looks for these before there is a structure.
        if name in StructView.__slots__ or name[:2] == name[-2:] == "__":
            raise AttributeError(name)
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
        if path not in struct.fields:
            outer = any(member.startswith(path + ".") for member in struct.fields)
            return ("inner", None, 0) if outer else ("none", None, 0)
        field = struct.fields[path]
        form = struct.types.form(field)
        inner = form.struct
        if inner is not None:
            count = math.prod(form.dims)
            if inner.size * count != field.size or count > MAX_ELEMENTS:
                of = f"{count} of struct {inner.name} with" if form.dims else f"struct {inner.name} has"
                raise FormatError(f"struct {struct.name}: {path} has {field.size} bytes, but {of} {inner.size}")
            if form.dims:
                return "value", self._views(inner, form.dims, field), field.offset
            return "struct", inner, field.offset
        if any(member.startswith(path + ".") for member in struct.fields):
            return "inner", None, 0
        try:
            return "value", decoder(form, field.size, self._order), field.offset
        except FormatError as e:
            raise FormatError(f"struct {struct.name}: {path}: {e}") from None

    def _views(self, inner: Struct, dims: tuple[int, ...], field: Field) -> Decoder:
        order = self._order
        return nested(dims, field.size, lambda n: lambda buf, off: StructView(inner, buf, off, order))

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


def view(kd: Kvm, struct: Struct | str, addr: int) -> StructView:
    """A structure, or the one of that name, at a kernel address: view(kd, "task_struct", kd.symbol("init_task")).comm.

    Its bytes are read here, all at once. AddressError if any of them is not there, KvmError if the name is not known.
    """
    found = kd.types.struct(struct) if isinstance(struct, str) else struct
    return StructView(found, kd.read(addr, found.size), 0, kd.target.byteorder)
