"""Namelists, files that are none, damaged streams, closed handles: one clear error each."""

from __future__ import annotations

import gzip
import io
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from triage import poke, triage

import pykvm
from pykvm.images.hostfile import HostFile
from pykvm.symbols import recognise

MAXIMA = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


# -- namelists ----------------------------------------------------------------------------------------------


def elf_offsets(raw: bytes) -> dict[str, int]:
    """Where an ELF32 file's fields that are worth damaging lie."""
    (shoff,) = struct.unpack_from("<I", raw, 32)
    shentsize, shnum = struct.unpack_from("<HH", raw, 46)
    symtab = next(
        shoff + i * shentsize for i in range(shnum) if struct.unpack_from("<I", raw, shoff + i * shentsize + 4)[0] == 2
    )
    fields = {"e_shoff": 32, "e_phoff": 28, "e_shentsize": 46, "e_shnum": 48, "e_phnum": 44, "e_shstrndx": 50}
    return {
        **fields,
        "sh_offset": symtab + 16,
        "sh_size": symtab + 20,
        "sh_link": symtab + 24,
        "sh_entsize": symtab + 36,
    }


@pytest.mark.parametrize(
    "field", ["e_shoff", "e_shentsize", "e_shnum", "sh_offset", "sh_size", "sh_link", "sh_entsize"]
)
@pytest.mark.parametrize("value", MAXIMA)
def test_damaged_elf(mirbsd_dump_factory: Any, field: str, value: int) -> None:
    dump = mirbsd_dump_factory()
    raw = dump.kernel.read_bytes()
    width = 2 if field.startswith("e_sh") and field != "e_shoff" else 4
    poke(dump.kernel, elf_offsets(raw)[field], struct.pack("<I", value)[:width])
    for message in triage(dump.core, dump.kernel):
        assert message.startswith(("bad namelist: ", "invalid address"))


