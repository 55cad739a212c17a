"""How a member's bytes are shown, by its C type."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import Any

# Types that are signed on every system that pykvm reads; an integer type that is not here is shown unsigned.
SIGNED = frozenset(
    "char short int long int8_t int16_t int32_t int64_t __int8_t __int16_t __int32_t __int64_t pid_t __pid_t lwpid_t "
    "segsz_t off_t __off_t voff_t time_t __time_t ssize_t quad_t signed s8 s16 s32 s64".split()
) | {"long long", "long int", "short int", "long long int", "signed char"}
CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}
_ARRAY = re.compile(r"^(.*?)\s*\[(\d{,9})\]$")
_ADDRESS = ("*", ")")


def element(c_type: str) -> tuple[str, int | None]:
    """("fixpt_t", 3) for "fixpt_t [3]", ("int", None) for "int"."""
    match = _ARRAY.match(c_type)
    return (match[1], int(match[2] or 0)) if match else (c_type, None)


def decoder(c_type: str, size: int, byteorder: str) -> Callable[[Any, int], Any]:
    """A function (buffer, offset) -> value: int; tuple for arrays of integers; bytes up to the NUL for arrays of
    char; raw bytes for what has no simple form."""
    base, count = element(c_type.replace("const ", "").replace("volatile ", "").strip())
    if count is not None and base == "char":
        return lambda buf, off: bytes(buf[off : off + size]).split(b"\0", 1)[0]
    if base.startswith(("struct", "union")) and not base.endswith(_ADDRESS):
        return lambda buf, off: bytes(buf[off : off + size])
    width = size // count if count else size
    code = CODES.get(width)
    if code is None or (count is not None and width * count != size):
        return lambda buf, off: bytes(buf[off : off + size])
    if base in SIGNED:
        code = code.lower()
    order = "<" if byteorder == "little" else ">"
    if count is not None:
        many = struct.Struct(f"{order}{count}{code}").unpack_from
        return lambda buf, off: many(buf, off)
    one = struct.Struct(order + code).unpack_from
    return lambda buf, off: one(buf, off)[0]
