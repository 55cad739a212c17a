"""What differs between MirBSD's machines, and how each translates addresses.

Sources: MirBSD sys/arch/{i386,sparc}/include/vmparam.h and param.h, and its libkvm's machine modules.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pykvm.errors import AddressError, FormatError
from pykvm.images.base import Image
from pykvm.images.kcore_cpu import sparc as sparc_cpu
from pykvm.machines import i386, mmu
from pykvm.machines.mmu import Translation
from pykvm.symbols.base import Symbols
from pykvm.targets.bsd import sparc


@dataclass(frozen=True)
class Platform:
    """`usrstack` is the end of user space, below which ps_strings lies; `layout` names the structure table."""

    machine: str
    byteorder: str
    kernbase: int
    usrstack: int
    layout: str
    page_size: Callable[[Image], int]
    translation: Callable[[Image, Symbols], Translation | None]


I386_KERNBASE = 0xD0000000
PDSLOT_PTE = 831  # the directory entry that maps the directory itself (cfc00000)
SPARC_KERNBASE = 0xF8000000


def _i386(image: Image, symbols: Symbols) -> Translation | None:
    """Through PTDpaddr, which holds the physical address of the kernel's page directory. The variable itself is
    found by the linear mapping of the kernel's image, as MirBSD's libkvm does."""
    pointer = symbols.loose("PTDpaddr")
    if pointer is None:
        if image.format == "raw":
            return None
        raise FormatError(f"bad namelist: {symbols.path}: no symbol PTDpaddr")
    try:
        directory = int.from_bytes(image.read(pointer.value - I386_KERNBASE, 4), "little")
        entries = image.read(directory, i386.PAGE_SIZE)
    except AddressError as e:
        if image.format == "raw":
            return None
        raise FormatError(
            f"{image.path}: page directory: no memory at {e.address:#x}"
            f" (PTDpaddr is {pointer.value:#x} in {symbols.path})"
        ) from e
    if image.format == "raw":
        # Nothing says that this file is memory but the directory's own entry.
        own = int.from_bytes(entries[PDSLOT_PTE * 4 : PDSLOT_PTE * 4 + 4], "little")
        if directory == 0 or directory % i386.PAGE_SIZE or own & 0xFFFFF001 != directory | 1:
            return None
    root = mmu.Root(0, i386.VA_MASK, directory & 0xFFFFF000)
    return Translation(mmu.radix([root], i386.LEVELS, "little"), i386.VA_MASK)


def _sparc(image: Image, symbols: Symbols) -> Translation | None:
    """From the segment map in the dump's header; raw memory of a sparc does not tell."""
    found = sparc.find(image, symbols)
    return None if found is None else found.translation()


def _sparc_page_size(image: Image) -> int:
    """8192 on sun4 (MirBSD's libkvm has 8196 by a slip, and cannot read sun4 dumps), 4096 on the others."""
    header = image.header
    return 8192 if header is not None and header.cpu.cputype == sparc_cpu.SUN4 else 4096


PLATFORMS = {
    p.machine: p
    for p in (
        Platform("i386", "little", I386_KERNBASE, 0xCFBFE000, "mirbsd-i386", lambda image: i386.PAGE_SIZE, _i386),
        Platform("sparc", "big", SPARC_KERNBASE, SPARC_KERNBASE, "mirbsd-sparc", _sparc_page_size, _sparc),
    )
}
