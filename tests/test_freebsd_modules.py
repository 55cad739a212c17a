"""Kernel modules of FreeBSD: the list, their names from memory and from files, and what damaged ones may cost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pykvm_fixtures.freebsd import MACHINES, FreebsdDump, write_freebsd

import pykvm
from pykvm.cli import main
from pykvm.symbols.modules import ModuleSymbols

Write = Callable[..., FreebsdDump]
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in MACHINES if name != "dragonfly"),
    ("amd64", {"release": "10", "version": 1}),
    ("amd64", {"release": "12", "layout": 4, "container": "full"}),
    ("i386", {"release": "10", "container": "full"}),
]


def loaded(dump: FreebsdDump) -> list[Any]:
    """The modules without the kernel."""
    return list(dump.modules.values())[1:]


def by_module(table: ModuleSymbols) -> dict[str | None, dict[str, int]]:
    found: dict[str | None, dict[str, int]] = {}
    for symbol in table.all():
        found.setdefault(symbol.module, {})[symbol.name] = symbol.value
    return found


def table_of(kd: pykvm.Kvm) -> ModuleSymbols:
    table = kd.symbols.modules
    assert isinstance(table, ModuleSymbols)
    return table


@pytest.mark.parametrize(("machine", "options"), VARIANTS, ids=str)
def test_names_from_memory(freebsd_written: Write, machine: str, options: dict[str, Any]) -> None:
    dump = freebsd_written(machine, **options)
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        table = table_of(kd)
        assert table.flaw is None
        assert by_module(table) == {m.name: {s.name: s.address for s in m.symbols} for m in loaded(dump)}
        for module in loaded(dump):
            assert kd.facts()["modules"][module.name == "zfs.ko"] == {
                "name": module.name, "address": module.address, "size": module.size,
            }  # fmt: skip
            for symbol in module.symbols:
                if symbol.placed:
                    assert kd.symbol_at(symbol.address + 1) == (symbol.name, 1)
        assert len(kd.symbols) == len(dump.symbols) + len(table)
        # What stands once is found by its name.
        assert kd.symbol("zfs_attach") == next(s.address for s in loaded(dump)[1].symbols if s.name == "zfs_attach")
        letters = {s.name: kd.symbols.letter(s) for s in table.all()}
        assert [letters[f"zfs_{name}"] for name in ("modevent", "attach", "detach", "softc", "magic")] == list("tTWDA")


def test_they_are_read_when_they_are_needed(freebsd_written: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    from pykvm.targets.freebsd import modules

    calls = []
    real = modules.read
    monkeypatch.setattr(modules, "read", lambda *a: calls.append(1) or real(*a))
    dump = freebsd_written()
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        kd.symbol("allproc")
        kd.symbol_at(kd.symbol("allproc"))
        assert kd.target.types.carried is not None  # type: ignore[attr-defined]
        assert not calls
        nl = [pykvm.Nlist("_zfs_attach"), pykvm.Nlist("if_tap_softc"), pykvm.Nlist("nosuch")]
        assert pykvm.kvm_nlist(kd, nl) == 1
        assert [n.n_value for n in nl[:2]] == [kd.symbol("zfs_attach"), kd.symbol("if_tap_softc")]
        assert calls == [1]


def test_outside_of_their_memory_they_name_nothing(freebsd_written: Write) -> None:
    dump = freebsd_written()
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        table, (tap, zfs) = table_of(kd), loaded(dump)
        assert [(a.start, a.end) for a in table.areas] == [(m.address, m.address + m.size) for m in (tap, zfs)]
        assert table.at(tap.address - 1) is None
        assert table.at(tap.address) is None  # before its first symbol
        assert table.at(tap.address + tap.size) is None
        buffer = next(s.address for s in tap.symbols if s.name == "if_tap_buffer")
        assert table.at(tap.address + tap.size - 1) == ("if_tap_buffer", tap.address + tap.size - 1 - buffer)


@pytest.mark.parametrize("container", ["ko", "ko.debug"])
@pytest.mark.parametrize("machine", ["amd64", "i386", "arm64", "mips", "powerpc64"])
def test_names_from_files(freebsd_written: Write, machine: str, container: str) -> None:
    """A file without contents fits by its size alone, if the loader did not put tables behind it."""
    dump = freebsd_written(machine, module_tables=False, module_files=container)
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        table, expected = table_of(kd), {m.name: {s.name: s.in_file for s in m.symbols} for m in loaded(dump)}
        if container == "ko.debug" and loaded(dump)[0].relocatable:
            del expected["zfs.ko"]
            assert table.flaw is not None
            assert table.flaw.endswith("zfs.ko.debug: nothing says whether it fits")
        else:
            assert table.flaw is None
        found = by_module(table)
        for name, symbols in expected.items():
            # What the linker has defined is undefined in the file.
            known = {s: a for s, a in symbols.items() if s in found[name] or not s.startswith("__start_")}
            assert found[name] == known
        letters = {s.name: kd.symbols.letter(s) for s in table.all()}
        assert [letters[f"if_tap_{name}"] for name in ("modevent", "attach", "softc", "buffer")] == list(
            "tTDB" if container == "ko" else "tTBB"
        )


@pytest.mark.parametrize("machine", ["amd64", "arm"])
def test_kernels_without_types(freebsd_written: Write, machine: str) -> None:
    """The constants for debuggers tell of the list; names are in files, which fit by their contents."""
    dump = freebsd_written(machine, types=False, module_files="ko")
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        assert kd.facts()["modules"] == [{"name": m.name, "address": m.address, "size": None} for m in loaded(dump)]
        table = table_of(kd)
        assert table.flaw is None
        assert {n: len(s) for n, s in by_module(table).items()} == dict.fromkeys(
            ("if_tap.ko", "zfs.ko"), len(loaded(dump)[0].symbols) - (machine == "amd64")
        )
        for module in loaded(dump):
            for symbol in module.symbols:
                if symbol.placed and not symbol.name.startswith("__start_"):
                    assert table.at(symbol.in_file) == (symbol.name, 0)


def test_kernels_that_say_nothing_of_modules(freebsd_written: Write) -> None:
    dump = freebsd_written(types=False, constants=False)
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        assert kd.symbols.modules is None
        assert "modules" not in kd.facts()
        assert list(kd.symbols)


def test_dragonfly(freebsd_written: Write) -> None:
    dump = freebsd_written("dragonfly")
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        assert kd.symbols.modules is None


@pytest.mark.parametrize(
    ("change", "flaw"),
    [
        (lambda raw: raw.replace(b"version 1.", b"version 2."), "is another build: it has not what memory has"),
        (lambda raw: raw.replace(bytes(16), b"\xff" * 16), "if_tap.ko: "),
        (lambda raw: raw[:3000], "if_tap.ko: "),
        (lambda raw: b"no ELF file" + raw, "if_tap.ko: is no ELF file"),
        (lambda raw: raw[:18] + b"\x03" + raw[19:], "if_tap.ko: is of i386, little-endian"),
        (lambda raw: raw[:16] + b"\x02" + raw[17:], "e_type 2 is no module's"),
        (lambda raw: b"", "if_tap.ko: is no ELF file"),
    ],
)
def test_files_that_do_not_fit(freebsd_written: Write, tmp_path: Path, change: Any, flaw: str) -> None:
    dump = freebsd_written(module_tables=False, module_files="ko")
    for file in dump.kernel.parent.iterdir():
        shutil.copy(file, tmp_path / file.name)
    file = tmp_path / "if_tap.ko"
    file.write_bytes(change(file.read_bytes()))
    with pykvm.Kvm(dump.core, tmp_path / "kernel") as kd:
        table = table_of(kd)
        assert table.flaw is not None
        assert table.flaw.startswith("if_tap.ko: invalid address")
        assert flaw in table.flaw
        assert set(by_module(table)) == {"zfs.ko"}
        with pytest.raises(pykvm.KvmError, match=r"nosuch: no such symbol \(if_tap.ko: "):
            kd.symbol("nosuch")


def test_no_table_and_no_file(freebsd_written: Write, capsys: pytest.CaptureFixture[str]) -> None:
    dump = freebsd_written(module_tables=False)
    assert main(["nm", "-M", str(dump.core), "-N", str(dump.kernel), "zfs_attach"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("pykvm: no such symbol: zfs_attach; if_tap.ko: invalid address")
    assert said.rstrip().endswith(f"no file if_tap.ko beside {dump.kernel}")


def test_the_command(freebsd_written: Write, capsys: pytest.CaptureFixture[str]) -> None:
    dump = freebsd_written()
    flags = ["-M", str(dump.core), "-N", str(dump.kernel)]
    assert main(["nm", *flags, "--json", "zfs_softc"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["name"], row["type"], row["module"]) == ("zfs_softc", "D", "zfs.ko")
    assert main(["info", *flags]) == 0
    shown = ", ".join(f"{m.name} ({m.address:#x}, {m.size} bytes)" for m in loaded(dump))
    assert f"modules:              {shown}\n" in capsys.readouterr().out


@pytest.mark.parametrize(("machine", "release"), [("amd64", "14"), ("i386", "12"), ("powerpc64", "14")])
def test_their_types(freebsd_written: Write, machine: str, release: str) -> None:
    """Those of the files beside the kernel, behind the kernel's own."""
    dump = freebsd_written(machine, release=release, module_files="ko")
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        types, word = kd.types, dump.word
        assert types.struct("proc").size == dump.layouts["proc"][0]
        assert types.struct("zfs_softc").offset("sc_proc") == 3 * word
        assert types.struct("if_tap_softc").field("sc_name").size == 8
        assert "zfs_softc" in types
        assert "zfs_softc" not in kd.target.types
        assert {"proc", "if_tap_softc", "zfs_softc"} <= set(types)
        with pytest.raises(
            pykvm.KvmError, match=f"struct nosuch: not in the types of {dump.kernel}, nor of its 2 modul"
        ):
            types.struct("nosuch")
    dump = freebsd_written(machine, release=release)
    with (
        pykvm.Kvm(dump.core, dump.kernel) as kd,
        pytest.raises(pykvm.KvmError, match=r"struct zfs_softc: .*\(if_tap.ko: no file if_tap.ko beside"),
    ):
        kd.types.struct("zfs_softc")


