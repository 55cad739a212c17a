"""The symbols that a Linux dump carries itself: kallsyms, by VMCOREINFO or by its looks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykvm.errors import KvmError
from pykvm.images.base import Image
from pykvm.symbols import kallsyms, scan
from pykvm.symbols.base import Symbols
from pykvm.targets.linux.identity import LANDMARKS, told

if TYPE_CHECKING:
    from pykvm.targets.linux.kernel import Linux

IMAGE_SIZE = 512 << 20  # of a kernel, at most: x86-64's KERNEL_IMAGE_SIZE without KASLR


def symbols(target: Linux, image: Image) -> Symbols:
    """The kernel's own names. KvmError says why they cannot be had, and what to give instead."""
    info = target.vmcoreinfo
    known = {name: addr for name in LANDMARKS if (addr := info.symbol(name)) is not None}
    kernel = kallsyms.Kernel(image.path, target.machine, target.byteorder, target.pointer_size, known)
    memory = target.platform.memory(target.tables(image), image)
    tables = kallsyms.told(info)
    try:
        if tables is not None:
            return kallsyms.read(memory, kernel, tables)
        start = known.get("_stext")
        found = scan.find(memory, kernel, start, IMAGE_SIZE) if start is not None else None
    except KvmError as e:
        raise _none(target, image, f"can't read its kallsyms: {e}") from e
    if found is None:
        raise _none(target, image, "VMCOREINFO does not say where its kallsyms is, and it is not in the kernel's image")
    return found


def _none(target: Linux, image: Image, why: str) -> KvmError:
    return KvmError(
        f"{image.path}: this dump carries no symbols ({why}): "
        f"name the vmlinux or System.map of its kernel, {told(target)} (kernel, -N)"
    )
