"""sh: OpenBSD's (landisk). Source: sys/arch/sh/include/{kcore,pmap,vmparam}.h. (NetBSD's sh3 has no kcore.h.)"""

from __future__ import annotations

from dataclasses import dataclass

from pykvm.images.base import Image
from pykvm.images.kcore_cpu import common
from pykvm.machines import mmu, sh
from pykvm.machines.mmu import Root, Translation
from pykvm.symbols.base import Symbols
from pykvm.targets.bsd import machines
from pykvm.targets.bsd.pmap import Pmap


@dataclass(frozen=True)
class ShTables:
    """table: the physical address of the kernel's first one."""

    table: int
    byteorder: str = "little"
    page_size: int = 4096

    def translation(self) -> Translation:
        """Of the kernel: P1 to P3."""
        table = self.table - 4 * sh.P3_INDEX & (1 << 64) - 1
        roots = (*sh.LINEAR, Root(sh.P3, sh.P3 + sh.SEG_SIZE - 1, table))
        return Translation(mmu.radix(roots, sh.LEVELS, self.byteorder), sh.VA_MASK)

    def user(self, pmap: Pmap) -> Translation:
        """Of a process: all below P1."""
        (table,) = pmap.roots()[:1]
        return Translation(mmu.radix([Root(0, sh.P1 - 1, table)], sh.LEVELS, self.byteorder), sh.VA_MASK)


def find(image: Image, symbols: Symbols) -> ShTables | None:
    """By the header."""
    cpu = machines.cpu(image)
    return ShTables(cpu.root) if isinstance(cpu, common.Tables) else None


def physical(va: int) -> int:
    """Of an address in P1: pm_ptp."""
    return va & sh.PHYS_MASK
