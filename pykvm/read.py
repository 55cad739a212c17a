"""kvm_read(3): kvm_read, kvm_read2, kvm_write."""

from __future__ import annotations

from typing import Any

from pykvm._native.ffi import ffi, lib
from pykvm.errors import AddressError, KvmError
from pykvm.handle import Kvm, handle


def kvm_read(kd: Kvm, addr: int, buf: Any, nbytes: int) -> int:
    """Copy nbytes from a kernel virtual address into a writable buffer: the bytes copied, or -1.

    -1 when any page has no translation, even behind others that were copied (the message names the address where
    it failed); fewer than nbytes, without a message, when the dump's file ends before the memory does.
    """
    flat = check_buffer(buf, nbytes)
    if handle(kd).no_files:
        return _no_files(kd, addr)
    try:
        if kd.copied(addr, flat, nbytes):
            return nbytes
        fault = ffi.new("pk_fault *")
        done = kd.transfer(lib.pk_space_read, addr, ffi.from_buffer(flat), nbytes, fault)
    except KvmError:
        return -1
    if fault.status in (lib.PK_OK, lib.PK_EEOF):
        return done
    kd.note(kd.fault(fault, addr, done))
    # What has a translation but no memory ends the read as the end of the file does.
    return done if fault.status in (lib.PK_EPHYS, lib.PK_EIO) else -1


def kvm_read2(kd: Kvm, addr: int, buf: Any, nbytes: int) -> int:
    """kvm_read with an address of 64 bits (kvaddr_t), whatever the host's unsigned long is: here they are the same."""
    return kvm_read(kd, addr, buf, nbytes)


def kvm_write(kd: Kvm, addr: int, buf: Any, nbytes: int) -> int:
    """Copy nbytes from a buffer to a kernel virtual address: the bytes written, or -1.

    The handle must have been opened with O_RDWR and its dump must not be compressed. Every page is translated
    before the first is written. (MirBSD's library cannot write to dumps; OpenBSD's and illumos' can.)
    """
    flat = memoryview(buf).cast("B")
    _check_length(nbytes, flat.nbytes)
    if handle(kd).no_files:
        return _no_files(kd, addr)
    try:
        return kd.write(addr, flat[:nbytes])
    except KvmError:
        return -1


def check_buffer(buf: Any, nbytes: int) -> memoryview:
    """The bytes of a buffer that is to be filled; TypeError if it cannot be, ValueError if nbytes do not fit."""
    flat = memoryview(buf).cast("B")
    if flat.readonly:
        raise TypeError("buf must be writable")
    _check_length(nbytes, flat.nbytes)
    return flat


def _check_length(nbytes: int, room: int) -> None:
    if not 0 <= nbytes <= room:
        raise ValueError(f"nbytes {nbytes} does not fit a buffer of {room}")


def _no_files(kd: Kvm, addr: int) -> int:
    kd.note(AddressError(f"invalid address ({addr:x}){kd.no_files_why}", addr))
    return -1
