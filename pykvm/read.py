"""kvm_read(3) and kvm_write(3)."""

from __future__ import annotations

from typing import Any

from pykvm._native.ffi import ffi, lib
from pykvm.errors import AddressError, KvmError
from pykvm.open import Kvm


def kvm_read(kd: Kvm, addr: int, buf: Any, nbytes: int) -> int:
    """Copy nbytes from a kernel virtual address into a writable buffer: the bytes copied, or -1.

    -1 when any page has no translation, even behind others that were copied (the message names the address where
    it failed); fewer than nbytes, without a message, when the dump's file ends before the memory does.
    """
    with memoryview(buf) as view, view.cast("B") as flat:
        if flat.readonly:
            raise TypeError("buf must be writable")
        _check_length(nbytes, flat.nbytes)
        return _transfer(kd, lib.pk_space_read, addr, flat, nbytes)


def kvm_write(kd: Kvm, addr: int, buf: Any, nbytes: int) -> int:
    """Copy nbytes from a buffer to a kernel virtual address: the bytes written, or -1.

    The handle must have been opened with O_RDWR and its dump must not be compressed. Every page is translated
    before the first is written. (MirBSD's library cannot write to dumps; OpenBSD's and illumos' can.)
    """
    with memoryview(buf) as view, view.cast("B") as flat:
        _check_length(nbytes, flat.nbytes)
        try:
            return write(kd, addr, flat, nbytes)
        except KvmError as e:
            kd.note(e)
            return -1


def write(kd: Kvm, addr: int, data: Any, n: int) -> int:
    """kvm_write, raising."""
    file = None if kd.closed or kd.no_files else kd.image.files[0]
    if file is not None and not file.writable:
        raise KvmError(f"{file.path}: not opened for writing")
    if file is not None and file.compressed:
        raise KvmError(f"{file.path}: compressed with {file.compressed}: cannot be written to")
    if n:
        kd.check_range(addr, n)
    fault = ffi.new("pk_fault *")
    done = kd.transfer(lib.pk_space_write, addr, ffi.from_buffer(data), n, fault)
    if fault.status != lib.PK_OK:
        raise kd.fault(fault, addr, done)
    return done


def _check_length(nbytes: int, room: int) -> None:
    if not 0 <= nbytes <= room:
        raise ValueError(f"nbytes {nbytes} does not fit a buffer of {room}")


def _transfer(kd: Kvm, call: Any, addr: int, flat: memoryview, nbytes: int) -> int:
    if kd.no_files:
        kd.note(AddressError(f"invalid address ({addr:x})", addr))
        return -1
    fault = ffi.new("pk_fault *")
    try:
        done = kd.transfer(call, addr, ffi.from_buffer(flat), nbytes, fault)
    except KvmError:
        return -1
    if fault.status == lib.PK_EEOF:
        return done
    if fault.status != lib.PK_OK:
        kd.note(kd.fault(fault, addr, done))
        if fault.status not in (lib.PK_EPHYS, lib.PK_EIO):
            return -1
    return done
