"""What a FreeBSD dump maps: where there is something to read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pykvm

PAGE = 4096
PRESENT, LARGE = 1, 1 << 7
FRAME = 0x000FFFFFFFFFF000
TOP = 39  # the shift of the root table's entries
KERNEL_HALF = 0xFFFF << 48
Range = tuple[int, int]


def ranges(kd: pykvm.Kvm) -> list[Range]:
    """(address, bytes) of the kernel's mappings whose memory is in the dump: of amd64, or of any minidump.

    A minidump is asked; of a full dump the page tables of four levels are followed, by the root that the kernel names.
    """
    found: list[Range] = []

    def add(page: pykvm.KvmPage, _: object) -> int:
        if page.kp_offset >= 0:
            found.append((page.kp_kmap_vaddr or page.kp_dmap_vaddr, page.kp_len))
        return 1

    if not pykvm.kvm_walk_pages(kd, add):
        root = kd.read_u64(kd.symbol("KPML4phys"))
        found = [piece for piece in _tables(kd, root, TOP, 0) if _there(kd, *piece)]
    return joined(found)


def _tables(kd: pykvm.Kvm, table: int, shift: int, above: int) -> Iterator[Range]:
    """The pages below a table at this physical address."""
    entries = memoryview(kd.read_phys(table, PAGE)).cast("Q")
    for i, entry in enumerate(entries):
        addr = above | i << shift
        if shift == TOP and i >= len(entries) // 2:
            addr |= KERNEL_HALF
        if not entry & PRESENT or (shift == TOP and (i < len(entries) // 2 or entry & FRAME == table)):
            continue
        if shift == 12 or entry & LARGE:
            yield addr, 1 << shift
        else:
            yield from _tables(kd, entry & FRAME, shift - 9, addr)


def _there(kd: pykvm.Kvm, addr: int, size: int) -> bool:
    """Whether a mapping is of memory, and not of a device, from its first to its last page."""
    try:
        for at in range(addr, addr + size, PAGE):
            kd.read_u64(at)
    except pykvm.KvmError:
        return False
    return True


def joined(pieces: Iterable[Range]) -> list[Range]:
    """Ranges that follow upon each other as one."""
    found: list[Range] = []
    for addr, size in sorted(set(pieces)):
        if found and sum(found[-1]) == addr:
            found[-1] = (found[-1][0], found[-1][1] + size)
        else:
            found.append((addr, size))
    return found
