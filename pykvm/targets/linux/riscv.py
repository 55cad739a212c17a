"""Linux on 64-bit RISC-V.

Sources: Documentation/admin-guide/kdump/vmcoreinfo.rst, Documentation/arch/riscv/vm-layout.rst.
"""

from __future__ import annotations

from pykvm.errors import FormatError
from pykvm.images.base import Image
from pykvm.images.vmcoreinfo import VmcoreInfo
from pykvm.machines import riscv64
from pykvm.targets.linux.platform import Platform, Tables, top_table


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
    return [Tables(riscv64.levels(bits), (top - offset) % (1 << 64), (1 << 64) - half, half - 1)]


def _image_offset(info: VmcoreInfo) -> int | None:
    """The kernel's mapping: told since Linux 6.2, before that its link address lay at the start of memory."""
    offset = info.number("va_kernel_pa_offset")
    if offset is None:
        link, start = info.number("KERNEL_LINK_ADDR"), info.number("phys_ram_base")
        offset = None if link is None or start is None else link - start
    return offset


RISCV64 = Platform("riscv64", 8, riscv64.VA_MASK, 0xFFFFFFC000000000, _riscv64, image_offset=_image_offset)
