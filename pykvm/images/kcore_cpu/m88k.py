"""m88k: sys/arch/m88k/include/kcore.h of OpenBSD (luna88k, mvme88k, aviion)."""

from __future__ import annotations

import struct
from array import array
from typing import NamedTuple

from pykvm.images.kcore_cpu.common import ended, need

_HEADER = struct.Struct(">i4x")  # cputype
SEGMENTS = 1


class M88kCpu(NamedTuple):
    """Memory: all that the header says."""

    memory: array[int]


def m88k(path: str, cpu: bytes, byteorder: str) -> M88kCpu:
    """All ports' alike."""
    need(path, cpu, _HEADER.size + 16)
    return M88kCpu(ended(cpu, _HEADER.size, SEGMENTS, "big"))
