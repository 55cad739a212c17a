"""Linux: dumps that describe themselves by VMCOREINFO."""

from __future__ import annotations

from pykvm.images.base import Image
from pykvm.symbols.base import Symbols
from pykvm.targets.base import Target
from pykvm.targets.linux import arm, riscv, search, x86
from pykvm.targets.linux.kernel import Linux

# A new machine is a file and a line here.
PLATFORMS = {p.machine: p for p in (x86.X86_64, x86.I386, arm.AARCH64, arm.ARM, riscv.RISCV64)}


def probe(image: Image, symbols: Symbols | None) -> Target | None:
    """Linux, if the image has its VMCOREINFO, as a note or in memory, and is of a machine that is known."""
    if image.format not in ("elf", "kdump") or image.machine not in PLATFORMS:
        return None
    info = image.vmcoreinfo or search.vmcoreinfo(image)
    if info is None or info.text("OSRELEASE") is None:
        return None
    return Linux(PLATFORMS[image.machine], info)
