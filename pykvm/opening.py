"""Opening files: picks the image, the symbols and the target that a handle is on.

It is loaded when a handle is opened on files: most of pykvm's start is of what it needs.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from functools import partial

from pykvm import images, symbols, targets
from pykvm.errors import FormatError, KvmError
from pykvm.handle import Kvm
from pykvm.images import kcore
from pykvm.images.base import Image
from pykvm.images.held import Extents
from pykvm.images.hostfile import HostFile
from pykvm.loading import load
from pykvm.machines.mmu import Translation
from pykvm.paths import MAXPATHLEN, Path
from pykvm.targets.base import Parts, SwapDevice, Target
from pykvm.types import layout as layouts

FIRST_SWAP_PAGE = 1  # of all swap space: page 0 is never used
# Who has a dump open may ask all of kvm(3) of it, also when the files of pykvm are out of reach by then (chroot(2)).
for _name in ("files", "info", "loadavg", "nlist", "open", "procs", "read"):
    load(f"pykvm.{_name}")


def open_files(
    kd: Kvm,
    kernel: Path | None,
    core: Path | Sequence[Path] | None,
    swap: Path | None,
    flags: int,
    layout: Path | None,
) -> None:
    """kvm_openfiles(3) of files: the tests in the original's order."""
    if kernel is not None and len(os.fspath(kernel)) >= MAXPATHLEN:
        raise KvmError("exec file name too long")
    if flags & ~os.O_ACCMODE:
        raise KvmError("bad flags arg")
    if layout is not None:
        kd._layout = layouts.load(layout)
    _open_core(kd, core, flags)
    _open_kernel(kd, kernel)
    if swap is not None:
        kd._files.append(file := HostFile(swap))
        kd._swap.append(SwapDevice(file, FIRST_SWAP_PAGE))
    _recognise(kd)


def _open_core(kd: Kvm, core: Path | Sequence[Path] | None, flags: int) -> None:
    if core is None or kcore.is_running(core):
        kd._files, kd._image = kcore.open_running(flags)
        return
    paths = [core] if isinstance(core, (str, bytes, os.PathLike)) else list(core)
    if not paths:
        raise KvmError("an empty list of core files")
    for path in paths:
        file = HostFile(path, flags)
        kd._files.append(file)
        file.runs = kd._runs
        if stat.S_ISCHR(file.mode):
            raise KvmError(f"{file.path}: not physical memory device")
    if kd._files[0].readable:
        kd._image = images.recognise(kd._files)
        if kd._zero_excluded:
            kd._image.zero_excluded()
    else:
        # Without read permission there is no header to be seen: as in the original, reads say so.
        kd._image = Image("raw", kd._files, Extents(()))


def _open_kernel(kd: Kvm, kernel: Path | None) -> None:
    if kernel is None:
        return
    kd._kernel = HostFile(kernel)
    kd._files.append(kd._kernel)
    try:
        kd._symbols = symbols.recognise(kd._kernel)
    except FormatError as e:
        raise FormatError(f"bad namelist: {e}") from e
    if kd._symbols is not None:
        kd._symbols.resolver = kd._resolver


def _recognise(kd: Kvm) -> None:
    """Find the target and begin to translate."""
    image = kd.image
    headless = image.format == "raw"
    if headless and kd._kernel is None and kd._resolver is None:
        file = image.files[0]
        if image.flaw or not (file.size or stat.S_ISCHR(file.mode)):
            raise FormatError(_no_header(image) if image.flaw else f"no valid dump header: {file.path} is empty")
    if kd._kernel is not None and kd._symbols is None:
        if headless and image.flaw is None:
            return
        raise _no_object(kd._kernel)
    target = targets.recognise(image, kd._symbols)
    if target is not None:
        _start(kd, image, target)
    elif kd._symbols is None:
        raise _no_names(kd)
    elif not headless:
        raise FormatError(
            f"{image.path}: unsupported architecture: a {image.format} dump of {image.machine}: "
            "no kernel known to pykvm"
        )
    else:
        kd.symbol = kd._symbols.getter(kd._missing)
        kd._no_memory = _no_header(image)
        if kd._kernel is not None and not image.flaw:
            kd._no_memory += f" (by the names in {kd._kernel.path} it is of no kernel known to pykvm)"


def need_memory(kd: Kvm) -> None:
    """Refuse what MirBSD's library opens silently: files out of which no memory can be read (FreeBSD's rule)."""
    if kd.unreadable is not None:
        if kd._kernel is not None and kd._symbols is None:
            raise _no_object(kd._kernel)
        flaw = kd.image.flaw
        raise FormatError(_no_header(kd.image) if flaw else f"no valid dump header: {kd.image.path}")


def adopt(kd: Kvm, image: Image) -> None:
    """Read this image from now on, which was found in the handle's files."""
    if kd._symbols is None:
        raise KvmError("bad namelist", soft=True)
    target = targets.recognise(image, kd._symbols)
    if target is None:
        raise KvmError(f"{image.path}: a dump of {image.machine}: no kernel known to pykvm")
    _start(kd, image, target)


def _start(kd: Kvm, image: Image, target: Target) -> None:
    translation = translate(kd, image, target)
    if kd._symbols is None:
        kd._symbols = target.own_symbols(kd, image)
        if kd._symbols is not None:
            kd._symbols.resolver = kd._resolver
        elif kd._resolver is not None:
            kd._symbols = kd._resolver.symbols()
            translation = translate(kd, image, target)
        else:
            raise _no_names(kd, target)
    kd.symbol = kd._symbols.getter(kd._missing)
    kd._parts = Parts(kd, image, kd._symbols, kd._kernel, kd._swap, target.prefix)
    kd._target = target
    if translation is None:
        kd._no_memory = _no_header(image)
    else:
        kd._target = target = target.settled(kd._parts)
        target.check(kd._parts)
    kd._symbols.elsewhere = partial(target.elsewhere, kd._parts)
    if kd._layout is not None:
        target.types.update(kd._layout)


def translate(kd: Kvm, image: Image, target: Target) -> Translation | None:
    """Read memory through this image as its kernel maps it; None if the image does not tell how."""
    translation = target.translation(image, kd._symbols)
    kd.attach(image, translation, target.byteorder, target.pointer_size)
    return translation


# -- what is missing ----------------------------------------------------------------------------------------


def _no_object(kernel: HostFile) -> KvmError:
    what = "kernel is not an ELF file: not an object file (ELF or a.out) or list of names"
    return FormatError(f"bad namelist: {kernel.path}: {what}")


def _no_names(kd: Kvm, target: Target | None = None) -> KvmError:
    image = kd.image
    banner = target.banner(image) if target is not None else None
    return KvmError(
        f"{kd._files[0].path}: this {image.format} dump carries no symbols: "
        "name the kernel file it is of (kernel, -N)" + (f": {banner}" if banner else "")
    )


def _no_header(image: Image) -> str:
    return "no valid dump header" + (f": {image.flaw}" if image.flaw else "")