# -- damage -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def room(freebsd_written: Write, tmp_path_factory: pytest.TempPathFactory) -> tuple[FreebsdDump, Path]:
    """A dump that tests may write to, and a copy of it as it was."""
    dump = write_freebsd(tmp_path_factory.mktemp("room"), release="12")
    copy = dump.core.with_name("copy")
    shutil.copy(dump.core, copy)
    return dump, copy


def member(dump: FreebsdDump, module: str, name: str, kind: str = "elf_file@obj") -> int:
    inner = dump.layouts["linker_file"][1].get(name) if kind == "linker_file" else dump.layouts[kind][1].get(name)
    assert inner is not None
    return dump.modules[module].at + inner[0]


def word(value: int) -> bytes:
    return value.to_bytes(8, "little")


DAMAGE: list[tuple[str, str, str, bytes, str, int]] = [
    ("zfs.ko", "ddbsymcnt", "elf_file@obj", word(1 << 40), "zfs.ko: the modules have too many symbols", 1),
    ("zfs.ko", "ddbsymcnt", "elf_file@obj", word((1 << 64) - 1), "zfs.ko: the modules have too many symbols", 1),
    ("zfs.ko", "ddbsymtab", "elf_file@obj", word(0), r"zfs.ko: it has no symbol table \(ddbsymtab is 0x0", 1),
    ("zfs.ko", "ddbsymtab", "elf_file@obj", word(8), "zfs.ko: invalid address", 1),
    ("zfs.ko", "ddbstrtab", "elf_file@obj", word((1 << 64) - 8), "zfs.ko: invalid address", 1),
    ("zfs.ko", "ddbstrcnt", "elf_file@obj", word(3), "zfs.ko: ddbstrcnt is 3, but a symbol's name is at", 1),
    ("if_tap.ko", "size", "linker_file", word(1 << 60), "if_tap.ko: size 1152921504606846976 is no module's", 1),
    ("if_tap.ko", "size", "linker_file", word(0), "if_tap.ko: size 0 is no module's", 1),
    ("if_tap.ko", "filename", "linker_file", word(0), "", 2),
    ("if_tap.ko", "filename", "linker_file", word(16), "invalid address", 0),
    ("if_tap.ko", "link", "linker_file", word(16), "invalid address", 1),
    ("if_tap.ko", "ops", "linker_file", word(0), "", 2),
    ("if_tap.ko", "ops", "linker_file", word(1 << 63), "", 2),
    ("kernel", "link", "linker_file", word(0x10), "invalid address", 0),
]


