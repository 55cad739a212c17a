"""m68k: sys/arch/m68k/include/kcore.h: NetBSD's since 1.3, one for all its ports, and the one before, which OpenBSD's
ports kept."""

from __future__ import annotations

import struct
from array import array
from typing import NamedTuple

from pykvm.errors import FormatError
from pykvm.images.kcore_cpu.common import ended, need

MMU_68040, MMU_68060 = -2, -3  # of mmutype: three levels; all others have two
SMALLEST_PAGE, LARGEST_PAGE = 1 << 11, 1 << 15
SUN3X_PAGE = 1 << 13
SEG_HEADER = 8  # bytes of the struct kcore_seg that a dump begins with: places of PMEGs are counted from there
PMEGS, PTES = 256, 16  # of a sun2 and a sun3: the page map, and each group of it

_COMMON = struct.Struct(">16s2I")  # name, page_size, kernbase
_MOTOROLA = struct.Struct(">i16I")
_SUN3X = struct.Struct(">4I")
_SUN3 = struct.Struct(">3I")
_OPENBSD = struct.Struct(">2Ii")
MOTOROLA_RAM, SUN3X_RAM = 8, 4
SEGMAP = {b"sun2": 512, b"sun3": 256}  # bytes


class Step(NamedTuple):
    """A level of page tables: the index in an address, and what an entry is valid by and has its address in."""

    shift: int
    bits: int
    valid: int
    frame: int


# What OpenBSD's ports with pages of 4 KB are built with (pte_motorola.h); its header does not tell.
_STEPS = {
    2: (Step(22, 10, 2, 0xFFFFF000), Step(12, 10, 1, 0xFFFFF000)),
    3: (Step(25, 7, 2, 0xFFFFFE00), Step(18, 7, 2, 0xFFFFFF00), Step(12, 6, 1, 0xFFFFF000)),
}


class Motorola(NamedTuple):
    """The pmap of most ports. The virtual addresses from linear[0] up to linear[1] are at the physical linear[2];
    `root` is the physical address of the first table (OpenBSD: 0 if there is none yet)."""

    linear: tuple[int, int, int]
    root: int
    steps: tuple[Step, ...]
    memory: array[int]


class Sun3(NamedTuple):
    """A sun2 or sun3: its segment map from `base` on gives PMEGs, their PTEs are in `ptes`. Memory lies in the file as
    it is."""

    page_size: int
    base: int
    segshift: int
    frame: int
    valid: int
    segmap: bytes
    ptes: array[int]
    memory: None = None


class Sun3x(NamedTuple):
    """Kernel addresses from `base` up to `contig_end` are memory from 0 on; the table of PTEs of all others begins at
    the kernel address `table`, within these."""

    page_size: int
    base: int
    contig_end: int
    table: int
    frame: int
    valid: int
    memory: array[int]


def m68k(path: str, cpu: bytes, byteorder: str) -> Motorola | Sun3 | Sun3x:
    """NetBSD's begins with the name of the port, the other one with an address."""
    name = cpu[:16].partition(b"\0")[0]
    if not (name.isalnum() and name.isascii()):
        return _openbsd(path, cpu)
    need(path, cpu, _COMMON.size)
    _, page_size, base = _COMMON.unpack_from(cpu)
    if page_size & (page_size - 1) or not SMALLEST_PAGE <= page_size <= LARGEST_PAGE:
        raise FormatError(f"{path}: cpu_kcore_hdr: page_size is {page_size}")
    if name in SEGMAP:
        return _sun3(path, cpu, page_size, base, SEGMAP[name])
    if name == b"sun3x":
        return _sun3x(path, cpu, page_size, base)
    return _motorola(path, cpu, page_size, base)


