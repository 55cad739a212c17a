"""Linux on 64-bit RISC-V.

Sources: Documentation/admin-guide/kdump/vmcoreinfo.rst, Documentation/arch/riscv/vm-layout.rst.
"""

from __future__ import annotations

from pykvm.errors import FormatError
from pykvm.images.base import Image
from pykvm.images.vmcoreinfo import VmcoreInfo
from pykvm.machines import riscv64
from pykvm.targets.linux.machines.platform import Platform, Tables, top_table

TEXT_OFFSET = 2 << 20  # of the image, from the start of memory on (Documentation/arch/riscv/boot.rst)


def _riscv64(info: VmcoreInfo, image: Image) -> list[Tables]:
    top = top_table(info, image)
    bits = info.number("VA_BITS")
    if bits not in (39, 48, 57):
        raise FormatError(f"{image.path}: VMCOREINFO: NUMBER(VA_BITS) is {bits}, must be 39, 48 or 57")
    offset = _image_offset(info)
    if offset is None:
        raise FormatError(
            f"{image.path}: VMCOREINFO: NUMBER(va_kernel_pa_offset), or KERNEL_LINK_ADDR and phys_ram_base, missing"
        )
    half = 1 << (bits - 1)
    places = (0,) if info.number("va_kernel_pa_offset") is not None else (TEXT_OFFSET, 0)
    levels = riscv64.levels(bits)
    return [Tables(levels, (top - offset + place) % (1 << 64), (1 << 64) - half, half - 1) for place in places]


def _image_offset(info: VmcoreInfo) -> int | None:
    """The kernel's mapping: told since Linux 6.5. Before 6.4 its image lay at phys_ram_base; 6.4 says that of memory's
    start, and the image lies behind the firmware there."""
    offset = info.number("va_kernel_pa_offset")
    if offset is None:
        link, start = info.number("KERNEL_LINK_ADDR"), info.number("phys_ram_base")
        offset = None if link is None or start is None else link - start
    return offset


RISCV64 = Platform("riscv64", 8, riscv64.VA_MASK, 0xFFFFFFC000000000, _riscv64, image_offset=_image_offset)
