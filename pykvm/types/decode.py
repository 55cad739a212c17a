"""What a member is, by its C type, and how its bytes are shown."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pykvm.errors import FormatError

if TYPE_CHECKING:
    from pykvm.types.layout import Struct

Decoder = Callable[[Any, int], Any]

# Types that are signed on every system that pykvm reads; an integer type that is not here is shown unsigned.
SIGNED = frozenset(
    "char short int long int8_t int16_t int32_t int64_t __int8_t __int16_t __int32_t __int64_t pid_t __pid_t lwpid_t "
    "segsz_t off_t __off_t voff_t time_t __time_t ssize_t quad_t signed s8 s16 s32 s64 __s8 __s16 __s32 __s64".split()
) | {"long long", "long int", "short int", "long long int", "signed char"}
FLOATS = frozenset(("float", "double", "long double"))
CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}
MAX_ELEMENTS = 1 << 18  # structures in an array that is shown: more are a mistake, or no one's to look at at once
_ARRAY = re.compile(r"^(.*?)\s*((?:\[\d{,10}\])+)$")
_BITS = re.compile(r"^(.*) : (\d{1,3})@(\d)$")
_QUALIFIERS = re.compile(r"\b(?:const|volatile|restrict|_Atomic)\b ?")
_ADDRESS = ("*", ")")


class Form(NamedTuple):
    """What a member's C type comes to, behind typedefs and qualifiers.

    struct: the structure or union that it is, or that its elements are; None: none that is known. dims: the
    dimensions of an array, 0 for a flexible one. plain: the element is an integer, enum or pointer (of any size),
    not a structure that is not known. bits: (how many, shift) of a bit field.
    """

    struct: Struct | None = None
    dims: tuple[int, ...] = ()
    signed: bool = False
    char: bool = False
    plain: bool = True
    bits: tuple[int, int] | None = None


def bare(c_type: str) -> str:
    """The type without its qualifiers."""
    return _QUALIFIERS.sub("", c_type).strip()


def element(c_type: str) -> tuple[str, int | None]:
    """("fixpt_t", 3) for "fixpt_t [3]", ("int", None) for "int": how many elements in all."""
    base, dims = dimensions(c_type)
    return base, math.prod(dims) if dims else None


def dimensions(c_type: str) -> tuple[str, tuple[int, ...]]:
    """("fixpt_t", (3,)) for "fixpt_t [3]", ("int", ()) for "int"."""
    match = _ARRAY.match(c_type)
    if match is None:
        return c_type, ()
    return match[1], tuple(int(n or 0) for n in match[2][1:-1].split("]["))


def spelled_bits(c_type: str) -> tuple[str, tuple[int, int] | None]:
    """("int", (3, 5)) for "int : 3@5": three bits, whose last is 2**5 of the bytes that they are in."""
    match = _BITS.match(c_type)
    return (match[1], (int(match[2]), int(match[3]))) if match else (c_type, None)


def is_address(c_type: str) -> bool:
    """Whether the type is a pointer."""
    return c_type.endswith(_ADDRESS)


def decoder(form: Form, size: int, byteorder: str) -> Decoder:
    """A function (buffer, offset) -> value of a member of so many bytes that is no structure.

    An int (of a bit field its own bits only); of an array a tuple, one in another for more dimensions; of an array
    of char the bytes up to the NUL; the bytes as they are for what has no such form. FormatError for a bit field that
    is not within its bytes.
    """
    if form.bits is not None:
        return _bit_field(*form.bits, size, form.signed, byteorder)
    count = math.prod(form.dims)
    width = size // count if count else 0
    if not form.plain or width * count != size:
        return _raw(size)
    if form.char and form.dims:
        return nested(form.dims[:-1], size, _text)
    if count == 0:
        return lambda buf, off: ()
    code = CODES.get(width)
    if code is None:
        return _raw(size)
    code = code.lower() if form.signed else code
    order = "<" if byteorder == "little" else ">"
    if form.dims:
        return nested(form.dims[:-1], size, lambda n: struct.Struct(f"{order}{n // width}{code}").unpack_from)
    one = struct.Struct(order + code).unpack_from
    return lambda buf, off: one(buf, off)[0]


def nested(dims: tuple[int, ...], size: int, leaf: Callable[[int], Decoder]) -> Decoder:
    """A decoder of an array of these dimensions in so many bytes, whose elements leaf(their size) decodes."""
    if not dims:
        return leaf(size)
    count = dims[0]
    width = size // count if count else 0
    inner = nested(dims[1:], width, leaf)
    return lambda buf, off: tuple(inner(buf, off + i * width) for i in range(count))


def _raw(size: int) -> Decoder:
    return lambda buf, off: bytes(buf[off : off + size])


def _text(size: int) -> Decoder:
    return lambda buf, off: bytes(buf[off : off + size]).split(b"\0", 1)[0]


def _bit_field(bits: int, shift: int, size: int, signed: bool, byteorder: str) -> Decoder:
    if not 0 < bits <= 8 * size - shift:
        raise FormatError(f"a bit field of {bits} bits from bit {shift} on is not within {size} bytes")
    order: Literal["little", "big"] = "little" if byteorder == "little" else "big"
    sign = 1 << bits - 1 if signed else 0

    def get(buf: Any, off: int) -> int:
        value = int.from_bytes(buf[off : off + size], order) >> shift & (1 << bits) - 1
        return (value ^ sign) - sign

    return get
