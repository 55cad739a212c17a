"""arm of 32 bits: sys/arch/arm/include/kcore.h of NetBSD and of OpenBSD, which have nothing in common."""

from __future__ import annotations

import struct
from array import array
from typing import NamedTuple

from pykvm.errors import FormatError
from pykvm.images.kcore_cpu.common import RAM, counted, ended, need

VERSION = 1  # of NetBSD's header; OpenBSD's begins with a kernel address
SEGMENTS = 8  # NPHYS_RAM_SEGS, of OpenBSD
RESERVED = 11  # words


class NetbsdArm(NamedTuple):
    """NetBSD: the physical address of the kernel's first table; memory."""

    table: int
    memory: array[int]


class OpenbsdArm(NamedTuple):
    """OpenBSD: KERNEL_BASE, which is where memory begins; `size` bytes from `offset` on are memory as it is; the
    kernel address of the struct l1_ttable of the kernel's pmap; memory."""

    base: int
    offset: int
    size: int
    l1: int
    memory: array[int]


def arm(path: str, cpu: bytes, byteorder: str) -> NetbsdArm | OpenbsdArm:
    """Whose it is, the first word says."""
    order = "<" if byteorder == "little" else ">"
    need(path, cpu, 4)
    version = int(struct.unpack_from(order + "I", cpu)[0])
    return _netbsd(path, cpu, byteorder, order) if version == VERSION else _openbsd(path, cpu, byteorder, order)


def _netbsd(path: str, cpu: bytes, byteorder: str, order: str) -> NetbsdArm:
    form = struct.Struct(order + "4IHxxII")
    need(path, cpu, form.size)
    # The process's own table (PAUserL1Table, UserL1TableSize) is in its pmap, too; no kernel is known to write it here.
    table, count, offset = (form.unpack_from(cpu)[i] for i in (2, 5, 6))
    if not form.size <= offset <= len(cpu):
        raise FormatError(f"{path}: cpu_kcore_hdr: omemsegs is {offset}, of {len(cpu)} bytes of cpu data")
    return NetbsdArm(table, counted(path, cpu, offset, count, byteorder))


def _openbsd(path: str, cpu: bytes, byteorder: str, order: str) -> OpenbsdArm:
    form = struct.Struct(order + f"{5 + RESERVED}I")
    need(path, cpu, form.size + SEGMENTS * RAM["little"].size)
    base, offset, size, l1 = form.unpack_from(cpu)[:4]
    if base + offset + size > 1 << 32:
        raise FormatError(
            f"{path}: cpu_kcore_hdr: kernelbase {base:#x}, kerneloffs {offset:#x}, staticsize {size:#x} are no range"
        )
    return OpenbsdArm(base, offset, size, l1, ended(cpu, form.size, SEGMENTS, byteorder))
