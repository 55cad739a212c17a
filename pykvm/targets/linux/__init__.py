"""Linux: dumps that describe themselves by VMCOREINFO."""

from __future__ import annotations

from pykvm.images.base import Image
from pykvm.symbols.base import Symbols
from pykvm.targets.base import Target
from pykvm.targets.linux import search
from pykvm.targets.linux.kernel import Linux
from pykvm.targets.linux.platform import PLATFORMS


def probe(image: Image, symbols: Symbols | None) -> Target | None:
    """Linux, if the image has its VMCOREINFO, as a note or in memory, and is of a machine that is known."""
    if image.format not in ("elf", "kdump") or image.machine not in PLATFORMS:
        return None
    info = image.vmcoreinfo or search.vmcoreinfo(image)
    if info is None or info.text("OSRELEASE") is None:
        return None
    return Linux(PLATFORMS[image.machine], info)
