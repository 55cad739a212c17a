"""VMCOREINFO in memory, for dumps that lack the note (QEMU without its vmcoreinfo device, some hypervisors).

The kernel keeps its text in a page of its own (kernel/vmcore_info.c), which begins with OSRELEASE=.
"""

from __future__ import annotations

from collections.abc import Iterator

from pykvm.errors import KvmError
from pykvm.images.base import Image
from pykvm.images.vmcoreinfo import VmcoreInfo
from pykvm.progress import Progress

START = b"OSRELEASE="
PAGE = 4096
CHUNK = 1 << 20
NEEDED = "swapper_pg_dir"


def vmcoreinfo(image: Image) -> VmcoreInfo | None:
    """The text, or None if no page of the image begins with it and names the kernel's page tables."""
    progress = Progress(f"looking for VMCOREINFO in {image.path}", max(image.memory_size, 1))
    done = 0
    try:
        for data in _memory(image):
            at = data.find(START)
            while at >= 0:
                if at % PAGE == 0:
                    found = VmcoreInfo(data[at : at + PAGE])
                    if found.symbol(NEEDED) is not None:
                        return found
                at = data.find(START, at + 1)
            done += len(data)
            progress.update(done)
    finally:
        progress.done()
    return None


def _memory(image: Image) -> Iterator[bytes]:
    """All memory, in pieces that begin and end at pages."""
    for extent in image.extents:
        start = -(-extent.addr // PAGE) * PAGE
        for addr in range(start, extent.addr + extent.size - PAGE + 1, CHUNK):
            try:
                yield image.read(addr, min(CHUNK, extent.addr + extent.size - addr))
            except KvmError:
                break  # the file ends
    if image.pages is not None:
        for pfn in range(image.pages.total):
            try:
                yield image.read(pfn * image.pages.page_size, image.pages.page_size)
            except KvmError:
                continue  # a page that is not there
