"""vax of OpenBSD: the system page table is where the header says, those of processes are in system space.

Sources: sys/arch/vax/include/{kcore.h,pmap.h,pte.h}, sys/arch/vax/vax/pmap.c.
"""

from __future__ import annotations

from dataclasses import dataclass

from pykvm.errors import FormatError, KvmError
from pykvm.images.base import Image
from pykvm.images.kcore_cpu.vax import VaxCpu
from pykvm.machines import mmu, vax
from pykvm.machines.mmu import Root, Translation
from pykvm.symbols.base import Symbols
from pykvm.targets.bsd import machines
from pykvm.targets.bsd.machines import Mmu
from pykvm.targets.bsd.pmap import Pmap

PAGE_SIZE = 4096  # of the kernel, eight of the machine's
HALF = 0x40000000  # where a process's P1 begins
MAX_SYSTEM = vax.SYSTEM_END - vax.SYSTEM >> vax.PAGE_SHIFT  # entries of the system page table
LENGTH = 0x3FFFFF  # of a length register: above are other flags
# Of each half: members of struct pmap, and where it is.
BASES, LENGTHS = ("pm_p0br", "pm_p1br"), ("pm_p0lr", "pm_p1lr")


def find(image: Image, symbols: Symbols) -> Mmu | None:
    """None of memory without a header."""
    cpu = machines.cpu(image)
    if not isinstance(cpu, VaxCpu):
        return None
    return _Vax(cpu.sysmap - vax.SYSTEM, _entries(image, symbols))


def _entries(image: Image, symbols: Symbols) -> int:
    """Of the system page table: behind it is other memory. The kernel's image lies in memory from 0 on."""
    symbol = symbols.loose("sysptsize")
    try:
        found = 0 if symbol is None else int.from_bytes(image.read(symbol.value & ~vax.SYSTEM, 4), "little")
    except KvmError:
        found = 0
    return found if 0 < found <= MAX_SYSTEM else MAX_SYSTEM


@dataclass(frozen=True)
class _Vax:
    """`sysmap` is the physical address of the system page table."""

    sysmap: int
    entries: int
    byteorder: str = "little"
    page_size: int = PAGE_SIZE

    def translation(self) -> Translation:
        """Of system space."""
        last = vax.SYSTEM + (self.entries << vax.PAGE_SHIFT) - 1
        root = Root(vax.SYSTEM, last, self.sysmap)
        return Translation(mmu.radix([root], vax.LEVELS, self.byteorder), vax.VA_MASK)

    def user(self, pmap: Pmap) -> Translation:
        """Of a process: P0 up to its length, P1 from it on."""
        roots: list[Root] = []
        (p0, p1), (below, above) = ([pmap.word(name) for name in names] for names in (BASES, LENGTHS))
        for name, base in zip(BASES, (p0, p1), strict=True):
            if base % (1 << vax.PAGE_SHIFT):
                raise FormatError(f"struct pmap: {name} is {base:#x}, which is within a page")
        below, above = ((n & LENGTH) << vax.PAGE_SHIFT for n in (below, above))
        roots += self._windows(p0, 0, 0, min(below, HALF))
        roots += self._windows(p1, HALF, min(above, HALF), HALF)
        return Translation(mmu.radix(roots, vax.USER_LEVELS, self.byteorder), vax.VA_MASK)

    def _windows(self, base: int, half: int, first: int, end: int) -> list[Root]:
        """Roots for the addresses from `first` up to `end` of a half, whose table's first entry is at the system
        address `base`: it may be below system space where there is none for the first addresses."""
        found = []
        for start in range(first >> vax.WINDOW << vax.WINDOW, end, 1 << vax.WINDOW):
            entries = base + (start >> vax.PAGE_SHIFT) * 4
            if vax.SYSTEM <= entries < vax.SYSTEM_END:
                table = self.sysmap + (entries - vax.SYSTEM >> vax.PAGE_SHIFT) * 4
                last = min(start + (1 << vax.WINDOW), end) - 1
                found.append(Root(half + max(start, first), half + last, table))
        return found
