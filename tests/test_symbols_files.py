"""Kernel files for Linux dumps: vmlinux, System.map and other lists of names, and whether they belong."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from pykvm_fixtures.linux.kernel_elf import note
from pykvm_fixtures.linux.names import BUILD_ID
from symbol_tables import Write, by_module, listed

import pykvm
from pykvm.cli import main


@pytest.mark.parametrize("word", [8, 4])
def test_system_map(names_dump: Write, word: int, tmp_path: Path) -> None:
    dump = names_dump(word=word, percpu=word == 8)
    path = tmp_path / "System.map"
    path.write_text(dump.system_map())
    with pykvm.Kvm(dump.path, path) as kd:
        assert listed(kd.symbols) == dump.symbols  # per-CPU symbols where they were, all others moved
        assert kd.symbols.format == "nm list"
        assert kd.symbol("second_fn") == dump.at["memory second"] + 0x10
        assert kd.symbols.path == str(path)


def test_a_part_of_system_map(names_dump: Write, tmp_path: Path) -> None:
    """Without the names that VMCOREINFO knows it is taken to be as linked, like every kernel file."""
    dump = names_dump()
    path = tmp_path / "System.map"
    lines = [line for line in dump.system_map().splitlines(True) if "_fn_" in line or "linux_banner" in line]
    path.write_text("".join(lines))
    with pykvm.Kvm(dump.path, path) as kd:
        assert listed(kd.symbols) == [row for row in dump.symbols if "_fn_" in row[1] or row[1] == "linux_banner"]


def test_saved_proc_kallsyms(names_dump: Write, tmp_path: Path) -> None:
    """Its addresses are those of the running kernel: they stay."""
    dump = names_dump()
    path = tmp_path / "kallsyms"
    path.write_text(dump.proc_kallsyms())
    with pykvm.Kvm(dump.path, path) as kd:
        assert listed(kd.symbols) == dump.symbols
        assert by_module(kd.symbols) == {name: rows for name, rows in dump.modules.items() if rows}
        assert kd.symbol("shared_name") == dump.at["shared_name"]
        modules = kd.symbols.modules
        assert modules is not None
        assert modules.at(dump.at["memory first"] + 1) == ("first_init", 1)


def test_modules_of_a_list_where_the_dump_tells_of_none(names_dump: Write, tmp_path: Path) -> None:
    dump = names_dump()
    path = tmp_path / "kallsyms"
    path.write_text(dump.proc_kallsyms().replace(" __start_BTF\n", " no_BTF\n"))
    with pykvm.Kvm(dump.path, path) as kd:
        assert by_module(kd.symbols) == {name: rows for name, rows in dump.modules.items() if rows}
        assert kd.symbol("shared_name") == dump.at["shared_name"]


def test_vmlinux(names_dump: Write, tmp_path: Path) -> None:
    dump = names_dump()
    with pykvm.Kvm(dump.path, dump.vmlinux(tmp_path / "vmlinux")) as kd:
        assert [(s.name, s.value) for s in kd.symbols.all()] == [(n, v) for _, n, v in dump.symbols]
        assert kd.symbol("second_fn") == dump.at["memory second"] + 0x10
        letters = {s.name: kd.symbols.letter(s) for s in kd.symbols.all()}
        assert [letters[n] for n in ("panic_kernel", "init_uts_ns", "__x64_sys_fn_1")] == ["T", "R", "t"]


OTHER_ID = "ff" * 20
OTHER_BANNER = "Linux version 6.1.98-other (someone@example) (a compiler) #6 SMP Mon Jan 1 2024"
LATER_BANNER = "Linux version 6.1.99-names (someone@example) (a compiler (made here) 1.0) #8 SMP Wed Jan 3 2024"


@pytest.mark.parametrize(
    ("dump_has", "file_has", "fits"),
    [
        # VMCOREINFO's BUILD-ID is the file's, or is wrong but the notes in memory are right.
        ({}, {}, True),
        ({"info": {"BUILD-ID": OTHER_ID}}, {}, True),
        ({"info": {"BUILD-ID": None}}, {}, True),
        ({"info": {"BUILD-ID": OTHER_ID}, "missing": ["__start_notes"]}, {}, True),  # the version text is the same
        ({"info": {"BUILD-ID": None}, "missing": ["__start_notes"]}, {}, True),
        ({"build_id": None}, {"build_id": OTHER_ID}, True),
        ({"build_id": None}, {"build_id": None}, True),
        ({}, {"build_id": None}, True),
        ({}, {"debug": True}, True),
        ({"info": {"BUILD-ID": OTHER_ID}}, {"debug": True}, True),
        # Another build, another version, or both.
        ({}, {"build_id": OTHER_ID}, False),
        ({}, {"build_id": OTHER_ID, "debug": True}, False),
        ({"info": {"BUILD-ID": None}}, {"build_id": OTHER_ID}, False),
        ({}, {"build_id": None, "banner": LATER_BANNER}, False),
        ({}, {"build_id": OTHER_ID, "banner": OTHER_BANNER}, False),
        ({"build_id": None}, {"build_id": OTHER_ID, "banner": OTHER_BANNER}, False),
        ({"build_id": None}, {"build_id": None, "banner": LATER_BANNER}, False),
        ({"missing": ["__start_notes", "linux_banner"]}, {"build_id": OTHER_ID}, False),
    ],
)
def test_identity(names_dump: Write, tmp_path: Path, dump_has: Any, file_has: Any, fits: bool) -> None:
    # Notes and version text have pages of their own, so that each may be missing.
    dump = names_dump(told=True, apart=True, **dump_has)
    kernel = dump.vmlinux(tmp_path / "vmlinux", **file_has)
    if fits:
        with pykvm.Kvm(dump.path, kernel) as kd:
            assert kd.symbol("panic_kernel") == dump.at["panic_kernel"]
        return
    with pytest.raises(pykvm.FormatError) as caught:
        pykvm.Kvm(dump.path, kernel)
    message = str(caught.value)
    assert message.startswith(f"bad namelist: {kernel} is not the kernel of {dump.path}: ")
    assert "\n" not in message
    # Both are named: by BUILD-ID where they have one, by version text where it is to be had.
    for build_id in (file_has.get("build_id", BUILD_ID), dump.build_id):
        if build_id is not None:
            assert f"BUILD-ID {build_id}" in message
    assert "6.1.99-names" in message
    if "banner" in file_has:
        assert f"it is {file_has['banner'].split()[2]} {file_has['banner'][file_has['banner'].index('#') :]}" in message
        assert "6.1.99-names #7 SMP Tue Jan 2 2024" in message


def test_a_list_of_another_kernel(names_dump: Write, tmp_path: Path) -> None:
    dump = names_dump()
    path = tmp_path / "System.map"
    # Another address of what VMCOREINFO knows.
    at = dump.at["init_uts_ns"] - dump.offset
    path.write_text(dump.system_map().replace(f"{at:016x} D init_uts_ns", f"{at + 16:016x} D init_uts_ns"))
    with pytest.raises(
        pykvm.FormatError, match=r"is not the kernel of .*init_uts_ns is at 0x.*, in the dump at 0x.*6\.1"
    ):
        pykvm.Kvm(dump.path, path)
    # The same addresses of these, but no version text where the list has it.
    at = dump.at["linux_banner"] - dump.offset
    path.write_text(dump.system_map().replace(f"{at:016x} D linux_banner", f"{at - 16:016x} D linux_banner"))
    with pytest.raises(pykvm.FormatError, match=r"no version text at its linux_banner.*6\.1\.99-names, BUILD-ID 0123"):
        pykvm.Kvm(dump.path, path)
    # A version text, but of another release.
    path.write_text(dump.system_map())
    dump.poke(dump.at["linux_banner"], b"Linux version 6.1.98")
    with pytest.raises(pykvm.FormatError, match=r"is not the kernel of .*6\.1\.98"):
        pykvm.Kvm(dump.path, path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("zzz", r"line 3: b'zzz' is not ADDRESS TYPE NAME"),
        ("ffffffff81000000 T", "line 3: "),
        ("ffffffff81000000 TT name", "line 3: "),
        ("ffffffff81000000 T name more", "line 3: "),
        ("ffffffff81000000 T name [mod", "line 3: "),
        ("ffffffff81000000 T name []", "line 3: "),
        ("ffffffff81000000 T name [m] x", "line 3: "),
        ("ffffffff8100000000 T name", "line 3: "),
        ("0xffffffff81000000 T name", "line 3: "),
        ("ffffffff81000000 T na\0me", "line 3: "),
        ("ffffffff81000000 9 name", "line 3: "),
        ("ffffffff81000000 T " + "x" * 70000, r"line 3: b'ffffffff81000000 T x{41}' is not"),
        ("ffffffff81000000 T name [" + "m" * 300 + "]", "line 3: "),
    ],
)
def test_lines_that_make_no_sense(names_dump: Write, tmp_path: Path, line: str, message: str) -> None:
    dump, path = names_dump(), tmp_path / "System.map"
    path.write_text(f"ffffffff81000000 T _stext\n\n{line}\nffffffff81000000 T other\n")
    with pytest.raises(pykvm.FormatError, match=message) as caught:
        pykvm.Kvm(dump.path, path)
    assert str(caught.value).startswith(f"bad namelist: {path}: line 3: ")
    assert "\n" not in str(caught.value)


def test_kinds_of_lists(names_dump: Write, tmp_path: Path) -> None:
    """nm's undefined names, sizes, several blanks, CR LF, no newline at the end."""
    dump, path = names_dump(), tmp_path / "nm"
    at = dump.linked(dump.at["_stext"])
    path.write_bytes(
        b"\r\n                 U undefined\n                 w weak_undefined\r\n%016x T _stext\r\n"
        b"%016x 0000000000000010 t sized\n%016X  D\ttabs\r\n%016x V weak_object\n\n%016x U no\n%016x ? what"
        % (at, at + 16, at + 32, at + 48, at + 64, at + 80)
    )
    with pykvm.Kvm(dump.path, path) as kd:
        assert [(s.name, s.value - dump.at["_stext"], s.size, kd.symbols.letter(s)) for s in kd.symbols.all()] == [
            ("_stext", 0, 0, "T"), ("sized", 16, 16, "t"), ("tabs", 32, 0, "D"), ("weak_object", 48, 0, "V"),
            ("what", 80, 0, "?"),
        ]  # fmt: skip
        assert "undefined" not in kd.symbols


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0000000000000000 T _stext\n0000000000000000 t other\n", "all addresses are 0: /proc/kallsyms shows them to"),
        ("                 U one\n                 U two\n", "a list of names without addresses"),
        ("hello world\n", "not an object file"),
        ("12 T short_address\n", "not an object file"),
        ("\n", "not an object file"),
    ],
)
def test_no_lists(names_dump: Write, tmp_path: Path, text: str, message: str) -> None:
    dump, path = names_dump(), tmp_path / "System.map"
    path.write_text(text)
    with pytest.raises(pykvm.FormatError, match=message):
        pykvm.Kvm(dump.path, path)


