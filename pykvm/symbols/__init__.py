"""Where a kernel's names lie; each file here knows one format, the index itself is C."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykvm.loading import load

if TYPE_CHECKING:
    from pykvm.images.hostfile import HostFile
    from pykvm.symbols.base import Probe, Symbols

# Tried in order; a new format is a file with a Probe `probe`, and its name here.
FORMATS = ("aout", "elf", "nmlist")


def recognise(file: HostFile) -> Symbols | None:
    """The symbols of a kernel file, or None if it is no object file or list of names that is known."""
    for name in FORMATS:
        probe: Probe = load(f"pykvm.symbols.{name}").probe
        symbols = probe(file)
        if symbols is not None:
            return symbols
    return None
