"""libkvm.so: processes and files, in records as a program of the target's own takes them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import pykvm
from pykvm._native.ffi import ffi, lib
from pykvm.capi.call import Answer, give, handle_of, noting, room, tell
from pykvm.errors import KvmError
from pykvm.handle import Kvm
from pykvm.records import ProcessRecord

WORD = struct.Struct("P")
MAX_ELEMSIZE = 1 << 16  # as kvm_getproc2's
PID_MEMBERS = ("kp_proc.p_pid", "p_pid", "ki_pid", "kp_pid")
UNKNOWN_NICE = -128
MICRO = 10**6


def _records(call: Any, records: Sequence[Any] | None, kd: Kvm, size: int | None = None, before: bytes = b"") -> None:
    """Records one after another, each of `size` bytes if that is said."""
    if records is None:
        tell(call, kd, True)
        return
    if size is not None and not 0 < size <= MAX_ELEMSIZE:
        raise KvmError(f"elemsize {size}: Invalid argument")
    data = (bytes(record) for record in records)
    if size is not None:
        data = (one[:size].ljust(size, b"\0") for one in data)
    give(call, before + b"".join(data), len(records))


def _getprocs(call: Any) -> None:
    kd = handle_of(call)
    size = call.number[2] if call.number[2] >= 0 else None
    _records(call, pykvm.kvm_getprocs(kd, call.number[0], call.number[1]), kd, size)


def _getproc2(call: Any) -> None:
    kd = handle_of(call)
    _records(call, pykvm.kvm_getproc2(kd, call.number[0], call.number[1], call.number[2]), kd)


def _getlwps(call: Any) -> None:
    kd = handle_of(call)
    pid, paddr, size = call.number[0], call.number[1] & (1 << 64) - 1, call.number[2]
    _records(call, pykvm.kvm_getlwps(kd, pid, paddr, size), kd)


def _getfiles(call: Any) -> None:
    kd = handle_of(call)
    size = call.number[2] if call.number[2] >= 0 else None
    with noting(call, kd):  # which files are not for this user
        records = pykvm.kvm_getfiles(kd, call.number[0], call.number[1])
    before = b"" if records is None else kd.target.files_head(kd.parts)
    _records(call, records, kd, size, before)


def _procinfo(call: Any) -> None:
    """struct kvm_procinfo of each process, and behind them the records that they point to."""
    kd = handle_of(call)
    records = pykvm.kvm_getprocs(kd, call.number[0], call.number[1])
    if records is None:
        tell(call, kd, True)
        return
    raw = [bytes(record) for record in records]
    table = len(raw) * call.size
    where = room(call, table + sum(map(len, raw)))
    at = ffi.cast("char *", where) + table
    rows = ffi.cast("pk_procinfo *", where)
    for i, (record, data) in enumerate(zip(records, raw, strict=True)):
        ffi.memmove(at, data, len(data))
        _fill(rows[i], record)
        rows[i].record = at
        at += len(data)
    call.count = len(records)


IDS = "pid ppid pgid sid tpgid uid ruid svuid gid rgid svgid tdev rssize threads".split()
TIMES = {"start": "start_time", "utime": "utime", "stime": "stime"}


def _known(value: int | None) -> int:
    """Unknown, or more than a kernel can have meant: -1."""
    return -1 if value is None or not -(1 << 63) <= value < 1 << 63 else value


def _fill(row: Any, p: ProcessRecord) -> None:
    for name in IDS:
        setattr(row, name, _known(getattr(p, name)))
    for name, attribute in TIMES.items():
        value = getattr(p, attribute)
        setattr(row, name, _known(None if value is None else round(value * MICRO)))
    row.nice = UNKNOWN_NICE if p.nice is None or not -128 < p.nice < 128 else p.nice
    row.flags, row.wchan, row.paddr = ((value or 0) & (1 << 64) - 1 for value in (p.flags, p.wchan, p.paddr))
    row.stat = (p.stat or "\0").encode()
    for name in ("comm", "login", "wmesg"):
        raw = (getattr(p, name) or "").encode("utf-8", "surrogateescape")[:63]
        ffi.memmove(getattr(row, name), raw + b"\0", len(raw) + 1)


def _vector(call: Any) -> None:
    """Of a record that the program has, which may be a copy of what it was given."""
    kd = handle_of(call)
    struct_of = kd.target.record_struct(kd.parts, bool(call.number[0]))
    size = min(call.size, struct_of.size) if call.size else struct_of.size
    raw = bytes(ffi.buffer(ffi.cast("char *", call.data), size))
    record = kd.target.record_of(raw.ljust(struct_of.size, b"\0"), struct_of)
    if size < struct_of.size:
        record = _whole(kd, record, size, bool(call.number[0]))
    ask = pykvm.kvm_getenvv if call.number[1] else pykvm.kvm_getargv
    with noting(call, kd):
        words = ask(kd, record, call.number[2])
    if words is None:
        call.count = -1
        return
    table = (len(words) + 1) * WORD.size
    where = room(call, table + sum(len(word) + 1 for word in words))
    at = int(ffi.cast("uintptr_t", where)) + table
    places = []
    for word in words:
        places.append(at)
        at += len(word) + 1
    block = b"".join(WORD.pack(place) for place in (*places, 0)) + b"".join(word + b"\0" for word in words)
    ffi.memmove(where, block, len(block))
    call.count = len(words)


def _whole(kd: Kvm, record: ProcessRecord, size: int, two: bool) -> ProcessRecord:
    """The record of which a program asked for the first `size` bytes only: the process with the number in them."""
    struct_of = kd.target.record_struct(kd.parts, two)
    member = next(name for name in PID_MEMBERS if name in struct_of)
    at = struct_of.field(member)
    if size < at.offset + at.size:
        raise KvmError(f"a record of {size} bytes does not tell its process: {member} is at {at.offset}")
    pid = record.pid
    found = (
        kd.target.getproc2(kd.parts, pykvm.KERN_PROC_PID, pid, None)
        if two
        else kd.target.getprocs(kd.parts, pykvm.KERN_PROC_PID, pid)
    )
    if not found:
        raise KvmError(f"process {pid}: there is none")
    return found[0]


ANSWERS: dict[int, Answer] = {
    lib.PK_CALL_GETPROCS: _getprocs,
    lib.PK_CALL_GETPROC2: _getproc2,
    lib.PK_CALL_GETLWPS: _getlwps,
    lib.PK_CALL_VECTOR: _vector,
    lib.PK_CALL_GETFILES: _getfiles,
    lib.PK_CALL_PROCINFO: _procinfo,
}
