"""What libkvm.so asks of pykvm: each of its functions that is not C alone is a function here.

A call comes as a pk_call (decl/capi.h) and goes back with its results. Whatever fails is a message in it: no exception
leaves Python.
"""

from __future__ import annotations

import atexit
import gc
import io
import itertools
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import pykvm
from pykvm._native.ffi import ffi, lib
from pykvm.errors import KvmError
from pykvm.handle import ERRBUF, Kvm
from pykvm.records import ProcessRecord

Answer = Callable[[Any], None]

# The handles that C has, by number. Numbers are not used again.
_handles: dict[int, Kvm] = {}
_numbers = itertools.count(1)
WORD = struct.Struct("P")
MAX_ELEMSIZE = 1 << 16  # as kvm_getproc2's
PID_MEMBERS = ("kp_proc.p_pid", "p_pid", "ki_pid", "kp_pid")
UNKNOWN_NICE = -128
MICRO = 10**6


def attach(address: int) -> None:
    """Fill in a struct pk_capi."""
    capi = ffi.cast("pk_capi *", address)
    capi.call = lib.pk_capi_call
    capi.version = lib.PK_CAPI_VERSION
    atexit.register(_detach, capi)


def _detach(capi: Any) -> None:
    """The program's Python ends before the program: nothing is asked any more, but memory can still be read."""
    capi.version = 0
    for kd in _handles.values():
        kd.outlive()


def _lost(kind: type[BaseException], _: object, trace: TracebackType | None) -> None:
    """What came when pk_capi_call was about to return: SIGINT is the program's; an exception of an exception's leaves
    the call as it is, which is failed."""
    if trace is not None and issubclass(kind, KeyboardInterrupt):
        trace.tb_frame.f_locals["call"].interrupted = 1


@ffi.def_extern(onerror=_lost)  # type: ignore[untyped-decorator]
def pk_capi_call(call: Any) -> None:
    """The one way in."""
    try:
        call.status = 0
        ANSWERS[call.op](call)
    except KvmError as e:
        _fail(call, str(e), e.soft)
    except MemoryError:
        _fail(call, "out of memory", False)
    except KeyboardInterrupt:
        _fail(call, "interrupted", False)
        call.interrupted = 1
    except BaseException as e:
        _fail(call, f"internal error: {type(e).__name__}: {e}", False)


def _fail(call: Any, message: str, soft: bool) -> None:
    call.status, call.soft = -1, soft
    try:
        raw = message.encode("utf-8", "surrogateescape")[: ERRBUF - 1]
    except UnicodeEncodeError:  # a surrogate that is no byte of a file's name
        raw = message.encode("utf-8", "backslashreplace")[: ERRBUF - 1]
    ffi.buffer(call.message)[0 : len(raw) + 1] = raw + b"\0"


def _tell(call: Any, kd: Kvm, failed: bool) -> None:
    """Take over the message of a kvm_ function that failed."""
    if failed:
        _fail(call, kd.message, kd.soft)


def _handle(call: Any) -> Kvm:
    kd = _handles.get(call.handle)
    if kd is None:
        raise KvmError("handle is closed")
    return kd


def _raw(pointer: Any) -> bytes | None:
    return None if pointer == ffi.NULL else bytes(ffi.string(pointer))


def _text(pointer: Any) -> str | None:
    raw = _raw(pointer)
    return None if raw is None else raw.decode("utf-8", "surrogateescape")


@contextmanager
def _noting(call: Any, kd: Kvm) -> Iterator[None]:
    """Around a call that may leave a message although it does not fail."""
    before, kd.message = kd.message, ""
    try:
        yield
    finally:
        if kd.message:
            _fail(call, kd.message, kd.soft)
            call.status = 0
        else:
            kd.message = before


def _give(call: Any, data: bytes, count: int) -> None:
    """Bytes as a result."""
    where = call.room(call, len(data))
    if where == ffi.NULL:
        raise MemoryError
    ffi.memmove(where, data, len(data))
    call.count = count


# -- opening ----------------------------------------------------------------------------------------------------------


def _open(call: Any) -> None:
    kernel, core, swap = (None if raw is None else os.fsdecode(raw) for raw in map(_raw, call.text))
    errbuf = bytearray(ERRBUF)
    if call.number[1]:
        resolver = None if call.function == ffi.NULL else _resolver(call.function)
        kd = pykvm.kvm_open2(kernel, core, call.number[0], errbuf, resolver)
    else:
        kd = pykvm.kvm_openfiles(kernel, core, swap, call.number[0], errbuf)
    if kd is None:
        _fail(call, errbuf.split(b"\0")[0].decode("utf-8", "surrogateescape"), False)
        return
    number = next(_numbers)
    _handles[number] = kd
    call.count = number
    _give_space(call, kd)


