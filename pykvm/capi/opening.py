"""libkvm.so: opening and closing."""

from __future__ import annotations

import gc
import itertools
import os
from collections.abc import Callable
from typing import Any

import pykvm
from pykvm._native.ffi import ffi, lib
from pykvm.capi.call import Answer, bytes_of, fail, give, handle_of, handles, tell
from pykvm.handle import ERRBUF, Kvm

_numbers = itertools.count(1)  # of handles: they are not used again
_closes = itertools.count(1)
COLLECT = 16  # closed handles


def _open(call: Any) -> None:
    kernel, core, swap = (None if raw is None else os.fsdecode(raw) for raw in map(bytes_of, call.text))
    errbuf = bytearray(ERRBUF)
    if call.number[1]:
        resolver = None if call.function == ffi.NULL else _resolver(call.function)
        kd = pykvm.kvm_open2(kernel, core, call.number[0], errbuf, resolver)
    else:
        kd = pykvm.kvm_openfiles(kernel, core, swap, call.number[0], errbuf)
    if kd is None:
        fail(call, errbuf.split(b"\0")[0].decode("utf-8", "surrogateescape"), False)
        return
    number = next(_numbers)
    handles[number] = kd
    call.count = number
    give_space(call, kd)


def _kernel_name(call: Any) -> None:
    kd = handle_of(call)
    path = pykvm.kvm_getkernelname(kd)
    if path is None:
        tell(call, kd, True)
    else:
        give(call, path.encode("utf-8", "surrogateescape") + b"\0", 1)


def moved(call: Any) -> None:
    """After a call: a running kernel's memory may lie elsewhere by now, and C reads it there from now on."""
    kd = handles.get(call.handle)
    if kd is not None and kd.moved:
        give_space(call, kd)


def give_space(call: Any, kd: Kvm) -> None:
    call.space = kd.space
    call.read, call.quick = ffi.addressof(lib, "pk_space_read"), ffi.addressof(lib, "pk_space_quick")
    call.write = ffi.addressof(lib, "pk_space_write") if kd.writable else ffi.NULL


def _resolver(function: Any) -> Callable[[str], int | None]:
    ask = ffi.cast("int (*)(const char *, uint64_t *)", function)

    def resolve(name: str) -> int | None:
        value = ffi.new("uint64_t *")
        failed = ask(ffi.from_buffer(name.encode("utf-8", "surrogateescape") + b"\0"), value)
        return None if failed else int(value[0])

    return resolve


def _close(call: Any) -> None:
    kd = handles.pop(call.handle, None)
    if kd is not None:
        kd.close()
        # The structures that a handle knew refer to each other in circles, and may keep the kernel file mapped. A C
        # program makes next to no garbage of Python's, so that they would stay for long.
        if next(_closes) % COLLECT == 0:
            gc.collect()


ANSWERS: dict[int, Answer] = {
    lib.PK_CALL_OPEN: _open,
    lib.PK_CALL_CLOSE: _close,
    lib.PK_CALL_KERNELNAME: _kernel_name,
}
