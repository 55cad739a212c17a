"""Linux: dumps that describe themselves by VMCOREINFO, or have the registers of their CPUs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykvm.loading import loading

if TYPE_CHECKING:
    from pykvm.images.base import Image
    from pykvm.symbols.base import Symbols
    from pykvm.targets.base import Target

FORMATS = ("elf", "kcore", "kdump", "lime", "raw")


def probe(image: Image, symbols: Symbols | None) -> Target | None:
    """Linux, if the format is one of its dumps' and what is in it says so."""
    if image.format not in FORMATS:
        return None
    with loading:
        from pykvm.targets.linux.recognise import recognise  # not before: a start costs milliseconds

    return recognise(image, symbols)
