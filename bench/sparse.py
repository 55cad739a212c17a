"""A minidump of a large machine in a small file: the pages of a small amd64 minidump, and holes for all others.

Source of the format: amd64's <machine/minidump.h>, and minidump_machdep.c of FreeBSD 13.
"""

from __future__ import annotations

import random
import struct
from pathlib import Path

from pykvm_fixtures import FreebsdDump

PAGE = 4096
HEADER = struct.Struct("<24s4I3QI")
CLEAR = 64  # about one bit in so many is not set


def grow(dump: FreebsdDump, target: Path, memory: int) -> int:
    """Write a minidump (version 3) of the same kernel with so many bytes of memory, most of it dumped: its pages."""
    with open(dump.core, "rb") as f:
        raw = f.read(PAGE)
        magic, version, ring, bitmap_size, map_size, kernbase, direct, _, avail = HEADER.unpack_from(raw)
        assert version == 3, version
        f.seek(PAGE)
        message = f.read(whole(ring))
        f.seek(whole(avail) + whole(bitmap_size), 1)
        page_map = f.read(whole(map_size))
    bitmap = some(memory // PAGE, dump)
    ranges = struct.pack("<4Q", 0, memory, 0, 0)
    header = HEADER.pack(
        magic, version, ring, len(bitmap), map_size, kernbase, direct, direct + memory, len(ranges.ljust(PAGE, b"\0"))
    )
    with open(target, "wb") as out:
        for part in (header, message, ranges, bitmap, page_map):
            out.write(part.ljust(whole(len(part)), b"\0"))
        start = out.tell()
        before = last = 0
        for pfn, page in sorted(dump.memory.items()):
            # Bits between the last page's byte and this one's; then those of its own byte below it.
            before += int.from_bytes(bitmap[last : pfn // 8], "little").bit_count()
            last = pfn // 8
            within = (bitmap[last] & (1 << pfn % 8) - 1).bit_count()
            out.seek(start + (before + within) * PAGE)
            out.write(page)
        pages = before + int.from_bytes(bitmap[last:], "little").bit_count()
        out.truncate(start + pages * PAGE)
    return pages


def some(count: int, dump: FreebsdDump) -> bytearray:
    """A bitmap with most bits set: those of the dump's pages, and of the others not all."""
    bitmap = bytearray(b"\xff" * (count // 8))
    rng = random.Random(1)
    for _ in range(count // CLEAR):
        pfn = rng.randrange(count)
        if pfn not in dump.memory:
            bitmap[pfn // 8] &= ~(1 << pfn % 8)
    return bitmap


def whole(size: int) -> int:
    """Rounded up to pages."""
    return -(-size // PAGE) * PAGE
