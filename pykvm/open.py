"""kvm_open(3): kvm_open, kvm_openfiles, kvm_open2, kvm_close; kvm_geterr(3)."""

from __future__ import annotations

import errno
import os
import pathlib
import stat
from collections.abc import Callable, Sequence

from pykvm.asking import Recorded
from pykvm.constants import KVM_NO_FILES
from pykvm.errors import CLOSED, KvmError
from pykvm.handle import ERRBUF, Kvm, handle, opening
from pykvm.loading import loading
from pykvm.paths import MAXPATHLEN, Path

__all__ = ["Kvm", "kvm_close", "kvm_geterr", "kvm_open", "kvm_open2", "kvm_openfiles"]


def kvm_openfiles(
    execfile: Path | None,
    corefile: Path | Sequence[Path] | None,
    swapfile: Path | None,
    flags: int,
    errbuf: bytearray | None = None,
) -> Kvm | None:
    """Open a kernel's images: a handle, or None with the message (and a NUL) in errbuf.

    execfile is the kernel's namelist, corefile the dump, swapfile its swap (MirBSD's library never opens it for a
    dump); flags os.O_RDONLY, O_WRONLY or O_RDWR, or KVM_NO_FILES. kvm_open(3).
    """
    kd = _prepared(execfile, swapfile, flags, errbuf)
    return _opened(_attempt(kd, lambda: kd._open(execfile, corefile, swapfile, flags)), errbuf)


def kvm_open(
    execfile: Path | None,
    corefile: Path | Sequence[Path] | None,
    swapfile: Path | None,
    flags: int,
    errstr: str | None,
) -> Kvm | None:
    """As kvm_openfiles(3), but with SunOS's way of reporting: with an errstr, hard errors of this and of later
    calls go to stderr as `errstr: message` and are not kept for kvm_geterr(3). kvm_open(3)."""
    kd = _prepared(execfile, swapfile, flags)
    kd.program = errstr
    return _opened(_attempt(kd, lambda: kd._open(execfile, corefile, swapfile, flags)), None)


def kvm_open2(
    execfile: Path | None,
    corefile: Path | Sequence[Path] | None,
    flags: int,
    errbuf: bytearray | None = None,
    resolver: Callable[[str], int | None] | None = None,
) -> Kvm | None:
    """FreeBSD's kvm_open2(3): a handle, or None with the message (and a NUL) in errbuf.

    resolver(name) gives the address of a symbol, or None if it does not know it. It is asked for what the kernel file
    does not have, of everything if that has no symbols or execfile is None; also for what it takes to translate
    addresses (KPML4phys and the like, of full dumps). Its addresses are those of the kernel file: where the kernel ran
    elsewhere (KASLR), they are moved as the file's. It belongs to this handle. If it raises, or what it gives is no
    address, the call fails that needed it. FreeBSD's library demands one for kernels of other machines than the host:
    here none needs it.

    The rules are FreeBSD's: flags O_RDONLY or O_RDWR; an empty corefile is an error, and so is one that is no dump, or
    none of this kernel; corefile "/dev/null" gives a handle of the running kernel without its memory, as KVM_NO_FILES
    does. With kvm_open(3) and kvm_openfiles(3) they are MirBSD's.
    """
    if resolver is not None and not callable(resolver):
        raise TypeError("resolver must be callable or None")
    kd = _prepared(execfile, None, flags, errbuf)
    if resolver is not None:
        with loading:
            from pykvm.symbols.resolver import Resolver

        kd._resolver = Resolver(resolver)

    def begin() -> None:
        if _freebsd_refuses(execfile, corefile, flags):
            kd._open(None, None, None, KVM_NO_FILES)
            kd.no_files_why = ": a handle on /dev/null has no memory"
        else:
            kd._open(execfile, corefile, None, flags)
            opening().need_memory(kd)

    return _opened(_attempt(kd, begin), errbuf)


def _freebsd_refuses(kernel: Path | None, core: Path | Sequence[Path] | None, flags: int) -> bool:
    """The tests of FreeBSD's kvm_open2 in its order; whether the core is /dev/null."""
    if kernel is not None and len(os.fspath(kernel)) >= MAXPATHLEN:
        raise KvmError("exec file name too long")
    if flags & ~os.O_RDWR:
        raise KvmError("bad flags arg")
    if not isinstance(core, (str, bytes, os.PathLike)):
        return False
    path = os.fsdecode(core)
    try:
        status = pathlib.Path(path).stat()
    except (OSError, ValueError):  # which opening it names
        return False
    if stat.S_ISREG(status.st_mode) and status.st_size == 0:
        raise KvmError(f"empty file: {os.strerror(errno.EINVAL)} ({path})")
    return path == os.devnull and stat.S_ISCHR(status.st_mode)


def _prepared(kernel: Path | None, swap: Path | None, flags: int, errbuf: bytearray | None = None) -> Kvm:
    """A handle on nothing yet; TypeError for arguments of another kind."""
    if errbuf is not None and not isinstance(errbuf, bytearray):
        raise TypeError("errbuf must be a bytearray or None")
    for path in (kernel, swap):
        if path is not None:
            os.fspath(path)
    if not isinstance(flags, int):
        raise TypeError("flags must be an int")
    kd = Kvm.__new__(Kvm)
    kd._prepare(None)
    return kd


def _attempt(kd: Kvm, begin: Callable[[], None]) -> Kvm:
    """The handle, closed if it could not be opened, with the message in it."""
    try:
        with Recorded(kd):
            begin()
    except KvmError:
        kd.close()
    return kd


def _opened(kd: Kvm, errbuf: bytearray | None) -> Kvm | None:
    """The handle, or None with its message stored."""
    if not kd.closed:
        return kd
    if errbuf is not None:
        _store(errbuf, kd.message)
    return None


def _store(errbuf: bytearray, message: str) -> None:
    """A message and its NUL, in a buffer of any size (an empty one is taken to be able to grow)."""
    raw = message.encode("utf-8", "surrogateescape")
    room = min(len(errbuf), ERRBUF) or ERRBUF
    raw = raw[: room - 1] + b"\0"
    errbuf[: len(raw)] = raw


def kvm_close(kd: Kvm) -> int:
    """Close a handle: 0, or -1 if it is closed already. kvm_open(3)."""
    if handle(kd).closed:
        kd.note(KvmError(CLOSED))
        return -1
    kd.close()
    return 0


def kvm_geterr(kd: Kvm) -> str:
    """The message of the handle's most recent error, "" if there was none. kvm_geterr(3)."""
    return handle(kd).message


def kvm_getkernelname(kd: Kvm) -> str | None:
    """The path of the kernel file that the handle's names are read from; None with a message if there is none (a dump
    that carries its own, KVM_NO_FILES). kvm_getkernelname(3) of NetBSD.
    """
    path = handle(kd).kernel_path
    if path is None:
        kd.note(KvmError("no kernel file"))
    return path