def _give_space(call: Any, kd: Kvm) -> None:
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
    kd = _handles.pop(call.handle, None)
    if kd is not None:
        kd.close()
        del kd
        # What a handle was made of refers to itself in circles, and keeps the dump open and mapped. A C program makes
        # next to no garbage of Python's, so that it would stay.
        gc.collect()


# -- memory -----------------------------------------------------------------------------------------------------------


def _fault(call: Any) -> None:
    """Why a read failed."""
    kd, addr = _handle(call), call.number[0] & (1 << 64) - 1
    if call.data == ffi.NULL:
        pykvm.kvm_read(kd, addr, bytearray(1), 1)
        _fail(call, kd.message, kd.soft)
    else:
        error = kd.fault(ffi.cast("pk_fault *", call.data), addr, call.number[1])
        _fail(call, str(error), error.soft)


def _write(call: Any) -> None:
    kd = _handle(call)
    data = ffi.buffer(ffi.cast("char *", call.data), call.size) if call.size else b""
    call.count = pykvm.kvm_write(kd, call.number[0] & (1 << 64) - 1, data, call.size)
    _tell(call, kd, call.count < 0)


def _nlist(call: Any) -> None:
    kd = _handle(call)
    names = ffi.cast("const char **", call.data)
    entries = [pykvm.Nlist(_text(names[i])) for i in range(call.size)]
    with _noting(call, kd):  # why a name could not be told
        missing = pykvm.kvm_nlist(kd, entries)
    if missing < 0:
        call.status = -1
        return
    found = ffi.new("pk_name[]", call.size)
    for one, entry in zip(found, entries, strict=True):
        one.value, one.type, one.other, one.desc = entry.n_value, entry.n_type, entry.n_other, entry.n_desc
        one.missing = not entry.n_type and not entry.n_value
    _give(call, bytes(ffi.buffer(found)), len(entries))


def _walk(call: Any) -> None:
    kd = _handle(call)
    callback = ffi.cast("int (*)(pk_kvm_page *, void *)", call.function)
    page = ffi.new("pk_kvm_page *")

    def show(shown: pykvm.KvmPage, closure: Any) -> int:
        for name, value in shown._asdict().items():
            setattr(page, name, value)
        return int(callback(page, closure))

    with _noting(call, kd):
        call.count = pykvm.kvm_walk_pages(kd, show, call.closure)


def _dump(call: Any) -> None:
    kd, name = _handle(call), _text(call.text[0])
    if name == "kvm_dump_mkheader":
        try:
            call.count = pykvm.kvm_dump_mkheader(kd, call.number[0])
        finally:
            _give_space(call, kd)
    elif name == "kvm_dump_inval":
        call.count = pykvm.kvm_dump_inval(kd)
    else:
        out = io.BytesIO()
        call.count = pykvm.kvm_dump_wrtheader(kd, out, call.number[0])
        if call.count >= 0:
            _give(call, out.getvalue(), call.count)
    _tell(call, kd, call.count < 0)


# -- processes and files ----------------------------------------------------------------------------------------------


def _records(call: Any, records: Sequence[Any] | None, kd: Kvm, size: int | None = None, before: bytes = b"") -> None:
    """Records one after another, each of `size` bytes if that is said."""
    if records is None:
        _tell(call, kd, True)
        return
    if size is not None and not 0 < size <= MAX_ELEMSIZE:
        raise KvmError(f"elemsize {size}: Invalid argument")
    data = (bytes(record) for record in records)
    if size is not None:
        data = (one[:size].ljust(size, b"\0") for one in data)
    _give(call, before + b"".join(data), len(records))


def _getprocs(call: Any) -> None:
    kd = _handle(call)
    size = call.number[2] if call.number[2] >= 0 else None
    _records(call, pykvm.kvm_getprocs(kd, call.number[0], call.number[1]), kd, size)


def _getproc2(call: Any) -> None:
    kd = _handle(call)
    _records(call, pykvm.kvm_getproc2(kd, call.number[0], call.number[1], call.number[2]), kd)


def _getfiles(call: Any) -> None:
    """MirBSD has the head of the list in front of its records."""
    kd = _handle(call)
    size = call.number[2] if call.number[2] >= 0 else None
    records = pykvm.kvm_getfiles(kd, call.number[0], call.number[1])
    before = b""
    if records is not None and kd.target.system == "MirBSD":
        before = kd.read(kd.symbol("filehead"), kd.target.pointer_size)
    _records(call, records, kd, size, before)


