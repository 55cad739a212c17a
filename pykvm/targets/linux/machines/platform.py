"""What differs between Linux's machines: where the kernel's page tables are, and what user space looks like."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pykvm.errors import FormatError, KvmError
from pykvm.images.base import Image
from pykvm.images.vmcoreinfo import VmcoreInfo
from pykvm.machines.mmu import Level, Root, Translation, radix
from pykvm.memory import Memory


@dataclass(frozen=True)
class Tables:
    """Page tables of a running kernel: levels, the root's physical address, the ends of both halves of the space."""

    levels: tuple[Level, ...]
    root: int
    kernel_start: int
    user_last: int


@dataclass(frozen=True)
class Platform:
    """`text_start`: the lowest link address.

    `tables` gives, of what VMCOREINFO says, the tables to try, the likeliest first: where it does not say where
    physical memory begins or how the address space is split, the right ones are those that map themselves.
    `image_offset`: what a virtual address of the kernel's image is above its physical one, where VMCOREINFO tells;
    `memory_starts`: where physical memory usually begins, other than at 0; `has_hole`: whether none is below 4 GB where
    a PC has its devices (hole.py).
    """

    machine: str
    pointer_size: int
    va_mask: int
    text_start: int
    tables: Callable[[VmcoreInfo, Image], list[Tables]]
    byteorder: str = "little"
    image_offset: Callable[[VmcoreInfo], int | None] = lambda info: None
    memory_starts: tuple[int, ...] = ()
    has_hole: bool = False

    def find(self, info: VmcoreInfo, image: Image) -> Tables:
        """The kernel's tables; FormatError if VMCOREINFO lacks what leads to them, or leads nowhere."""
        candidates = self.tables(info, image)
        for tables in candidates[:-1]:
            if self._maps_itself(tables, info, image):
                return tables
        return candidates[-1]

    def proven(self, info: VmcoreInfo, image: Image) -> Tables | None:
        """The tables that map the kernel's name, or None: for VMCOREINFO that may be anything."""
        try:
            candidates = self.tables(info, image)
        except FormatError:
            return None
        return next((t for t in candidates if self._maps_itself(t, info, image)), None)

    def _maps_itself(self, tables: Tables, info: VmcoreInfo, image: Image) -> bool:
        """The kernel's name is where VMCOREINFO says that it is."""
        at = uts_address(info)
        if at is None:
            return False
        memory = self.memory(tables, image)
        try:
            return memory.read(at, 6) == b"Linux\0"
        except KvmError:
            return False
        finally:
            memory.detach()

    def memory(self, tables: Tables, image: Image) -> Memory:
        """The kernel's memory by itself, to be detached."""
        memory = Memory()
        memory.attach(image, self.kernel(tables, image), self.byteorder, self.pointer_size)
        return memory

    def kernel(self, tables: Tables, image: Image) -> Translation:
        """Kernel addresses. User addresses are a process's matter: see user()."""
        roots: list[Root] = []
        start = tables.kernel_start
        for first, last, physical in image.linear:
            if start < first:
                roots.append(Root(start, first - 1, tables.root))
            roots.append(Root(first, last, physical, linear=True))
            start = last + 1
        if start <= self.va_mask:
            roots.append(Root(start, self.va_mask, tables.root))
        return Translation(radix(roots, tables.levels, self.byteorder), self.va_mask)

    def user(self, tables: Tables, pgd: int) -> Translation:
        """A process's addresses, by the physical address of its top page table."""
        return Translation(radix([Root(0, tables.user_last, pgd)], tables.levels, self.byteorder), self.va_mask)


def uts_address(info: VmcoreInfo) -> int | None:
    """Where the kernel keeps its name (struct new_utsname of the first namespace)."""
    at = info.symbol("init_uts_ns")
    return None if at is None else at + (info.decimal("OFFSET(uts_namespace.name)") or 0)


def top_table(info: VmcoreInfo, image: Image) -> int:
    """The address of swapper_pg_dir, the kernel's own top table."""
    top = info.symbol("swapper_pg_dir") or info.symbol("init_top_pgt") or info.symbol("init_level4_pgt")
    if top is None:
        raise FormatError(f"{image.path}: VMCOREINFO: has no SYMBOL(swapper_pg_dir)")
    return top
