"""OpenBSD/sh (landisk): sys/arch/sh/include/kcore.h."""

from __future__ import annotations

import struct

from pykvm.errors import FormatError
from pykvm.images.kcore_cpu.common import RAM, Tables, counted, need

_HEADER = struct.Struct("<2I")
SEGMENTS = 8  # NPHYS_RAM_SEGS


def sh(path: str, cpu: bytes, byteorder: str) -> Tables:
    """The physical address of the kernel's first table, the number of segments, room for eight of them."""
    need(path, cpu, _HEADER.size + SEGMENTS * RAM["little"].size)
    table, count = _HEADER.unpack_from(cpu)
    if not 0 < count <= SEGMENTS:
        raise FormatError(f"{path}: cpu_kcore_hdr: kcore_nsegs is {count}, must be 1 to {SEGMENTS}")
    return Tables(table, counted(path, cpu, _HEADER.size, count))
