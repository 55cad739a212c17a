"""A kdump-compressed dump's pages packed with another codec: the bytes makedumpfile(8) would write with -l or -p.

Debian's makedumpfile has no snappy. The codecs are the same C libraries that it links, called the same way, a page
at a time. Source of the format: makedumpfile's diskdump_mod.h.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import struct
from collections.abc import Callable
from pathlib import Path

import pykvm

Pack = Callable[[bytes], bytes]
DESC = struct.Struct("<qIIQ")
LZO, SNAPPY = 2, 4
LZO_WORK = 8 * 16384


def _load(name: str, soname: str) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(ctypes.util.find_library(name) or soname)
    except OSError as e:
        raise FileNotFoundError(f"no {soname}: {e}") from None


def lzo() -> Pack:
    """LZO1X-1, which makedumpfile -l uses."""
    lib = _load("lzo2", "liblzo2.so.2")
    work, out = ctypes.create_string_buffer(LZO_WORK), ctypes.create_string_buffer(1 << 17)

    def pack(page: bytes) -> bytes:
        size = ctypes.c_size_t(len(out))
        if lib.lzo1x_1_compress(page, ctypes.c_size_t(len(page)), out, ctypes.byref(size), work):
            raise ValueError("LZO failed")
        return out.raw[: size.value]

    return pack


def snappy() -> Pack:
    """Snappy, which makedumpfile -p uses."""
    lib = _load("snappy", "libsnappy.so.1")
    out = ctypes.create_string_buffer(1 << 17)

    def pack(page: bytes) -> bytes:
        size = ctypes.c_size_t(len(out))
        if lib.snappy_compress(page, ctypes.c_size_t(len(page)), out, ctypes.byref(size)):
            raise ValueError("snappy failed")
        return out.raw[: size.value]

    return pack


CODECS: dict[str, tuple[int, Callable[[], Pack]]] = {"LZO": (LZO, lzo), "snappy": (SNAPPY, snappy)}


def repack(source: Path, target: Path, codec: str) -> None:
    """Write `target`: the whole pages of `source` (64-bit, little-endian, one file) packed with LZO or snappy."""
    flag, make = CODECS[codec]
    pack = make()
    with open(source, "rb") as f:
        head = f.read(464)
        block, sub, bitmap_blocks, pages = struct.unpack_from("<iiII", head, 428)
        start = (1 + sub + bitmap_blocks) * block
        f.seek(0)
        front = f.read(start)
    dumped = front[start - bitmap_blocks * block // 2 : start]
    pfns = [pfn for pfn in range(pages) if dumped[pfn >> 3] >> (pfn & 7) & 1]
    at = start + DESC.size * len(pfns)
    shared: dict[bytes, bytes] = {}
    with pykvm.Kvm(source) as kd, open(target, "wb") as out:
        out.write(front + bytes(at - start))
        descriptors = bytearray()
        for pfn in pfns:
            page = kd.read_phys(pfn * block, block)
            zero = not any(page)
            if zero and page in shared:  # all pages of zeros share one, as makedumpfile writes them
                descriptors += shared[page]
                continue
            packed = pack(page)
            flags = flag
            if len(packed) >= block:
                packed, flags = page, 0
            descriptor = DESC.pack(at, len(packed), flags, 0)
            if zero:
                shared[page] = descriptor
            descriptors += descriptor
            out.write(packed)
            at += len(packed)
        out.seek(start)
        out.write(descriptors)
