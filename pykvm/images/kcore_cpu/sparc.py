"""MirBSD's and OpenBSD's sparc: cpu_kcore_hdr_t as pmap_dumpmmu() writes it."""

from __future__ import annotations

import struct
from array import array
from typing import NamedTuple

from pykvm.errors import FormatError
from pykvm.images.kcore_cpu.common import words

SUN4, SUN4C, SUN4M = 0, 1, 2
SEGMENTS = 512  # 8 regions of 64 segments, from KERNBASE up
_FIXED = struct.Struct(">5I")
_SEGMAP = struct.Struct(">IHBx")
_RAM = struct.Struct(">QQ")


class SparcCpu(NamedTuple):
    """cputype, the start and size of each memory segment, the segment map as (sg_pte, sg_pmeg, sg_npte), PTEs of all
    PMEGs."""

    cputype: int
    memory: array[int]
    segmap: tuple[tuple[int, int, int], ...]
    npmeg: int
    ptes: array[int]


def sparc(path: str, cpu: bytes) -> SparcCpu:
    """Read MirBSD/sparc's cpu_kcore_hdr_t (big-endian); FormatError names the field that is wrong."""

    def part(name: str, offset: int, count: int, size: int) -> bytes:
        if offset > len(cpu) or count * size > len(cpu) - offset:
            raise FormatError(
                f"{path}: {name}: {count} entries at offset {offset} do not fit the cpu header of {len(cpu)} bytes"
            )
        return cpu[offset : offset + count * size]

    part("cpu_kcore_hdr", 0, 1, _FIXED.size + SEGMENTS * _SEGMAP.size)
    cputype, nmemseg, memsegoffset, npmeg, pmegoffset = _FIXED.unpack_from(cpu)
    if cputype not in (SUN4, SUN4C, SUN4M):
        raise FormatError(f"Unsupported CPU type {cputype} in {path}")
    memory = words(part("nmemseg", memsegoffset, nmemseg, _RAM.size), "big")
    segmap = tuple(_SEGMAP.iter_unpack(cpu[_FIXED.size : _FIXED.size + SEGMENTS * _SEGMAP.size]))
    ptes = array("I")
    if cputype != SUN4M:
        per_pmeg = 32 if cputype == SUN4 else 64
        raw = part("npmeg", pmegoffset, npmeg, per_pmeg * 4)
        ptes = array("I", struct.unpack(f">{len(raw) // 4}I", raw))
    return SparcCpu(cputype, memory, segmap, npmeg, ptes)
