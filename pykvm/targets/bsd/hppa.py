"""hppa of NetBSD and OpenBSD: up to VM_MAXUSER_ADDRESS the kernel sees memory as it is; what is above is found by the
page directory of space 0, which the variable hppa_vtop leads to. The dump's header says nothing.

Sources: sys/arch/hppa/include/{vmparam.h,pte.h}, sys/arch/hppa/hppa/pmap.c of both (OpenBSD since 2002).
"""

from __future__ import annotations

from pykvm.errors import FormatError, KvmError
from pykvm.images.base import Image
from pykvm.machines import hppa
from pykvm.machines.mmu import Root
from pykvm.symbols.base import Symbols
from pykvm.targets.bsd.machines import Mmu, Tables

EQUAL = Root(0, 0xBFFFFFFF, 0, linear=True)
PAGE = 4096
VTOP = "hppa_vtop"  # the physical address of an array of page directories' addresses, by space
HEADED = ("savecore", "dump device")


def find(image: Image, symbols: Symbols) -> Mmu | None:
    """None of other memory in which there is no such directory."""
    pdir, why = _directory(image, symbols)
    if pdir is None:
        if image.format not in HEADED:
            return None
        raise FormatError(f"bad namelist: {symbols.path} is not the kernel of {image.path}: {why}")
    return Tables(hppa.LEVELS, pdir, hppa.VA_MASK, "big", (EQUAL,), ("pm_pdir",))


def _directory(image: Image, symbols: Symbols) -> tuple[int | None, str]:
    """That of the kernel, or why there is none."""
    symbol = symbols.loose(VTOP)
    if symbol is None:
        return None, f"no symbol {VTOP}"
    try:
        vtop = int.from_bytes(image.read(symbol.value, 4), "big")
        pdir = int.from_bytes(image.read(vtop, 4), "big")
        entries = image.read(pdir, PAGE)
    except KvmError as e:
        return None, f"{VTOP} (or the dump was cut): {e}"
    pages = [int.from_bytes(entries[i : i + 4], "big") for i in range(0, PAGE, 4)]
    if pdir % PAGE or not any(pages) or any(page % PAGE for page in pages):
        return None, f"{VTOP} leads to {pdir:#x}, which is no page directory"
    return pdir, ""