@pytest.mark.parametrize(("module", "name", "kind", "data", "flaw", "left"), DAMAGE)
def test_damaged(room: Any, module: str, name: str, kind: str, data: bytes, flaw: str, left: int) -> None:
    dump, copy = room
    shutil.copy(copy, dump.core)
    with pykvm.Kvm(dump.core, dump.kernel, writable=True) as kd:
        kd.write(member(dump, module, name, kind), data)
        table = table_of(kd)
        assert (table.flaw is None) == (flaw == "")
        if flaw:
            with pytest.raises(pykvm.KvmError, match=flaw):
                kd.symbol("nosuch")
        assert len(by_module(table)) == left


def test_a_list_that_loops(room: Any) -> None:
    dump, copy = room
    shutil.copy(copy, dump.core)
    with pykvm.Kvm(dump.core, dump.kernel, writable=True) as kd:
        first = dump.modules["if_tap.ko"].at
        kd.write(member(dump, "zfs.ko", "link", "linker_file"), word(first))
        table = table_of(kd)
        assert table.flaw == f"linker_files: {first:#x} leads back into it"
        assert len(by_module(table)) == 2
        assert "modules" not in kd.facts()


PLACES = [("linker_file", name) for name in ("link", "filename", "address", "size", "ops", "pathname")] + [
    ("elf_file@obj", name) for name in ("ddbsymtab", "ddbsymcnt", "ddbstrtab", "ddbstrcnt")
]


