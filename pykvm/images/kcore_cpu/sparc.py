"""sparc: cpu_kcore_hdr_t as pmap_dumpmmu() writes it (sys/arch/sparc/include/kcore.h): MirBSD's and OpenBSD's with the
segment map within it, NetBSD's since 1.3 with it behind."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable
from typing import NamedTuple

from pykvm.errors import FormatError
from pykvm.images.kcore_cpu import common
from pykvm.images.kcore_cpu.common import words

SUN4, SUN4C, SUN4M = 0, 1, 2
REGION = 64  # segments, each of 256 KB
REGION_SHIFT = 24
KERNBASE = 0xF8000000  # of MirBSD and OpenBSD
SEGMENTS = 512  # from there up
LOWEST = 0xC0000000  # that a kernel begins at
_FIXED = struct.Struct(">5I")
_NETBSD = struct.Struct(">8I")
# struct segmap: (sg_pte, sg_pmeg, sg_npte), of newer NetBSDs behind sg_wiremap and before sg_nwired.
_SEGMAP = {8: struct.Struct(">IHBx"), 16: struct.Struct(">8xIHBx")}
_RAM = struct.Struct(">QQ")

Part = Callable[[str, int, int, int], bytes]


class SparcCpu(NamedTuple):
    """cputype, the start and size of each memory segment, the segment map as (sg_pte, sg_pmeg, sg_npte), PTEs of all
    PMEGs; the virtual address that the segment map begins with, and that of the kernel's image; whether sg_npte counts
    PTEs on a sun4m, too."""

    cputype: int
    memory: array[int]
    segmap: tuple[tuple[int, int, int], ...]
    npmeg: int
    ptes: array[int]
    base: int
    kernbase: int
    counted: bool

    @property
    def page_shift(self) -> int:
        """log2 of the size of a page."""
        return 13 if self.cputype == SUN4 else 12


def sparc(path: str, cpu: bytes, byteorder: str) -> SparcCpu:
    """FormatError names the field that is wrong."""

    def part(name: str, offset: int, count: int, size: int) -> bytes:
        return common.part(path, cpu, name, offset, count, size)

    part("cpu_kcore_hdr", 0, 1, _NETBSD.size)
    cputype, kernbase = struct.unpack_from(">2I", cpu)
    if cputype not in (SUN4, SUN4C, SUN4M):
        raise FormatError(f"Unsupported CPU type {cputype} in {path}")
    # NetBSD's second word is an address, the other's a count.
    if kernbase >= LOWEST and not kernbase & ((1 << REGION_SHIFT) - 1):
        return _netbsd(path, cpu, part)
    return _inline(cpu, part)


def _inline(cpu: bytes, part: Part) -> SparcCpu:
    """OpenBSD since 2015 (kcore.h 1.3) has room for more regions of kernel addresses, of which a sun4m uses all."""
    cputype, nmemseg, memsegoffset, npmeg, pmegoffset = _FIXED.unpack_from(cpu)
    entry, count = _SEGMAP[8], SEGMENTS
    room = (min(memsegoffset, len(cpu)) - _FIXED.size) // entry.size
    if room > SEGMENTS and room % REGION == 0:
        count = min(room, (1 << 32) - LOWEST >> REGION_SHIFT << 6)
    part("cpu_kcore_hdr", 0, 1, _FIXED.size + count * entry.size)
    memory = words(part("nmemseg", memsegoffset, nmemseg, _RAM.size), "big")
    segmap = tuple(entry.iter_unpack(cpu[_FIXED.size : _FIXED.size + count * entry.size]))
    base = (1 << 32) - (count // REGION << REGION_SHIFT) if cputype == SUN4M else KERNBASE
    ptes = _pmegs(cputype, npmeg, pmegoffset, part)
    return SparcCpu(cputype, memory, segmap, npmeg, ptes, base, KERNBASE, True)


def _netbsd(path: str, cpu: bytes, part: Part) -> SparcCpu:
    cputype, kernbase, nmemseg, memsegoffset, nsegmap, segmapoffset, npmeg, pmegoffset = _NETBSD.unpack_from(cpu)
    memory = words(part("nmemseg", memsegoffset, nmemseg, _RAM.size), "big")
    if nsegmap != ((1 << 32) - kernbase >> REGION_SHIFT) * REGION:
        raise FormatError(f"{path}: nsegmap: {nsegmap} segments do not go with a kernbase of {kernbase:#x}")
    # PMEGs follow the map; where there are none the end of their place is kept, too.
    size = (pmegoffset - segmapoffset) // nsegmap
    if size not in _SEGMAP:
        raise FormatError(
            f"{path}: pmegoffset: {pmegoffset}, which makes {size} bytes of each of the {nsegmap} segments at "
            f"{segmapoffset}, must be 8 or 16"
        )
    segmap = tuple(_SEGMAP[size].iter_unpack(part("nsegmap", segmapoffset, nsegmap, size)))
    ptes = _pmegs(cputype, npmeg, pmegoffset, part)
    return SparcCpu(cputype, memory, segmap, npmeg, ptes, kernbase, kernbase, size == 8)


def _pmegs(cputype: int, npmeg: int, pmegoffset: int, part: Part) -> array[int]:
    if cputype == SUN4M:
        return array("I")
    per_pmeg = 32 if cputype == SUN4 else 64
    raw = part("npmeg", pmegoffset, npmeg, per_pmeg * 4)
    return array("I", struct.unpack(f">{len(raw) // 4}I", raw))
