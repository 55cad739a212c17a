"""sparc of NetBSD and OpenBSD: the header has the segment map of the kernel, and PTEs of a sun4 and sun4c.

Sources: sys/arch/sparc/include/{kcore.h,pmap.h} of both.
"""

from __future__ import annotations

import contextlib
import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from pykvm.errors import FormatError, KvmError
from pykvm.images.base import Image
from pykvm.images.kcore_cpu.sparc import REGION, REGION_SHIFT, SUN4M, SparcCpu
from pykvm.machines import mmu, sparc
from pykvm.machines.mmu import Root, Translation
from pykvm.symbols.base import Symbols
from pykvm.targets.bsd import machines
from pykvm.targets.bsd.machines import Mmu
from pykvm.targets.bsd.pmap import Pmap
from pykvm.targets.bsd.pmegs import Pmegs, Segments
from pykvm.types.layout import Struct

MAX_ENTRY = 64  # bytes of a struct regmap or segmap
SEGMENT = 1 << sparc.SEG_SHIFT
_TABLE = struct.Struct(">64I")


def find(image: Image, symbols: Symbols) -> Mmu | None:
    """None of memory without a header."""
    cpu = machines.cpu(image)
    if not isinstance(cpu, SparcCpu):
        return None
    if cpu.cputype == SUN4M:
        return _Sun4m(cpu, _loaded(image, cpu))
    shape = sparc.pmeg_shape(cpu.base, cpu.page_shift)

    def users(pmap: Pmap) -> tuple[Segments, Sequence[int]]:
        return _software(pmap, cpu.kernbase >> REGION_SHIFT, shape.ptes_per_pmeg)

    return Pmegs(shape, [(pmeg, npte) for _, pmeg, npte in cpu.segmap], cpu.ptes, users)


@dataclass(frozen=True)
class _Sun4m:
    """The kernel's tables by its segment map; `loaded` is the physical address of its image, which they are in."""

    cpu: SparcCpu
    loaded: int
    byteorder: str = "big"
    page_size: int = 1 << 12

    def translation(self) -> Translation:
        """Of the kernel: what libkvm reads. Its PTEs are not counted by newer NetBSDs."""
        cpu, roots = self.cpu, []
        for i, (pte, _, npte) in enumerate(cpu.segmap):
            if pte and (npte or not cpu.counted):
                start = cpu.base + i * SEGMENT
                roots.append(Root(start, start + SEGMENT - 1, _table(cpu, pte, self.loaded)))
        walker = mmu.radix(roots, sparc.SUN4M_LEVELS, self.byteorder)
        return Translation(walker, sparc.VA_MASK, "cannot read pte for {:x}")

    def user(self, pmap: Pmap) -> Translation:
        """Of a process: the whole tree. Kernels for several CPUs have one for each, which differ in the kernel's part
        only, and an array of where they are."""
        table = pmap.word("pm_reg_ptps_pa")
        if pmap.pointed("pm_reg_ptps_pa"):
            table = pmap.memory.read_u32(table)
        root = Root(0, sparc.VA_MASK, table)
        return Translation(mmu.radix([root], sparc.SRMMU_LEVELS, self.byteorder), sparc.VA_MASK)


def _table(cpu: SparcCpu, pte: int, loaded: int) -> int:
    """The physical address of a segment's table. sg_pte is a kernel address in the part that is mapped linearly."""
    return (pte - cpu.kernbase + loaded) & 0xFFFFFFFF


def _loaded(image: Image, cpu: SparcCpu) -> int:
    """Where the kernel's image begins in memory: at 0, or where another bank begins if there is none at 0 (va2pa_offset
    in pmap.c): there its own table says so."""
    pte = cpu.segmap[(cpu.kernbase - cpu.base) // SEGMENT][0]
    for start in sorted({0, *cpu.memory[::2]}):
        with contextlib.suppress(KvmError):
            entries = _TABLE.unpack(image.read(_table(cpu, pte, start), _TABLE.size))
            for i, entry in enumerate(entries):
                if entry & 3 == 2 and (entry & 0xFFFFFF00) << 4 == start + (i << 12):
                    return start
    return 0


def _software(pmap: Pmap, regions: int, per_pmeg: int) -> tuple[Segments, array[int]]:
    """A process's PTEs on a sun4 and sun4c: of each that is in memory the kernel has a copy, by regions and segments,
    whether it is in the MMU or not."""
    ptes, groups = array("I"), [0]
    found = [(0, 0)] * (regions * REGION)
    for i, at in enumerate(_pointers(pmap, pmap.word("pm_regmap"), regions, "regmap", "rg_segmap")):
        if not at:
            continue
        for j, group in enumerate(_pointers(pmap, at, REGION, "segmap", "sg_pte")):
            if group:
                found[i * REGION + j] = (len(groups) - 1, 1)
                groups.append(group)
                ptes.extend(struct.unpack(f">{per_pmeg}I", pmap.memory.read(group, 4 * per_pmeg)))
    ptes.extend([0] * per_pmeg)  # the last PMEG is none
    return found, ptes


def _pointers(pmap: Pmap, at: int, count: int, kind: str, member: str) -> list[int]:
    """A member of each structure of an array."""
    layout: Struct = pmap.types.struct(kind)
    where = layout.offset(member)
    if not 4 <= layout.size <= MAX_ENTRY or not 0 <= where <= layout.size - 4:
        raise FormatError(f"struct {kind} is of {layout.size} bytes, with {member} at {where}, which is no {kind}")
    raw = pmap.memory.read(at, count * layout.size)
    return [int.from_bytes(raw[i + where : i + where + 4], "big") for i in range(0, len(raw), layout.size)]
