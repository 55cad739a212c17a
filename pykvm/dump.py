"""kvm_dump(3): what savecore(8) does with a dump on its device."""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, Any

from pykvm.errors import KvmError
from pykvm.handle import Kvm, handle
from pykvm.images import savecore
from pykvm.images.savecore import KcoreHeader


def kvm_dump_mkheader(kd: Kvm, dump_off: int) -> int:
    """Find the dump that a kernel wrote at byte dump_off of the core (a dump device), and read memory from it.

    The size in bytes of its header there, or -1. (The manual promises 0; the code has always given the size.)
    """

    def make() -> int:
        if kd.no_files:
            raise KvmError("don't use on live kernel")
        image = kd.image
        if isinstance(image.header, KcoreHeader):
            raise KvmError("already has a dump header")
        found, size = savecore.from_device(image.files[0], dump_off)
        kd.adopt(found)
        return size

    return _attempt(kd, make)


def kvm_dump_wrtheader(kd: Kvm, fp: IO[bytes], dumpsize: int) -> int:
    """Write to fp what precedes the memory in a savecore file; dumpsize is the memory's size in bytes.

    The number of bytes written, or -1. fp is only written to: a pipe will do.
    """

    def put() -> int:
        data = _file_header(kd, dumpsize)
        try:
            fp.write(data)
        except OSError as e:
            raise KvmError(f"kvm_dump_wrtheader: {e.strerror}") from e
        return len(data)

    return _attempt(kd, put)


def kvm_dump_header(kd: Kvm, write_buf: Callable[[Any, bytes], bool], cookie: Any, dumpsize: int) -> int:
    """kvm_dump_wrtheader for who writes itself: write_buf(cookie, data) takes the header in pieces, in order, and says
    whether that went well. The number of bytes that it was given, or -1. (NetBSD's; not in its manual.)
    """

    def put() -> int:
        data = _file_header(kd, dumpsize)
        if not write_buf(cookie, data):
            raise KvmError("kvm_dump_header: the header was not taken")
        return len(data)

    return _attempt(kd, put)


def kvm_dump_inval(kd: Kvm) -> int:
    """Overwrite the kernel's dumpmag in the core with 0, so that savecore(8) does not take the dump again.

    0, or -1; the handle must have been opened with O_RDWR.
    """

    def clear() -> int:
        if kd.no_files:
            raise KvmError("clearing dump on live kernel")
        symbol = kd.symbols.loose("dumpmag")
        if symbol is None:
            raise KvmError("_dumpmag: not in name list")
        try:
            kd.write(symbol.value, bytes(kd.target.pointer_size))
        except KvmError as e:
            raise KvmError(f"cannot invalidate dump: {e}", soft=True) from e
        return 0

    return _attempt(kd, clear)


def _file_header(kd: Kvm, dumpsize: int) -> bytes:
    """What precedes dumpsize bytes of memory in a savecore file."""
    header = kd.image.header
    if not isinstance(header, KcoreHeader):
        raise KvmError("no valid dump header(s)")
    return savecore.file_header(header, dumpsize & 0xFFFFFFFF)


def _attempt(kd: Kvm, call: Callable[[], int]) -> int:
    handle(kd)
    try:
        return call()
    except KvmError as e:
        kd.note(e)
        return -1
