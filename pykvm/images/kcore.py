"""The memory of the kernel that runs here: /proc/kcore of Linux (fs/proc/kcore.c), and /dev/mem to write to it.

/proc/kcore is an ELF core whose segments are the kernel's address space. Those of RAM and of the kernel's image tell
their physical addresses (since Linux 4.13); the others (vmalloc and modules, vmemmap) have none, and are read at their
virtual ones. Since 4.20 there is VMCOREINFO. Nothing of it can be mapped, nor is anything of it kept.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Sequence
from typing import Any

from pykvm._native.ffi import lib
from pykvm.errors import FormatError, KvmError
from pykvm.images import elfcore, notes
from pykvm.images.base import Image
from pykvm.images.elf import ET_CORE, PT_LOAD, Elf, Phdr
from pykvm.images.held import Extents
from pykvm.images.hostfile import HostFile
from pykvm.paths import Path

KCORE, MEM = "/proc/kcore", "/dev/mem"
PHYSICAL = 1 << 52  # physical addresses of all machines are below
NOWHERE = {False: 0xFFFFFFFF, True: (1 << 64) - 1}  # p_paddr of what is not memory as it is, by whether it has 64 bits
MEM_DEVICE = os.makedev(1, 1)  # Documentation/admin-guide/devices.txt
MAX_DIRECT = int(lib.PK_DIRECT_MAX)
# What else an error of open(2) or read(2) means here.
WHY = {
    (KCORE, errno.ENOENT): "the kernel is built without CONFIG_PROC_KCORE, or this is a container that hides it",
    (KCORE, errno.EACCES): "only the superuser reads the kernel's memory",
    (KCORE, errno.EPERM): "it takes CAP_SYS_RAWIO, and a kernel that is not locked down (lockdown=confidentiality)",
    (MEM, errno.ENOENT): "the kernel is built without CONFIG_DEVMEM, or this is a container that hides it",
    (MEM, errno.EACCES): "only the superuser writes the kernel's memory",
    (MEM, errno.EPERM): "it takes CAP_SYS_RAWIO, and a kernel that is neither locked down (lockdown=integrity) "
    "nor built with CONFIG_STRICT_DEVMEM, as most are",
}


def is_running(core: Any) -> bool:
    """Whether this names the memory of the kernel that runs here, by whatever path."""
    if isinstance(core, (list, tuple)) and len(core) == 1:
        (core,) = core
    if not isinstance(core, (str, bytes, os.PathLike)):
        return False
    return os.fsdecode(core) in (KCORE, MEM) or any(_same(core, path) for path in (KCORE, MEM))


def _same(core: Path, path: str) -> bool:
    try:
        return os.path.samestat(os.stat(core), os.stat(path))  # noqa: PTH116 - of any kind of path
    except (OSError, ValueError):
        return False


def open_running(flags: int) -> tuple[list[HostFile], Image]:
    """The files and the image of the running kernel; O_RDWR: it can be written to. KvmError says what is missing."""
    if not sys.platform.startswith("linux"):
        raise KvmError(
            f"live kernels of {os.uname().sysname} are not read but by its own libkvm (pykvm.native_libkvm()): "
            "name a dump (core, -M)"
        )
    files = [_open(KCORE, os.O_RDONLY)]
    try:
        if flags & os.O_ACCMODE == os.O_RDWR:
            files.append(_open(MEM, os.O_RDWR))
        return files, _image(files)
    except BaseException:
        for file in files:
            file.close()
        raise


def again(image: Image) -> Image | None:
    """The image anew, if its segments are others by now (memory that was added, or taken away); else None."""
    # The kernel looks at its memory when the file is opened, and a file is one thread's at a time: the old one may be
    # in use.
    kcore = _open(KCORE, os.O_RDONLY)
    try:
        if _table(kcore) != image.header:
            return _image([kcore, *image.files[1:]])
    except BaseException:
        kcore.close()
        raise
    kcore.close()
    return None


def _table(kcore: HostFile) -> tuple[Phdr, ...]:
    return tuple(p for p in Elf(kcore).segments() if p.type == PT_LOAD)


def _open(path: Path, flags: int) -> HostFile:
    try:
        file = HostFile(path, flags)
    except KvmError as e:
        cause = e.__cause__
        why = WHY.get((path, cause.errno if isinstance(cause, OSError) else None))  # type: ignore[arg-type]
        raise KvmError(f"{e}: {why}" if why else str(e)) from cause
    # Containers put /dev/null or an empty file over them.
    if not (stat.S_ISREG(file.mode) if path == KCORE else os.fstat(file.fd).st_rdev == MEM_DEVICE):
        file.close()
        raise KvmError(f"{file.path}: is not the kernel's memory: this is a container that hides it")
    return file


def _image(files: Sequence[HostFile]) -> Image:
    kcore = files[0]
    elf = Elf(kcore)
    if elf.type != ET_CORE:
        raise FormatError(f"{kcore.path}: e_type is {elf.type}, which is no core's")
    phdrs = elf.segments()
    physical, others = segments(phdrs, elf.wide)
    if not physical:
        raise FormatError(f"{kcore.path}: no segment tells its physical address (p_paddr): Linux is older than 4.13")
    if len(files) > 1:
        _allowed(files[1], physical)
    image = Image(
        "kcore",
        files,
        Extents(elfcore.extents(physical)),
        machine=elf.machine,
        byteorder=elf.byteorder,
        header=tuple(p for p in phdrs if p.type == PT_LOAD),
        notes=notes.read(elfcore.note_segments(kcore, phdrs), elf.order),
        live=True,
        linear=[(p.vaddr, p.vaddr + p.memsz - 1, p.paddr) for p in physical],
        direct=[
            (p.vaddr, p.vaddr + p.memsz - 1, p.offset, sure)
            for some, sure in ((physical, True), (others, False))
            for p in some
        ][:MAX_DIRECT],
        again=again,
    )
    image.one_at_a_time()
    if len(files) > 1:
        image.write_through(1)
    return image


def segments(phdrs: Sequence[Phdr], wide: bool) -> tuple[list[Phdr], list[Phdr]]:
    """What tells its physical address, and what does not, of a kernel's segments: in the order of their addresses, none
    overlapping another. wide: the kernel has 64 bits."""
    physical: list[Phdr] = []
    others: list[Phdr] = []
    top, end = 0, NOWHERE[wide] + 1
    loads = (p for p in phdrs if p.type == PT_LOAD and p.memsz and p.vaddr + p.memsz <= end)
    for p in sorted(loads, key=lambda p: p.vaddr):
        if p.vaddr < top or p.filesz < p.memsz:
            continue
        top = p.vaddr + p.memsz
        known = p.paddr != NOWHERE[wide] and p.paddr + p.memsz <= PHYSICAL
        (physical if known and (p.paddr or not physical) else others).append(p)
    return physical, others


def _allowed(mem: HostFile, physical: Sequence[Phdr]) -> None:
    """See that /dev/mem gives what it can be written at: the kernel may refuse it for RAM."""
    last = max(physical, key=lambda p: p.vaddr)  # the kernel's image, where there is a segment of it
    try:
        got = os.pread(mem.fd, 8, last.paddr + (last.memsz // 2 & ~7))
    except OSError as e:
        raise KvmError(f"{mem.path}: {e.strerror}: {WHY[MEM, errno.EPERM]}") from e
    if len(got) != 8:
        raise KvmError(f"{mem.path}: ends before the kernel's memory does: {WHY[MEM, errno.EPERM]}")
