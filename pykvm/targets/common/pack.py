"""Records for programs: columns put into a structure, one record after another."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from pykvm.errors import FormatError
from pykvm.types.decode import CODES, SIGNED, element
from pykvm.types.layout import Field, Struct


def pack(columns: Mapping[str, Sequence[Any]], layout: Struct, order: str) -> bytearray:
    """The records of all rows. Columns are named by members (paths into structures); those that the layout lacks are
    left out, what no column is for is 0. order: struct's byte order."""
    members = sorted((m for m in columns if m in layout), key=lambda m: layout.field(m).offset)
    form, at = [order], 0
    values = []
    for member in members:
        field = layout.field(member)
        if field.offset < at:
            raise FormatError(f"struct {layout.name}: {member} is not behind the member before it")
        code, column = fit(layout, member, field, columns[member], order)
        form.append(f"{field.offset - at}x{code}")
        values.append(column)
        at = field.offset + field.size
    form.append(f"{layout.size - at}x")
    one = struct.Struct("".join(form))
    return bytearray().join(one.pack(*row) for row in zip(*values, strict=True))


def put(buf: bytearray, base: int, layout: Struct, order: str, values: Mapping[str, Any]) -> None:
    """Put numbers and text into members of the record at `base`, those that the layout has, as fit() makes them fit."""
    for member, value in values.items():
        if member in layout:
            field = layout.field(member)
            raw = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
            code, (packed,) = fit(layout, member, field, [raw], order)
            struct.pack_into(order + code, buf, base + field.offset, packed)


def fit(layout: Struct, member: str, field: Field, column: Sequence[Any], order: str) -> tuple[str, Sequence[Any]]:
    """A member's code for struct.pack, and its values as C's assignment makes them fit: numbers wrap at its width,
    text is cut so that a NUL remains, arrays are filled up, bytes are as they are. None is 0."""
    base, count = element(field.type)
    if base == "char" and count is not None:
        return f"{field.size}s", [(text or b"")[: max(0, field.size - 1)] for text in column]
    if count is not None:
        width = field.size // max(count, 1)
        code = CODES.get(width)
        if code is None or width * count != field.size:
            raise FormatError(f"struct {layout.name}: {member}: {field.type} has {field.size} bytes")
        many = struct.Struct(f"{order}{count}{code}")
        mask = (1 << 8 * width) - 1
        rows = [[v & mask for v in (row or ())[:count]] for row in column]
        return f"{field.size}s", [many.pack(*row, *[0] * (count - len(row))) for row in rows]
    code = CODES.get(field.size)
    if code is None:
        raise FormatError(f"struct {layout.name}: {member} has {field.size} bytes, which is no integer")
    span = 1 << field.size * 8
    half = span // 2 if base in SIGNED else 0
    return code.lower() if half else code, [((v or 0) + half) % span - half for v in column]
