"""DragonFly: minidumps, which are FreeBSD's or look much like them."""

from __future__ import annotations

from pykvm.images.base import Image
from pykvm.images.minidump import Minidump
from pykvm.symbols.base import Symbols
from pykvm.targets.base import Target
from pykvm.targets.dragonfly.kernel import DragonFly, Lookalike

# (machine, version) of FreeBSD's minidumps that DragonFly wrote, too, with the same magic: pc64 up to 3.x, pc32.
SHARED = {("x86_64", 1), ("i386", 1)}


def probe(image: Image, symbols: Symbols | None) -> Target | None:
    """DragonFly, if the magic says so; where it may be FreeBSD's, a target that memory has to decide on."""
    header = image.header
    if not isinstance(header, Minidump):
        return None
    if header.shape.system == DragonFly.system:
        return DragonFly(image, symbols)
    if (header.shape.machine, header.version) in SHARED:
        return Lookalike(image, symbols)
    return None
