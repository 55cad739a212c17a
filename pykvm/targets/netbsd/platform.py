"""NetBSD's machines: where their page tables are.

Sources: sys/arch/*/include/kcore.h and vmparam.h. In a savecore file the cpu data tell; of other images the kernel's
own variable PDPpaddr, in its image, which lies linearly from physical 0 on.
"""

from __future__ import annotations

from pykvm.errors import FormatError
from pykvm.images.base import Image
from pykvm.images.kcore_cpu import arm64, common, x86
from pykvm.machines import aarch64
from pykvm.machines.mips import physical
from pykvm.symbols.base import Symbols
from pykvm.targets.bsd import alpha, arm, hppa, m68k, machines, mips, sparc, sparc64
from pykvm.targets.bsd.machines import Machine, Tables

I386_KERNBASE = 0xC0000000
GRANULES = {0b10: 4096, 0b01: 16384, 0b11: 65536}  # TCR_EL1.TG1


def _amd64(image: Image, symbols: Symbols) -> Tables | None:
    cpu = machines.cpu(image)
    if isinstance(cpu, common.Tables):
        return machines.amd64(cpu.root)
    root = machines.word(image, symbols, "PDPpaddr", machines.AMD64_TEXT, 8)
    return _proven(machines.amd64(root), image, symbols, machines.AMD64_TEXT) if root else None


def _proven(tables: Tables, image: Image, symbols: Symbols, base: int) -> Tables | None:
    """Page tables of an image that does not say where they are: they must lead to the variable that does."""
    symbol = symbols.loose("PDPpaddr")
    found = symbol is not None and machines.leads(tables, image, symbol.value, symbol.value - base)
    return tables if found else None


def _i386(image: Image, symbols: Symbols) -> Tables | None:
    cpu = machines.cpu(image)
    if isinstance(cpu, common.Tables):
        pae = cpu.root & x86.PDP_PAE
        return machines.pae_i386(cpu.root) if pae else machines.plain_i386(cpu.root)
    if image.format in ("savecore", "dump device"):
        told = image.header.cpu_data[:8].ljust(8, b"\0")
        first, count = (int.from_bytes(told[i : i + 4], "little") for i in (0, 4))
        raise FormatError(
            f"{image.path}: cpu_kcore_hdr: pdppaddr {first:#x}, nmemsegs {count}, or the segments make no sense"
        )
    root = machines.word(image, symbols, "PDPpaddr", I386_KERNBASE, 4)
    if not root:
        return None
    # use_pae is a variable of kernels that are built for it; others have none.
    use_pae = machines.word(image, symbols, "use_pae", I386_KERNBASE, 4)
    tables = machines.pae_i386(root) if use_pae else machines.plain_i386(root)
    return _proven(tables, image, symbols, I386_KERNBASE)


def _aarch64(image: Image, symbols: Symbols) -> Tables | None:
    cpu = machines.cpu(image)
    if isinstance(cpu, arm64.OpenbsdStatic):
        raise FormatError(f"{image.path}: cpu_kcore_hdr: {cpu.base:#x} is no TCR_EL1: the header is OpenBSD's")
    if not isinstance(cpu, arm64.NetbsdArm):
        return None
    page_size = GRANULES.get(cpu.tcr >> 30 & 3)
    bits = 64 - (cpu.tcr >> 16 & 0x3F)
    if page_size is None or not 25 <= bits <= 52:
        raise FormatError(f"{image.path}: cpu_kcore_hdr: TCR_EL1 is {cpu.tcr:#x}: TG1 and T1SZ make no sense")
    root = cpu.ttbr & 0x0000FFFFFFFFFFC0  # a table that fills no page may begin within one
    return Tables(aarch64.levels(page_size, bits), root, aarch64.VA_MASK, extended=False)


MACHINES = {
    m.name: m
    for m in (
        Machine("x86_64", 8, _amd64),
        Machine("i386", 4, _i386),
        Machine("aarch64", 8, _aarch64, pmap=("pm_l0table_pa", "pm_l0_pa")),
        Machine("arm", 4, arm.netbsd, either=True),
        Machine("mips", 4, mips.finder(4), "big", pmap=("pm_segtab",), root=physical, either=True),
        Machine("mips64", 8, mips.finder(8), "big", pmap=("pm_segtab",), root=physical, either=True),
        Machine("m68k", 4, m68k.find, "big"),
        Machine("sparc", 4, sparc.find, "big"),
        Machine("hppa", 4, hppa.find, "big"),
        Machine("sparc64", 8, sparc64.find, "big", pmap=("pm_physaddr",)),
        Machine("alpha", 8, alpha.find),
    )
}
