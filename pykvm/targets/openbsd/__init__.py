"""OpenBSD: dumps of the kcore format, and memory of virtual machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykvm.images.base import Image
from pykvm.loading import loading
from pykvm.symbols.base import Symbols
from pykvm.targets.base import Target

if TYPE_CHECKING:
    from pykvm.targets.openbsd.kernel import OpenBSD

FORMATS = ("savecore", "dump device", "raw", "elf")
OWN = ("allprocess", "process0")  # variables that OpenBSD has since 4.8, and none of its relatives
# Machines on which MirBSD leaves such dumps, too: on others, few names are enough.
SHARED = ("i386", "sparc")


def probe(image: Image, symbols: Symbols | None) -> Target | None:
    """OpenBSD, if the image may be its kind of dump and the names are of its kernel. (With fewer names a dump is taken
    for MirBSD's until memory says whose it is.)"""
    if image.format not in FORMATS or symbols is None:
        return None
    named = any(symbols.loose(name) is not None for name in OWN)
    if not named and (image.machine in (None, *SHARED) or image.format not in FORMATS[:2]):
        return None
    found = target(image, symbols)
    if found is not None:
        found.guessed = not named
    return found


def target(image: Image, symbols: Symbols, known: str | None = None) -> OpenBSD | None:
    """The target of a machine; None if OpenBSD is not known there. known: what is known of it otherwise."""
    with loading:
        from pykvm.targets.bsd.machines import chosen  # not before: a start costs milliseconds
        from pykvm.targets.openbsd.kernel import OpenBSD
        from pykvm.targets.openbsd.platform import MACHINES

    machine = chosen(MACHINES, image, symbols, OWN, known)
    return OpenBSD(machine) if machine is not None else None
