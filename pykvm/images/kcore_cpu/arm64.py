"""arm64 and riscv64: sys/arch/aarch64/include/kcore.h of NetBSD, sys/arch/arm64 and riscv64 of OpenBSD."""

from __future__ import annotations

import struct
from array import array
from typing import NamedTuple

from pykvm.images.kcore_cpu.common import RAM, ended, need

_PAIR = struct.Struct("<QQ")
_STATIC = struct.Struct("<16Q")  # five words and eleven that are reserved
STATIC_SEGMENTS = 8


class NetbsdArm(NamedTuple):
    """NetBSD/aarch64: TCR_EL1, TTBR1_EL1, memory."""

    tcr: int
    ttbr: int
    memory: array[int]


class OpenbsdStatic(NamedTuple):
    """OpenBSD on arm64 and riscv64: `size` bytes from virtual `base` on are at the physical address `offset`; that of
    the kernel's table for 39 bits; memory."""

    base: int
    offset: int
    size: int
    table: int
    memory: array[int]


def aarch64(path: str, cpu: bytes, byteorder: str) -> NetbsdArm | OpenbsdStatic:
    """NetBSD's begins with TCR_EL1, OpenBSD's with a kernel address."""
    need(path, cpu, _PAIR.size)
    tcr, ttbr = _PAIR.unpack_from(cpu)
    if tcr >> 48 == 0xFFFF:
        return static(path, cpu, byteorder)
    return NetbsdArm(tcr, ttbr, ended(cpu, _PAIR.size, len(cpu) // _PAIR.size))


def static(path: str, cpu: bytes, byteorder: str) -> OpenbsdStatic:
    """OpenBSD's arm64 and riscv64."""
    size = _STATIC.size + STATIC_SEGMENTS * RAM["little"].size
    need(path, cpu, size)
    base, offset, length, table = _STATIC.unpack_from(cpu)[:4]
    return OpenbsdStatic(base, offset, length, table, ended(cpu, _STATIC.size, STATIC_SEGMENTS))
