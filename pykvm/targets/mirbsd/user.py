"""User memory of a process on a dump: through UVM's map entries, amaps and anons to memory or swap.

Rules: MirBSD sys/uvm (uvm_map.h, uvm_amap.h, uvm_anon.h, uvm_page.h). Only anonymous memory is found; stacks are.
"""

from __future__ import annotations

from pykvm.errors import AddressError, KvmError
from pykvm.targets.base import Parts
from pykvm.targets.mirbsd.structs import Structs

MAX_ENTRIES = 1 << 16


class UserSpace:
    """The address space that a struct vmspace describes.

    Unlike MirBSD's library: pages in memory are read where the dump has them (there without the offset of the
    memory in the file), the anon is that of the page's slot (there of the page), and swap is read.
    """

    def __init__(self, structs: Structs, parts: Parts, vmspace: int, page_size: int) -> None:
        self.structs = structs
        self.parts = parts
        self.page_size = page_size
        self.entries: list[tuple[int, int, int, int]] = []
        self._pages: dict[int, bytes] = {}
        self._read_map(vmspace)

    def _read_map(self, vmspace: int) -> None:
        s = self.structs
        header = vmspace + s.offset("vmspace", "vm_map.header")
        addrs = self.parts.memory.walk_list(header, s.offset("vm_map_entry", "next"), MAX_ENTRIES)
        members = ("start", "end", "aref.ar_pageoff", "aref.ar_amap")
        table = s.table(self.parts.memory, "vm_map_entry", addrs, members)
        # The first entry found is the one that counts, so the list's order is kept.
        self.entries = [table[a] for a in addrs if a != header and a in table]

    def read(self, va: int, n: int) -> bytes:
        """n bytes of user memory; AddressError with the first that is neither in memory nor in swap."""
        parts = []
        while n > 0:
            inside = va % self.page_size
            piece = self.page(va)[inside : inside + n]
            parts.append(piece)
            va += len(piece)
            n -= len(piece)
        return b"".join(parts)

    def page(self, va: int) -> bytes:
        """The whole page that holds an address."""
        start = va - va % self.page_size
        found = self._pages.get(start)
        if found is None:
            found = self._pages[start] = self._find(start, va)
        return found

    def _find(self, va: int, wanted: int) -> bytes:
        """The page at va, or AddressError for the address that was wanted."""
        entry = next((e for e in self.entries if e[0] <= va < e[1] and e[3]), None)
        if entry is None:
            raise _missing(wanted)
        start, _, pageoff, amap = entry
        slot = (va - start) // self.page_size + pageoff
        nslot, anons = self._members("vm_amap", amap, ("am_nslot", "am_anon"))
        if not 0 <= slot < nslot:
            raise _missing(wanted)
        anon = self.parts.memory.read_u32(anons + 4 * slot)
        if anon == 0:
            raise _missing(wanted)
        page, swslot = self._members("vm_anon", anon, ("u", "an_swslot"))
        if page:
            (where,) = self._members("vm_page", page, ("phys_addr",))
            return self.parts.memory.read_phys(where, self.page_size)
        return self._swapped(swslot, wanted)

    def _members(self, name: str, addr: int, members: tuple[str, ...]) -> tuple[int, ...]:
        unpacker = self.structs.unpacker(name, members)
        found: tuple[int, ...] = unpacker.unpack(self.parts.memory.read(addr, unpacker.size))
        return found

    def _swapped(self, slot: int, wanted: int) -> bytes:
        """Page `slot` of all swap space: each device holds the pages from its drum offset on."""
        devices = [d for d in self.parts.swap if d.drum_offset <= slot]
        if slot <= 0 or not devices:
            raise _missing(wanted)
        device = max(devices, key=lambda d: d.drum_offset)
        try:
            data: bytes = device.file.pread((slot - device.drum_offset) * self.page_size, self.page_size)
        except KvmError as e:
            raise _missing(wanted) from e
        if len(data) != self.page_size:
            raise _missing(wanted)
        return data


def _missing(va: int) -> AddressError:
    # Not made ahead and kept in a variable: an error that its own traceback holds keeps the dump open.
    return AddressError(f"invalid address ({va:x})", va)
