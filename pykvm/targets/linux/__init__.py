"""Linux: dumps that describe themselves by VMCOREINFO."""

from __future__ import annotations

from pykvm.images.base import Image
from pykvm.symbols.base import Symbols
from pykvm.targets.base import Target
from pykvm.targets.linux.kernel import Linux
from pykvm.targets.linux.platform import PLATFORMS


def probe(image: Image, symbols: Symbols | None) -> Target | None:
    """Linux, if the image has its VMCOREINFO and is of a machine that is known."""
    if image.vmcoreinfo is None or image.vmcoreinfo.text("OSRELEASE") is None or image.machine not in PLATFORMS:
        return None
    return Linux(PLATFORMS[image.machine], image.vmcoreinfo)
