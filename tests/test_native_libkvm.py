"""native_libkvm: pykvm's functions over a libkvm in C, tried on pykvm's own, which must answer as the module does."""

from __future__ import annotations

import io
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pykvm_fixtures.freebsd import write_freebsd
from pykvm_fixtures.linux import write_linux
from pykvm_fixtures.mirbsd import write_mirbsd

import pykvm
from pykvm import KvmNlist, Nlist
from pykvm import constants as k
from pykvm.hostlib import flavours, handle, structures
from pykvm.hostlib.handle import NativeKvm
from pykvm.hostlib.library import NativeLibkvm
from pykvm.records import PROCESS_NAMES
from pykvm.types.layout import Types, builtin

LIBRARY = Path(pykvm.__file__).parent / "libkvm" / "libkvm.so"
OPS = [
    (k.KERN_PROC_KTHREAD, 0), (k.KERN_PROC_ALL, 0), (k.KERN_PROC_PID, 1), (k.KERN_PROC_PID, 999999),
    (k.KERN_PROC_UID, 0), (k.KERN_PROC_UID, 0xFFFFFFFE), (k.KERN_PROC_PGRP, 1), (9, 0),
]  # fmt: skip
P_JAILED = 0x1000000  # which only the records have, of FreeBSD
Both = tuple[NativeKvm, pykvm.Kvm]


@pytest.fixture(scope="module")
def lib() -> NativeLibkvm:
    return pykvm.native_libkvm(LIBRARY)


def linux(path: Path) -> tuple[Path, Path | None]:
    return write_linux(path).paths[0], None


def mirbsd(machine: str) -> Any:
    def write(path: Path) -> tuple[Path, Path]:
        dump = write_mirbsd(path, machine=machine)
        return dump.core, dump.kernel

    return write


def freebsd(machine: str, **options: Any) -> Any:
    def write(path: Path) -> tuple[Path, Path]:
        dump = write_freebsd(path, machine, **options)
        return dump.core, dump.kernel

    return write


SYSTEMS = {
    "mirbsd-i386": mirbsd("i386"), "mirbsd-sun4c": mirbsd("sun4c"), "freebsd-amd64": freebsd("amd64"),
    "freebsd-i386": freebsd("i386", container="full"), "freebsd-mips": freebsd("mips"),
    "freebsd-powerpc64": freebsd("powerpc64"), "linux": linux,
}  # fmt: skip


@pytest.fixture(scope="module", params=list(SYSTEMS))
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path | None]:
    core, kernel = SYSTEMS[request.param](tmp_path_factory.mktemp(request.param))
    return core, kernel


@pytest.fixture
def both(lib: NativeLibkvm, files: Any) -> Iterator[Both]:
    """A handle of the library and one of the module."""
    core, kernel = files
    with lib.Kvm(core, kernel) as native, pykvm.Kvm(core, kernel) as kd:
        yield native, kd


def same(lib: NativeLibkvm, both: Both, name: str, *arguments: Any) -> Any:
    """What both give; the messages are the same, too."""
    native, kd = both
    native.lib.kvm_geterr(native)
    theirs, ours = getattr(lib, name)(native, *arguments), getattr(pykvm, name)(kd, *arguments)
    assert lib.kvm_geterr(native) == pykvm.kvm_geterr(kd), name
    return theirs, ours


# -- all functions --------------------------------------------------------------------------------------------------


def test_every_function_is_there(lib: NativeLibkvm) -> None:
    """With the module's names, and its parameters in its order."""
    import inspect

    for name in pykvm.__all__:
        if name.startswith("kvm_"):
            ours = list(inspect.signature(getattr(pykvm, name)).parameters.values())
            theirs = list(inspect.signature(getattr(lib, name)).parameters.values())
            assert [(p.name, p.default) for p in theirs] == [(p.name, p.default) for p in ours], name
            assert lib.has(name), name


