"""OpenBSD's machines: where their page tables are.

Sources: sys/arch/*/include/kcore.h and vmparam.h, and the kernel's own variables: PTDpaddr (i386), kernel_pmap_store.
"""

from __future__ import annotations

import contextlib
import struct
from dataclasses import replace

from pykvm.errors import FormatError, KvmError
from pykvm.images.base import Image
from pykvm.images.kcore_cpu import arm64, common
from pykvm.machines import aarch64, i386, riscv64, x86_64
from pykvm.machines.mmu import Level, Root
from pykvm.symbols.base import Symbols
from pykvm.targets.bsd import alpha, arm, hppa, m68k, m88k, machines, sh, sparc, sparc64, vax
from pykvm.targets.bsd.machines import Finder, Machine, Tables

I386_KERNBASE = 0xD0000000
STATIC_BITS = 39  # of kernel addresses on arm64 and riscv64
PMAP = 256  # bytes of a struct pmap that are looked through


def _amd64(image: Image, symbols: Symbols) -> Tables | None:
    cpu = machines.cpu(image)
    if isinstance(cpu, common.Tables):
        return machines.amd64(cpu.root)
    candidates = [cpu.cr3 & x86_64.FRAME for cpu in image.cpus]  # a process's, whose upper half is the kernel's
    # pm_pdirpa of the kernel's struct pmap, wherever in it that is: what leads from the pmap's address to its place.
    pmap = symbols.loose("kernel_pmap_store")
    if pmap is None:
        return None
    where = (pmap.value - machines.AMD64_TEXT) & x86_64.VA_MASK
    with contextlib.suppress(KvmError):
        candidates += struct.unpack(f"<{PMAP // 8}Q", image.read(where, PMAP))
    for root in candidates:
        if root and root % 4096 == 0 and machines.leads(machines.amd64(root), image, pmap.value, where):
            return machines.amd64(root)
    return None


def _i386(image: Image, symbols: Symbols) -> Tables | None:
    """PTDpaddr holds the physical address of the page directory; with PAE (cpu_pae) of four that follow one another,
    which OpenBSD's own library takes for one. A process's are in its struct pmap then, of which pm_pdirpa is the place.
    """
    root = machines.word(image, symbols, "PTDpaddr", I386_KERNBASE, 4)
    if not root:
        if image.format == "raw":
            return None
        raise FormatError(f"bad namelist: {symbols.path}: no symbol PTDpaddr, or it is not in memory")
    pae = machines.word(image, symbols, "cpu_pae", I386_KERNBASE, 4)
    found = replace(machines.pae_i386(root), pmap=("pm_pdidx",)) if pae else machines.plain_i386(root)
    return found if _is_kernel_s(found, image, symbols, "PTDpaddr", I386_KERNBASE) else None


def _is_kernel_s(tables: Tables, image: Image, symbols: Symbols, name: str, base: int) -> bool:
    """Whether page tables of an image without a header of its own lead to the variable that told of them."""
    symbol = symbols.loose(name)
    if image.format in ("savecore", "dump device") or symbol is None:
        return True
    return machines.leads(tables, image, symbol.value, symbol.value - base)


def _static(levels: tuple[Level, ...], *, extended: bool) -> Finder:
    """arm64 and riscv64: the kernel's image lies linearly, the rest is found by a table for addresses of 39 bits."""

    def find(image: Image, symbols: Symbols) -> Tables | None:
        cpu = machines.cpu(image)
        if isinstance(cpu, arm64.NetbsdArm):
            raise FormatError(f"{image.path}: cpu_kcore_hdr: {cpu.tcr:#x} is no KERNEL_BASE: the header is NetBSD's")
        if not isinstance(cpu, arm64.OpenbsdStatic):
            return None
        mask, last = aarch64.VA_MASK, cpu.base + cpu.size - 1
        linear = Root(cpu.base, last, cpu.offset & mask, linear=True)
        ranges = (linear,) if cpu.size > 0 and last <= mask else ()
        return Tables(levels, cpu.table, mask, linear=ranges, extended=extended)

    return find


def _frame(value: int) -> int:
    """The physical address of a page directory, without the bits of an entry that leads to it."""
    return value & i386.PAE_FRAME


def _satp(value: int) -> int:
    """The physical address in the register satp: the page's number in its low 44 bits."""
    return (value & (1 << 44) - 1) << 12


MACHINES = {
    m.name: m
    for m in (
        Machine("x86_64", 8, _amd64),
        Machine("i386", 4, _i386, root=_frame, align64=4),
        Machine("aarch64", 8, _static(aarch64.levels(4096, STATIC_BITS), extended=False), pmap=("pm_pt0pa",)),
        Machine("riscv64", 8, _static(riscv64.levels(STATIC_BITS), extended=True), pmap=("pm_satp",), root=_satp),
        Machine("arm", 4, arm.openbsd),
        Machine("sh", 4, sh.find, pmap=("pm_ptp",), root=sh.physical, align64=4),
        Machine("m68k", 4, m68k.find, "big", align64=2),
        Machine("sparc", 4, sparc.find, "big"),
        Machine("hppa", 4, hppa.find, "big"),
        Machine("m88k", 4, m88k.find, "big", pmap=("pm_apr",), root=m88k.root),
        Machine("vax", 4, vax.find, align64=4),
        Machine("sparc64", 8, sparc64.find, "big", pmap=("pm_physaddr",)),
        Machine("alpha", 8, alpha.find),
    )
}
