"""The machine's own part of a kcore dump (the "cpu" segment): what it says of memory and MMU.

Sources: sys/arch/*/include/kcore.h of MirBSD, NetBSD and OpenBSD; sparc: cpu_kcore_hdr_t as written by pmap_dumpmmu().
A new machine is a function here and a line in PARSERS.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pykvm.errors import FormatError

SUN4, SUN4C, SUN4M = 0, 1, 2
SEGMENTS = 512  # 8 regions of 64 segments, from KERNBASE up
_FIXED = struct.Struct(">5I")
_SEGMAP = struct.Struct(">IHBx")
_RAM = struct.Struct(">QQ")


@dataclass(frozen=True)
class SparcCpu:
    """cputype, the start and size of each memory segment, the segment map as (sg_pte, sg_pmeg, sg_npte), PTEs of all
    PMEGs."""

    cputype: int
    memory: array[int]
    segmap: tuple[tuple[int, int, int], ...]
    npmeg: int
    ptes: array[int]


@dataclass(frozen=True)
class Tables:
    """The first word of the page tables (amd64: the physical address of the PML4; NetBSD/i386: that of the directory,
    and with PAE the bit PDP_PAE), and memory: the start and size of each segment."""

    root: int
    memory: array[int]


@dataclass(frozen=True)
class NetbsdArm:
    """NetBSD/aarch64: TCR_EL1, TTBR1_EL1, memory."""

    tcr: int
    ttbr: int
    memory: array[int]


@dataclass(frozen=True)
class OpenbsdStatic:
    """OpenBSD on arm64 and riscv64: `size` bytes from virtual `base` on are at the physical address `offset`; that of
    the kernel's table for 39 bits; memory."""

    base: int
    offset: int
    size: int
    table: int
    memory: array[int]


PDP_PAE = 0x200  # in the first word of NetBSD/i386
PAGE = 4096
_PAIR, _WORDS = struct.Struct("<QQ"), struct.Struct("<2I")
_STATIC = struct.Struct("<16Q")  # five words and eleven that are reserved
STATIC_SEGMENTS = 8


def amd64(path: str, cpu: bytes) -> Tables:
    """NetBSD's and OpenBSD's: two words, and as many segments as the second says."""
    if len(cpu) < _PAIR.size:
        raise FormatError(f"{path}: cpu_kcore_hdr: only {len(cpu)} of {_PAIR.size} bytes are there")
    root, count = _PAIR.unpack_from(cpu)
    return Tables(root, _segments(path, cpu, _PAIR.size, count))


def i386(path: str, cpu: bytes) -> Tables | None:
    """NetBSD's; None of MirBSD and OpenBSD, which write no such data (what happens to lie there: on OpenBSD the
    kernel's stack) as their memory lies in the file as it is."""
    if len(cpu) < _WORDS.size:
        return None
    root, count = _WORDS.unpack_from(cpu)
    if not 0 < count <= (len(cpu) - _WORDS.size) // _PAIR.size or root < PAGE or root & (PAGE - 1) & ~PDP_PAE & ~0x7F:
        return None
    memory = _segments(path, cpu, _WORDS.size, count)
    end = -1
    for start, size in zip(memory[::2], memory[1::2], strict=True):
        if start < end or not size or (start | size) % PAGE or start + size > 1 << 40:
            return None
        end = start + size
    return Tables(root, memory)


def aarch64(path: str, cpu: bytes) -> NetbsdArm | OpenbsdStatic:
    """NetBSD's begins with TCR_EL1, OpenBSD's with a kernel address."""
    if len(cpu) < _PAIR.size:
        raise FormatError(f"{path}: cpu_kcore_hdr: only {len(cpu)} of {_PAIR.size} bytes are there")
    tcr, ttbr = _PAIR.unpack_from(cpu)
    if tcr >> 48 == 0xFFFF:
        return static(path, cpu)
    return NetbsdArm(tcr, ttbr, _ended(cpu, _PAIR.size, len(cpu) // _PAIR.size))


def static(path: str, cpu: bytes) -> OpenbsdStatic:
    """OpenBSD's arm64 and riscv64."""
    size = _STATIC.size + STATIC_SEGMENTS * _PAIR.size
    if len(cpu) < size:
        raise FormatError(f"{path}: cpu_kcore_hdr: only {len(cpu)} of {size} bytes are there")
    base, offset, length, table = _STATIC.unpack_from(cpu)[:4]
    return OpenbsdStatic(base, offset, length, table, _ended(cpu, _STATIC.size, STATIC_SEGMENTS))


def _segments(path: str, cpu: bytes, offset: int, count: int) -> array[int]:
    if count > (len(cpu) - offset) // _PAIR.size:
        raise FormatError(f"{path}: nmemsegs: {count} segments do not fit the cpu data of {len(cpu)} bytes")
    return _words(cpu[offset : offset + count * _PAIR.size], "little")


def _words(raw: bytes, byteorder: str) -> array[int]:
    """Words of 64 bits."""
    found = array("Q", raw)
    if byteorder != sys.byteorder:
        found.byteswap()
    return found


def _ended(cpu: bytes, offset: int, most: int) -> array[int]:
    """Segments up to one without a size."""
    found = array("Q")
    for start, size in _PAIR.iter_unpack(cpu[offset : offset + (len(cpu) - offset) // _PAIR.size * _PAIR.size]):
        if not size or len(found) == 2 * most:
            break
        found.extend((start, size))
    return found


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
    memory = _words(part("nmemseg", memsegoffset, nmemseg, _RAM.size), "big")
    segmap = tuple(_SEGMAP.iter_unpack(cpu[_FIXED.size : _FIXED.size + SEGMENTS * _SEGMAP.size]))
    ptes = array("I")
    if cputype != SUN4M:
        per_pmeg = 32 if cputype == SUN4 else 64
        raw = part("npmeg", pmegoffset, npmeg, per_pmeg * 4)
        ptes = array("I", struct.unpack(f">{len(raw) // 4}I", raw))
    return SparcCpu(cputype, memory, segmap, npmeg, ptes)


PARSERS: dict[str, Callable[[str, bytes], Any]] = {
    "i386": i386,
    "sparc": sparc,
    "x86_64": amd64,
    "aarch64": aarch64,
    "riscv64": static,
}