def _procinfo(call: Any) -> None:
    """struct kvm_procinfo of each process, and behind them the records that they point to."""
    kd = _handle(call)
    records = pykvm.kvm_getprocs(kd, call.number[0], call.number[1])
    if records is None:
        _tell(call, kd, True)
        return
    raw = [bytes(record) for record in records]
    table = len(raw) * call.size
    where = call.room(call, table + sum(map(len, raw)))
    if where == ffi.NULL:
        raise MemoryError
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
    kd = _handle(call)
    struct_of = kd.target.record_struct(kd.parts, bool(call.number[0]))
    size = min(call.size, struct_of.size) if call.size else struct_of.size
    raw = bytes(ffi.buffer(ffi.cast("char *", call.data), size))
    record = kd.target.record_of(raw.ljust(struct_of.size, b"\0"), struct_of)
    if size < struct_of.size:
        record = _whole(kd, record, size, bool(call.number[0]))
    ask = pykvm.kvm_getenvv if call.number[1] else pykvm.kvm_getargv
    with _noting(call, kd):
        words = ask(kd, record, call.number[2])
    if words is None:
        call.count = -1
        return
    table = (len(words) + 1) * WORD.size
    where = call.room(call, table + sum(len(word) + 1 for word in words))
    if where == ffi.NULL:
        raise MemoryError
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


# -- figures ----------------------------------------------------------------------------------------------------------


def _loadavg(call: Any) -> None:
    kd = _handle(call)
    found = pykvm.kvm_getloadavg(kd, call.number[0])
    _tell(call, kd, isinstance(found, int))
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


def _signed(value: int) -> int:
    """64 bits as the call has room for them."""
    value &= (1 << 64) - 1
    return value - (1 << 64 if value >> 63 else 0)


def _number(call: Any) -> None:
    kd = _handle(call)
    with _noting(call, kd):
        call.count = _signed(NUMBERS[_text(call.text[0]) or ""](kd, call.number[0]))


def _getpcpu(call: Any) -> None:
    kd = _handle(call)
    found = pykvm.kvm_getpcpu(kd, call.number[0])
    _tell(call, kd, found == -1)
    if isinstance(found, bytes):
        _give(call, found, len(found))


def _zpcpu(call: Any) -> None:
    kd = _handle(call)
    kd.parts  # noqa: B018 - a handle without files says so
    call.count = _signed(kd.target.cpu_copy(kd.parts, call.number[0] & (1 << 64) - 1, call.number[1]))


def _swapinfo(call: Any) -> None:
    kd = _handle(call)
    found = pykvm.kvm_getswapinfo(kd, call.number[0], call.number[1])
    _tell(call, kd, isinstance(found, int))
    if isinstance(found, int):
        return
    rows = ffi.new("pk_swap[]", len(found))
    for row, device in zip(rows, found, strict=True):
        row.ksw_devname = device.ksw_devname.encode("utf-8", "surrogateescape")
        row.ksw_used, row.ksw_total = device.ksw_used & 0xFFFFFFFF, device.ksw_total & 0xFFFFFFFF
        row.ksw_flags = device.ksw_flags
    _give(call, bytes(ffi.buffer(rows)), len(found) - 1)


def _cptime(call: Any) -> None:
    kd = _handle(call)
    found = pykvm.kvm_getcptime(kd)
    _tell(call, kd, isinstance(found, int))
    if not isinstance(found, int):
        _give(call, struct.pack(f"{len(found)}l", *found), len(found))


ANSWERS: dict[int, Answer] = {
    lib.PK_CALL_OPEN: _open,
    lib.PK_CALL_CLOSE: _close,
    lib.PK_CALL_FAULT: _fault,
    lib.PK_CALL_WRITE: _write,
    lib.PK_CALL_NLIST: _nlist,
    lib.PK_CALL_GETPROCS: _getprocs,
    lib.PK_CALL_GETPROC2: _getproc2,
    lib.PK_CALL_VECTOR: _vector,
    lib.PK_CALL_GETFILES: _getfiles,
    lib.PK_CALL_LOADAVG: _loadavg,
    lib.PK_CALL_NUMBER: _number,
    lib.PK_CALL_GETPCPU: _getpcpu,
    lib.PK_CALL_ZPCPU: _zpcpu,
    lib.PK_CALL_SWAPINFO: _swapinfo,
    lib.PK_CALL_CPTIME: _cptime,
    lib.PK_CALL_WALK: _walk,
    lib.PK_CALL_DUMP: _dump,
    lib.PK_CALL_PROCINFO: _procinfo,
}
