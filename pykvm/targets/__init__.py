"""The kernels; each file (or package) here knows one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykvm.loading import load

if TYPE_CHECKING:
    from pykvm.images.base import Image
    from pykvm.symbols.base import Symbols
    from pykvm.targets.base import Probe, Target

# Tried in order, Linux after those that a header names: it searches memory. A new kernel is a file (or package) with a
# Probe `probe`, and its name here.
KERNELS = ("dragonfly", "freebsd", "netbsd", "openbsd", "linux", "mirbsd")


def recognise(image: Image, symbols: Symbols | None) -> Target | None:
    """The kernel that this image and these symbols are of, or None."""
    for name in KERNELS:
        probe: Probe = load(f"pykvm.targets.{name}").probe
        target = probe(image, symbols)
        if target is not None:
            return target
    return None
