"""NetBSD/mips: sys/arch/mips/include/kcore.h, and what mips_machdep.c's cpu_dump() writes, in either byte order."""

from __future__ import annotations

import struct
from array import array
from typing import NamedTuple

from pykvm.errors import FormatError
from pykvm.images.kcore_cpu.common import counted, need

R3K, R4K = 1, 3  # archlevel: which kind of TLB
MAX_SHIFT = 12  # of a page frame in an entry
MAX_ADDRESS = 1 << 48  # of a table


class MipsCpu(NamedTuple):
    """NetBSD/mips: where the kernel's table is (`size` entries of one array; 0: a segment table), the form of its
    entries: `shift` and mask of the page frame, valid bit; memory."""

    table: int
    size: int
    level: int
    shift: int
    frame: int
    valid: int
    memory: array[int]


def mips(path: str, cpu: bytes, byteorder: str) -> MipsCpu:
    """FormatError names the field that makes no sense."""
    form = struct.Struct(("<" if byteorder == "little" else ">") + "Q6I")
    need(path, cpu, form.size)
    table, size, level, shift, frame, valid, count = form.unpack_from(cpu)
    for name, value, good in (
        ("sysmappa", table, 0 < table < MAX_ADDRESS and table % 4 == 0),
        ("archlevel", level, level in (R3K, R4K)),
        ("pg_shift", shift, shift <= MAX_SHIFT),
        ("pg_frame", frame, frame != 0),
        ("pg_v", valid, valid != 0),
    ):
        if not good:
            raise FormatError(f"{path}: cpu_kcore_hdr: {name} is {value:#x}, which makes no sense")
    return MipsCpu(table, size, level, shift, frame, valid, counted(path, cpu, form.size, count, byteorder))
