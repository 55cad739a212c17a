"""Linux kernels whose kallsyms has functions only: what they export, and what is found by its looks."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import linux_truth as truth
import pytest
from pykvm_fixtures.linux import LinuxDump, write_linux
from symbol_tables import Write, by_module, listed

import pykvm
from pykvm.types import btf_scan

HINT = r"has only functions, and what the kernel exports to modules: name its vmlinux or System.map \(kernel, -N\)\)$"
OWN = rf"\(the dump's own symbol table {HINT}"
CASES = [
    ("x86_64", "5.4"), ("x86_64", "4.19"), ("x86_64", "5.4-addresses"), ("x86_64", "4.18"), ("i386", "5.4"),
    ("i386-pae", "4.18"), ("arm", "5.4-addresses"), ("arm-lpae", "4.18"), ("aarch64", "5.4"),
    ("aarch64-64k-48", "4.19"), ("riscv64", "5.4"),
]  # fmt: skip


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def dump(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LinuxDump:
    machine, shape = request.param
    return write_linux(tmp_path_factory.mktemp("functions"), machine, exports=shape)


def test_everything(dump: LinuxDump) -> None:
    assert "init_task" not in dump.symbols
    with pykvm.Kvm(dump.paths) as kd:
        truth.names(kd, dump)
        truth.processes(kd, dump)  # with when they started, by the timekeeper, which has no symbol
        truth.arguments(kd, dump)


def test_names(dump: LinuxDump) -> None:
    data = dump.exported
    assert set(data) == {"init_task", "avenrun", "init_uts_ns"}
    with pykvm.Kvm(dump.paths) as kd:
        assert {name: kd.symbol(name) for name in data} == data
        found = kd.symbols.find("avenrun")
        assert found is not None
        assert (found.value, kd.symbols.letter(found), found.module) == (data["avenrun"], "D", None)
        nl = [pykvm.Nlist("_init_task"), pykvm.Nlist("nosuch"), pykvm.Nlist("_stext")]
        assert pykvm.kvm_nlist(kd, nl) == 1
        assert [n.n_value for n in nl] == [data["init_task"], 0, dump.symbols["_stext"]]
        assert nl[0].n_type == 7  # N_DATA | N_EXT
        assert kd.symbol_at(data["avenrun"] + 3) == ("avenrun", 3)
        assert set(kd.symbols) == set(dump.symbols) | set(data)
        assert len(kd.symbols) == len(dump.symbols) + len(data)


def test_what_is_missing(dump: LinuxDump) -> None:
    with pykvm.Kvm(dump.paths) as kd:
        for name in ("tk_core", "prb", "__start_BTF"):
            with pytest.raises(pykvm.KvmError, match=rf"^{name}: no such symbol {OWN}"):
                kd.symbol(name)
        with pytest.raises(pykvm.KvmError, match=f"no kernel log {OWN}"):
            kd.dmesg()


@pytest.fixture
def functions(linux_dump_factory: Callable[..., LinuxDump]) -> LinuxDump:
    return linux_dump_factory(exports="5.4")


def test_a_saved_kallsyms(functions: LinuxDump, tmp_path: Path) -> None:
    """/proc/kallsyms of such a kernel has functions only, too."""
    names = tmp_path / "kallsyms"
    names.write_text("".join(f"{value:016x} t {name}\n" for name, value in functions.symbols.items()))
    with pykvm.Kvm(functions.paths[0], names) as kd:
        truth.processes(kd, functions)
        with pytest.raises(pykvm.KvmError, match=rf"^prb: no such symbol \({names} {HINT}"):
            kd.symbol("prb")


def test_another_kernels_list_of_functions(functions: LinuxDump, tmp_path: Path) -> None:
    names = tmp_path / "kallsyms"
    lines = [f"{value + 16 * (name == '_etext'):016x} t {name}\n" for name, value in functions.symbols.items()]
    names.write_text("".join(lines))
    with pytest.raises(pykvm.KvmError, match=r"is not the kernel of .*: _etext is at 0x"):
        pykvm.Kvm(functions.paths[0], names)


def test_tables_are_read_when_a_name_is_missed(functions: LinuxDump, monkeypatch: pytest.MonkeyPatch) -> None:
    from pykvm.symbols import ksymtab

    real, calls = ksymtab.read, []

    def read(*args: Any) -> Any:
        calls.append(args)
        return real(*args)

    monkeypatch.setattr(ksymtab, "read", read)
    with pykvm.Kvm(functions.paths) as kd:
        assert kd.symbol("_stext") == functions.symbols["_stext"]
        assert not calls
        assert kd.symbol("avenrun") == functions.exported["avenrun"]
        with pytest.raises(pykvm.KvmError, match="no such symbol"):
            kd.symbol("nosuch")
        assert len(calls) == 1


def poke(dump: LinuxDump, old: bytes, new: bytes, most: int = -1) -> int:
    """Change the dump's bytes; how often."""
    raw = dump.paths[0].read_bytes()
    count = raw.count(old) if most < 0 else min(most, raw.count(old))
    dump.paths[0].write_bytes(raw.replace(old, new, most))
    return count