def test_a_line_of_a_gigabyte(names_dump: Write, tmp_path: Path) -> None:
    dump, path = names_dump(), tmp_path / "System.map"
    for size, message in ((1 << 30, "a list of names of 1073741824 bytes"), (200 << 20, r"line 2: b'\\x00")):
        path.write_bytes(b"ffffffff81000000 T _stext\n")
        with open(path, "r+b") as f:
            f.truncate(size)
        with pytest.raises(pykvm.FormatError, match=message):
            pykvm.Kvm(dump.path, path)


def test_a_list_for_mirbsd(mirbsd_dump_factory: Any, tmp_path: Path) -> None:
    """Not only Linux's kernels have lists of names."""
    dump = mirbsd_dump_factory()
    path = tmp_path / "bsd.nm"
    path.write_text("".join(f"{value:08x} D {name}\n" for name, value in dump.symbols.items()))
    with pykvm.Kvm(dump.core, path) as kd:
        assert [p.pid for p in kd.processes()] == [p.pid for p in dump.processes]


def test_nm(names_dump: Write, capfd: pytest.CaptureFixture[str]) -> None:
    dump = names_dump()

    def run(*arguments: str) -> tuple[int, str, str]:
        status = main(["nm", "-M", str(dump.path), *arguments])
        return status, *capfd.readouterr()

    at = dump.at["memory first"] + 0x80
    assert run("first_exported", "_panic_kernel")[1] == (
        f"{at:016x} first_exported\n{dump.at['panic_kernel']:016x} panic_kernel\n"
    )
    status, out, _ = run("--json", "first_exported", "panic_kernel")
    assert (status, json.loads(out)) == (
        0,
        [
            {"name": "first_exported", "value": at, "type": "T", "module": "first"},
            {"name": "panic_kernel", "value": dump.at["panic_kernel"], "type": "T", "module": None},
        ],
    )
    rows = json.loads(run("--json")[1])
    assert len(rows) == len(dump.symbols) + sum(map(len, dump.modules.values()))
    assert [row["value"] for row in rows] == sorted(row["value"] for row in rows)
    dump.poke_word(dump.at["module first"] + 8, 0x1234)
    status, out, err = run()
    assert status == 1
    assert f"{dump.at['panic_kernel']:016x} panic_kernel\n" in out
    assert err.startswith("pykvm: the list of modules: invalid address")
    status, out, err = run("panic_kernel")
    assert (status, err) == (0, "")
    assert run("nosuch")[2].startswith("pykvm: no such symbol: nosuch; the list of modules: invalid address")


