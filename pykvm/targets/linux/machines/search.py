"""VMCOREINFO in memory, for images that lack the note: raw memory, QEMU without its vmcoreinfo device, some
hypervisors.

The kernel keeps its text in a page of its own (kernel/vmcore_info.c), which begins with OSRELEASE=. That a page is
it, of which machine, and where in physical memory a raw image begins, is shown by the page tables that it leads to:
they map the kernel's name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pykvm.errors import KvmError
from pykvm.images.base import Image
from pykvm.images.held import Extent, Extents
from pykvm.images.vmcoreinfo import VmcoreInfo
from pykvm.progress import Progress
from pykvm.targets.linux.machines import hole
from pykvm.targets.linux.machines.platform import Platform, Tables, uts_address

START = b"OSRELEASE="
PAGE = 4096
RELEASE = 2 * 65  # of struct new_utsname
MAX_PAGES = 64  # that begin so: a few copies are in every memory


def kernel(
    image: Image, platforms: Iterable[Platform], told: Sequence[VmcoreInfo]
) -> tuple[Platform, VmcoreInfo, Tables] | None:
    """The machine, VMCOREINFO and page tables of the kernel in an image; None if it has no Linux that says so. told:
    what the dump says without naming its machine (QEMU 7.2's kdump files of Arm)."""
    machines = [p for p in platforms if image.machine in (None, p.machine)]
    for info in told or _texts(image):
        for platform in machines:
            for extents in _placings(image, platform, info):
                if extents is not None:
                    image.place(extents)
                tables = platform.proven(info, image)
                if tables is not None:
                    return platform, info, tables
                if extents is not None:
                    image.place([Extent(0, sum(e.size for e in extents), 0)])
    return None


def _texts(image: Image) -> Iterator[VmcoreInfo]:
    progress = Progress(f"looking for VMCOREINFO in {image.path}", max(image.memory_size, 1))
    try:
        for seen, at in enumerate(image.find(START, 0, PAGE, progress.update)):
            if seen == MAX_PAGES:
                return
            try:
                yield VmcoreInfo(image.read(at, PAGE))
            except KvmError:
                continue
    finally:
        progress.done()


def _placings(image: Image, platform: Platform, info: VmcoreInfo) -> Iterator[list[Extent] | None]:
    """Where the memory of an image may lie: where it says (None), and for raw memory where the kernel's name would be
    right, or where machines of this kind have their memory."""
    yield None
    held = image.held
    if image.format != "raw" or not isinstance(held, Extents) or len(held.extents) != 1:
        return
    extent = held.extents[0]
    if platform.has_hole:
        yield from hole.placings(extent.size)
    for base in dict.fromkeys([*_bases(image, platform, info), *platform.memory_starts]):
        if 0 < base < 1 << 52:
            yield [Extent(base, extent.size, extent.offset)]


def _bases(image: Image, platform: Platform, info: VmcoreInfo) -> Iterator[int]:
    """By the kernel's name: where it is in the file, and where it is in physical memory."""
    at, offset = uts_address(info), platform.image_offset(info)
    if at is None or offset is None:
        return
    release = (info.text("OSRELEASE") or "").encode("utf-8", "surrogateescape") + b"\0"
    for seen, found in enumerate(image.find(b"Linux\0", at % PAGE, PAGE, lambda _: None)):
        if seen == MAX_PAGES:
            return
        try:
            if image.read(found + RELEASE, len(release)) == release:
                yield (at - offset) % (1 << 64) - found
        except KvmError:
            continue
