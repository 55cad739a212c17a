"""Names of Linux kernels from the fixture writer: kallsyms as every version wrote it, modules, kernel files."""

from __future__ import annotations

import contextlib
import json
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pykvm_fixtures.linux.names import BUILD_ID, LONG_NAME, MODULES, ORDERS, Module, NamesDump, Sym, note, write_names

import pykvm
from pykvm.cli import main
from pykvm.symbols import scan
from pykvm.symbols.base import Symbols

Write = Callable[..., NamesDump]
RELATIVE = [order for order, (tables, _) in ORDERS.items() if "offsets" in tables]


@pytest.fixture
def names_dump(tmp_path: Path) -> Write:
    written = 0

    def write(**arguments: Any) -> NamesDump:
        nonlocal written
        written += 1
        return write_names(tmp_path / str(written), **arguments)

    return write


def listed(symbols: Symbols) -> list[tuple[str, str, int]]:
    return [(chr(s.type), s.name, s.value) for s in symbols.all()]


def by_module(symbols: Symbols) -> dict[str, list[tuple[str, str, int]]]:
    found: dict[str, list[tuple[str, str, int]]] = {}
    for s in symbols.all(modules=True):
        if s.module is not None:
            found.setdefault(s.module, []).append((chr(s.type), s.name, s.value))
    return found


# -- kallsyms ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("told", [True, False], ids=["told", "searched"])
@pytest.mark.parametrize("word", [8, 4])
@pytest.mark.parametrize("order", ORDERS)
def test_kallsyms_of_every_version(names_dump: Write, order: str, word: int, told: bool) -> None:
    dump = names_dump(order=order, word=word, told=told)
    with pykvm.Kvm(dump.path) as kd:
        assert kd.info.machine == dump.machine
        assert listed(kd.symbols) == dump.symbols
        assert (LONG_NAME in kd.symbols) == order.startswith("6")
        assert kd.symbol_at(dump.at["panic_kernel"] + 3) == ("panic_kernel", 3)
        assert pykvm.kvm_geterr(kd) == ""


@pytest.mark.parametrize("told", [True, False], ids=["told", "searched"])
@pytest.mark.parametrize("order", RELATIVE)
def test_the_rule_for_values(names_dump: Write, order: str, told: bool) -> None:
    """KALLSYMS_ABSOLUTE_PERCPU or not: the tables tell, not the machine."""
    dump = names_dump(order=order, percpu=True, told=told)
    with pykvm.Kvm(dump.path) as kd:
        assert listed(kd.symbols) == dump.symbols
        assert kd.symbol("pcpu_hot") == 0x1000
        with pytest.raises(pykvm.KvmError, match="no symbol at or below"):
            kd.symbol_at(0x1001)  # no address: an offset into each CPU's area


def test_values_that_contradict_vmcoreinfo(names_dump: Write) -> None:
    """Tables that decode, but not to what is known, are no answer."""
    dump = names_dump(info={"SYMBOL(_stext)": "ffffffff85000010"})
    with pytest.raises(pykvm.KvmError, match=r"_stext is at 0xffffffff85000000, by VMCOREINFO at 0xffffffff85000010"):
        pykvm.Kvm(dump.path)
    for rule in ("told", "searched"):
        dump = names_dump(told=rule == "told")
        dump.poke_word(dump.at["kallsyms_relative_base"], 0xFFFFFFFF85000800)
        with pytest.raises(pykvm.KvmError, match="carries no symbols"):
            pykvm.Kvm(dump.path)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"missing": ["kallsyms_names"]}, r"can't read its kallsyms: invalid address \(ffffffff85"),
        ({"missing": ["kallsyms_offsets"]}, r"can't read its kallsyms: invalid address \(ffffffff85"),
        ({"missing": ["kallsyms_token_table"], "told": False}, "VMCOREINFO does not say where its kallsyms is, and"),
        ({"missing": ["kallsyms_names"], "told": False}, "VMCOREINFO does not say where its kallsyms is, and"),
        ({"told": False, "info": {"SYMBOL(_stext)": None}}, "VMCOREINFO does not say where its kallsyms is, and"),
        ({"info": {"SYMBOL(kallsyms_num_syms)": "ffffffff85000000"}}, "kallsyms_num_syms is 3435973836"),
    ],
)
def test_no_symbols_after_all(names_dump: Write, arguments: Any, why: str) -> None:
    """The error says what is missing, and what to give."""
    dump = names_dump(**arguments)
    with pytest.raises(pykvm.KvmError, match=why) as caught:
        pykvm.Kvm(dump.path)
    message = str(caught.value)
    assert message.startswith(f"{dump.path}: this dump carries no symbols (")
    assert message.endswith(
        f"name the vmlinux or System.map of its kernel, 6.1.99-names, BUILD-ID {BUILD_ID} (kernel, -N)"
    )
    assert "\n" not in message
    kernel = dump.vmlinux(dump.path.with_name("vmlinux"))
    with pykvm.Kvm(dump.path, kernel) as kd:
        assert kd.symbol("panic_kernel") == dump.at["panic_kernel"]


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("table", ["names", "markers", "token_table", "token_index", "num_syms"])
def test_damaged_tables(names_dump: Write, table: str, told: bool) -> None:
    """Whatever stands in a table, the answer is right or an error."""
    for damage in (b"\0" * 40, b"\xff" * 40, b"\x01" * 40, b"\x80" * 40):
        dump = names_dump(told=told)
        dump.poke(dump.at[f"kallsyms_{table}"], damage[: 8 if table == "markers" else None])
        if told and table == "markers":  # which are not needed
            with pykvm.Kvm(dump.path) as kd:
                assert listed(kd.symbols) == dump.symbols
        else:
            with pytest.raises(pykvm.KvmError, match="carries no symbols"):
                pykvm.Kvm(dump.path)


