"""LiME, the format of memory acquired on a running Linux (or Android) machine.

Source: the LiME project's description of its "lime" format: each range of memory follows a header of 32 bytes in
the machine's byte order (always little-endian so far): magic, version 1, first and last physical address, 8 zeros.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from pykvm.errors import FormatError
from pykvm.images.base import Image
from pykvm.images.held import Extent, Extents
from pykvm.images.hostfile import HostFile

MAGIC = 0x4C694D45
HEADER = struct.Struct("<IIQQQ")
VERSION = 1
MAX_RANGES = 1 << 16


def probe(files: Sequence[HostFile]) -> Image | None:
    """A LiME file; None without its magic."""
    if len(files) != 1 or files[0].pread(0, 4) != MAGIC.to_bytes(4, "little"):
        return None
    file = files[0]
    found: list[Extent] = []
    at = declared = 0
    while at < file.size:
        magic, version, first, last, _ = HEADER.unpack(file.exactly(at, HEADER.size, f"LiME header at {at}"))
        if magic != MAGIC or version != VERSION:
            raise FormatError(f"{file.path}: LiME header at {at}: magic {magic:#x}, version {version}")
        if last < first or last - first >= 1 << 62:
            raise FormatError(f"{file.path}: LiME header at {at}: range {first:#x} to {last:#x} makes no sense")
        if len(found) == MAX_RANGES:
            raise FormatError(f"{file.path}: more than {MAX_RANGES} ranges")
        size = last - first + 1
        at += HEADER.size
        found.append(Extent(first, size, at))
        declared += size
        at += size
    return Image("lime", files, Extents(found), byteorder="little", declared=declared)
