"""The formats of memory images; each file here knows one."""

from __future__ import annotations

from collections.abc import Sequence

from pykvm.errors import FormatError
from pykvm.images import dumpheader, elfcore, kdump, lime, minidump, raw, savecore, textdump
from pykvm.images.base import Image, Probe
from pykvm.images.hostfile import HostFile

# Tried in order; a new format is a file and a line here.
FORMATS: tuple[Probe, ...] = (
    savecore.probe, minidump.probe, kdump.probe, elfcore.probe, lime.probe, textdump.probe, raw.probe,
)  # fmt: skip


def recognise(files: Sequence[HostFile]) -> Image:
    """The image that these files are; FormatError if no format fits."""
    for file in files:
        dumpheader.unwrap(file)
    for probe in FORMATS:
        image = probe(files)
        if image is not None:
            image.facts = {**files[0].facts, **image.facts}
            return image
    raise FormatError(f"{files[0].path}: {len(files)} files that are not the parts of one dump")