def test_memory(lib: NativeLibkvm, both: Both) -> None:
    native, kd = both
    name = "init_task" if kd.info.system == "Linux" else "version"
    at = kd.symbol(name)
    for addr, size in ((at, 8), (at, 0), (at, 100), (0, 8), (at + (1 << 28), 8)):
        theirs, ours = bytearray(size), bytearray(size)
        assert lib.kvm_read(native, addr, theirs, size) == pykvm.kvm_read(kd, addr, ours, size)
        assert theirs == ours
        assert lib.kvm_geterr(native) == pykvm.kvm_geterr(kd)
        assert lib.kvm_read2(native, addr, theirs, size) == pykvm.kvm_read2(kd, addr, ours, size)
    assert native.symbol(name) == native.symbol(f"_{name}") == at
    assert native.read(at, 64) == kd.read(at, 64)
    for bits in (8, 16, 32, 64):
        for sign in "ui":
            assert getattr(native, f"read_{sign}{bits}")(at) == getattr(kd, f"read_{sign}{bits}")(at)
    assert native.read_ptr(at) == kd.read_ptr(at)
    assert native.read_cstr(at) == kd.read_cstr(at)
    with pytest.raises(pykvm.AddressError) as e:
        native.read(at + (1 << 28), 8)
    assert e.value.address == at + (1 << 28)
    with pytest.raises(pykvm.KvmError, match="nosuch: no such symbol"):
        native.symbol("nosuch")
    assert same(lib, both, "kvm_write", at, b"x", 1) == (-1, -1)
    with pytest.raises(ValueError, match="does not fit"):
        lib.kvm_read(native, at, bytearray(4), 5)
    with pytest.raises(TypeError, match="writable"):
        lib.kvm_read(native, at, b"1234", 4)


def test_write(lib: NativeLibkvm, tmp_path: Path) -> None:
    core, kernel = mirbsd("i386")(tmp_path)
    with lib.Kvm(core, kernel, writable=True) as kd:
        at = kd.symbol("version")
        assert kd.write(at, b"Hello") == 5
        assert lib.kvm_write(kd, at + 5, bytearray(b" there"), 6) == 6
        assert kd.read(at, 11) == b"Hello there"
        with pytest.raises(pykvm.KvmError, match="invalid address"):
            kd.write(0, b"x")


def test_names(lib: NativeLibkvm, both: Both) -> None:
    for kind, name in ((Nlist, "kvm_nlist"), (KvmNlist, "kvm_nlist2")):
        for names in ([], ["version", "_version", "init_task", "allproc", "nosuch"], ["nosuch"], ["nprocs", "", "x"]):
            theirs, ours = [kind(n) for n in names], [kind(n) for n in names]
            native, kd = both
            assert getattr(lib, name)(native, theirs) == getattr(pykvm, name)(kd, ours)
            assert list(map(repr, theirs)) == list(map(repr, ours))


def test_processes(lib: NativeLibkvm, both: Both) -> None:
    native, kd = both
    seen = 0
    for op, arg in OPS:
        for name in ("kvm_getprocs", "kvm_getproc2"):
            theirs, ours = same(lib, both, name, op, arg)
            assert (theirs is None) == (ours is None) == (op == 9)
            assert list(map(bytes, theirs or ())) == list(map(bytes, ours or ()))
            for p, q in zip(theirs or (), ours or (), strict=True):
                assert attributes(p, q) >= 15, (kd.info.system, p)
                seen += 1
                for vector in ("kvm_getargv", "kvm_getenvv"):
                    two = "2" if name == "kvm_getproc2" else ""
                    for nchr in (0, 7):
                        words = getattr(lib, vector + two)(native, p, nchr)
                        assert words == getattr(pykvm, vector + two)(kd, q, nchr)
    assert seen > 8
    assert [p.pid for p in native.processes()] == [p.pid for p in kd.processes()]


def attributes(p: Any, q: Any) -> int:
    """How many attributes the record has: no other values than the module's."""
    known = 0
    for name in PROCESS_NAMES:
        value, true = getattr(p, name), getattr(q, name)
        if value is None:
            continue
        known += 1
        if name in ("utime", "stime", "start_time"):
            assert value == pytest.approx(true or 0, abs=2e-6), name
        elif name in ("wmesg", "login", "comm"):
            assert (true or "").startswith(value), name  # structures have less room
        elif name == "groups":
            assert value == (true or [])[:16]
        elif name == "flags" and p.structure == "kinfo_proc":
            assert value | P_JAILED == true | P_JAILED
        else:
            assert value == (true or 0), (name, p)
    return known


