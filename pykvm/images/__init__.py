"""The formats of memory images; each file here knows one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pykvm.errors import FormatError
from pykvm.loading import load, loading

if TYPE_CHECKING:
    from pykvm.images.base import Image, Probe
    from pykvm.images.hostfile import HostFile

# Tried in order; a new format is a file with a Probe `probe`, and its name here. They are loaded when a file is looked
# at: who asks the running system needs none.
FORMATS = ("savecore", "minidump", "kdump", "elfcore", "lime", "textdump", "raw")


def recognise(files: Sequence[HostFile]) -> Image:
    """The image that these files are; FormatError if no format fits."""
    with loading:
        from pykvm.images import dumpheader

    for file in files:
        dumpheader.unwrap(file)
    for name in FORMATS:
        probe: Probe = load(f"pykvm.images.{name}").probe
        image = probe(files)
        if image is not None:
            image.facts = {**files[0].facts, **image.facts}
            return image
    raise FormatError(f"{files[0].path}: {len(files)} files that are not the parts of one dump")
