"""The kernels; each file (or package) here knows one."""

from __future__ import annotations

from pykvm.images.base import Image
from pykvm.symbols.base import Symbols
from pykvm.targets import dragonfly, freebsd, linux, mirbsd, netbsd, openbsd
from pykvm.targets.base import Probe, Target

# Tried in order, Linux after those that a header names: it searches memory. A new kernel is a file and a line here.
KERNELS: tuple[Probe, ...] = (dragonfly.probe, freebsd.probe, netbsd.probe, openbsd.probe, linux.probe, mirbsd.probe)


def recognise(image: Image, symbols: Symbols | None) -> Target | None:
    """The kernel that this image and these symbols are of, or None."""
    for probe in KERNELS:
        target = probe(image, symbols)
        if target is not None:
            return target
    return None
