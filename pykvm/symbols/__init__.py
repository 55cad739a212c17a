"""Where a kernel's names lie; each file here knows one format, the index itself is C."""

from __future__ import annotations

from pykvm.images.hostfile import HostFile
from pykvm.symbols import aout, nmlist
from pykvm.symbols.base import Probe, Symbols


def _elf(file: HostFile) -> Symbols | None:
    if file.pread(0, 4)[1:] not in (b"ELF", b"OLF"):
        return None
    from pykvm.symbols import elf  # and pyelftools with it: a twentieth of a second, which most dumps can do without

    return elf.probe(file)


# Tried in order; a new format is a file and a line here.
FORMATS: tuple[Probe, ...] = (aout.probe, _elf, nmlist.probe)


def recognise(file: HostFile) -> Symbols | None:
    """The symbols of a kernel file, or None if it is no object file or list of names that is known."""
    for probe in FORMATS:
        symbols = probe(file)
        if symbols is not None:
            return symbols
    return None
