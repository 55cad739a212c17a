"""What the answers to libkvm.so share: the handles that C has, and a pk_call's arguments and results (decl/capi.h)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pykvm._native.ffi import ffi
from pykvm.errors import CLOSED, KvmError
from pykvm.handle import ERRBUF, Kvm

Answer = Callable[[Any], None]

# The handles that C has, by number.
handles: dict[int, Kvm] = {}


def fail(call: Any, message: str, soft: bool) -> None:
    """The call has failed. soft: the message is one that is always kept in the handle (kvm_geterr(3))."""
    call.status, call.soft = -1, soft
    try:
        raw = message.encode("utf-8", "surrogateescape")[: ERRBUF - 1]
    except UnicodeEncodeError:  # a surrogate that is no byte of a file's name
        raw = message.encode("utf-8", "backslashreplace")[: ERRBUF - 1]
    ffi.buffer(call.message)[0 : len(raw) + 1] = raw + b"\0"


def tell(call: Any, kd: Kvm, failed: bool) -> None:
    """Take over the message of a kvm_ function that failed."""
    if failed:
        fail(call, kd.message, kd.soft)


def handle_of(call: Any) -> Kvm:
    """The handle that the call is about; KvmError if it is closed."""
    kd = handles.get(call.handle)
    if kd is None:
        raise KvmError(CLOSED)
    return kd


def bytes_of(pointer: Any) -> bytes | None:
    """A C string; None for NULL."""
    return None if pointer == ffi.NULL else bytes(ffi.string(pointer))


def text_of(pointer: Any) -> str | None:
    """The same as text."""
    raw = bytes_of(pointer)
    return None if raw is None else raw.decode("utf-8", "surrogateescape")


@contextmanager
def noting(call: Any, kd: Kvm) -> Iterator[None]:
    """Around a call that may leave a message although it does not fail."""
    before, kd.message = kd.message, ""
    try:
        yield
    finally:
        if kd.message:
            fail(call, kd.message, kd.soft)
            call.status = 0
        else:
            kd.message = before


def room(call: Any, size: int) -> Any:
    """So many bytes of C for a result; MemoryError if there are none."""
    where = call.room(call, size)
    if where == ffi.NULL:
        raise MemoryError
    return where


def give(call: Any, data: bytes, count: int) -> None:
    """Bytes as a result: so many records or whatever they are."""
    ffi.memmove(room(call, len(data)), data, len(data))
    call.count = count


def signed(value: int) -> int:
    """64 bits as the call has room for them."""
    value &= (1 << 64) - 1
    return value - (1 << 64 if value >> 63 else 0)
