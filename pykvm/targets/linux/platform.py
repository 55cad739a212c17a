"""What differs between Linux's machines: where the kernel's page tables are, and what user space looks like.

Sources: Documentation/admin-guide/kdump/vmcoreinfo.rst, Documentation/arch/{x86/x86_64/mm,arm64/memory}.rst.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pykvm.errors import FormatError
from pykvm.images.vmcoreinfo import VmcoreInfo
from pykvm.machines import aarch64, x86_64
from pykvm.machines.mmu import Level, Root, radix
from pykvm.targets.base import Translation


@dataclass(frozen=True)
class Tables:
    """Page tables of a running kernel: levels, the root's physical address, the ends of both halves of the space."""

    levels: tuple[Level, ...]
    root: int
    kernel_start: int
    user_last: int


@dataclass(frozen=True)
class Platform:
    """`percpu_absolute`: kallsyms holds per-CPU symbols as offsets; `text_start`: the lowest link address."""

    machine: str
    byteorder: str
    pointer_size: int
    va_mask: int
    percpu_absolute: bool
    text_start: int
    tables: Callable[[VmcoreInfo, str], Tables]

    def kernel(self, info: VmcoreInfo, path: str) -> Translation:
        """Kernel addresses. User addresses are a process's matter: see user()."""
        tables = self.tables(info, path)
        roots = [Root(tables.kernel_start, self.va_mask, tables.root)]
        return Translation(radix(roots, tables.levels, self.byteorder), self.va_mask)

    def user(self, info: VmcoreInfo, path: str, pgd: int) -> Translation:
        """A process's addresses, by the physical address of its top page table."""
        tables = self.tables(info, path)
        return Translation(radix([Root(0, tables.user_last, pgd)], tables.levels, self.byteorder), self.va_mask)


X86_64_TEXT = 0xFFFFFFFF80000000  # __START_KERNEL_map


def _x86_64(info: VmcoreInfo, path: str) -> Tables:
    # swapper_pg_dir is the kernel's own table: a CPU's CR3 may be that of user space (page table isolation).
    top = info.symbol("swapper_pg_dir") or info.symbol("init_top_pgt") or info.symbol("init_level4_pgt")
    if top is None:
        raise FormatError(f"{path}: VMCOREINFO: has no SYMBOL(swapper_pg_dir)")
    count = 5 if info.number("pgtable_l5_enabled") else 4
    root = top - X86_64_TEXT + (info.number("phys_base") or 0)
    if not 0 <= root < 1 << 52:
        raise FormatError(f"{path}: VMCOREINFO: SYMBOL(swapper_pg_dir) {top:#x} and NUMBER(phys_base) make no sense")
    encryption = (info.number("sme_mask") or 0) & ((1 << 52) - 1)
    half = x86_64.user_end(count) + 1
    return Tables(x86_64.levels(count, encryption), root, (1 << 64) - half, half - 1)


def _aarch64(info: VmcoreInfo, path: str) -> Tables:
    top, offset = info.symbol("swapper_pg_dir"), info.number("kimage_voffset")
    page_size = info.decimal("PAGESIZE")
    if top is None or offset is None or page_size not in (4096, 16384, 65536):
        raise FormatError(
            f"{path}: VMCOREINFO: SYMBOL(swapper_pg_dir), NUMBER(kimage_voffset) or PAGESIZE is missing or wrong"
        )
    # VA_BITS is what the kernel was built for, T1SZ what it runs with.
    t1sz = info.number("TCR_EL1_T1SZ")
    bits = 64 - t1sz if t1sz else info.number("VA_BITS") or 48
    if not 36 <= bits <= 52:
        raise FormatError(f"{path}: VMCOREINFO: {bits} bits of virtual addresses (VA_BITS, TCR_EL1_T1SZ)")
    root = (top - offset) % (1 << 64)
    return Tables(aarch64.levels(page_size, bits), root, (1 << 64) - (1 << bits), (1 << bits) - 1)


PLATFORMS = {
    p.machine: p
    for p in (
        Platform("x86_64", "little", 8, x86_64.VA_MASK, True, X86_64_TEXT, _x86_64),
        Platform("aarch64", "little", 8, aarch64.VA_MASK, False, 0xFFFF000000000000, _aarch64),
    )
}
