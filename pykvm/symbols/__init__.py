"""Where a kernel's names lie; each file here knows one format, the index itself is C."""

from __future__ import annotations

from pykvm.images.hostfile import HostFile
from pykvm.symbols import aout, elf, nmlist
from pykvm.symbols.base import Probe, Symbols

# Tried in order; a new format is a file and a line here.
FORMATS: tuple[Probe, ...] = (aout.probe, elf.probe, nmlist.probe)


def recognise(file: HostFile) -> Symbols | None:
    """The symbols of a kernel file, or None if it is no object file or list of names that is known."""
    for probe in FORMATS:
        symbols = probe(file)
        if symbols is not None:
            return symbols
    return None
