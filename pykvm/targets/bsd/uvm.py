"""User memory that no page table maps just now: UVM's map entry, its amap, the anon of the page, and from there memory
or swap (sys/uvm of both systems). Only anonymous memory is found: the stack, and data that were written to.

How an entry and an anon are found differs; a system's own file says it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple

from pykvm.errors import AddressError, KvmError
from pykvm.memory import Memory
from pykvm.targets.base import Parts
from pykvm.targets.bsd.variables import number
from pykvm.targets.common.columns import Columns

if TYPE_CHECKING:
    from pykvm.targets.bsd.family import Bsd


MAX_PAGES = 256  # that are kept of one process
# Whether swap is encrypted: OpenBSD's int, on unless it is turned off; NetBSD's bool since 10.
ENCRYPTS = {"uvm_doswapencrypt": 4, "uvm_swap_encrypt": 1}


class NotDumped(AddressError):
    """A page that is known to be where the dump does not have it: beyond its memory, in encrypted swap."""


class Entry(NamedTuple):
    """A map entry: where it begins, the page of its amap that is there, and the amap."""

    start: int
    pageoff: int
    amap: int


class Anons(ABC):
    """The anonymous memory of one address space."""

    def __init__(self, target: Bsd, parts: Parts, vmspace: int) -> None:
        self.target = target
        self.parts = parts
        self.read = Columns.of(target, parts)
        self.map = vmspace + self.read.offset("vmspace", "vm_map")

    @abstractmethod
    def entry(self, va: int) -> Entry | None:
        """The entry that an address is in; None if it is in none, or that has no amap."""

    @abstractmethod
    def anon(self, amap: int, slot: int) -> int:
        """The struct vm_anon of a page of an amap; 0: it has none."""

    def member(self, at: int, struct: str, *paths: str, signed: bool = False) -> int:
        """A member of a structure; AddressError if it is not there."""
        (found,) = self.read.member([at], struct, *paths, signed=signed)
        if found is None:
            raise AddressError(f"can't read {struct} at {at:#x}", at)
        return found

    def page(self, va: int) -> bytes:
        """The page that holds an address. AddressError if it is neither in memory nor in swap."""
        size = self.target.page_size
        entry = self.entry(va)
        if entry is None:
            raise _missing(va)
        anon = self.anon(entry.amap, (va - entry.start) // size + entry.pageoff)
        if not anon:
            raise _missing(va)
        page = self.member(anon, "vm_anon", "an_page", "u.an_page")
        if page:
            pa = self.member(page, "vm_page", "phys_addr") & -size  # NetBSD keeps more in it since 9.99
            try:
                return self.parts.memory.read_phys(pa, size)
            except AddressError as e:
                raise NotDumped(
                    f"invalid address ({pa:x}): physical, of {va:x}: the dump has no memory there", va
                ) from e
        slot = self.member(anon, "vm_anon", "an_swslot", signed=True)
        if slot > 0 and any(number(self.parts, name, size) for name, size in ENCRYPTS.items()):
            raise NotDumped(f"invalid address ({va:x}): its page is in swap, which the kernel encrypts", va)
        return self._swapped(slot, va)

    def _swapped(self, slot: int, va: int) -> bytes:
        """Page `slot` of all swap space: each device holds the pages from its drum offset on."""
        size = self.target.page_size
        devices = [d for d in self.parts.swap if d.drum_offset <= slot]
        if slot <= 0 or not devices:
            raise _missing(va)
        device = max(devices, key=lambda d: d.drum_offset)
        data: bytes = device.file.pread((slot - device.drum_offset) * size, size)
        if len(data) != size:
            raise _missing(va)
        return data


class UserMemory:
    """The memory of a process: by its page tables, and where they have nothing by its anons."""

    def __init__(self, memory: Memory, anons: Anons | None, page_size: int) -> None:
        self._memory, self._anons, self._page_size = memory, anons, page_size
        self._pages: dict[int, bytes] = {}

    def read(self, va: int, n: int) -> bytes:
        """n bytes; AddressError with the first that is nowhere."""
        parts = []
        while n > 0:
            piece = self._piece(va, min(n, self._page_size - va % self._page_size))
            parts.append(piece)
            va, n = va + len(piece), n - len(piece)
        return b"".join(parts)

    def read_cstr(self, va: int, limit: int) -> bytes:
        """The bytes up to (not with) the NUL, at most limit."""
        parts: list[bytes] = []
        while limit > 0:
            piece = self._piece(va, min(limit, self._page_size - va % self._page_size))
            text, nul, _ = piece.partition(b"\0")
            parts.append(text)
            if nul:
                break
            va, limit = va + len(piece), limit - len(piece)
        return b"".join(parts)

    def _piece(self, va: int, n: int) -> bytes:
        """Bytes of one page."""
        inside = va % self._page_size
        kept = self._pages.get(va - inside)
        if kept is not None:
            return kept[inside : inside + n]
        try:
            return self._memory.read(va, n)
        except AddressError:
            if self._anons is None:
                raise
            try:
                page = self._anons.page(va)
            except NotDumped:
                raise
            except KvmError:
                page = b""
            if not page:
                raise  # what the page tables said
        if len(self._pages) == MAX_PAGES:
            self._pages.clear()
        self._pages[va - inside] = page
        return page[inside : inside + n]

    def detach(self) -> None:
        """It is not needed any more."""
        self._memory.detach()


def _missing(va: int) -> AddressError:
    return AddressError(f"invalid address ({va:x})", va)
