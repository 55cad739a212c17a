"""How the machines of NetBSD and OpenBSD translate kernel and user addresses.

A new machine is a function and a line in a system's table (netbsd/platform.py, openbsd/platform.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pykvm.errors import FormatError, KvmError
from pykvm.images.base import Image
from pykvm.images.savecore import KcoreHeader
from pykvm.machines import i386, mmu, x86_64
from pykvm.machines.mmu import Level, Root, Translation
from pykvm.memory import Memory
from pykvm.symbols.base import Symbols

# i386 with PAE: four page directories that follow one another, so that one table of 2048 entries is all of them.
PAE_LEVELS = (i386.PAE_LEVELS[1]._replace(bits=11), i386.PAE_LEVELS[2])
PAE_ROOT = 0x0000000FFFFFF000  # of a physical address of 36 bits, as their kernels have them
PROBE_TLB = 16  # translations that are kept of tables that are only tried
AMD64_TEXT = 0xFFFFFFFF80000000  # KERNBASE (NetBSD, OpenBSD): the kernel's image is at physical addresses from 0 on


@dataclass(frozen=True)
class Tables:
    """Page tables: their levels, the physical address of the first, and the last address that they translate; `linear`
    are ranges of the kernel's that lie in memory as they are; pmap: as a Machine's, of these tables only."""

    levels: Sequence[Level]
    root: int
    va_mask: int
    byteorder: str = "little"
    linear: tuple[Root, ...] = ()
    pmap: tuple[str, ...] = ()

    @property
    def page_size(self) -> int:
        """Of the last level's pages."""
        return 1 << self.levels[-1].shift

    def translation(self) -> Translation:
        """Of the kernel."""
        roots, start = [], 0
        for root in sorted(self.linear):
            if start < root.start:
                roots.append(Root(start, root.start - 1, self.root))
            roots.append(root)
            start = root.last + 1
        if start <= self.va_mask:
            roots.append(Root(start, self.va_mask, self.root))
        return Translation(mmu.radix(roots, self.levels, self.byteorder), self.va_mask)

    def user(self, tables: Sequence[int]) -> Translation:
        """Of a process, by the physical address of its first table; with PAE by those of its four page directories,
        which need not follow one another."""
        top = self.levels[0]
        if len(tables) == 1:
            roots, levels = [Root(0, self.va_mask, tables[0])], list(self.levels)
        else:
            each = (self.va_mask + 1) // len(tables)
            roots = [Root(i * each, (i + 1) * each - 1, table) for i, table in enumerate(tables)]
            levels = [top._replace(bits=top.bits - (len(tables) - 1).bit_length()), *self.levels[1:]]
        return Translation(mmu.radix(roots, levels, self.byteorder), self.va_mask)


Finder = Callable[[Image, Symbols], "Tables | None"]


@dataclass(frozen=True)
class Machine:
    """One machine of a system. find: its page tables, None where an image does not tell (raw memory of another
    system); pmap: the member of struct pmap that says where a process's are, by the names that it has had; root: the
    physical address out of that."""

    name: str
    pointer_size: int
    find: Finder
    byteorder: str = "little"
    page_size: int = 4096
    pmap: tuple[str, ...] = ("pm_pdirpa",)
    root: Callable[[int], int] = lambda value: value


def amd64(root: int) -> Tables:
    """Four levels, with pages of 4 KB, 2 MB and 1 GB."""
    return Tables(x86_64.levels(4), root & x86_64.FRAME, x86_64.VA_MASK)


def leads(tables: Tables, image: Image, va: int, pa: int) -> bool:
    """Whether these tables lead from a virtual address to a physical one."""
    memory = Memory()
    memory.attach(image, tables.translation(), tables.byteorder, 8, PROBE_TLB)
    try:
        return memory.translate(va) == pa
    except KvmError:
        return False
    finally:
        memory.detach()


def machine_of(image: Image, symbols: Symbols, *names: str) -> str | None:
    """The machine, as the image or the names say it; of memory without a header and a list of names, by how long the
    addresses of these are."""
    if image.machine or symbols.machine:
        return image.machine or symbols.machine
    values = [found.value for found in map(symbols.loose, names) if found is not None]
    return None if not values else "x86_64" if max(values) >> 32 else "i386"


def plain_i386(root: int) -> Tables:
    """Two levels, with pages of 4 KB and 4 MB."""
    return Tables(i386.LEVELS, root & 0xFFFFF000, i386.VA_MASK)


def pae_i386(root: int) -> Tables:
    """With PAE."""
    return Tables(PAE_LEVELS, root & PAE_ROOT, i386.VA_MASK)


def cpu(image: Image) -> object:
    """What the cpu_kcore_hdr of a savecore dump says (images/kcore_cpu/); None of an image without one."""
    header = image.header
    return header.cpu if isinstance(header, KcoreHeader) else None


def word(image: Image, symbols: Symbols, name: str, base: int, size: int) -> int | None:
    """A variable of the kernel's image, whose virtual addresses are `base` above the physical ones; None: no such
    variable, or no such memory."""
    symbol = symbols.loose(name)
    if symbol is None:
        return None
    try:
        return int.from_bytes(image.read((symbol.value - base) & x86_64.VA_MASK, size), "little")
    except KvmError:
        return None


def refuse_foreign(image: Image, symbols: Symbols) -> None:
    """FormatError if a namelist is of another machine than its dump."""
    if image.machine is None:
        return
    if symbols.machine not in (None, image.machine) or symbols.byteorder not in (None, image.byteorder):
        what = symbols.machine or f"{symbols.byteorder}-endian"
        raise FormatError(f"bad namelist: {symbols.path} is of {what}, the dump {image.path} of {image.machine}")