def test_notes() -> None:
    from pykvm.images.notes import build_id

    good = note(b"Xen", 6, b"abc") + note(b"GNU", 3, b"\x12\x34")
    assert build_id(good, "<") == "1234"
    assert build_id(note(b"GNU", 1, b"\x12"), "<") is None
    assert build_id(note(b"GNV", 3, b"\x12"), "<") is None
    for cut in range(len(good) - 2):  # but for the padding at the end
        assert build_id(good[:cut], "<") is None
    assert build_id(struct.pack("<III", 0xFFFFFFFF, 0xFFFFFFFF, 3) * 4, "<") is None


@pytest.mark.parametrize(
    ("names", "why"),
    [
        ("0000000000000001 T foo\n", "it has none of the kernel's names"),
        ("0000000000401136 T main\n0000000000401000 t _init\n", "it has none of the kernel's names"),
        ("0000000000401136 T panic_kernel\n", "panic_kernel is at 0x401136, in the dump at 0x"),
    ],
)
def test_a_list_of_no_kernel(names_dump: Write, tmp_path: Path, names: str, why: str) -> None:
    """Nothing in it can be compared with what VMCOREINFO tells: then its names are, with the dump's own."""
    dump = names_dump()
    path = tmp_path / "names"
    path.write_text(names)
    with pytest.raises(pykvm.FormatError, match=f"is not the kernel of .*{why}"):
        pykvm.Kvm(dump.path, path)


def test_a_dump_is_no_kernel(names_dump: Write, tmp_path: Path) -> None:
    """The dump itself, named as the kernel."""
    dump = names_dump()
    with pytest.raises(pykvm.FormatError, match=r"is not the kernel of .*it has no symbols"):
        pykvm.Kvm(dump.path, dump.path)
