"""NetBSD: dumps of the kcore format, and memory of virtual machines."""

from __future__ import annotations

from pykvm.images.base import Image
from pykvm.loading import loading
from pykvm.symbols.base import Symbols
from pykvm.targets.base import Target

FORMATS = ("savecore", "dump device", "raw", "elf")
OWN = "lwp0"  # a variable that every NetBSD since 2.0 has, and none of its relatives


def probe(image: Image, symbols: Symbols | None) -> Target | None:
    """NetBSD, if the image may be its kind of dump and the names are of its kernel."""
    if image.format not in FORMATS or symbols is None or symbols.loose(OWN) is None:
        return None
    return target(image, symbols)


def target(image: Image, symbols: Symbols, known: str | None = None) -> Target | None:
    """The target of a machine; None if NetBSD is not known there. known: what is known of it otherwise."""
    with loading:
        from pykvm.targets.bsd.machines import chosen  # not before: a start costs milliseconds
        from pykvm.targets.netbsd.kernel import NetBSD
        from pykvm.targets.netbsd.platform import MACHINES

    machine = chosen(MACHINES, image, symbols, (OWN,), known)
    return NetBSD(machine) if machine is not None else None
