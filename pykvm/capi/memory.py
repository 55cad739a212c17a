"""libkvm.so: memory, names and the dumps on a device, as far as they are not C alone."""

from __future__ import annotations

import io
from typing import Any

import pykvm
from pykvm._native.ffi import ffi, lib
from pykvm.capi.call import Answer, fail, give, handle_of, noting, tell, text_of
from pykvm.capi.opening import give_space


def _fault(call: Any) -> None:
    """Why a read failed."""
    kd, addr = handle_of(call), call.number[0] & (1 << 64) - 1
    if call.data == ffi.NULL:
        pykvm.kvm_read(kd, addr, bytearray(1), 1)
        fail(call, kd.message, kd.soft)
    elif not kd.look_again():  # else it is worth another try
        error = kd.fault(ffi.cast("pk_fault *", call.data), addr, call.number[1])
        fail(call, str(error), error.soft)


def _write(call: Any) -> None:
    kd = handle_of(call)
    data = ffi.buffer(ffi.cast("char *", call.data), call.size) if call.size else b""
    call.count = pykvm.kvm_write(kd, call.number[0] & (1 << 64) - 1, data, call.size)
    tell(call, kd, call.count < 0)


def _nlist(call: Any) -> None:
    kd = handle_of(call)
    names = ffi.cast("const char **", call.data)
    entries = [pykvm.Nlist(text_of(names[i])) for i in range(call.size)]
    with noting(call, kd):  # why a name could not be told
        missing = pykvm.kvm_nlist(kd, entries)
    if missing < 0:
        call.status = -1
        return
    found = ffi.new("pk_name[]", call.size)
    for one, entry in zip(found, entries, strict=True):
        one.value, one.type, one.other, one.desc = entry.n_value, entry.n_type, entry.n_other, entry.n_desc
        one.missing = not entry.n_type and not entry.n_value
    give(call, bytes(ffi.buffer(found)), len(entries))


def _walk(call: Any) -> None:
    kd = handle_of(call)
    callback = ffi.cast("int (*)(pk_kvm_page *, void *)", call.function)
    page = ffi.new("pk_kvm_page *")

    def show(shown: pykvm.KvmPage, closure: Any) -> int:
        for name, value in shown._asdict().items():
            setattr(page, name, value)
        return int(callback(page, closure))

    with noting(call, kd):
        call.count = pykvm.kvm_walk_pages(kd, show, call.closure)


def _dump(call: Any) -> None:
    kd, name = handle_of(call), text_of(call.text[0])
    if name == "kvm_dump_mkheader":
        try:
            call.count = pykvm.kvm_dump_mkheader(kd, call.number[0])
        finally:
            give_space(call, kd)
    elif name == "kvm_dump_inval":
        call.count = pykvm.kvm_dump_inval(kd)
    else:
        out = io.BytesIO()
        call.count = pykvm.kvm_dump_wrtheader(kd, out, call.number[0])
        if call.count >= 0:
            give(call, out.getvalue(), call.count)
    tell(call, kd, call.count < 0)


ANSWERS: dict[int, Answer] = {
    lib.PK_CALL_FAULT: _fault,
    lib.PK_CALL_WRITE: _write,
    lib.PK_CALL_NLIST: _nlist,
    lib.PK_CALL_WALK: _walk,
    lib.PK_CALL_DUMP: _dump,
}
