"""The symbols that a Linux dump carries itself: kallsyms, by VMCOREINFO or by its looks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykvm.errors import KvmError
from pykvm.images.base import Image
from pykvm.symbols import kallsyms, ksymtab, scan
from pykvm.symbols.base import Symbols
from pykvm.targets.linux.symbols.identity import LANDMARKS, told

if TYPE_CHECKING:
    from pykvm.memory import Memory
    from pykvm.targets.linux.kernel import Linux

# Of kernels built without KALLSYMS_ALL, which is most of Debian's for other machines than x86-64.
FUNCTIONS_ONLY = (
    "{} has only functions, and what the kernel exports to modules: name its vmlinux or System.map (kernel, -N)"
)
DATA = ("init_task", "init_uts_ns")  # variables that every kernel has
IMAGE_SIZE = 512 << 20  # of a kernel, at most: x86-64's KERNEL_IMAGE_SIZE without KASLR


def symbols(target: Linux, image: Image) -> Symbols:
    """The kernel's own names. KvmError says why they cannot be had, and what to give instead."""
    info = target.vmcoreinfo
    kernel = described(target, image)
    memory = target.quiet(image)
    tables = kallsyms.told(info)
    found: Symbols | None = None
    try:
        if tables is not None:
            found = kallsyms.read(memory, kernel, tables)
        elif "_stext" in kernel.known:
            found = scan.find(memory, kernel, kernel.known["_stext"], IMAGE_SIZE)
    except KvmError as e:
        raise _none(target, image, f"can't read its kallsyms: {e}") from e
    if found is None:
        raise _none(target, image, "VMCOREINFO does not say where its kallsyms is, and it is not in the kernel's image")
    extend(found, memory, image, kernel)
    return found


def described(target: Linux, image: Image) -> kallsyms.Kernel:
    """What is known of the kernel before its names are."""
    known = {name: addr for name in LANDMARKS if (addr := target.vmcoreinfo.symbol(name)) is not None}
    return kallsyms.Kernel(image.path, target.machine, target.byteorder, target.pointer_size, known)


def complete(target: Linux, image: Image, symbols: Symbols) -> None:
    """As extend(), for a kernel file: a saved /proc/kallsyms has functions only, too."""
    if symbols.path != image.path:
        extend(symbols, target.quiet(image), image, described(target, image))


def extend(symbols: Symbols, memory: Memory, image: Image, kernel: kallsyms.Kernel) -> None:
    """Let what the kernel exports stand behind its kallsyms, if that has functions only."""
    if any(symbols.find(name) is not None for name in DATA):
        return

    def exported() -> Symbols | None:
        start = code_end(symbols)
        found = ksymtab.read(memory, kernel, symbols, start) if start is not None else None
        image.release()
        return found

    symbols.flaw = FUNCTIONS_ONLY.format("the dump's own symbol table" if symbols.path == image.path else symbols.path)
    symbols.extend(exported)


def code_end(symbols: Symbols) -> int | None:
    """Behind what the kernel's read-only data lie; None if that is not known."""
    found = symbols.find("_etext") or symbols.find("_stext")
    return None if found is None else found.value


def _none(target: Linux, image: Image, why: str) -> KvmError:
    return KvmError(
        f"{image.path}: this dump carries no symbols ({why}): "
        f"name the vmlinux or System.map of its kernel, {told(target)} (kernel, -N)"
    )
