"""Raw physical memory: no header, the byte at file offset n is the byte at physical address n."""

from __future__ import annotations

from collections.abc import Sequence

from pykvm.images.base import Image
from pykvm.images.held import Extent, Extents
from pykvm.images.hostfile import HostFile


def probe(files: Sequence[HostFile]) -> Image | None:
    """Any file, so this comes last. A dump split over several files has headers: not raw."""
    if len(files) != 1:
        return None
    size = files[0].size
    return Image("raw", files, Extents([Extent(0, size, 0)] if size else []))
