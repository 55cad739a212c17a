"""libkvm.so: load, CPUs, swap space, and what else is a number."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pykvm
from pykvm._native.ffi import ffi, lib
from pykvm.capi.call import Answer, give, handle_of, noting, signed, tell, text_of
from pykvm.handle import Kvm


def _loadavg(call: Any) -> None:
    kd = handle_of(call)
    found = pykvm.kvm_getloadavg(kd, call.number[0])
    tell(call, kd, isinstance(found, int))
    if not isinstance(found, int):
        call.count = len(found)
        for i, value in enumerate(found):
            call.loads[i] = value


NUMBERS: dict[str, Callable[[Kvm, int], int]] = {
    "kvm_native": lambda kd, _: pykvm.kvm_native(kd),
    "kvm_kerndisp": lambda kd, _: pykvm.kvm_kerndisp(kd),
    "kvm_getmaxcpu": lambda kd, _: pykvm.kvm_getmaxcpu(kd),
    "kvm_getncpus": lambda kd, _: pykvm.kvm_getncpus(kd),
    "kvm_dpcpu_setcpu": pykvm.kvm_dpcpu_setcpu,
    "kvm_counter_u64_fetch": lambda kd, base: pykvm.kvm_counter_u64_fetch(kd, base & (1 << 64) - 1),
}


def _number(call: Any) -> None:
    kd = handle_of(call)
    with noting(call, kd):
        call.count = signed(NUMBERS[text_of(call.text[0]) or ""](kd, call.number[0]))


def _getpcpu(call: Any) -> None:
    kd = handle_of(call)
    found = pykvm.kvm_getpcpu(kd, call.number[0])
    tell(call, kd, found == -1)
    if isinstance(found, bytes):
        give(call, found, len(found))


def _zpcpu(call: Any) -> None:
    kd = handle_of(call)
    kd.parts  # noqa: B018 - a handle without files says so
    call.count = signed(kd.target.cpu_copy(kd.parts, call.number[0] & (1 << 64) - 1, call.number[1]))


def _swapinfo(call: Any) -> None:
    kd = handle_of(call)
    found = pykvm.kvm_getswapinfo(kd, call.number[0], call.number[1])
    tell(call, kd, isinstance(found, int))
    if isinstance(found, int):
        return
    rows = ffi.new("pk_swap[]", len(found))
    for row, device in zip(rows, found, strict=True):
        row.ksw_devname = device.ksw_devname.encode("utf-8", "surrogateescape")
        row.ksw_used, row.ksw_total = device.ksw_used & 0xFFFFFFFF, device.ksw_total & 0xFFFFFFFF
        row.ksw_flags = device.ksw_flags
    give(call, bytes(ffi.buffer(rows)), len(found) - 1)


def _cptime(call: Any) -> None:
    kd = handle_of(call)
    found = pykvm.kvm_getcptime(kd)
    tell(call, kd, isinstance(found, int))
    if not isinstance(found, int):
        give(call, struct.pack(f"{len(found)}l", *found), len(found))


ANSWERS: dict[int, Answer] = {
    lib.PK_CALL_LOADAVG: _loadavg,
    lib.PK_CALL_NUMBER: _number,
    lib.PK_CALL_GETPCPU: _getpcpu,
    lib.PK_CALL_ZPCPU: _zpcpu,
    lib.PK_CALL_SWAPINFO: _swapinfo,
    lib.PK_CALL_CPTIME: _cptime,
}
