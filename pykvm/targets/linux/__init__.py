"""Linux: dumps that describe themselves by VMCOREINFO."""

from __future__ import annotations

from pykvm.images.base import Image
from pykvm.symbols.base import Symbols
from pykvm.targets.base import Target
from pykvm.targets.linux.kernel import Linux
from pykvm.targets.linux.machines import arm, riscv, search, x86

FORMATS = ("elf", "kdump", "lime", "raw")
# A new machine is a file and a line here.
PLATFORMS = {p.machine: p for p in (x86.X86_64, x86.I386, arm.AARCH64, arm.ARM, riscv.RISCV64)}


def probe(image: Image, symbols: Symbols | None) -> Target | None:
    """Linux, if the image has its VMCOREINFO, as a note or in memory, and is of a machine that is known."""
    if image.format not in FORMATS or image.machine not in (None, *PLATFORMS):
        return None
    told = [image.vmcoreinfo] if image.vmcoreinfo and image.vmcoreinfo.text("OSRELEASE") is not None else []
    if told and image.machine is not None:
        return Linux(PLATFORMS[image.machine], told[0])
    if symbols is not None and symbols.loose("init_uts_ns") is None:
        return None  # memory of another system, whose kernel was named: not to be searched
    found = search.kernel(image, PLATFORMS.values(), told)
    return Linux(*found) if found is not None else None
