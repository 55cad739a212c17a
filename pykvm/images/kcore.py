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

from pykvm._native.ffi import lib
from pykvm.errors import FormatError, KvmError
from pykvm.images import elfcore, notes
from pykvm.images.base import Image
from pykvm.images.elf import ET_CORE, PT_LOAD, Elf, Phdr
from pykvm.images.held import Extent, Extents
from pykvm.images.hostfile import HostFile, Path

KCORE, MEM = "/proc/kcore", "/dev/mem"
PHYSICAL = 1 << 52  # physical addresses of all machines are below
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


def is_running(core: object) -> bool:
    """Whether this names the memory of the kernel that runs here."""
    return isinstance(core, (str, bytes, os.PathLike)) and os.fsdecode(core) in (KCORE, MEM)


def open_running(flags: int) -> tuple[list[HostFile], Image]:
    """The files and the image of the running kernel; O_RDWR: it can be written to. KvmError says what is missing."""
    if not sys.platform.startswith("linux"):
        raise KvmError(
            f"live kernels of {os.uname().sysname} are not read but by its own libkvm (pykvm.native_libkvm()): "
            "name a dump (core, -M)"
        )
    files = [_open(KCORE, os.O_RDONLY)]
    try:
        if flags & os.O_ACCMODE != os.O_RDONLY:
            files.append(_open(MEM, os.O_RDWR))
        return files, _image(files)
    except BaseException:
        for file in files:
            file.close()
        raise


def again(image: Image) -> Image | None:
    """The image anew, if its segments are others by now (memory that was added, or taken away); else None."""
    if _table(image.files[0]) == image.header:
        return None
    # Opened again: threads may still read the old one, and an open file is one thread's at a time.
    kcore = _open(KCORE, os.O_RDONLY)
    try:
        return _image([kcore, *image.files[1:]])
    except BaseException:
        kcore.close()
        raise


def _table(kcore: HostFile) -> tuple[Phdr, ...]:
    return tuple(p for p in Elf(kcore).segments() if p.type == PT_LOAD)


def _open(path: Path, flags: int) -> HostFile:
    try:
        file = HostFile(path, flags)
    except KvmError as e:
        cause = e.__cause__
        why = WHY.get((path, cause.errno if isinstance(cause, OSError) else None))  # type: ignore[arg-type]
        raise KvmError(f"{e}: {why}" if why else str(e)) from cause
    if stat.S_ISREG(file.mode) != (path == KCORE):  # containers put /dev/null or an empty file over it
        file.close()
        raise KvmError(f"{file.path}: is not the kernel's memory: this is a container that hides it")
    return file


def _image(files: Sequence[HostFile]) -> Image:
    kcore = files[0]
    elf = Elf(kcore)
    if elf.type != ET_CORE:
        raise FormatError(f"{kcore.path}: e_type is {elf.type}, which is no core's")
    phdrs = elf.segments()
    physical, direct = segments(phdrs)
    if not physical:
        raise FormatError(f"{kcore.path}: no segment tells its physical address (p_paddr): Linux is older than 4.13")
    if len(files) > 1:
        _allowed(files[1], physical)
    extents = elfcore.extents(physical) + [Extent(p.vaddr, p.memsz, p.offset) for p in direct]
    image = Image(
        "kcore",
        files,
        Extents(extents),
        machine=elf.machine,
        byteorder=elf.byteorder,
        header=tuple(p for p in phdrs if p.type == PT_LOAD),
        notes=notes.read(elfcore.note_segments(kcore, phdrs), elf.order),
        live=True,
        linear=[(p.vaddr, p.vaddr + p.memsz - 1, p.paddr) for p in physical],
        direct=[(p.vaddr, p.vaddr + p.memsz - 1) for p in direct],
    )
    image.one_at_a_time()
    if len(files) > 1:
        image.write_through(1)
    return image


def segments(phdrs: Sequence[Phdr]) -> tuple[list[Phdr], list[Phdr]]:
    """What tells its physical address, and what does not, of a kernel's segments: in the order of their addresses, none
    overlapping another."""
    physical: list[Phdr] = []
    direct: list[Phdr] = []
    top = 0
    for p in sorted(p for p in phdrs if p.type == PT_LOAD and p.memsz and p.vaddr + p.memsz <= 1 << 64):
        if p.vaddr < top or p.filesz < p.memsz:
            continue
        top = p.vaddr + p.memsz
        if p.paddr + p.memsz <= PHYSICAL and (p.paddr or not physical):
            physical.append(p)
        elif p.vaddr >= PHYSICAL and len(direct) < MAX_DIRECT:
            direct.append(p)
    return physical, direct


def _allowed(mem: HostFile, physical: Sequence[Phdr]) -> None:
    """See that /dev/mem gives what it can be written at: the kernel may refuse it for RAM."""
    last = max(physical, key=lambda p: p.vaddr)  # the kernel's image, where there is a segment of it
    try:
        os.pread(mem.fd, 8, last.paddr + (last.memsz // 2 & ~7))
    except OSError as e:
        raise KvmError(f"{mem.path}: {e.strerror}: {WHY[MEM, errno.EPERM]}") from e
