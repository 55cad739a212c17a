"""Opening, closing, and how errors are reported."""

from __future__ import annotations

import gc
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

import pykvm
from pykvm import kvm_close, kvm_geterr, kvm_nlist, kvm_open, kvm_openfiles, kvm_read


def test_openfiles(mirbsd_dump: Any) -> None:
    kd = kvm_openfiles(str(mirbsd_dump.kernel), mirbsd_dump.core, None, os.O_RDONLY)
    assert isinstance(kd, pykvm.Kvm)
    assert kvm_geterr(kd) == ""
    assert kvm_close(kd) == 0
    assert kvm_close(kd) == -1
    assert kvm_geterr(kd) == "handle is closed"


@pytest.mark.parametrize(
    ("kernel", "core", "flags", "message"),
    [
        ("x" * 1024, "/dev/null", 0, "exec file name too long"),
        (None, "/dev/null", 0o100, "bad flags arg"),
        (None, "/dev/null", 0, "/dev/null: not physical memory device"),
        (None, "/nosuch/core", 0, "/nosuch/core: No such file or directory"),
        (None, "/", 0, "/: Is a directory"),
    ],
)
def test_original_messages(kernel: str | None, core: str, flags: int, message: str) -> None:
    errbuf = bytearray(b"\xff" * 2048)
    assert kvm_openfiles(kernel, core, None, flags, errbuf) is None
    assert errbuf[: errbuf.index(0)].decode() == message


def test_missing_kernel(mirbsd_dump: Any) -> None:
    errbuf = bytearray(2048)
    assert kvm_openfiles("/nosuch/bsd", mirbsd_dump.core, None, 0, errbuf) is None
    assert errbuf.startswith(b"/nosuch/bsd: No such file or directory\0")
    assert kvm_openfiles(None, mirbsd_dump.core, None, 0, errbuf) is None
    text = errbuf[: errbuf.index(0)].decode()
    assert "kernel" in text
    assert str(mirbsd_dump.core) in text


@pytest.mark.parametrize("size", [0, 1, 10, 2048])
def test_errbuf_of_any_size(size: int) -> None:
    errbuf = bytearray(size)
    assert kvm_openfiles(None, "/nosuch", None, 0, errbuf) is None
    whole = b"/nosuch: No such file or directory\0"
    assert bytes(errbuf[: len(whole)]) == (whole if size in (0, 2048) else whole[: size - 1] + b"\0")


def test_errbuf_must_be_a_bytearray(mirbsd_dump: Any) -> None:
    with pytest.raises(TypeError):
        kvm_openfiles(None, mirbsd_dump.core, None, 0, b"read-only")  # type: ignore[arg-type]