def test_elf_cut(mirbsd_dump_factory: Any) -> None:
    dump = mirbsd_dump_factory()
    raw = dump.kernel.read_bytes()
    for size in (0, 1, 4, 16, 51, 52, 84, len(raw) // 2, elf_offsets(raw)["sh_offset"]):
        dump.kernel.write_bytes(raw[:size])
        messages = triage(dump.core, dump.kernel)
        assert messages
        assert messages[0].startswith(f"bad namelist: {dump.kernel}")


@pytest.mark.parametrize("field", range(1, 8))
@pytest.mark.parametrize("value", MAXIMA)
def test_damaged_aout(mirbsd_dump_factory: Any, field: int, value: int) -> None:
    dump = mirbsd_dump_factory(namelist="zmagic")
    poke(dump.kernel, field * 4, struct.pack("<I", value))
    triage(dump.core, dump.kernel)


def test_aout_cut(mirbsd_dump_factory: Any) -> None:
    dump = mirbsd_dump_factory(namelist="omagic")
    raw = dump.kernel.read_bytes()
    for size in {4, 20, 31, 32, 1000, len(raw) - 5000, len(raw) - 1}:
        dump.kernel.write_bytes(raw[:size])
        messages = triage(dump.core, dump.kernel)
        assert messages[0].startswith(f"bad namelist: {dump.kernel}: ")


def test_too_many_symbols(tmp_path: Path) -> None:
    """A sparse file that promises 40 million symbols costs nothing."""
    path = tmp_path / "aout"
    count = 40_000_000 * 12
    path.write_bytes(struct.pack(">I", 0x860107) + struct.pack("<7I", 0, 0, 0, count, 0, 0, 0))
    with open(path, "r+b") as f:
        f.truncate(count + 100)
    file = HostFile(path)
    with pytest.raises(pykvm.FormatError, match="symbol table of 40000000 entries"):
        recognise(file)
    file.close()


# -- files that are none ------------------------------------------------------------------------------------


def test_special_files(mirbsd_dump: Any, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path, message in ((fifo, "is a pipe or socket"), (tmp_path, "Is a directory"), (Path("/dev/zero"), "zero")):
        for core, kernel, swap in (
            (path, mirbsd_dump.kernel, None),
            (mirbsd_dump.core, path, None),
            (mirbsd_dump.core, mirbsd_dump.kernel, path),
        ):
            if path.name == "zero" and swap is not None:
                continue
            with pytest.raises(pykvm.KvmError, match=message) as caught:
                pykvm.Kvm(core, kernel, swap)
            assert str(path) in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable(mirbsd_dump_factory: Any) -> None:
    dump = mirbsd_dump_factory()
    dump.core.chmod(0)
    with pytest.raises(pykvm.KvmError, match="Permission denied"):
        pykvm.Kvm(dump.core, dump.kernel)


def test_names_that_cannot_be(mirbsd_dump: Any) -> None:
    with pytest.raises(pykvm.KvmError, match="null"):
        pykvm.Kvm("a\0b", mirbsd_dump.kernel)
    with pykvm.Kvm(os.fsencode(mirbsd_dump.core), os.fsencode(mirbsd_dump.kernel)) as kd:
        assert kd.info.system == "MirBSD"
    with pytest.raises(TypeError):
        pykvm.kvm_openfiles(5, mirbsd_dump.core, None, 0)  # type: ignore[arg-type]
    with pytest.raises(pykvm.KvmError, match="File name too long"):
        pykvm.Kvm("x" * 5000, mirbsd_dump.kernel)


@pytest.mark.parametrize("suffix", ["gz", "bz2", "xz", "zst"])
def test_damaged_streams(mirbsd_dump_factory: Any, suffix: str) -> None:
    dump = mirbsd_dump_factory(compress=suffix)
    raw = dump.core.read_bytes()
    middle = len(raw) // 2
    for damaged in (raw[:middle], raw[:12], raw[:middle] + b"\xaa" * 64 + raw[middle + 64 :]):
        dump.core.write_bytes(damaged)
        with pytest.raises(pykvm.FormatError, match="stream") as caught:
            pykvm.Kvm(dump.core, dump.kernel)
        assert str(dump.core) in str(caught.value)


def test_a_bomb_of_zeros(tmp_path: Path, mirbsd_dump: Any) -> None:
    path = tmp_path / "bomb.gz"
    with gzip.open(path, "wb", 9) as f:
        for _ in range(256):
            f.write(bytes(1 << 20))
    with pykvm.Kvm(path, mirbsd_dump.kernel) as kd:
        assert kd.image.memory_size == 256 << 20
        assert os.fstat(kd.image.files[0].fd).st_blocks == 0


# -- closed handles -----------------------------------------------------------------------------------------


def test_closed(mirbsd_dump: Any) -> None:
    kd = pykvm.Kvm(mirbsd_dump.core, mirbsd_dump.kernel)
    records, read_early, symbol_early = kd.processes(), kd.read_u32, kd.symbols
    two = pykvm.kvm_getproc2(kd, pykvm.KERN_PROC_KTHREAD, 0)
    kd.close()
    kd.close()
    with pytest.raises(pykvm.KvmError, match="handle is closed"), kd:
        pass
    at = mirbsd_dump.symbols["nprocs"]
    raising: list[Callable[[], Any]] = [
        lambda: kd.read(at, 4),
        lambda: kd.readinto(at, bytearray(4)),
        lambda: kd.read_u8(at),
        lambda: kd.read_i64(at),
        lambda: kd.read_ptr(at),
        lambda: read_early(at),
        lambda: kd.read_cstr(at),
        lambda: kd.gather([at], 4),
        lambda: kd.walk_list(at, 0),
        lambda: kd.read_phys(0, 4),
        lambda: kd.translate(at),
        lambda: kd.write(at, b"1234"),
        lambda: kd.symbol("nprocs"),
        lambda: kd.symbol_at(at),
        lambda: kd.symbols,
        lambda: kd.types,
        lambda: kd.info,
        kd.processes,
        kd.loadavg,
        kd.files,
        kd.dmesg,
        lambda: kd.argv(records[0]),
        lambda: kd.environ(records[0]),
        lambda: kd.threads(records[0]),
    ]
    for call in raising:
        with pytest.raises(pykvm.KvmError, match="handle is closed"):
            call()
    functions: list[tuple[Callable[[], Any], Any]] = [
        (lambda: pykvm.kvm_read(kd, at, bytearray(4), 4), -1),
        (lambda: pykvm.kvm_write(kd, at, b"1234", 4), -1),
        (lambda: pykvm.kvm_nlist(kd, [pykvm.Nlist("_nprocs")]), -1),
        (lambda: pykvm.kvm_getprocs(kd, 0, 0), None),
        (lambda: pykvm.kvm_getproc2(kd, 0, 0), None),
        (lambda: pykvm.kvm_getargv(kd, records[0], 0), None),
        (lambda: pykvm.kvm_getenvv2(kd, two[0], 0), None),
        (lambda: pykvm.kvm_getloadavg(kd), -1),
        (lambda: pykvm.kvm_getfiles(kd, 0, 0), None),
        (lambda: pykvm.kvm_dump_mkheader(kd, 0), -1),
        (lambda: pykvm.kvm_dump_wrtheader(kd, io.BytesIO(), 0), -1),
        (lambda: pykvm.kvm_dump_inval(kd), -1),
        (lambda: pykvm.kvm_close(kd), -1),
    ]
    for call, result in functions:
        kd.message = ""
        assert call() == result
        assert pykvm.kvm_geterr(kd) == "handle is closed"
    assert records[0].pid == mirbsd_dump.processes[0].pid  # records are the user's
    assert symbol_early["nprocs"] == at
    assert repr(kd) == "<Kvm, closed>"


def test_wrong_calls(mirbsd_dump: Any) -> None:
    with pykvm.Kvm(mirbsd_dump.core, mirbsd_dump.kernel) as kd:
        for call in (
            lambda: kd.argv(None),  # type: ignore[arg-type]
            lambda: kd.threads(7),  # type: ignore[arg-type]
            lambda: pykvm.kvm_getenvv(kd, "init", 0),  # type: ignore[arg-type]
            lambda: pykvm.kvm_nlist(kd, ["_nprocs"]),  # type: ignore[list-item]
            lambda: pykvm.Nlist(b"_nprocs"),  # type: ignore[arg-type]
            lambda: pykvm.kvm_getprocs(kd, 1, "init"),  # type: ignore[arg-type]
            lambda: kd.read(None, 4),  # type: ignore[arg-type]
            lambda: kd.gather([1.5], 4),
            lambda: kd.readinto(kd.symbol("version"), b"1234"),
            lambda: kd.readinto(kd.symbol("version"), memoryview(bytearray(4)).toreadonly()),
            lambda: kd.symbol(None),  # type: ignore[arg-type]
            lambda: pykvm.kvm_getprocs(kd, "a", 0),  # type: ignore[arg-type]
            lambda: pykvm.kvm_close(None),  # type: ignore[arg-type]
            lambda: pykvm.kvm_geterr(None),  # type: ignore[arg-type]
            lambda: pykvm.kvm_read(None, 0, bytearray(4), 4),  # type: ignore[arg-type]
            lambda: pykvm.kvm_dump_inval(None),  # type: ignore[arg-type]
        ):
            with pytest.raises(TypeError):
                call()
        constant = b"1234"
        with pytest.raises(TypeError):
            kd.readinto(kd.symbol("version"), constant)
        assert constant == bytes([0x31, 0x32, 0x33, 0x34])
        with pytest.raises(pykvm.AddressError):
            kd.gather([kd.symbol("version")], 1 << 62)


def test_star_import_leaves_open_alone() -> None:
    names: dict[str, Any] = {}
    exec("from pykvm import *", names)
    assert "open" not in names
    assert {"Kvm", "kvm_open", "kvm_getprocs", "Nlist", "KERN_PROC_ALL", "N_TEXT", "KvmError"} <= set(names)
