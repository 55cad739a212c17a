"""Full dumps (ELF cores of all physical memory): where the kernel's page tables are.

The variable that holds the root's physical address (KPML4phys ...) is found where the kernel's image lies in memory:
at a fixed distance from its virtual addresses before FreeBSD 13.1, since then at any multiple of 2 MB, which no dump
says (an ELF header of PT_DUMP_DELTA is proposed). A place is right if the tables that it leads to map the variable to
this very place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pykvm.errors import FormatError, KvmError
from pykvm.images.base import Image
from pykvm.images.elfcore import ElfCore
from pykvm.machines import arm, i386, x86_64
from pykvm.machines.mmu import Level, Root, Translation, radix
from pykvm.memory import Memory
from pykvm.symbols.base import Symbols

LARGE = 2 << 20  # the alignment of the kernel's image in memory
NARROW, WIDE = 0xFFFFFFFF, (1 << 64) - 1
MAX_PLACES = 1 << 21  # that are looked at: 4 TB of memory


class Scheme(NamedTuple):
    """A kind of page tables: the variable with the root's address, its size, how addresses look; `pmap`: the members
    of struct pmap that point to a process's."""

    symbol: str
    size: int
    levels: tuple[Level, ...]
    mask: int
    frame: int  # of the root's address
    pmap: tuple[str, ...]
    start: int = 0  # the lowest address of the kernel's half


@dataclass(frozen=True)
class Kind:
    """A machine: its schemes in the order in which they are tried; KERNBASE where the kernel file has no symbol."""

    schemes: Sequence[Scheme]
    kernbase: int
    moves: bool = False  # the kernel's image may be anywhere in memory


PML = ("pm_pmltop", "pm_pml4")  # until 12
PDIR = ("pm_pdir_nopae", "pm_pdir")
# The long descriptors' top table of four entries, as the directory pointers of PAE.
KINDS = {
    "x86_64": Kind(
        (
            Scheme("KPML5phys", 8, x86_64.levels(5), WIDE, x86_64.FRAME, PML, 1 << 63),
            Scheme("KPML4phys", 8, x86_64.levels(4), WIDE, x86_64.FRAME, PML, 1 << 63),
        ),
        0xFFFFFFFF80000000,
        True,
    ),
    "i386": Kind(
        (
            Scheme("IdlePDPT", 4, i386.PAE_LEVELS, NARROW, 0xFFFFFFE0, ("pm_pdpt_pae", "pm_pdpt")),
            Scheme("IdlePTD", 4, i386.LEVELS, NARROW, 0xFFFFF000, PDIR),
            Scheme("IdlePTD_nopae", 4, i386.LEVELS, NARROW, 0xFFFFF000, PDIR),
        ),
        0xC0000000,
    ),
    "arm": Kind((Scheme("kernel_l1pa", 4, arm.FREEBSD_LEVELS, NARROW, 0xFFFFC000, ("pm_pt1",)),), 0xC0000000, True),
}


class Place(NamedTuple):
    """What was found: how to translate, by which scheme; the physical address of the kernel's first page, on amd64."""

    translation: Translation
    scheme: Scheme
    kernphys: int | None


def find(image: Image, symbols: Symbols) -> Place:
    """The kernel's page tables; FormatError if they are not to be found."""
    kind = KINDS.get(image.machine or "")
    if kind is None:
        raise FormatError(f"{image.path}: a full dump of {image.machine}: where its page tables are is not known")
    given = [s for s in kind.schemes if symbols.find(s.symbol) is not None]
    if not given:
        raise FormatError(f"bad namelist: {symbols.path}: has no symbol {' or '.join(s.symbol for s in kind.schemes)}")
    base = next((s.value for s in map(symbols.find, ("kernbase", "KERNBASE")) if s is not None), kind.kernbase)
    tried: set[int] = set()
    for distance in _distances(image, symbols, kind, base, symbols[given[0].symbol]):
        if distance in tried:
            continue
        tried.add(distance)
        for scheme in given:
            found = _try(image, symbols[scheme.symbol], scheme, distance)
            if found is not None:
                return Place(found, scheme, base + LARGE + distance if image.machine == "x86_64" else None)
    raise FormatError(
        f"{image.path}: no page tables of the kernel {symbols.path} in this full dump: {given[0].symbol}, at "
        f"{symbols[given[0].symbol]:#x}, is nowhere in memory the address of tables that map it there"
        + (f"; but {image.missing} bytes are missing at the end of the dump" if image.missing else "")
    )


def _distances(image: Image, symbols: Symbols, kind: Kind, base: int, symbol: int) -> Iterator[int]:
    """Physical minus virtual address of the kernel's image, the likeliest first."""
    header = image.header
    if isinstance(header, ElfCore):
        for virtual, physical in header.deltas:
            yield physical - virtual
            # kernphys is where the image's first page is, which is linked 2 MB above KERNBASE.
            yield physical - virtual - LARGE
    yield -base
    yield 0  # i386 since 12
    physaddr = symbols.find("physaddr")  # arm: where memory begins, as the kernel was linked
    if physaddr is not None:
        yield physaddr.value - base
    if kind.moves:
        # Wherever the variable may lie, that is so far from a multiple of 2 MB as it is linked.
        places = 0
        for start, end in image.ranges():
            for at in range(start + (symbol - start) % LARGE, end, LARGE):
                places += 1
                if places > MAX_PLACES:
                    return
                yield at - symbol


def _try(image: Image, symbol: int, scheme: Scheme, distance: int) -> Translation | None:
    """The translation by tables whose address is in this variable at this distance, if they map it there."""
    place = symbol + distance
    try:
        root = int.from_bytes(image.read(place, scheme.size), "little")
    except (KvmError, ValueError):
        return None
    if not root or root & ~scheme.frame & (1 << 64) - 1:
        return None
    translation = Translation(radix([Root(scheme.start, scheme.mask, root)], scheme.levels, "little"), scheme.mask)
    memory = Memory()
    memory.attach(image, translation, "little", scheme.size, 1)
    try:
        return translation if memory.translate(symbol) == place else None
    except KvmError:
        return None