def test_sun_errstr(mirbsd_dump: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """With an errstr hard errors go to stderr and are not kept; soft ones are kept and not printed."""
    assert kvm_open(None, "/nosuch", None, 0, "prog") is None
    assert capfd.readouterr().err == "prog: /nosuch: No such file or directory\n"
    assert kvm_open(None, "/nosuch", None, 0, None) is None
    assert capfd.readouterr().err == ""
    kd = kvm_open(mirbsd_dump.kernel, mirbsd_dump.core, None, 0, "prog")
    assert kd is not None
    assert kvm_read(kd, 4, bytearray(4), 4) == -1
    assert kvm_geterr(kd) == "invalid address (4)"
    assert capfd.readouterr().err == ""
    assert pykvm.kvm_write(kd, 4, b"abcd", 4) == -1
    assert kvm_geterr(kd) == "invalid address (4)"
    assert capfd.readouterr().err == f"prog: {mirbsd_dump.core}: not opened for writing\n"
    kvm_close(kd)


def test_core_without_header(mirbsd_dump: Any, tmp_path: Path) -> None:
    """Opens silently, as the original does for savecore(8); reads say what is wrong."""
    for content in (b"", b"x" * 5000, bytes(1 << 16)):
        core = tmp_path / "core"
        core.write_bytes(content)
        kd = kvm_openfiles(mirbsd_dump.kernel, core, None, os.O_RDONLY)
        assert kd is not None
        assert kvm_read(kd, mirbsd_dump.symbols["nprocs"], bytearray(4), 0) == -1
        assert kvm_geterr(kd) == "no valid dump header"
        assert kvm_nlist(kd, [pykvm.Nlist("_nprocs")]) == 0
        assert pykvm.kvm_getprocs(kd, 0, 0) is None
        assert kvm_geterr(kd) == "can't read nprocs"
        kd.close()


def test_neither_core_nor_kernel(mirbsd_dump: Any, tmp_path: Path) -> None:
    """An executable is no memory, and a text no namelist: that is not opened silently."""
    text, errbuf = tmp_path / "text", bytearray(2048)
    text.write_text("this is a text file")
    assert kvm_openfiles(text, mirbsd_dump.kernel, None, os.O_RDONLY, errbuf) is None
    assert errbuf.startswith(f"bad namelist: {text}: kernel is not an ELF file".encode())


def test_write_only(mirbsd_dump: Any) -> None:
    kd = kvm_openfiles(mirbsd_dump.kernel, mirbsd_dump.core, None, os.O_WRONLY)
    assert kd is not None
    assert kvm_read(kd, mirbsd_dump.symbols["nprocs"], bytearray(4), 4) == -1
    assert kvm_geterr(kd) == "no valid dump header"
    kd.close()


def test_no_files() -> None:
    kd = kvm_openfiles(None, None, None, pykvm.KVM_NO_FILES)
    assert kd is not None
    assert kvm_nlist(kd, [pykvm.Nlist("_x")]) == -1
    assert kvm_geterr(kd) == "bad namelist"
    assert kvm_read(kd, 0x1000, bytearray(4), 4) == -1
    assert kvm_geterr(kd) == "invalid address (1000)"
    assert pykvm.kvm_write(kd, 0x1000, b"abcd", 4) == -1
    assert kvm_geterr(kd) == "invalid address (1000)"
    assert pykvm.kvm_dump_mkheader(kd, 0) == -1
    assert kvm_geterr(kd) == "don't use on live kernel"
    assert pykvm.kvm_dump_inval(kd) == -1
    assert kvm_geterr(kd) == "clearing dump on live kernel"
    assert kvm_close(kd) == 0


def test_bad_namelists(mirbsd_dump: Any, mirbsd_dump_factory: Any, tmp_path: Path) -> None:
    def message(kernel: Path) -> str:
        with pytest.raises(pykvm.FormatError) as caught:
            pykvm.Kvm(mirbsd_dump.core, kernel)
        return str(caught.value)

    empty, text = tmp_path / "empty", tmp_path / "text"
    empty.write_bytes(b"")
    text.write_text("not a kernel\n")
    assert message(empty).startswith(f"bad namelist: {empty}")
    assert message(text).startswith(f"bad namelist: {text}")
    sparc = mirbsd_dump_factory(machine="sun4m")
    assert message(sparc.kernel) == (f"bad namelist: {sparc.kernel} is of sparc, the dump {mirbsd_dump.core} of i386")
    headless = mirbsd_dump_factory(omit_symbols=["PTDpaddr"])
    assert message(headless.kernel) == f"bad namelist: {headless.kernel}: no symbol PTDpaddr"
    other = tmp_path / "other"
    raw = mirbsd_dump.kernel.read_bytes()
    at = mirbsd_dump.version_offset
    other.write_bytes(raw[: at + 8] + b"9other" + raw[at + 14 :])
    assert message(other).startswith(f"bad namelist: {other} is not the kernel of {mirbsd_dump.core}, whose version is")


def test_raises_and_keeps(mirbsd_dump: Any) -> None:
    with pykvm.Kvm(mirbsd_dump.core, mirbsd_dump.kernel) as kd:
        with pytest.raises(pykvm.KvmError, match=r"^nosuch: no such symbol$"):
            kd.symbol("nosuch")
        assert kvm_geterr(kd) == "nosuch: no such symbol"
        with pytest.raises(pykvm.AddressError):
            kd.read(0, 1)
        assert kvm_geterr(kd) == "invalid address (0)"
        kd.read(mirbsd_dump.symbols["nprocs"], 4)
        assert kvm_geterr(kd) == "invalid address (0)"  # success does not clear it


def test_closing_lets_files_go(mirbsd_dump: Any) -> None:
    fds = Path("/proc/self/fd")
    if not fds.is_dir():
        pytest.skip("this host does not list a process's files")
    gc.collect()
    before = len(list(fds.iterdir()))
    for _ in range(20):
        pykvm.Kvm(mirbsd_dump.core, mirbsd_dump.kernel, mirbsd_dump.swap).close()
        kvm_openfiles(None, mirbsd_dump.core, None, 0)
    gc.collect()
    assert len(list(fds.iterdir())) <= before


def test_handles_that_the_collector_takes(mirbsd_dump: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handle nobody closed is in a cycle: the collector may free what C holds before it finalizes the handle."""
    fds = Path("/proc/self/fd")
    attach = pykvm.Kvm.attach

    def attach_later(kd: pykvm.Kvm, *arguments: Any) -> None:
        gc.collect(0)  # the handle is a generation older than its C parts, and finalized behind them
        attach(kd, *arguments)

    monkeypatch.setattr(pykvm.Kvm, "attach", attach_later)
    gc.collect()
    before = len(list(fds.iterdir())) if fds.is_dir() else 0
    gc.disable()
    try:
        for _ in range(3):
            kd = pykvm.Kvm(mirbsd_dump.core, mirbsd_dump.kernel)
            assert kd.read_i32(kd.symbol("nprocs")) == len(mirbsd_dump.processes)
            del kd
    finally:
        gc.enable()
    gc.collect()
    assert (len(list(fds.iterdir())) if fds.is_dir() else 0) <= before


def test_write(mirbsd_dump: Any, tmp_path: Path) -> None:
    core = tmp_path / "core"
    shutil.copy(mirbsd_dump.core, core)
    va = mirbsd_dump.pages[0][0]
    page = mirbsd_dump.page_size
    before = core.read_bytes()
    with pykvm.Kvm(core, mirbsd_dump.kernel, writable=True) as kd:
        old = kd.read(va + page - 4, 8)
        assert kd.write(va + page - 4, b"ABCDEFGH") == 8
        assert kd.read(va + page - 4, 8) == b"ABCDEFGH"
        with pytest.raises(pykvm.AddressError):
            kd.write(mirbsd_dump.hole[0] - 4, b"12345678")
        assert kd.write(va + page - 4, old) == 8
        assert core.read_bytes() == before  # nothing of the failed write was written
        assert pykvm.kvm_write(kd, va, b"", 0) == 0
        assert pykvm.kvm_dump_inval(kd) == 0
        assert kd.read_u32(kd.symbol("dumpmag")) == 0
    after = core.read_bytes()
    assert len(after) == len(before)
    assert sum(a != b for a, b in zip(before, after, strict=True)) <= 4


def test_nothing_is_written_unasked(mirbsd_dump: Any) -> None:
    before = mirbsd_dump.core.read_bytes()
    with pykvm.Kvm(mirbsd_dump.core, mirbsd_dump.kernel) as kd:
        assert pykvm.kvm_write(kd, mirbsd_dump.pages[0][0], b"x", 1) == -1
        assert "not opened for writing" in kvm_geterr(kd)
        assert pykvm.kvm_dump_inval(kd) == -1
        assert kvm_geterr(kd).startswith("cannot invalidate dump")
    assert mirbsd_dump.core.read_bytes() == before


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no /proc")
def test_a_closed_handle_lets_go_of_the_dump(linux_dump_factory: Any, mirbsd_dump: Any) -> None:
    """At once, without the collector: also what was made of it (records, types), which says so then."""
    linux = linux_dump_factory()
    gc.collect()
    gc.disable()
    try:
        for core, kernel in ((mirbsd_dump.core, mirbsd_dump.kernel), (linux.paths[0], None)):
            kd = pykvm.Kvm(core, kernel)
            types, records, parts = kd.types, kd.processes(), kd.parts
            assert str(core) in Path("/proc/self/maps").read_text()
            kd.close()
            assert str(core) not in Path("/proc/self/maps").read_text()
            opened = {str(fd.resolve()) for fd in Path("/proc/self/fd").iterdir()}
            assert not opened & {str(core), str(kernel)}
            assert records[0].pid is not None
            assert types.struct("kinfo_proc2").size > 500
            with pytest.raises(pykvm.KvmError, match="handle is closed"):
                parts.memory.read(0, 1)
    finally:
        gc.enable()