@given(
    st.lists(
        st.tuples(st.sampled_from(["kernel", "if_tap.ko", "zfs.ko"]), st.sampled_from(PLACES), st.binary(max_size=9)),
        max_size=4,
    ),
    st.lists(st.tuples(st.integers(0, 400), st.binary(max_size=8)), max_size=4),
)
@settings(max_examples=60, deadline=2000)
def test_fuzz(room: Any, changes: list[tuple[str, tuple[str, str], bytes]], inside: list[tuple[int, bytes]]) -> None:
    """Whatever is there: symbols or a flaw, and nothing else."""
    dump, copy = room
    shutil.copy(copy, dump.core)
    with pykvm.Kvm(dump.core, dump.kernel, writable=True) as kd:
        for offset, data in inside:
            kd.write(dump.modules["zfs.ko"].table[0] + offset, data)
        for module, (kind, name), data in changes:
            kd.write(member(dump, module, name, kind), data)
        table = kd.symbols.modules
        assert table is not None
        assert len(table) == sum(1 for _ in table.all()) < 1000
        with pytest.raises(pykvm.KvmError):
            kd.symbol("nosuch")


@given(
    st.lists(st.tuples(st.integers(0, 40000), st.binary(min_size=1, max_size=8)), max_size=4), st.integers(0, 1 << 16)
)
@settings(max_examples=60, deadline=2000)
def test_fuzz_files(freebsd_written: Write, changes: list[tuple[int, bytes]], cut: int) -> None:
    dump = freebsd_written(module_tables=False, module_files="ko", seed=7)
    file, kept = dump.kernel.with_name("if_tap.ko"), dump.kernel.with_name("kept")
    if not kept.exists():
        shutil.copy(file, kept)
    raw = bytearray(kept.read_bytes())
    for at, data in changes:
        at = at % len(raw) if at & 1 else len(raw) - 1 - at % 1200  # the section headers are at the end
        raw[at : at + len(data)] = data
    file.write_bytes(bytes(raw[: len(raw) - (cut if cut < 2000 else 0)]))
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        table = table_of(kd)
        found = by_module(table)
        assert "zfs.ko" in found
        assert "if_tap.ko" in found or table.flaw is not None