def _motorola(path: str, cpu: bytes, page_size: int, base: int) -> Motorola:
    need(path, cpu, _COMMON.size + _MOTOROLA.size)
    mmutype, sg_v, frame, ishift, pmask, *three, pg_v, pg_frame, root, reloc, relocend = _MOTOROLA.unpack_from(
        cpu, _COMMON.size
    )
    shift = page_size.bit_length() - 1
    shifts: tuple[int, ...]
    frames: tuple[int, ...]
    if mmutype in (MMU_68040, MMU_68060):
        shift1, mask2, shift2, mask3, shift3, addr1, addr2 = three
        sound = shift == shift3 < shift2 < shift1 < 32
        sound = sound and (mask2, mask3) == ((1 << shift1) - (1 << shift2), (1 << shift2) - (1 << shift3))
        what = f"sg40_shift1 {shift1}, sg40_mask2 {mask2:#x} and {shift2}, sg40_mask3 {mask3:#x} and {shift3}"
        shifts, frames = (32, shift1, shift2, shift3), (addr1, addr2, pg_frame)
    else:
        sound = shift < ishift < 32 and pmask == (1 << ishift) - page_size
        what = f"sg_ishift {ishift}, sg_pmask {pmask:#x}"
        shifts, frames = (32, ishift, shift), (frame, pg_frame)
    if not sound or not sg_v or not pg_v:
        raise FormatError(
            f"{path}: cpu_kcore_hdr: {what}, sg_v {sg_v:#x}, pg_v {pg_v:#x} make no sense with pages of {page_size}"
            " bytes"
        )
    last = len(frames) - 1
    steps = [
        Step(shifts[i + 1], shifts[i] - shifts[i + 1], pg_v if i == last else sg_v, mask)
        for i, mask in enumerate(frames)
    ]
    memory = ended(cpu, _COMMON.size + _MOTOROLA.size, MOTOROLA_RAM, "big")
    return Motorola((base, relocend, reloc), root, tuple(steps), memory)


def _sun3(path: str, cpu: bytes, page_size: int, base: int, size: int) -> Sun3:
    need(path, cpu, _COMMON.size + _SUN3.size + size)
    segshift, frame, valid = _SUN3.unpack_from(cpu, _COMMON.size)
    if 1 << segshift % 32 != page_size * PTES or segshift > 31:
        raise FormatError(f"{path}: cpu_kcore_hdr: segshift is {segshift}, with pages of {page_size} bytes")
    at = _COMMON.size + _SUN3.size
    segmap = cpu[at : at + size]
    start = page_size - SEG_HEADER  # the header fills a page of the dump
    groups = cpu[start : start + PMEGS * PTES * 4]
    if len(groups) != PMEGS * PTES * 4:
        raise FormatError(f"{path}: cpu data: {PMEGS} PMEGs at offset {start} do not fit {len(cpu)} bytes")
    return Sun3(page_size, base, segshift, frame, valid, segmap, array("I", struct.unpack(f">{PMEGS * PTES}I", groups)))


def _sun3x(path: str, cpu: bytes, page_size: int, base: int) -> Sun3x:
    need(path, cpu, _COMMON.size + _SUN3X.size)
    frame, valid, contig_end, table = _SUN3X.unpack_from(cpu, _COMMON.size)
    size = (1 << 32) - base
    if page_size != SUN3X_PAGE or size & (size - 1):
        raise FormatError(f"{path}: cpu_kcore_hdr: kernbase {base:#x}, page_size {page_size} make no sense on a sun3x")
    if not base <= table < contig_end or table % 4:
        raise FormatError(
            f"{path}: cpu_kcore_hdr: kernCbase is {table:#x}, which is not from kernbase {base:#x} up to contig_end "
            f"{contig_end:#x}"
        )
    memory = ended(cpu, _COMMON.size + _SUN3X.size, SUN3X_RAM, "big")
    return Sun3x(page_size, base, contig_end, table, frame, valid, memory)


def _openbsd(path: str, cpu: bytes) -> Motorola:
    need(path, cpu, _OPENBSD.size)
    kernel_pa, root, mmutype = _OPENBSD.unpack_from(cpu)
    if root % 512 or not MMU_68060 <= mmutype <= 2:
        raise FormatError(f"{path}: cpu_kcore_hdr: sysseg_pa {root:#x}, mmutype {mmutype} make no sense")
    linear = (0, 0 if root else 1 << 32, kernel_pa)
    steps = _STEPS[3 if mmutype in (MMU_68040, MMU_68060) else 2]
    return Motorola(linear, root, steps, ended(cpu, _OPENBSD.size, MOTOROLA_RAM, "big"))
