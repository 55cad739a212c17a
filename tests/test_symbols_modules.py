"""Names of Linux modules from the fixture writer: found, read late, damaged."""

from __future__ import annotations

import contextlib
import struct
import threading
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pykvm_fixtures.linux.modules import MODULES, Module, Sym
from pykvm_fixtures.linux.names import NamesDump, write_names
from symbol_tables import Write, by_module, listed

import pykvm


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
    from pykvm.targets.linux.symbols import modules

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
