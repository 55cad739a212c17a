"""Linux on x86-64 and i386.

Sources: Documentation/admin-guide/kdump/vmcoreinfo.rst, Documentation/arch/x86/x86_64/mm.rst; of i386, the choices
of CONFIG_PAGE_OFFSET (arch/x86/Kconfig).
"""

from __future__ import annotations

from pykvm.errors import FormatError
from pykvm.images.base import Image
from pykvm.images.vmcoreinfo import VmcoreInfo
from pykvm.machines import i386, x86_64
from pykvm.targets.linux.machines.platform import Platform, Tables, top_table

TEXT_START = 0xFFFFFFFF80000000  # __START_KERNEL_map
PAGE_OFFSETS = (0xC0000000, 0xB0000000, 0x80000000, 0x78000000, 0x40000000)


def _x86_64(info: VmcoreInfo, image: Image) -> list[Tables]:
    # swapper_pg_dir is the kernel's own table: a CPU's CR3 may be that of user space (page table isolation).
    top = top_table(info, image)
    count = 5 if info.number("pgtable_l5_enabled") else 4
    root = top - TEXT_START + (info.number("phys_base") or 0)
    if not 0 <= root < 1 << 52:
        raise FormatError(
            f"{image.path}: VMCOREINFO: SYMBOL(swapper_pg_dir) {top:#x} and NUMBER(phys_base) make no sense"
        )
    encryption = (info.number("sme_mask") or 0) & ((1 << 52) - 1)
    half = x86_64.user_end(count) + 1
    return [Tables(x86_64.levels(count, encryption), root, (1 << 64) - half, half - 1)]


def _i386(info: VmcoreInfo, image: Image) -> list[Tables]:
    top = top_table(info, image)
    levels = i386.PAE_LEVELS if info.text("CONFIG_X86_PAE") == "y" else i386.LEVELS
    found = [
        Tables(levels, top - offset, offset, offset - 1) for offset in PAGE_OFFSETS if offset <= top <= i386.VA_MASK
    ]
    if not found:
        raise FormatError(f"{image.path}: VMCOREINFO: SYMBOL(swapper_pg_dir) {top:#x} is no kernel address")
    return found


def _image_offset(info: VmcoreInfo) -> int | None:
    base = info.number("phys_base")
    return None if base is None else TEXT_START - base


X86_64 = Platform("x86_64", 8, x86_64.VA_MASK, TEXT_START, _x86_64, image_offset=_image_offset, has_hole=True)
I386 = Platform("i386", 4, i386.VA_MASK, PAGE_OFFSETS[-1], _i386, has_hole=True)
