"""m68k of NetBSD and OpenBSD: all that their page tables are found by is in the dump's header.

Sources: sys/arch/m68k/include/{kcore.h,pmap_motorola.h,pmap_68k.h}, sys/arch/sun3/include/{pmap3.h,pmap3x.h}.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pykvm.images.base import Image
from pykvm.images.kcore_cpu.m68k import Motorola, Sun3, Sun3x
from pykvm.machines import m68k, mmu
from pykvm.machines.mmu import Level, Root, Translation
from pykvm.symbols.base import Symbols
from pykvm.targets.bsd import machines
from pykvm.targets.bsd.machines import Mmu, Tables
from pykvm.targets.bsd.pmap import Pmap
from pykvm.targets.bsd.pmegs import Pmegs, Segments

SUN2_SEGMENTS = 512  # of a process on a sun2, whose kernel is in a space of its own
MAX_SEGMENTS = 1 << 11  # of a sun3: addresses have 28 bits


def find(image: Image, symbols: Symbols) -> Mmu | None:
    """None of memory without a header."""
    cpu = machines.cpu(image)
    if isinstance(cpu, Motorola):
        start, end, pa = cpu.linear
        linear = (Root(start, end - 1, pa, linear=True),) if start < end else ()
        # pm_lev1pa since the pmap of 2025 (pmap_68k.h).
        pmap = ("pm_stpa", "pm_lev1pa")
        return Tables(m68k.levels(cpu.steps), cpu.root, m68k.VA_MASK, "big", linear, pmap)
    if isinstance(cpu, Sun3x):
        return _Sun3x(cpu)
    return _sun3(cpu) if isinstance(cpu, Sun3) else None


@dataclass(frozen=True)
class _Sun3x:
    """The kernel's table is flat, and in memory that is mapped linearly; processes have trees."""

    cpu: Sun3x
    byteorder: str = "big"

    @property
    def page_size(self) -> int:
        """The header's."""
        return self.cpu.page_size

    def translation(self) -> Translation:
        """Of the kernel, whose addresses begin with kernbase."""
        cpu = self.cpu
        shift = cpu.page_size.bit_length() - 1
        bits = ((1 << 32) - cpu.base).bit_length() - 1 - shift
        level = Level(shift, bits, 4, (cpu.valid, cpu.valid), 0, cpu.frame)
        linear = Root(cpu.base, cpu.contig_end - 1, 0, linear=True)
        table = Root(cpu.contig_end, m68k.VA_MASK, cpu.table - cpu.base)
        return Translation(mmu.radix([linear, table], [level], self.byteorder), m68k.VA_MASK)

    def user(self, pmap: Pmap) -> Translation:
        """Of a process."""
        return Tables(m68k.SUN3X_LEVELS, 0, m68k.VA_MASK, self.byteorder, pmap=("pm_a_phys",)).user(pmap)


def _sun3(cpu: Sun3) -> Pmegs:
    """Processes' PTEs are in PMEGs, too: those that were taken from them are found by UVM."""
    shape = m68k.pmeg_shape(cpu.base, cpu.page_size.bit_length() - 1, cpu.segshift, cpu.valid, cpu.frame)
    count = min(cpu.base >> cpu.segshift or SUN2_SEGMENTS, MAX_SEGMENTS)

    def users(pmap: Pmap) -> tuple[Segments, Sequence[int]]:
        return _segments(pmap.memory.read(pmap.word("pm_segmap"), count)), cpu.ptes

    return Pmegs(shape, _segments(cpu.segmap), cpu.ptes, users)


def _segments(segmap: bytes) -> Segments:
    return [(pmeg, 1) for pmeg in segmap]