def test_elemsize(lib: NativeLibkvm, both: Both) -> None:
    for size in (1, 100, 608, 700):
        theirs, ours = same(lib, both, "kvm_getproc2", k.KERN_PROC_KTHREAD, 0, size)
        assert list(map(bytes, theirs)) == list(map(bytes, ours))
        assert [p.pid for p in theirs] == [p.pid for p in ours]
        assert [lib.kvm_getargv2(both[0], p, 0) for p in theirs] == [pykvm.kvm_getargv2(both[1], p, 0) for p in ours]
    assert same(lib, both, "kvm_getproc2", k.KERN_PROC_KTHREAD, 0, 0) == (None, None)


def test_files(lib: NativeLibkvm, both: Both) -> None:
    native, kd = both
    theirs, ours = lib.kvm_getfiles(native, k.KERN_FILE_BYFILE, 0), pykvm.kvm_getfiles(kd, k.KERN_FILE_BYFILE, 0)
    if kd.info.system == "MirBSD":
        assert [(p.paddr, bytes(p)) for p in theirs] == [(p.paddr, bytes(p)) for p in ours] != []
    else:
        assert theirs is None
        assert lib.kvm_geterr(native) == "kvm_getfiles: struct file: its layout is not known to pykvm"


def test_figures(lib: NativeLibkvm, both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    native, kd = both
    for nelem in (3, 1, 0, -1, 99):
        theirs, ours = same(lib, both, "kvm_getloadavg", nelem)
        assert theirs == ours
    for name, *arguments in (
        ("kvm_kerndisp",), ("kvm_native",), ("kvm_getmaxcpu",), ("kvm_getncpus",), ("kvm_getcptime",),
        ("kvm_getswapinfo", 10), ("kvm_getswapinfo", 1, k.SWIF_DEV_PREFIX), ("kvm_getswapinfo", 0),
        ("kvm_getswapinfo", 3, k.SWIF_DEV_PREFIX), ("kvm_dpcpu_setcpu", 99), ("kvm_dpcpu_setcpu", 0),
        ("kvm_getpcpu", 99), ("kvm_counter_u64_fetch", 0), ("kvm_dump_inval",),
    ):  # fmt: skip
        theirs, ours = getattr(lib, name)(native, *arguments), getattr(pykvm, name)(kd, *arguments)
        if name == "kvm_kerndisp":  # signed
            theirs, ours = theirs % (1 << 64), ours % (1 << 64)
        assert theirs == ours or name == "kvm_getpcpu", name
    if kd.info.system == "FreeBSD":
        assert len(lib.kvm_getswapinfo(native, 10)) > 1
        assert lib.kvm_getpcpu(native, 0) == pykvm.kvm_getpcpu(kd, 0)
        assert lib.kvm_getpcpu(native, 99) is None
        monkeypatch.setattr(lib, "_pcpu_size", lambda kd: 1 << 20)  # a kernel newer than its library
        assert lib.kvm_getpcpu(native, 0) == -1
        assert "gives less than struct pcpu's 1048576 bytes" in lib.kvm_geterr(native)
        monkeypatch.undo()
        theirs, ours = bytearray(8), bytearray(8)
        base = kd.symbol("version")
        assert lib.kvm_read_zpcpu(native, base, theirs, 8, 0) == pykvm.kvm_read_zpcpu(kd, base, ours, 8, 0)
        assert theirs == ours
    else:
        assert lib.kvm_getpcpu(native, 0) == -1


def test_pages(lib: NativeLibkvm, both: Both) -> None:
    native, kd = both
    theirs: list[Any] = []
    ours: list[Any] = []
    assert lib.kvm_walk_pages(native, lambda page, to: to.append(page) or 1, theirs) == pykvm.kvm_walk_pages(
        kd, lambda page, to: to.append(page) or 1, ours
    )
    assert theirs == ours
    assert lib.kvm_geterr(native) == pykvm.kvm_geterr(kd)
    if ours:
        assert lib.kvm_walk_pages(native, lambda page, to: 0) == 0
        with pytest.raises(ZeroDivisionError):
            lib.kvm_walk_pages(native, lambda page, to: 1 // 0)


# -- opening and errors -----------------------------------------------------------------------------------------------


def test_open(lib: NativeLibkvm, files: Any, capfd: pytest.CaptureFixture[str]) -> None:
    core, kernel = files
    kd = lib.kvm_open(kernel, core, None, os.O_RDONLY, None)
    assert lib.kvm_close(kd) == 0
    assert lib.kvm_close(kd) == -1
    assert lib.kvm_geterr(kd) == "handle is closed"
    assert (lib.kvm_getprocs(kd, 0, 0), lib.kvm_getncpus(kd), lib.kvm_kerndisp(kd)) == (None, -1, 0)
    assert lib.kvm_read(kd, 0, bytearray(1), 1) == -1
    with pytest.raises(pykvm.KvmError, match="handle is closed"):
        kd.processes()
    with pytest.raises(pykvm.KvmError, match="handle is closed"), kd:
        pass
    for args in ((None, "/nosuch", None, 0), (kernel, core, None, 0o100), ("x" * 2000, core, None, 0)):
        theirs, ours = bytearray(2048), bytearray(2048)
        assert lib.kvm_openfiles(*args, theirs) is pykvm.kvm_openfiles(*args, ours) is None
        assert theirs == ours != bytearray(2048)
    assert lib.kvm_open(None, "/nosuch", None, 0, "prog") is None
    assert capfd.readouterr().err == "prog: /nosuch: No such file or directory\n"
    with pytest.raises(pykvm.KvmError, match="/nosuch: No such file or directory"):
        lib.Kvm("/nosuch")
    with pytest.raises(TypeError, match="errbuf"):
        lib.kvm_openfiles(kernel, core, None, 0, b"")
    with pytest.raises(TypeError, match="handle"):
        lib.kvm_getprocs(None, 0, 0)


def test_resolver(lib: NativeLibkvm, tmp_path: Path) -> None:
    core, kernel = freebsd("amd64")(tmp_path)
    asked: list[str] = []

    def resolver(name: str) -> int | None:
        asked.append(name)
        return 0x1234 if name == "of_mine" else None

    kd = lib.kvm_open2(kernel, core, os.O_RDONLY, None, resolver)
    mine = [Nlist("of_mine"), Nlist("of_nobody")]
    assert lib.kvm_nlist(kd, mine) == 1
    assert (mine[0].n_value, mine[1].n_value) == (0x1234, 0)
    assert "of_mine" in asked
    kd.close()


def test_no_files(lib: NativeLibkvm) -> None:
    kd = lib.kvm_openfiles(None, None, None, k.KVM_NO_FILES, None)
    if sys.platform == "linux":
        own = lib.kvm_getprocs(kd, k.KERN_PROC_PID, os.getpid()) or []
        assert [(p.pid, p.ppid, p.uid) for p in own] == [(os.getpid(), os.getppid(), os.geteuid())]
        assert len(lib.kvm_getloadavg(kd)) == 3
    else:
        assert lib.kvm_getloadavg(kd) == -1
        assert lib.kvm_geterr(kd) == "kvm_getloadavg: no live kernel to ask"
        assert lib.kvm_getprocs(kd, 0, 0) is None
    lib.kvm_close(kd)


def test_dump_header(lib: NativeLibkvm, tmp_path: Path) -> None:
    """kvm_dump_mkheader and kvm_dump_wrtheader, whose FILE is a Python file here."""
    dump = write_mirbsd(tmp_path, container="device")
    results = []
    for module in (lib, pykvm):
        kd = module.kvm_openfiles(dump.kernel, dump.core, None, os.O_RDONLY, None)
        size = module.kvm_dump_mkheader(kd, dump.device_offset)
        out = io.BytesIO()
        written = module.kvm_dump_wrtheader(kd, out, 4096)
        results.append((size, written, out.getvalue(), len(module.kvm_getprocs(kd, k.KERN_PROC_KTHREAD, 0) or ())))
        module.kvm_close(kd)
    assert results[0] == results[1]
    assert results[0][0] == 512
    assert len(results[0][2]) == results[0][1] > 0 < results[0][3]


# -- other libraries --------------------------------------------------------------------------------------------------


def test_no_library(tmp_path: Path) -> None:
    with pytest.raises(pykvm.KvmError, match=r"nosuch\.so: cannot be loaded"):
        pykvm.native_libkvm(tmp_path / "nosuch.so")
    for name in ("libc.so.6", "libm.so.6"):
        with pytest.raises(pykvm.KvmError, match="is no libkvm"):
            pykvm.native_libkvm(name)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library with MirBSD's oldest functions and FreeBSD's records, as a host's may be."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    source = tmp_path_factory.mktemp("small") / "small.c"
    source.write_text(
        r"""
#include <stdlib.h>
#include <string.h>
#include "records.h"
typedef struct { char message[2048]; const char *program; } kvm_t;
kvm_t *kvm_openfiles(const char *a, const char *b, const char *c, int f, char *e) {
    if (b != NULL) { strcpy(e, "no dumps"); return NULL; }
    return calloc(1, sizeof(kvm_t));
}
int kvm_close(kvm_t *k) { free(k); return 0; }
char *kvm_geterr(kvm_t *k) { return k->message; }
long kvm_read(kvm_t *k, unsigned long a, void *b, size_t n) {
    if (a < 4096) { strcpy(k->message, "invalid address"); return -1; }
    memset(b, 0x11, n); return n;
}
void *kvm_getprocs(kvm_t *k, int op, int arg, int *n) {
    if (op != 8) { strcpy(k->message, op == 1 ? "asked for 1" : "asked for what?"); return NULL; }
    *n = COUNT; return records;
}
"""
    )
    base = builtin("freebsd-lp64").struct("kinfo_proc")
    records = b""
    for pid, flag in ((1, 0), (2, 4), (700, 0)):
        raw = bytearray(base.size)
        for member, value in (("ki_structsize", base.size), ("ki_pid", pid), ("ki_flag", flag), ("ki_rssize", 3)):
            field = base.field(member)
            raw[field.offset : field.offset + field.size] = value.to_bytes(field.size, sys.byteorder)
        records += raw
    numbers = ",".join(map(str, records))
    source.with_name("records.h").write_text(f"#define COUNT 3\nunsigned char records[] = {{{numbers}}};\n")
    out = source.with_name("libkvm.so")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", out, source], check=True)
    return out


def test_lacking(small: Path) -> None:
    """What a library does not have fails by its name, with the function's own failure."""
    lib = pykvm.native_libkvm(small)
    assert lib.flavour.system == "MirBSD"  # what is no BSD is taken to be like it
    kd = lib.Kvm()
    for name, failure, *arguments in (
        ("kvm_getproc2", None, 0, 0), ("kvm_getloadavg", -1), ("kvm_getncpus", -1), ("kvm_getswapinfo", -1, 4),
        ("kvm_getcptime", -1), ("kvm_kerndisp", 0), ("kvm_getfiles", None, 0, 0), ("kvm_getpcpu", -1, 0),
        ("kvm_counter_u64_fetch", 0, 0), ("kvm_walk_pages", 0, print), ("kvm_nlist", -1, []), ("kvm_dump_inval", -1),
    ):  # fmt: skip
        assert getattr(lib, name)(kd, *arguments) == failure, name
        assert lib.kvm_geterr(kd) == f"{name}: MirBSD's libkvm does not have it"
    assert lib.kvm_native(kd) == 1
    assert lib.kvm_read(kd, 0, bytearray(1), 1) == -1
    assert lib.kvm_geterr(kd) == "invalid address"
    errbuf = bytearray(2048)
    assert lib.kvm_open2(None, None, 0, errbuf) is None
    assert errbuf.startswith(b"kvm_open2: MirBSD's libkvm does not have it\0")
    assert lib.kvm_openfiles(None, "core", None, 0, errbuf) is None
    assert errbuf.startswith(b"no dumps\0")
    kd.close()


def test_freebsd_host(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its numbers of what is asked, and its records."""
    if struct.calcsize("P") != 8:
        pytest.skip("the records are of 64 bits")
    monkeypatch.setattr(flavours.sys, "platform", "freebsd14")
    lib = pykvm.native_libkvm(small)
    assert lib.flavour.system == "FreeBSD"
    with lib.Kvm() as kd:
        assert [p.pid for p in kd.processes()] == [1, 2, 700]
        assert [p.ki_pid for p in lib.kvm_getprocs(kd, k.KERN_PROC_ALL, 0)] == [1, 700]
        assert kd.processes()[0].rssize == 3 * handle.mmap.PAGESIZE
        assert kd.read_u32(1 << 20) == 0x11111111
        assert lib.kvm_getprocs(kd, k.KERN_PROC_PID, 1) is None
        assert lib.kvm_geterr(kd) == "asked for 1"
        assert lib.kvm_getprocs(kd, 9, 1) is None
        assert lib.kvm_geterr(kd) == "kvm_getprocs: op 9: Invalid argument"


def test_unknown_layout(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records without a table are bytes, and say so."""
    monkeypatch.setattr(flavours.sys, "platform", "freebsd14")
    monkeypatch.setattr(structures.Host, "types", lambda self: Types())
    lib = pykvm.native_libkvm(small)
    with lib.Kvm() as kd:
        records = kd.processes()
        assert [len(bytes(p)) for p in records] == [1088] * 3
        with pytest.raises(pykvm.KvmError, match="struct kinfo_proc: pid: its layout is not known"):
            records[0].pid  # noqa: B018
        with pytest.raises(pykvm.KvmError, match="not known"):
            kd.processes(k.KERN_PROC_ALL)
        assert repr(records[0]) == "<kinfo_proc, 1088 bytes>"


@pytest.mark.parametrize(
    ("system", "machine", "name", "size"),
    [("OpenBSD", "x86_64", "kinfo_proc", 648), ("OpenBSD", "i386", "kinfo_proc", 644),
     ("NetBSD", "x86_64", "kinfo_proc2", 680), ("NetBSD", "i386", "kinfo_proc2", 680)],
)  # fmt: skip
def test_tables(system: str, machine: str, name: str, size: int) -> None:
    """Of systems of which there are no dumps here: what their headers say of sizes, and attributes by the members."""
    host = structures.Host(system, machine, "little", 8 if machine == "x86_64" else 4, 4096)
    layout = host.types().struct(name)
    assert layout.size == size
    whole = [field for name, field in layout.fields.items() if "." not in name]
    ends = [0, *(f.offset + f.size for f in whole)]
    assert all(f.offset >= end for f, end in zip(whole, ends, strict=False))
    raw = bytearray(size)
    values = {
        "p_pid": 700, "p_ppid": 1, "p__pgid": 699, "p_uid": 1000, "p_stat": 3, "p_flag": 0x80, "p_slptime": 21,
        "p_nice": 30, "p_ustart_sec": 1700000000, "p_uvalid": 1, "p_vm_rssize": 5, "p_ngroups": 1, "p_nlwps": 3,
    }  # fmt: skip
    for member, value in values.items():
        if member in layout:
            field = layout.field(member)
            raw[field.offset : field.offset + field.size] = value.to_bytes(field.size, "little")
    kd: Any = type("Handle", (), {"host": host, "core": None})
    p = structures.NativeRecord(kd, layout, bytes(raw), name == "kinfo_proc2")
    assert (p.pid, p.ppid, p.pgid, p.uid, p.stat, p.nice) == (700, 1, 699, 1000, "I", 10)
    assert (p.start_time, p.rssize, p.groups) == (1700000000.0, 5 * 4096, [0])
    assert p.threads == (3 if system == "NetBSD" else None)
    assert bytes(p) == raw


@pytest.mark.parametrize("name", list(flavours.FLAVOURS))
def test_declarations(name: str) -> None:
    """Every system's prototypes are C."""
    from cffi import FFI

    ffi: Any = FFI()
    ffi.cdef(flavours.FLAVOURS[name].declarations())
    assert ffi.sizeof("struct kvm_swap") == flavours.FLAVOURS[name].devname + 20
    assert set(flavours.FUNCTIONS) == {n for n in pykvm.__all__ if n.startswith("kvm_")}


def test_attributes_have_one_meaning() -> None:
    for known in structures.NEUTRAL.values():
        assert set(known) <= PROCESS_NAMES
