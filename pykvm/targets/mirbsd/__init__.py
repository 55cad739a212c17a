"""MirBSD on i386 and sparc."""

from __future__ import annotations

from pykvm.images.base import Image
from pykvm.loading import loading
from pykvm.symbols.base import Symbols
from pykvm.targets.base import Target

FORMATS = ("savecore", "dump device", "raw")


def probe(image: Image, symbols: Symbols | None) -> Target | None:
    """MirBSD, if the image is its kind of dump (or raw memory) and the machine is one that it runs on; of a virtual
    machine's ELF core, if the names are a 4.4BSD kernel's."""
    elf = image.format == "elf" and symbols is not None and symbols.loose("PTDpaddr") is not None
    if image.format not in FORMATS and not elf:
        return None
    with loading:
        from pykvm.targets.mirbsd.kernel import MirBSD  # not before: a start costs milliseconds
        from pykvm.targets.mirbsd.platform import PLATFORMS

    machine = image.machine or (symbols.machine if symbols is not None else None)
    if machine is None and symbols is not None and symbols.loose("PTDpaddr") is not None:
        machine = "i386"  # of memory without a header and a list of names: sparc has no such variable
    return MirBSD(PLATFORMS[machine]) if machine in PLATFORMS else None
