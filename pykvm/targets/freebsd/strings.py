"""Variables by which a kernel says what it is."""

from __future__ import annotations

from pykvm.errors import KvmError
from pykvm.records import text
from pykvm.targets.base import Parts


def string(parts: Parts, name: str, limit: int) -> str | None:
    """The text in a variable (an array of char); None if it cannot be read or is empty."""
    found = parts.symbols.find(name)
    if found is None:
        return None
    try:
        return text(parts.memory.read_cstr(found.value, limit)).rstrip("\n") or None
    except KvmError:
        return None


def osreldate(parts: Parts) -> int:
    """__FreeBSD_version of the kernel; 0 if it cannot be read."""
    symbol = parts.symbols.find("osreldate")
    try:
        return 0 if symbol is None else parts.memory.read_i32(symbol.value)
    except KvmError:
        return 0