@pytest.mark.parametrize(
    ("old", "new"),
    [
        # Functions elsewhere than kallsyms has them, a kernel's name elsewhere than VMCOREINFO has it.
        (b"\0init_function_3", b"\0init_fumction_3"),
        (b"\0init_uts_ns\0", b"\0init_task_n\0"),
        (b"\0init_task\0", b"\0init_ta\xffk\0"),
    ],
)
def test_tables_that_are_wrong(functions: LinuxDump, old: bytes, new: bytes) -> None:
    """No names rather than wrong ones."""
    assert poke(functions, old, new)
    with pykvm.Kvm(functions.paths) as kd:
        for name, value in functions.exported.items():
            found = kd.symbols.find(name)
            assert found is None or found.value == value
        if kd.symbols.find("init_task") is None:
            with pytest.raises(pykvm.KvmError, match=f"^init_task: no such symbol {OWN}"):
                kd.processes()


@pytest.mark.parametrize("old", [b"\x9f\xeb\x01\x00\x18\0\0\0", b"\0task_struct\0"])
def test_no_types(functions: LinuxDump, old: bytes) -> None:
    assert poke(functions, old, bytes(len(old)))
    with pykvm.Kvm(functions.paths) as kd:
        with pytest.raises(pykvm.KvmError, match=r"carries no types \(BTF\); name a kernel file .*\(--layout\)$"):
            kd.processes()
        assert kd.loadavg() == list(functions.loadavg)


def test_what_only_begins_like_types(functions: LinuxDump) -> None:
    """Headers before the right one: of types that would be too long for memory, and of such as make no sense."""
    raw = bytearray(functions.paths[0].read_bytes())
    header = struct.Struct("<HBBIIIII")
    name = raw.index(b"Linux\0")
    right = raw.index(header.pack(0xEB9F, 1, 0, 24, 0, 0, 0, 0)[:8])
    places = [(name + 65 * i + 30) // 4 * 4 for i in range(1, 5)]  # in the room behind the texts of struct new_utsname
    assert places[-1] + header.size < right
    empty = raw.index(0, places[1] + 24 + 400) - places[1] - 24  # what could be the first of the strings
    lies = ((24, 0, 8 << 20, 8 << 20, 64), (24, 0, 400, empty, 200), (24, 0, 4, 8, 3), (3000, 0, 400, empty, 200))
    for at, lie in zip(places, lies, strict=True):
        header.pack_into(raw, at, 0xEB9F, 1, 0, *lie)
    functions.paths[0].write_bytes(raw)
    sizes = [size for _, size in btf_scan._candidates(raw, "<")]
    assert (sizes[:2], len(sizes)) == ([24 + (8 << 20) + 64, 24 + empty + 200], 3)
    with pykvm.Kvm(functions.paths) as kd:
        truth.processes(kd, functions)


@pytest.mark.parametrize(("word", "layout"), [(8, "mem"), (8, "core"), (4, "mem"), (4, "old")])
def test_modules(names_dump: Write, word: int, layout: str) -> None:
    """The list of modules is known by its first, which points to itself."""
    dump = names_dump(word=word, layout=layout, exports="4.18")
    assert "shared_name" in dump.exported
    with pykvm.Kvm(dump.path) as kd:
        assert listed(kd.symbols) == dump.symbols
        assert by_module(kd.symbols) == {name: rows for name, rows in dump.modules.items() if rows}
        assert kd.symbol("first_data") == dump.at["memory first"] + 0x900
        assert kd.symbol("shared_name") == dump.at["shared_name"]  # the kernel's, which only the exports have
        assert kd.symbol_at(dump.at["memory first"] + 0x905) == ("first_data", 5)


@pytest.mark.parametrize("what", ["module", "back", "none"])
def test_no_list_of_modules(names_dump: Write, what: str) -> None:
    dump = names_dump(exports="5.4", **({"modules": []} if what == "none" else {}))
    first = dump.at.get("module first", 0)
    if what == "module":
        dump.poke_word(first + 19 * 8, first + 8)  # mkobj.mod
    elif what == "back":
        dump.poke_word(first + 16, 0x1234)  # list.prev
    with pykvm.Kvm(dump.path) as kd:
        assert by_module(kd.symbols) == {}
        with pytest.raises(pykvm.KvmError, match=f"^first_data: no such symbol {OWN}"):
            kd.symbol("first_data")
