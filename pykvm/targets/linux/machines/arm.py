"""Linux on AArch64 and 32-bit Arm.

Sources: Documentation/admin-guide/kdump/vmcoreinfo.rst, Documentation/arch/arm64/memory.rst,
Documentation/arch/arm/memory.rst; of Arm, that physical memory's start is aligned (arch/arm/Kconfig).
"""

from __future__ import annotations

from pykvm.errors import FormatError
from pykvm.images.base import Image
from pykvm.images.held import Extents
from pykvm.images.vmcoreinfo import VmcoreInfo
from pykvm.machines import aarch64, arm
from pykvm.targets.linux.machines.platform import Platform, Tables, top_table

PAGE_OFFSETS = (0xC0000000, 0xB0000000, 0x80000000, 0x40000000)
MODULES = 16 << 20  # below PAGE_OFFSET, with the kernel's and not the user's
MEMORY_STARTS = (0x40000000, 0x80000000, 0x10000000, 0x20000000, 0x60000000, 0x30000000, 0xC0000000)
PHYS_ALIGN = (128 << 20, 16 << 20, 2 << 20)  # what the start of memory is rounded to, by version and configuration


def _aarch64(info: VmcoreInfo, image: Image) -> list[Tables]:
    top, offset = info.symbol("swapper_pg_dir"), info.number("kimage_voffset")
    page_size = info.decimal("PAGESIZE")
    if top is None or offset is None or page_size not in (4096, 16384, 65536):
        raise FormatError(
            f"{image.path}: VMCOREINFO: SYMBOL(swapper_pg_dir), NUMBER(kimage_voffset) or PAGESIZE is missing or wrong"
        )
    # VA_BITS is what the kernel was built for, T1SZ what it runs with.
    t1sz, built = info.number("TCR_EL1_T1SZ"), info.number("VA_BITS") or 48
    bits = 64 - t1sz if t1sz else built
    if not 36 <= bits <= 52 or not 36 <= built <= 52:
        raise FormatError(f"{image.path}: VMCOREINFO: {bits} bits of virtual addresses (VA_BITS, TCR_EL1_T1SZ)")
    root = (top - offset) % (1 << 64)
    # With 64 KB pages the top table keeps its built width; with smaller ones a level is dropped. 52 bits of them are
    # LPA2's.
    width = max(bits, built) if page_size == 65536 else bits
    levels = aarch64.levels(page_size, width, lpa2=page_size != 65536 and bits == 52)
    return [Tables(levels, root, (1 << 64) - (1 << bits), (1 << bits) - 1)]


def _arm(info: VmcoreInfo, image: Image) -> list[Tables]:
    top = top_table(info, image)
    levels = arm.LONG_LEVELS if info.text("CONFIG_ARM_LPAE") == "y" else arm.SHORT_LEVELS
    starts = _starts(image)
    found = [
        Tables(levels, top - offset + start, offset - MODULES, offset - MODULES - 1)
        for offset in PAGE_OFFSETS
        if offset <= top <= arm.VA_MASK
        for start in starts
    ]
    if not found:
        raise FormatError(f"{image.path}: VMCOREINFO: SYMBOL(swapper_pg_dir) {top:#x} is no kernel address")
    return found


def _starts(image: Image) -> list[int]:
    """Where memory may begin: below what is there first (the lowest page may be left out), or, of raw memory from
    address 0 on, below its first data."""
    data = next(image.ranges(), (0, 0))[0] if isinstance(image.held, Extents) else 0
    near = [v for lowest in (data, image.lowest) for v in (*(lowest // a * a for a in PHYS_ALIGN), lowest)]
    return list(dict.fromkeys([*near, *MEMORY_STARTS]))


AARCH64 = Platform(
    "aarch64",
    8,
    aarch64.VA_MASK,
    0xFFFF000000000000,
    _aarch64,
    image_offset=lambda info: info.number("kimage_voffset"),
)
ARM = Platform("arm", 4, arm.VA_MASK, PAGE_OFFSETS[-1] - MODULES, _arm, memory_starts=MEMORY_STARTS)
