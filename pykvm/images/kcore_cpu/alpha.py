"""alpha: sys/arch/alpha/include/kcore.h of NetBSD and OpenBSD, which are the same, also their oldest."""

from __future__ import annotations

import struct

from pykvm.errors import FormatError
from pykvm.images.kcore_cpu.common import RAM, Tables, counted, need

PAGE = 8192  # of all machines that were made, though the architecture allows for more
MAX_ADDRESS = 1 << 48
_HEADER = struct.Struct("<3Q")  # lev1map_pa, page_size, nmemsegs


def alpha(path: str, cpu: bytes, byteorder: str) -> Tables:
    """Up to 1997 the header ended with the only segment that memory had: where newer ones have the number of segments
    is the address of a page, and that is above 0, where the console's memory is."""
    need(path, cpu, _HEADER.size)
    table, page_size, count = _HEADER.unpack_from(cpu)
    if page_size != PAGE:
        raise FormatError(f"{path}: cpu_kcore_hdr: page_size is {page_size}, must be {PAGE}")
    if not 0 < table < MAX_ADDRESS or table % PAGE:
        raise FormatError(f"{path}: cpu_kcore_hdr: lev1map_pa is {table:#x}, which makes no sense")
    if not count:
        raise FormatError(f"{path}: cpu_kcore_hdr: nmemsegs is 0")
    if count % PAGE == 0:
        offset = _HEADER.size - 8
        need(path, cpu, offset + RAM[byteorder].size)
        return Tables(table, counted(path, cpu, offset, 1, byteorder))
    return Tables(table, counted(path, cpu, _HEADER.size, count, byteorder))
