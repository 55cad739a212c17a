"""vax: sys/arch/vax/include/kcore.h of OpenBSD (NetBSD's port has none)."""

from __future__ import annotations

import struct
from array import array
from typing import NamedTuple

from pykvm.errors import FormatError
from pykvm.images.kcore_cpu.common import need

SYSTEM, PAGE = 0x80000000, 512
# One segment; compilers have aligned its integers of 64 bits to 4 bytes and to 8.
_FORMS = (struct.Struct("<I2Q"), struct.Struct("<I4x2Q"))


class VaxCpu(NamedTuple):
    """The virtual address of the system page table, which lies linearly in memory; memory."""

    sysmap: int
    memory: array[int]


def vax(path: str, cpu: bytes, byteorder: str) -> VaxCpu:
    """Memory begins at 0, so that what looks like the start of the segment tells of the alignment."""
    need(path, cpu, _FORMS[-1].size)
    sysmap = start = size = 0
    for form in _FORMS:
        sysmap, start, size = form.unpack_from(cpu)
        if not start and 0 < size <= 1 << 30:
            break
    else:
        raise FormatError(f"{path}: cpu_kcore_hdr: ram_segs {start:#x} and {size:#x} make no sense")
    if not SYSTEM <= sysmap < SYSTEM + size or sysmap % 4:
        raise FormatError(f"{path}: cpu_kcore_hdr: sysmap is {sysmap:#x}, which is not in memory of {size:#x} bytes")
    return VaxCpu(sysmap, array("Q", (start, size)))
