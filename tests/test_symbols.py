"""Names: ELF and a.out of every kind, kvm_nlist's rules."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

import pykvm
from pykvm.images.hostfile import HostFile
from pykvm.symbols import recognise
from pykvm.symbols.base import Symbols

AOUT = [f"{m}{o}" for m in ("omagic", "nmagic", "zmagic", "qmagic") for o in ("", "-old")]


def symbols_of(path: Path) -> Symbols:
    file = HostFile(path)
    found = recognise(file)
    assert found is not None
    return found


@pytest.fixture(params=["i386", "sun4m"])
def machine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("namelist", ["elf", *AOUT])
def test_every_format(mirbsd_dump_factory: Any, machine: str, namelist: str) -> None:
    dump = mirbsd_dump_factory(machine=machine, namelist=namelist, awkward=True, extra_symbols=50)
    table = symbols_of(dump.kernel)
    assert table.format == ("ELF" if namelist == "elf" else "a.out")
    assert table.byteorder == ("little" if machine == "i386" else "big")
    assert table.machine == (None if namelist.endswith("-old") else "i386" if machine == "i386" else "sparc")
    for name, value in dump.symbols.items():
        assert table[name] == table["_" + name] == value
    assert "nosuch" not in table
    assert table.get("nosuch") is None
    assert 5 not in table
    names = list(table)
    assert len(names) == len(table)
    underscore = "" if namelist == "elf" else "_"
    assert {underscore + name for name in dump.symbols} <= set(names)
    assert "" not in names
    assert not any(":" in name for name in names)  # stabs are no symbols
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        assert [p.pid for p in kd.processes()] == [p.pid for p in dump.processes]


@pytest.mark.parametrize("namelist", ["elf", "zmagic"])
def test_nlist_rules(mirbsd_dump_factory: Any, machine: str, namelist: str) -> None:
    dump = mirbsd_dump_factory(machine=machine, namelist=namelist, awkward=True)
    elf = namelist == "elf"
    with pykvm.Kvm(dump.core, dump.kernel) as kd:

        def look(*names: str) -> tuple[int, list[pykvm.Nlist]]:
            nl = [pykvm.Nlist(n) for n in names]
            for n in nl:
                n.n_type = n.n_other = n.n_desc = n.n_value = 77
            return pykvm.kvm_nlist(kd, nl), nl

        # A local symbol of the same name stands before the global one: one name, and the last counts.
        missing, (entry,) = look("_allproc")
        assert (missing, entry.n_value) == (0, dump.symbols["allproc"])
        missing, nl = look("_allproc", "_nosuch")
        assert missing == 1
        assert [nl[1].n_type, nl[1].n_other, nl[1].n_desc, nl[1].n_value] == [0, 0, 0, 0]
        # An ELF name is found with and without the underscore, an a.out name only as it is.
        assert look("allproc")[0] == (0 if elf else 1)
        assert look("__allproc")[0] == 1  # one underscore is taken off, not two
        # The list ends at an empty name.
        missing, nl = look("_nprocs", "", "_nosuch")
        assert missing == 0
        assert nl[2].n_value == 77
        types = {n: look("_" + n)[1][0].n_type for n in ("main", "nprocs", "start", "static_counter")}
        if elf:
            assert types == {"main": 4, "nprocs": 6, "start": 0x13, "static_counter": 1}
            assert look("_absolute_constant")[1][0].n_type == 2
        else:
            assert types == {"main": 5, "nprocs": 9, "start": 5, "static_counter": 8}
            assert look("_absolute_constant")[1][0].n_type == 3
        assert look("_absolute_constant")[1][0].n_value == 0x12345


def test_symbol_at(mirbsd_dump: Any) -> None:
    with pykvm.Kvm(mirbsd_dump.core, mirbsd_dump.kernel) as kd:
        for name in ("main", "panic", "nprocs"):
            assert kd.symbol_at(kd.symbol(name)) == (name, 0)
            assert kd.symbol_at(kd.symbol(name) + 1) == (name, 1)
        with pytest.raises(pykvm.KvmError, match="no symbol at or below"):
            kd.symbol_at(0x1000)
        with pytest.raises(pykvm.KvmError, match="no symbol at or below"):
            kd.symbol_at(-1)
        for beyond in (0xFFFFFFFF, 1 << 32, (1 << 64) - 1):
            with pytest.raises(pykvm.KvmError, match="no symbol at or below"):
                kd.symbol_at(beyond)


def test_stripped(mirbsd_dump: Any, tmp_path: Path) -> None:
    """An ELF file without a symbol table has no names; they are all missing, as nlist(3) has it."""
    raw = bytearray(mirbsd_dump.kernel.read_bytes())
    shoff, shentsize, shnum = (
        struct.unpack_from("<I", raw, 32)[0],
        *struct.unpack_from("<HH", raw, 46),
    )
    for i in range(shnum):
        at = shoff + i * shentsize
        if struct.unpack_from("<I", raw, at + 4)[0] == 2:
            struct.pack_into("<I", raw, at + 4, 1)
    stripped = tmp_path / "stripped"
    stripped.write_bytes(raw)
    assert len(symbols_of(stripped)) == 0
    with pytest.raises(pykvm.FormatError, match="no symbol PTDpaddr"):
        pykvm.Kvm(mirbsd_dump.core, stripped)


def test_olf(mirbsd_dump: Any, tmp_path: Path) -> None:
    raw = mirbsd_dump.kernel.read_bytes()
    renamed = tmp_path / "olf"
    renamed.write_bytes(b"\x7fOLF" + raw[4:])
    assert symbols_of(renamed)["nprocs"] == mirbsd_dump.symbols["nprocs"]


def test_names_that_are_not_utf8(mirbsd_dump_factory: Any) -> None:
    dump = mirbsd_dump_factory()
    raw = dump.kernel.read_bytes()
    assert raw.count(b"\0panicstr\0") == 1
    dump.kernel.write_bytes(raw.replace(b"\0panicstr\0", b"\0p\xe4nicstr\0"))
    table = symbols_of(dump.kernel)
    assert table["p\udce4nicstr"] == dump.symbols["panicstr"]
    assert "p\udce4nicstr" in list(table)
