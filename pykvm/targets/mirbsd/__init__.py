"""MirBSD on i386 and sparc."""

from __future__ import annotations

from pykvm.images.base import Image
from pykvm.symbols.base import Symbols
from pykvm.targets.base import Target
from pykvm.targets.mirbsd.kernel import MirBSD
from pykvm.targets.mirbsd.platform import PLATFORMS


def probe(image: Image, symbols: Symbols | None) -> Target | None:
    """MirBSD, if the image is its kind of dump (or raw memory) and the machine is one that it runs on."""
    machine = image.machine or (symbols.machine if symbols is not None else None)
    if image.format not in ("savecore", "dump device", "raw") or machine not in PLATFORMS:
        return None
    return MirBSD(PLATFORMS[machine])
