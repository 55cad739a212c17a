"""How a dump is seen to be of Linux: by VMCOREINFO, or the registers of its CPUs."""

from __future__ import annotations

from pykvm.errors import KvmError
from pykvm.images.base import Image
from pykvm.symbols.base import Symbols
from pykvm.targets.base import Target
from pykvm.targets.linux.kernel import Linux
from pykvm.targets.linux.machines import arm, registers, riscv, search, x86

OWN = ("init_uts_ns", "start_kernel")  # names by which a kernel file is Linux's; lists may be of functions only
# A new machine is a file and a line here.
PLATFORMS = {p.machine: p for p in (x86.X86_64, x86.I386, arm.AARCH64, arm.ARM, riscv.RISCV64)}


def recognise(image: Image, symbols: Symbols | None) -> Target | None:
    """Linux, if the image has its VMCOREINFO, as a note or in memory, or registers that lead to it, and is of a machine
    that is known. KvmError says what is missing, where no other system's kernel can be meant."""
    if image.machine not in (None, *PLATFORMS):
        return None
    told = [image.vmcoreinfo] if image.vmcoreinfo and image.vmcoreinfo.text("OSRELEASE") is not None else []
    if told and image.machine is not None:
        return Linux(PLATFORMS[image.machine], told[0])
    if symbols is not None and all(symbols.loose(name) is None for name in OWN):
        return None  # memory of another system, whose kernel was named: not to be searched
    found = search.kernel(image, PLATFORMS.values(), told) or registers.kernel(image, PLATFORMS, symbols)
    if found is not None:
        return Linux(*found)
    if image.memory_size:
        raise _nothing(image, symbols)
    return None


def _nothing(image: Image, symbols: Symbols | None) -> KvmError:
    cpus = "registers of its CPUs that lead to one" if image.cpus else "registers of its CPUs, as QEMU notes x86's"
    other = "; of another system, name its kernel (kernel, -N)" if symbols is None else ""
    return KvmError(
        f"{image.path}: this {image.format} dump carries no symbols, nor what leads to a Linux kernel in it: "
        f"VMCOREINFO, as a note or in memory, or {cpus}: make it with makedumpfile, "
        f"or with QEMU's dump-guest-memory and -device vmcoreinfo{other}"
    )
