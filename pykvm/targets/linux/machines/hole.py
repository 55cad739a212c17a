"""The hole below 4 GB: PCs have their devices there, and the memory that would be there lies above.

A hypervisor's file of a guest's RAM has it in one piece: what lies from 4 GB on follows what is below the hole. How
much is below is the hypervisor's choice (QEMU: hw/i386/pc_q35.c, pc_piix.c; -machine max-ram-below-4g); the kernel
tells by how far its memory goes.
"""

from __future__ import annotations

from collections.abc import Iterator

from pykvm.errors import KvmError
from pykvm.images.base import Image
from pykvm.images.held import Extent, Extents
from pykvm.symbols.base import Symbols

GB = 1 << 30
FOUR = 4 * GB
# Where memory above the hole begins: on AMD's hosts with much of it (QEMU 7.1) behind the HyperTransport's range.
ABOVE = (FOUR, 1 << 40)
# QEMU's q35; pc; both with other sizes of memory.
LOW = (2 * GB, 3 * GB, 0xE0000000, 0xB0000000)
PAGE = 4096
ADDRESS = (1 << 64) - 1


def placings(size: int) -> Iterator[list[Extent]]:
    """How a file of this size may lie in physical memory, if not in one piece."""
    for above in ABOVE:
        for low in LOW:
            if low < size:
                yield placed(size, low, above)


def placed(size: int, low: int, above: int) -> list[Extent]:
    """With so many bytes below the hole."""
    return [Extent(0, low, 0), Extent(above, size - low, low)]


def told(image: Image, symbols: Symbols, offset: int | None) -> list[Extent] | None:
    """As the kernel says: max_pfn is behind its last page. None if there is no hole.

    offset: what its image's virtual addresses are above the physical ones. By the page tables it cannot be found: some
    may be where the hole has moved them.
    """
    if image.format != "raw" or not isinstance(image.held, Extents):
        return None
    size = sum(extent.size for extent in image.held.extents)
    found = symbols.find("max_pfn")
    if found is None or offset is None or image.files[0].size != size:
        return None
    try:
        end = int.from_bytes(image.read(found.value - offset & ADDRESS, 8), "little") * PAGE
    except KvmError:
        return None
    for above in ABOVE:
        low = above + size - end
        if end > above and 0 < low <= FOUR and low < size and low % PAGE == 0:
            return placed(size, low, above)
    return None
