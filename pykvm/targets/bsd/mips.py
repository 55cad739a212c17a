"""mips, of 32 and 64 bits and of either byte order: NetBSD's.

Sources: sys/arch/mips/include/{kcore,vmparam,mips_param,pmap}.h. OpenBSD's kernels (mips64) write no dumps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pykvm.errors import AddressError, FormatError
from pykvm.images.base import Image
from pykvm.images.kcore_cpu.mips import R4K, MipsCpu
from pykvm.machines import mips, mmu
from pykvm.machines.mips import Entry
from pykvm.machines.mmu import Level, Root, Translation
from pykvm.symbols.base import Symbols
from pykvm.targets.bsd import machines
from pykvm.targets.bsd.machines import Finder
from pykvm.targets.bsd.pmap import Pmap

PAGE_SIZES = (4096, 8192, 16384)
NARROW, WIDE = 0xFFFFFFFF, (1 << 64) - 1


@dataclass(frozen=True)
class MipsTables:
    """The kernel's levels and the range that they serve; segment tables are what processes have in any case."""

    levels: Sequence[Level]
    root: Root
    segments: Sequence[Level]
    wide: bool
    page_size: int
    byteorder: str

    @property
    def _mask(self) -> int:
        return WIDE if self.wide else NARROW

    def translation(self) -> Translation:
        """Of the kernel."""
        roots = (*mips.linear(self.wide), self.root)
        return Translation(mmu.radix(roots, self.levels, self.byteorder), self._mask)

    def user(self, pmap: Pmap) -> Translation:
        """Of a process, by pm_segtab."""
        (table,) = pmap.roots()[:1]
        root = Root(0, _reach(self.segments) - 1, table)
        return Translation(mmu.radix([root], self.segments, self.byteorder), self._mask)


def _reach(levels: Sequence[Level]) -> int:
    """How many addresses a segment table serves; those above have the same entries again."""
    return 1 << levels[0].shift + levels[0].bits


def finder(pointer_size: int) -> Finder:
    """Of kernels of 32 or of 64 bits."""

    def find(image: Image, symbols: Symbols) -> MipsTables | None:
        cpu = machines.cpu(image)
        if not isinstance(cpu, MipsCpu):
            return None
        return _tables(cpu, pointer_size == 8, _page_size(image, symbols), image.byteorder or "big")

    return find


def _tables(cpu: MipsCpu, wide: bool, page_size: int, byteorder: str) -> MipsTables:
    shift = page_size.bit_length() - 1
    # The R3000's frame is where it is in an address; libkvm's own shifts are right for pages of 4 KB only.
    entry = Entry(cpu.valid, cpu.frame, cpu.shift if cpu.level == R4K else 0)
    segments = mips.segments(entry, shift, wide)
    start = mips.XKSEG if wide else mips.KSEG2
    if cpu.size:
        last = min(start + (cpu.size << shift) - 1, WIDE if wide else NARROW)
        table = cpu.table - (start >> shift) * 4 & WIDE
        return MipsTables(mips.array(entry, shift), Root(start, last, table), segments, wide, page_size, byteorder)
    last = start + _reach(segments) - 1 if wide else NARROW
    return MipsTables(segments, Root(start, last, cpu.table), segments, wide, page_size, byteorder)


def _page_size(image: Image, symbols: Symbols) -> int:
    """uvmexp.pagesize, its first member; the header does not say, and configurations differ. 4 KB if there is no such
    name."""
    symbol = symbols.loose("uvmexp")
    if symbol is None:
        return PAGE_SIZES[0]
    try:
        raw = image.read(mips.physical(symbol.value), 4)
    except AddressError as e:
        raise FormatError(
            f"bad namelist: {symbols.path} is not the kernel of {image.path}: there is nothing at {symbol.value:#x}, "
            "where its uvmexp is (or the dump was cut)"
        ) from e
    size = int.from_bytes(raw, "little" if image.byteorder == "little" else "big")
    if size not in PAGE_SIZES:
        raise FormatError(f"{image.path}: uvmexp: pagesize is {size}, which is none of {PAGE_SIZES}")
    return size
