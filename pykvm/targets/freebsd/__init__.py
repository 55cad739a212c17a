"""FreeBSD: minidumps and full dumps."""

from __future__ import annotations

from pykvm.images.base import Image
from pykvm.images.elfcore import OSABI_STANDALONE, ElfCore
from pykvm.images.minidump import Minidump
from pykvm.loading import loading
from pykvm.symbols.base import Symbols
from pykvm.targets.base import Target


def probe(image: Image, symbols: Symbols | None) -> Target | None:
    """FreeBSD, if the image is a minidump, or an ELF core whose header says what FreeBSD's full dumps say."""
    header = image.header
    full = isinstance(header, ElfCore) and header.osabi == OSABI_STANDALONE and image.vmcoreinfo is None
    if not full and not isinstance(header, Minidump):
        return None
    with loading:
        from pykvm.targets.freebsd.kernel import FreeBSD  # not before: a start costs milliseconds

    return FreeBSD(image, symbols)