def test_a_dump_that_was_cut(names_dump: Write) -> None:
    """Within a page, too: what is left of the kernel is looked through, and the search ends."""
    dump = names_dump(told=False)
    size = dump.path.stat().st_size
    at = dump.files[dump.at["_stext"] // 4096]
    for left in (size - 1, size - 5000, size // 2 + 100, at + 4000, at + 100, at + 1):
        with open(dump.path, "r+b") as f:
            f.truncate(left)
        try:
            with pykvm.Kvm(dump.path) as kd:
                assert listed(kd.symbols) == dump.symbols
        except pykvm.KvmError as e:
            assert "carries no symbols" in str(e)  # noqa: PT017


def test_looking_for_kallsyms_is_bounded(names_dump: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory full of digits, and of what could be tables."""
    dump = names_dump(told=False)
    start = dump.at["_stext"]
    for at in range(start, start + 0x2000, 20):
        dump.poke(at, b"".join(b"%d\0" % i for i in range(10)))
    looks = 0
    real = scan._tokens

    def counted(*arguments: Any) -> Any:
        nonlocal looks
        looks += 1
        return real(*arguments)

    monkeypatch.setattr(scan, "_tokens", counted)
    with pytest.raises(pykvm.KvmError, match="carries no symbols"):
        pykvm.Kvm(dump.path)
    assert looks == scan.MATCHES


# -- modules ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", [8, 4])
@pytest.mark.parametrize("layout", ["mem", "core", "old"])
def test_modules(names_dump: Write, layout: str, word: int) -> None:
    dump = names_dump(layout=layout, word=word)
    memory = dump.at["memory first"]
    with pykvm.Kvm(dump.path) as kd:
        assert by_module(kd.symbols) == {name: rows for name, rows in dump.modules.items() if rows}
        assert len(kd.symbols) == len(dump.symbols) + sum(map(len, dump.modules.values()))
        assert list(kd.symbols) == [s.name for s in kd.symbols.all(modules=True)]
        assert kd.symbol("first_data") == kd.symbols["_first_data"] == memory + 0x900
        assert "only_here" in kd.symbols
        assert "never_seen" not in kd.symbols  # its module has not been given anything yet
        assert "printk" not in kd.symbols  # not defined there
        exported = kd.symbols.loose("first_exported")
        assert exported is not None
        assert (kd.symbols.letter(exported), exported.module) == ("T", "first")
        nl = [pykvm.Nlist(n) for n in ("_first_init", "second_fn", "panic_kernel", "nosuch")]
        assert pykvm.kvm_nlist(kd, nl) == 1
        assert [n.n_value for n in nl] == [memory, dump.at["memory second"] + 0x10, dump.at["panic_kernel"], 0]
        assert nl[0].n_type == 4


def test_the_kernels_name_wins(names_dump: Write) -> None:
    dump = names_dump()
    with pykvm.Kvm(dump.path) as kd:
        assert sum(name == "shared_name" for name in kd.symbols) == 3
        assert kd.symbol("shared_name") == kd.symbols["shared_name"] == dump.at["shared_name"]
        nl = [pykvm.Nlist("shared_name")]
        assert pykvm.kvm_nlist(kd, nl) == 0
        assert nl[0].n_value == dump.at["shared_name"]
        # A module's name that is exact comes before the kernel's with an underscore more or less.
        dump.poke(dump.at["memory first"] + 0x2001, b"_shared_nm\0")
    dump = names_dump(modules=[Module("one", [Sym("_panic_kernel")])])
    with pykvm.Kvm(dump.path) as kd:
        assert kd.symbol("panic_kernel") == dump.at["panic_kernel"]
        assert kd.symbol("_panic_kernel") == dump.at["memory one"]


def test_modules_are_read_when_they_are_needed(names_dump: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    from pykvm.targets.linux import modules

    calls = []
    real = modules.read
    monkeypatch.setattr(modules, "read", lambda *a: calls.append(1) or real(*a))
    dump = names_dump()
    with pykvm.Kvm(dump.path) as kd:
        assert kd.symbol("panic_kernel") == dump.at["panic_kernel"]
        assert kd.symbol_at(dump.at["panic_kernel"]) == ("panic_kernel", 0)
        assert pykvm.kvm_nlist(kd, [pykvm.Nlist("_panic_kernel")]) == 0
        assert kd.symbols.find("nosuch") is None
        assert len(listed(kd.symbols)) == len(dump.symbols)
        assert calls == []
        assert "nosuch" not in kd.symbols
        assert "second_fn" in kd.symbols
        assert len(list(kd.symbols)) == len(kd.symbols)
        assert calls == [1]


def test_modules_from_many_threads(names_dump: Write) -> None:
    dump = names_dump()
    with pykvm.Kvm(dump.path) as kd:
        gate = threading.Barrier(8)
        found: list[bool] = []

        def look() -> None:
            gate.wait()
            found.append("second_fn" in kd.symbols and kd.symbol("first_init") == dump.at["memory first"])

        threads = [threading.Thread(target=look) for _ in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert found == [True] * 8


def test_symbol_at_in_modules(names_dump: Write) -> None:
    dump = names_dump()
    first, second = dump.at["memory first"], dump.at["memory second"]
    with pykvm.Kvm(dump.path) as kd:
        assert kd.symbol_at(first + 5) == ("first_init", 5)
        assert kd.symbol_at(first + 0x44) == ("first_init", 0x44)  # not the mapping symbol $x
        assert kd.symbol_at(first + 0xA04) == ("shared_name", 4)
        assert kd.symbol_at(second + 0x12) == ("second_fn", 2)
        # What lies in a module's memory before its first symbol, or in none's, is not the one's before.
        for nowhere in (second + 0xF, second - 1, first - 0x5000, second + 0x5000):
            with pytest.raises(pykvm.KvmError, match="no symbol at or below"):
                kd.symbol_at(nowhere)


def test_names_after_closing(names_dump: Write) -> None:
    kd = pykvm.Kvm(names_dump().path)
    symbols = kd.symbols
    kd.close()
    assert "panic_kernel" in symbols
    assert "second_fn" not in symbols or symbols.modules is not None


def word_at(dump: NamesDump, what: str, words: int) -> int:
    return dump.at[what] + words * dump.word


@pytest.mark.parametrize(
    ("change", "flaw", "left"),
    [
        # The list: it loops, leads nowhere, or back into itself past the head.
        (lambda d: d.poke_word(word_at(d, "module second", 1), d.at["module first"] + 8), "leads back into it", 2),
        (lambda d: d.poke_word(word_at(d, "module first", 1), 0x1234), r"the list of modules: invalid address", 1),
        (lambda d: d.poke_word(d.at["modules"], 8), r"the list of modules: invalid address", 0),
        # A module's tables: too long, outside its memory, names that do not end.
        (lambda d: d.poke(word_at(d, "mod_kallsyms first", 1), b"\xff" * 4), "too many symbols", 1),
        (lambda d: d.poke(word_at(d, "mod_kallsyms first", 1), b"\0\4\0\0"), "num_symtab is 1024: 24576 bytes at", 1),
        (lambda d: d.poke_word(d.at["mod_kallsyms first"], 0xFFFF888000000000), "num_symtab is 10: 240 bytes at", 1),
        (lambda d: d.poke_word(word_at(d, "mod_kallsyms first", 2), d.at["_stext"]), "strtab 0xffffffff85000000: ", 1),
        (lambda d: d.poke(d.at["memory first"] + 0x1018, b"\xff" * 4), r"the name at 0xffffffff is not in", 1),
        (lambda d: d.poke(d.at["memory first"] + 0x1018, struct.pack("<I", 0x1F00)), None, 2),
        (lambda d: d.poke(d.at["memory first"] + 0x2000, b"x" * 0xC00), "symbol 1: its name at 0x1 of strtab does", 1),
        (lambda d: d.poke_word(word_at(d, "mod_kallsyms first", 3), 5), r"invalid address \(5\)", 1),
        (lambda d: d.poke_word(word_at(d, "module first", 22), 5), r"invalid address \(d\)", 1),
        (lambda d: d.poke(word_at(d, "module first", 21), b"\xff\xff\xff\x7f"), "too many exports", 1),
        (lambda d: d.poke_word(word_at(d, "module first", 20), 16), "num_syms is 1: 12 bytes at 0x10", 1),
    ],
)
def test_damaged_modules(names_dump: Write, change: Any, flaw: str | None, left: int) -> None:
    """What is damaged is left out and said; the rest is there."""
    dump = names_dump()
    change(dump)
    with pykvm.Kvm(dump.path) as kd:
        assert kd.symbol("panic_kernel") == dump.at["panic_kernel"]
        assert len(by_module(kd.symbols)) == left
        modules = kd.symbols.modules
        assert modules is not None
        if flaw is None:
            assert modules.flaw is None
            return
        with pytest.raises(pykvm.KvmError, match=rf"^nosuch: no such symbol \(.*{flaw}"):
            kd.symbol("nosuch")
        assert "\n" not in pykvm.kvm_geterr(kd)


@pytest.mark.parametrize("missing", [["modules"], ["module first"], ["memory first"], ["memory second"]])
def test_modules_left_out_of_the_dump(names_dump: Write, missing: list[str]) -> None:
    dump = names_dump(missing=missing, apart=True)
    with pykvm.Kvm(dump.path) as kd:
        assert "nosuch" not in kd.symbols
        assert kd.symbol("panic_kernel") == dump.at["panic_kernel"]


def test_one_table_for_many_modules(names_dump: Write) -> None:
    """Modules that share their memory cannot cost more than a kernel's."""
    dump = names_dump(modules=[Module(f"m{i}", MODULES[0].symbols) for i in range(40)], functions=300)
    for i in range(40):
        dump.poke_word(word_at(dump, f"module m{i}", 22), dump.at["mod_kallsyms m0"])
        dump.poke(word_at(dump, f"module m{i}", 25), b"\0\0\0\x40")
    dump.poke(word_at(dump, "mod_kallsyms m0", 1), b"\0\0\1\0")
    with pykvm.Kvm(dump.path) as kd:
        assert "nosuch" not in kd.symbols
        assert kd.symbols.modules is not None
        assert kd.symbols.modules.flaw is not None


PLACES = ["modules", "module first", "module second", "mod_kallsyms first", "memory first"]


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    changes=st.lists(
        st.tuples(st.sampled_from(PLACES), st.integers(0, 0x3F8), st.binary(min_size=1, max_size=8)),
        min_size=1,
        max_size=4,
    )
)
def test_fuzz_modules(names_room: tuple[NamesDump, bytes], changes: list[tuple[str, int, bytes]]) -> None:
    dump, raw = names_room
    dump.path.write_bytes(raw)
    for place, offset, data in changes:
        dump.poke(dump.at[place] + offset + (0x1000 if place == "memory first" else 0), data)
    with pykvm.Kvm(dump.path) as kd:
        for name in list(kd.symbols):
            assert name in kd.symbols
        for addr in (dump.at["memory first"], dump.at["memory second"] + 0x20):
            with contextlib.suppress(pykvm.KvmError):
                kd.symbol_at(addr)


@pytest.fixture(scope="module")
def names_room(tmp_path_factory: pytest.TempPathFactory) -> tuple[NamesDump, bytes]:
    dump = write_names(tmp_path_factory.mktemp("names"), functions=260, apart=True)
    return dump, dump.path.read_bytes()


# -- kernel files -----------------------------------------------------------------------------------------------


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


# -- lists of names ---------------------------------------------------------------------------------------------


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


# -- pykvm nm ---------------------------------------------------------------------------------------------------


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
    from pykvm.symbols.elf import build_id

    good = note(b"Xen", 6, b"abc") + note(b"GNU", 3, b"\x12\x34")
    assert build_id(good, "<") == "1234"
    assert build_id(note(b"GNU", 1, b"\x12"), "<") is None
    assert build_id(note(b"GNV", 3, b"\x12"), "<") is None
    for cut in range(len(good) - 2):  # but for the padding at the end
        assert build_id(good[:cut], "<") is None
    assert build_id(struct.pack("<III", 0xFFFFFFFF, 0xFFFFFFFF, 3) * 4, "<") is None
