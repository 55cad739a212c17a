"""kvm_open(3): kvm_open, kvm_openfiles, kvm_close; kvm_geterr(3)."""

from __future__ import annotations

import os
from collections.abc import Sequence

from pykvm.errors import KvmError
from pykvm.handle import ERRBUF, Info, Kvm, Recorded, handle
from pykvm.images.hostfile import Path
from pykvm.memory import CLOSED

__all__ = ["Info", "Kvm", "kvm_close", "kvm_geterr", "kvm_open", "kvm_openfiles"]


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
    if errbuf is not None and not isinstance(errbuf, bytearray):
        raise TypeError("errbuf must be a bytearray or None")
    kd = _open(execfile, corefile, swapfile, flags, None)
    if not kd.closed:
        return kd
    if errbuf is not None:
        _store(errbuf, kd.message)
    return None


def kvm_open(
    execfile: Path | None,
    corefile: Path | Sequence[Path] | None,
    swapfile: Path | None,
    flags: int,
    errstr: str | None,
) -> Kvm | None:
    """As kvm_openfiles(3), but with SunOS's way of reporting: with an errstr, hard errors of this and of later
    calls go to stderr as `errstr: message` and are not kept for kvm_geterr(3). kvm_open(3)."""
    kd = _open(execfile, corefile, swapfile, flags, errstr)
    return None if kd.closed else kd


def _open(
    kernel: Path | None, core: Path | Sequence[Path] | None, swap: Path | None, flags: int, program: str | None
) -> Kvm:
    """A handle, closed if it could not be opened, with the message in it."""
    for path in (kernel, swap):
        if path is not None:
            os.fspath(path)
    if not isinstance(flags, int):
        raise TypeError("flags must be an int")
    kd = Kvm.__new__(Kvm)
    kd._prepare(program)
    try:
        with Recorded(kd):
            kd._open(kernel, core, swap, flags)
    except KvmError:
        pass  # the handle has the message
    return kd


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
