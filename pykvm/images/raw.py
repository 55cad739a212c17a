"""Raw physical memory: no header, the byte at file offset n is the byte at physical address n.

It may be that of a virtual machine that runs (QEMU's memory-backend-file or memfd, share=on).
"""

from __future__ import annotations

from collections.abc import Sequence

from pykvm.images.base import Image
from pykvm.images.held import Extent, Extents
from pykvm.images.hostfile import HostFile

NO_CORES = {1: "object file", 2: "executable", 3: "shared object or executable"}  # e_type


def probe(files: Sequence[HostFile]) -> Image | None:
    """Any file, so this comes last. A dump split over several files has headers: not raw."""
    if len(files) != 1:
        return None
    file = files[0]
    held = Extents([Extent(0, file.size, 0)] if file.size else [])
    return Image("raw", files, held, flaw=_what(file), live=file.changing())


def _what(file: HostFile) -> str | None:
    """What a file is that is surely no memory."""
    start = file.pread(0, 18)
    if start[:4] == b"\x7fELF" and len(start) == 18:
        kind = int.from_bytes(start[16:18], "big" if start[5] == 2 else "little")
        if kind in NO_CORES:
            return f"{file.path} is an ELF {NO_CORES[kind]}, not a core"
    return None
