"""DragonFly: minidumps, which are FreeBSD's or look much like them."""

from __future__ import annotations

from pykvm.images.base import Image
from pykvm.images.minidump import Minidump
from pykvm.loading import loading
from pykvm.symbols.base import Symbols
from pykvm.targets.base import Target

# (machine, version) of FreeBSD's minidumps that DragonFly wrote, too, with the same magic: pc64 up to 3.x, pc32.
SHARED = {("x86_64", 1), ("i386", 1)}


def probe(image: Image, symbols: Symbols | None) -> Target | None:
    """DragonFly, if the magic says so; where it may be FreeBSD's, a target that memory has to decide on."""
    header = image.header
    if not isinstance(header, Minidump):
        return None
    own = header.shape.system == "DragonFly"
    if not own and (header.shape.machine, header.version) not in SHARED:
        return None
    with loading:
        from pykvm.targets.dragonfly.kernel import DragonFly, Lookalike  # not before: a start costs milliseconds

    return DragonFly(image, symbols) if own else Lookalike(image, symbols)
