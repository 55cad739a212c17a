"""What a FreeBSD kernel said of itself before its dump: the answers of its sysctls, raw."""

from __future__ import annotations

import struct
from pathlib import Path


def records(path: Path) -> dict[str, bytes]:
    """The answers by name: name[64], u64 length, data padded to 8."""
    raw, at, found = path.read_bytes(), 0, {}
    while at + 72 <= len(raw):
        name = raw[at : at + 64].partition(b"\0")[0].decode()
        (size,) = struct.unpack_from("<Q", raw, at + 64)
        found.setdefault(name, raw[at + 72 : at + 72 + size])
        at += 72 + -(-size // 8) * 8
    return found
