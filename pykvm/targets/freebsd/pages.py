"""kvm_walk_pages(3) on minidumps: what the kernel maps, then what else is in the dump."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from pykvm.constants import LIBKVM_WALK_PAGES_VERSION, VM_PROT_READ, VM_PROT_WRITE
from pykvm.errors import AddressError, FormatError, KvmError
from pykvm.images.base import Image
from pykvm.images.held import Packed
from pykvm.images.minidump import Minidump
from pykvm.machines import powerpc64, rights
from pykvm.machines.flat import FILE_TABLE
from pykvm.machines.leaves import BLOCK, CHUNK, Leaf, Tree
from pykvm.machines.mmu import Root
from pykvm.machines.rights import Rights, Sized
from pykvm.records import KvmPage
from pykvm.targets.base import Parts
from pykvm.targets.freebsd import platform

if TYPE_CHECKING:
    from pykvm.targets.freebsd.family import Family

DIRECT_PROT = VM_PROT_READ | VM_PROT_WRITE
# A kernel maps some pages several times. How often all of them may be on average, and how many more, before the map is
# taken for damaged.
TIMES, MORE = 4, 1 << 16

# Of what looks the same whatever the dump's header says; else a function of the header and the size of entries.
RIGHTS: dict[str, Callable[[Minidump, int], Rights | Sized]] = {
    "x86_64": lambda dump, size: rights.X86,
    "aarch64": lambda dump, size: rights.AARCH64,
    "riscv64": lambda dump, size: rights.RISCV64,
    "i386": lambda dump, size: rights.X86 if size == 8 else rights.I386,
    "arm": lambda dump, size: {1: rights.ARM_V4, 3: rights.ARM_LPAE}.get(dump.values["mmuformat"], rights.ARM_V6),
    "mips": lambda dump, size: rights.MIPS64 if size == 8 else rights.MIPS,
    "powerpc64": lambda dump, size: rights.POWERPC_RADIX if "radix" in dump.mmu_name else rights.POWERPC_HASHED,
}


def walk(target: Family, parts: Parts) -> Iterator[KvmPage]:
    """The pages; KvmError if this is no minidump."""
    image, dump = parts.image, parts.image.header
    packed = image.held
    if not isinstance(dump, Minidump) or not isinstance(packed, Packed):
        raise KvmError(f"kvm_walk_pages: {image.path}: only minidumps' pages are walked, this is a full dump")
    levels, roots = platform.layout(image, dump, target.pointer_size, parts.symbols)
    direct = _Direct([root for root in roots if root.linear])
    if platform.is_hashed(dump):
        leaves = _hashed(parts, dump, roots)
    else:
        order = "big" if dump.shape.machine == "powerpc64" else target.byteorder
        tree = Tree(levels, order, _reader(image), image.path)
        leaves = (leaf for root in sorted(roots) if not root.linear for leaf in tree.leaves(root))
    # A file that was cut holds fewer pages than its bitmap says.
    held = max(0, image.files[0].size - packed.data_offset) // packed.page_size
    seen = bytearray(min(packed.present(image.core), held))
    prot = RIGHTS[dump.shape.machine](dump, levels[0].entry_size).prot
    yield from _mapped(image, packed, leaves, prot, direct, seen)
    yield from _others(image, packed, direct, seen)


def _mapped(
    image: Image,
    packed: Packed,
    leaves: Iterator[Leaf],
    prot: Callable[[int], int],
    direct: _Direct,
    seen: bytearray,
) -> Iterator[KvmPage]:
    """The kernel's map: a page of its own for every piece that lies in one in the file."""
    page, data, where = packed.page_size, packed.data_offset, partial(packed.where, image.core)
    left = TIMES * len(seen) + MORE
    for va, pa, size, entry in leaves:
        rest = size // page
        allowed = prot(entry)
        while rest:
            offset, count = where(pa, rest)
            if offset is not None:
                first = (offset - data) // page
                seen[first : first + count] = b"\1" * count
                left -= count
                if left < 0:
                    raise FormatError(f"{image.path}: page map: all pages are mapped more than {TIMES} times over")
            elif not count:  # no physical address has these bits
                count = rest
            length = count * page
            yield KvmPage(
                LIBKVM_WALK_PAGES_VERSION, pa, va, direct.address(pa, length), allowed,
                -1 if offset is None else offset, length,
            )  # fmt: skip
            va, pa, rest = va + length, pa + length, rest - count


def _others(image: Image, packed: Packed, direct: _Direct, seen: bytearray) -> Iterator[KvmPage]:
    """What has not been seen and is in the direct map, page by page."""
    page, data = packed.page_size, packed.data_offset
    for start, size, offset in packed.runs(image.core):
        first = (offset - data) // page
        at, end = first, first + size // page
        while (at := seen.find(0, at, end)) >= 0:
            pa = start + (at - first) * page
            dmap = direct.address(pa, page)
            if dmap:
                yield KvmPage(LIBKVM_WALK_PAGES_VERSION, pa, 0, dmap, DIRECT_PROT, data + at * page, page)
            at += 1


class _Direct:
    """Where physical memory is mapped without tables."""

    def __init__(self, roots: Sequence[Root]) -> None:
        self._ranges = [(root.table, root.table + root.last - root.start, root.start) for root in roots]

    def address(self, pa: int, size: int) -> int:
        """The address of so many bytes; 0 if they are not mapped."""
        for first, last, start in self._ranges:
            if first <= pa and pa + size - 1 <= last:
                return start + pa - first
        return 0


def _reader(image: Image) -> Callable[[int, int], Iterator[tuple[int, bytes]]]:
    """Tables in the file, of which holes are passed over, or in the dumped pages; those that were not dumped are as
    good as empty."""
    file = image.files[0]

    def read(table: int, size: int) -> Iterator[tuple[int, bytes]]:
        if table >= FILE_TABLE:
            begin = done = table - FILE_TABLE
            for start, end in file.data(begin, size):
                # Whole blocks, counted from the table's start: a hole may begin and end inside of one.
                start = max(done, begin + (start - begin & -BLOCK))
                done = max(done, min(begin + size, begin + (end - begin + BLOCK - 1 & -BLOCK)))
                for at in range(start, done, CHUNK):
                    yield at - begin, file.pread(at, min(CHUNK, done - at))
            return
        try:
            yield 0, image.read(table, size)
        except AddressError:
            return

    return read


def _hashed(parts: Parts, dump: Minidump, roots: Sequence[Root]) -> Iterator[Leaf]:
    """The kernel's small pages in a hashed page table (Power ISA 2.07B, 5.7.7), in the table's order: those that the
    walker finds at their addresses."""
    memory, file = parts.memory, parts.image.files[0]
    ranges = [(root.start, root.last) for root in roots if not root.linear]
    size = dump.values["mapsize"]
    groups = size // powerpc64.GROUP_SIZE
    for at in range(0, size, CHUNK):
        raw = file.pread(dump.map + at, min(CHUNK, size - at))
        for place in range(0, len(raw) & -16, 16):
            high = int.from_bytes(raw[place : place + 8], "big")
            va = powerpc64.address_of(high, (at + place) // powerpc64.GROUP_SIZE, groups)
            if va is None or not any(start <= va <= last for start, last in ranges):
                continue
            low = int.from_bytes(raw[place + 8 : place + 16], "big")
            pa = low & powerpc64.HASHED_FRAME
            if memory.located(va) == pa:
                yield Leaf(va, pa, powerpc64.SMALL_PAGE, low)
