"""sparc64: sys/arch/sparc64/include/kcore.h, as pmap_dumpmmu() writes it: NetBSD's of 2000, which OpenBSD has still,
NetBSD's with all locked mappings since 2007, and with those of each CPU later."""

from __future__ import annotations

import struct
from array import array
from typing import NamedTuple

from pykvm.errors import FormatError
from pykvm.images.kcore_cpu.common import counted, need, part

SUN4U, SUN4US, SUN4V = 3, 4, 5  # cputype; OpenBSD's is SUN4U on all, as NetBSD's was
PAGE = 8192
LARGE = 4 << 20  # of a locked mapping
MAX_LOCKED = 64  # a TLB has no more entries
NEWMAGIC = 0x3AFEC01E  # the header goes on behind it
BEFORE_CPUINFO = 32 << 10  # bytes of the mapping of each CPU: its interrupt stack
TOP, MAX_PHYSICAL = 1 << 64, 1 << 56
HOLE = 1 << 43  # above the kernel's addresses

_OLD = struct.Struct(">2iQi4x9Q")
_LOCKED = struct.Struct(">3Q")  # newmagic, num4mbsegs, off4mbsegs
_PER_CPU = struct.Struct(">4Q")  # numcpuinfos, percpusz, thiscpu, cpusp
_SEGMENT = struct.Struct(">2Q")


class Mapping(NamedTuple):
    """`size` bytes of memory from `pa` on that the kernel has at `va`, and in no table."""

    va: int
    pa: int
    size: int


class Sparc64Cpu(NamedTuple):
    """cputype; the physical address of the kernel's first table; the first address that is the kernel's; what its TLB
    holds all the time, of which the first counts where several have an address; memory."""

    cputype: int
    table: int
    kernbase: int
    locked: tuple[Mapping, ...]
    memory: array[int]


def sparc64(path: str, cpu: bytes, byteorder: str) -> Sparc64Cpu:
    """FormatError names the field that makes no sense."""
    need(path, cpu, _OLD.size)
    cputype, nmemseg, memsegoffset, _, table, kernbase, cpubase, *ranges = _OLD.unpack_from(cpu)
    for name, value, good in (
        ("cputype", cputype, cputype in (SUN4U, SUN4US, SUN4V)),
        ("nmemseg", nmemseg, nmemseg > 0),
        ("memsegoffset", memsegoffset, _OLD.size <= memsegoffset <= len(cpu)),
        ("segmapoffset", table, 0 < table < MAX_PHYSICAL and table % PAGE == 0),
        ("kernbase", kernbase, 0 < kernbase < HOLE and kernbase % PAGE == 0),
    ):
        if not good:
            raise FormatError(f"{path}: cpu_kcore_hdr: {name} is {value:#x}, which makes no sense")
    memory = counted(path, cpu, memsegoffset, nmemseg, byteorder)
    if memsegoffset >= _OLD.size + _LOCKED.size and _LOCKED.unpack_from(cpu, _OLD.size)[0] == NEWMAGIC:
        locked = _newer(path, cpu, memsegoffset, cpubase)
    else:
        text, data = Mapping(*ranges[:3]), Mapping(*ranges[3:])
        locked = [_sound(path, "ktextbase", text), _sound(path, "kdatabase", data)]
    return Sparc64Cpu(cputype, table, kernbase, tuple(m for m in locked if m.size), memory)


def _newer(path: str, cpu: bytes, memsegoffset: int, cpubase: int) -> list[Mapping]:
    _, count, offset = _LOCKED.unpack_from(cpu, _OLD.size)
    at = _OLD.size + _LOCKED.size
    if count > MAX_LOCKED or offset < at:
        raise FormatError(
            f"{path}: cpu_kcore_hdr: num4mbsegs is {count}, off4mbsegs {offset}, must be up to {MAX_LOCKED}, from {at}"
        )
    pairs = _SEGMENT.iter_unpack(part(path, cpu, "num4mbsegs", offset, count, _SEGMENT.size))
    found = [_sound(path, f"4 MB segment {i}", Mapping(va, pa, LARGE)) for i, (va, pa) in enumerate(pairs)]
    if min(offset, memsegoffset) < at + _PER_CPU.size:  # of 2007: nothing of CPUs
        return found
    cpus, size, this, first = _PER_CPU.unpack_from(cpu, at)
    if cpus:
        if this >= cpus or cpubase < BEFORE_CPUINFO:
            raise FormatError(
                f"{path}: cpu_kcore_hdr: thiscpu is {this}, numcpuinfos {cpus}, cpubase {cpubase:#x}, which make no "
                "sense"
            )
        found.append(_sound(path, "cpusp", Mapping(cpubase - BEFORE_CPUINFO, first + this * size, size)))
    return found


def _sound(path: str, name: str, mapping: Mapping) -> Mapping:
    va, pa, size = mapping
    if va + size > TOP or pa + size > MAX_PHYSICAL:
        raise FormatError(
            f"{path}: cpu_kcore_hdr: {name}: {size:#x} bytes at {va:#x}, physical {pa:#x}, which make no sense"
        )
    return mapping
