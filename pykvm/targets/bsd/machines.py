"""How the machines of NetBSD and OpenBSD translate kernel and user addresses.

A new machine is a function and a line in a system's table (netbsd/platform.py, openbsd/platform.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from pykvm.errors import FormatError, KvmError
from pykvm.images.base import Image
from pykvm.images.savecore import KcoreHeader
from pykvm.machines import i386, mmu, x86_64
from pykvm.machines.mmu import Level, Root, Translation
from pykvm.memory import Memory
from pykvm.symbols.base import Symbols
from pykvm.targets.bsd.pmap import Pmap

# i386 with PAE: four page directories that follow one another, so that one table of 2048 entries is all of them.
PAE_LEVELS = (i386.PAE_LEVELS[1]._replace(bits=11), i386.PAE_LEVELS[2])
PAE_ROOT = 0x0000000FFFFFF000  # of a physical address of 36 bits, as their kernels have them
PROBE_TLB = 16  # translations that are kept of tables that are only tried
# Of a machine id that kernels of 32 and of 64 bits write: the name of those of 64.
WIDE = {"mips": "mips64"}
AMD64_TEXT = 0xFFFFFFFF80000000  # KERNBASE (NetBSD, OpenBSD): the kernel's image is at physical addresses from 0 on


class Mmu(Protocol):
    """How a kernel of one machine translates its addresses and those of processes."""

    @property
    def page_size(self) -> int:
        """Of the kernel's pages, which may be several of the machine's."""

    @property
    def byteorder(self) -> str:
        """Of the machine."""

    def translation(self) -> Translation:
        """Of the kernel."""

    def user(self, pmap: Pmap) -> Translation:
        """Of a process."""


@dataclass(frozen=True)
class Tables:
    """Page tables: their levels, the physical address of the first, and the last address that they translate; `linear`
    are ranges of the kernel's that lie in memory as they are; pmap: as a Machine's, of these tables only. extended:
    addresses of more bits than the levels have are sign-extended, half of them from each end (x86-64, RISC-V); else
    the kernel's are all above, and a process's below, each by tables of their own (AArch64)."""

    levels: Sequence[Level]
    root: int
    va_mask: int
    byteorder: str = "little"
    linear: tuple[Root, ...] = ()
    pmap: tuple[str, ...] = ()
    extended: bool = True

    @property
    def page_size(self) -> int:
        """Of the last level's pages."""
        return 1 << self.levels[-1].shift

    def _served(self) -> tuple[tuple[int, int], tuple[int, int] | None]:
        """The first and the last address of what the levels reach from below, and of what they do from above, if there
        is a hole between."""
        reach = 1 << self.levels[0].shift + self.levels[0].bits
        if reach > self.va_mask:
            return (0, self.va_mask), None
        half = reach >> 1 if self.extended else reach
        return (0, half - 1), (self.va_mask + 1 - half, self.va_mask)

    def translation(self) -> Translation:
        """Of the kernel."""
        below, above = self._served()
        ranges = [below] if above is None else [below, above] if self.extended else [above]
        roots = list(self.linear)
        for start, last in ranges:
            for linear in sorted(self.linear):
                if start <= linear.last and linear.start <= last:
                    if start < linear.start:
                        roots.append(Root(start, linear.start - 1, self.root))
                    start = linear.last + 1
            if start <= last:
                roots.append(Root(start, last, self.root))
        return Translation(mmu.radix(sorted(roots), self.levels, self.byteorder), self.va_mask)

    def user(self, pmap: Pmap) -> Translation:
        """Of a process, by the physical address of its first table; with PAE by those of its four page directories,
        which need not follow one another."""
        tables = pmap.roots(self.pmap)
        if len(tables) not in (1, 4):
            raise FormatError(f"struct pmap: {len(tables)} page directories, which are neither 1 nor 4")
        top = self.levels[0]
        if len(tables) == 1:
            (start, last), _ = self._served()
            roots, levels = [Root(start, last, tables[0])], list(self.levels)
        else:
            each = (self.va_mask + 1) // len(tables)
            roots = [Root(i * each, (i + 1) * each - 1, table) for i, table in enumerate(tables)]
            levels = [top._replace(bits=top.bits - (len(tables) - 1).bit_length()), *self.levels[1:]]
        return Translation(mmu.radix(roots, levels, self.byteorder), self.va_mask)


Finder = Callable[[Image, Symbols], "Mmu | None"]


@dataclass(frozen=True)
class Machine:
    """One machine of a system. find: its page tables, None where an image does not tell (raw memory of another
    system); pmap: the member of struct pmap that says where a process's are, by the names that it has had; root: the
    physical address out of that. either: its kernels are of either byte order, which the dump or the names tell;
    align64: how C aligns integers of 64 bits there."""

    name: str
    pointer_size: int
    find: Finder
    byteorder: str = "little"
    page_size: int = 4096
    pmap: tuple[str, ...] = ("pm_pdirpa",)
    root: Callable[[int], int] = lambda value: value
    either: bool = False
    align64: int = 8


def amd64(root: int) -> Tables:
    """Four levels, with pages of 4 KB, 2 MB and 1 GB."""
    return Tables(x86_64.levels(4), root & x86_64.FRAME, x86_64.VA_MASK)


def leads(tables: Mmu, image: Image, va: int, pa: int) -> bool:
    """Whether these tables lead from a virtual address to a physical one."""
    memory = Memory()
    memory.attach(image, tables.translation(), tables.byteorder, 8, PROBE_TLB)
    try:
        return memory.translate(va) == pa
    except KvmError:
        return False
    finally:
        memory.detach()


def page_size(tables: Mmu, image: Image, symbols: Symbols, sizes: Sequence[int]) -> int:
    """uvmexp.pagesize, its first member, of a machine whose kernels have pages of several sizes; the first of these if
    there is none of them."""
    symbol = symbols.loose("uvmexp")
    memory = Memory()
    memory.attach(image, tables.translation(), tables.byteorder, 4, PROBE_TLB)
    try:
        raw = memory.read(symbol.value, 4) if symbol is not None else b""
    except KvmError:
        raw = b""
    finally:
        memory.detach()
    found = int.from_bytes(raw, "big" if tables.byteorder == "big" else "little")
    return found if found in sizes else sizes[0]


def chosen(
    machines: Mapping[str, Machine], image: Image, symbols: Symbols, names: Sequence[str], known: str | None
) -> Machine | None:
    """A system's machine, of the byte order that the image or the names have; None if it has none. known: its name."""
    found = machines.get(known or machine_of(image, symbols, *names) or "")
    order = image.byteorder or symbols.byteorder
    return replace(found, byteorder=order) if found is not None and found.either and order else found


def machine_of(image: Image, symbols: Symbols, *names: str) -> str | None:
    """The machine, as the image or the names say it; where they do not (memory without a header, an id of machines of
    both widths) and the names are a mere list, by how long the addresses of these are."""
    values = [found.value for found in map(symbols.loose, names) if found is not None]
    wide = bool(values) and max(values) >> 32 != 0
    told = image.machine or symbols.machine
    if told in WIDE:
        return WIDE[told] if WIDE[told] == symbols.machine or (symbols.machine is None and wide) else told
    return told or (None if not values else "x86_64" if wide else "i386")


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
    names = (None, image.machine, WIDE.get(image.machine))
    if symbols.machine not in names or symbols.byteorder not in (None, image.byteorder):
        what = symbols.machine or f"{symbols.byteorder}-endian"
        raise FormatError(f"bad namelist: {symbols.path} is of {what}, the dump {image.path} of {image.machine}")
