"""Variables of the kernel: strings, numbers, times; None where there is none that can be read."""

from __future__ import annotations

from collections.abc import Sequence

from pykvm.errors import KvmError
from pykvm.records import text
from pykvm.targets.base import Parts


def string(parts: Parts, name: str, limit: int) -> str | None:
    """An array of characters."""
    symbol = parts.symbols.loose(name)
    if symbol is None:
        return None
    try:
        return text(parts.memory.read_cstr(symbol.value, limit))
    except KvmError:
        return None


def number(parts: Parts, name: str, size: int, *, signed: bool = False) -> int | None:
    """An integer of so many bytes."""
    symbol = parts.symbols.loose(name)
    if symbol is None:
        return None
    try:
        raw = parts.memory.read(symbol.value, size)
    except KvmError:
        return None
    return int.from_bytes(raw, "big" if parts.memory._byteorder == "big" else "little", signed=signed)


def count(parts: Parts, name: str, word: int) -> int | None:
    """A number below 1 << 32 that has been an int and is a long, as physmem: on big-endian machines the lower half of
    a long comes last."""
    upper = number(parts, name, 4)
    if upper == 0 and word == 8 and parts.memory._byteorder == "big":
        return number(parts, name, 8)
    return upper


def time_of(parts: Parts, names: Sequence[str], word: int) -> int | None:
    """A time_t by the first of the names that it has had and that can be read. Kernels of 32 bits have had it as a word
    and as 64 bits, of which the upper half comes first on big-endian machines, and is 0 until 2106."""
    for name in names:
        upper = number(parts, name, word, signed=True)
        if upper == 0 and word == 4 and parts.memory._byteorder == "big":
            return number(parts, name, 8, signed=True) or 0
        if upper is not None:
            return upper
    return None


def shown(raw: bytes) -> str:
    """The beginning of what should be a line of text."""
    return repr(text(raw[:80] if raw.isascii() else raw[:16]))
