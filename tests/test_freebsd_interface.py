"""FreeBSD's further functions of kvm(3), on dumps from the fixture writer."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bounds import SLOW
from elftools.elf.elffile import ELFFile
from freebsd_maker import kernel as small_kernel
from freebsd_maker import minidump
from freebsd_reader import Minidump
from pykvm_fixtures.freebsd import FreebsdDump, write_freebsd
from pykvm_fixtures.freebsd.default import system as default_system
from pykvm_fixtures.freebsd.model import SwapDevice

import pykvm
from pykvm import KvmNlist, KvmPage, Nlist, kvm_geterr

Write = Callable[..., FreebsdDump]


# -- pages ----------------------------------------------------------------------------------------------------------


def _amd64(reader: Minidump, va: int) -> int:
    entry = reader.pte(va - reader.h["kernbase"] >> 21, 8)
    if not entry & 0x80:
        entry = reader.number((entry & 0xFFFFFFFFFF000) + (va >> 12 & 511) * 8, 8)
    return 1 | entry & 2 | (0 if entry >> 63 else 4)


def _dragonfly(reader: Minidump, va: int) -> int:
    entry = reader.pte(va >> 30 & 0x3FFFF, 8)
    for shift in (21, 12):
        if not entry & 0x80:
            entry = reader.number((entry & 0xFFFFFFFFFF000) + (va >> shift & 511) * 8, 8)
    return 1 | entry & 2 | (0 if entry >> 63 else 4)


def _flat(size: int, prot: Callable[[int], int]) -> Callable[[Minidump, int], int]:
    return lambda reader, va: prot(reader.pte((va - reader.h["kernbase"]) // reader.page, size))


def _x86(entry: int) -> int:
    return 1 | entry & 2 | (0 if entry >> 63 else 4)


def _arm(entry: int) -> int:
    never = entry >> 15 & 1 if entry & 3 == 1 else entry & 1
    return 1 | (0 if entry & 0x80 else 2) | (0 if never else 4)


def _long(xn: int) -> Callable[[int], int]:
    return lambda entry: 1 | (0 if entry & 0x80 else 2) | (0 if entry >> xn & 1 else 4)


def _mips(bit: int) -> Callable[[int], int]:
    return lambda entry: 5 | (0 if entry >> bit & 1 else 2)


# The machine, and what its entries allow.
PAGES: list[tuple[str, dict[str, Any], Callable[[Minidump, int], int] | None]] = [
    ("amd64", {}, _amd64),
    ("amd64", {"version": 2, "release": "12"}, _amd64),
    ("amd64", {"version": 1, "release": "10"}, _flat(8, _x86)),
    ("dragonfly", {}, _dragonfly),
    ("i386", {}, _flat(4, _x86)),
    ("i386-pae", {}, _flat(8, _x86)),
    ("arm64", {"offset": 1 << 30}, _flat(8, _long(53))),
    ("arm64-16k", {}, _flat(8, _long(53))),
    ("arm", {}, _flat(4, _arm)),
    ("arm-lpae", {}, _flat(8, _long(54))),
    ("riscv64", {"start": 0x80200000}, _flat(8, lambda e: 1 | (e & 4) >> 1 | (e & 8) >> 1)),
    ("mips", {}, _flat(4, _mips(29))),
    ("mipsn32", {}, _flat(8, _mips(55))),
    ("mips64el", {}, _flat(8, _mips(55))),
    ("powerpc64", {}, None),
    ("powerpc64le", {"version": 1}, None),
]


def _reader(dump: FreebsdDump) -> Minidump:
    order = "<" if dump.order == "little" else ">"
    bitmap = 4 if dump.machine.startswith("mips") and (dump.version == 1 or dump.word == 4) else 8
    reader = Minidump(dump.core, dump.page_size, order, dump.word, 8, bitmap)
    if dump.machine == "mipsn32":
        reader.h["entry"] = 8
    return reader


@pytest.mark.parametrize(("machine", "options", "prot"), PAGES, ids=lambda value: str(value)[:24])
def test_pages(freebsd_written: Write, machine: str, options: dict[str, Any], prot: Any) -> None:
    """Every page of the map and of the dump, at its places in memory and in the file, as another reader has them."""
    dump = freebsd_written(machine, **options)
    reader, size = _reader(dump), dump.page_size
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        pages: list[KvmPage] = []
        assert pykvm.kvm_walk_pages(kd, lambda page, closure: closure.append(page) or 1, pages) == 1
        assert kvm_geterr(kd) == ""
        assert list(kd.pages()) == pages
    mapped = [page for page in pages if page.kp_kmap_vaddr]
    assert pages[: len(mapped)] == mapped
    assert len(mapped) > 30
    seen: set[int] = set()
    for p in mapped:
        assert p.kp_version == 2
        for at in range(0, p.kp_len, size if p.kp_len <= 64 * size else p.kp_len // 7 // size * size):
            assert reader.physical(p.kp_kmap_vaddr + at) == p.kp_paddr + at
            assert reader.at.get((p.kp_paddr + at) // size) == (p.kp_offset + at if p.kp_offset >= 0 else None)
            if prot is not None:
                assert p.kp_prot == prot(reader, p.kp_kmap_vaddr + at)
        if p.kp_offset >= 0:
            seen.update(range(p.kp_paddr // size, (p.kp_paddr + p.kp_len) // size))
    if "powerpc" not in machine:  # whose table is in another order
        assert [p.kp_kmap_vaddr for p in mapped] == sorted(p.kp_kmap_vaddr for p in mapped)
    else:
        assert {p.kp_prot & 1 for p in mapped} == {1}
    # Whoever is mapped in the writer's own list is there.
    for name, va, _ in dump.probes:
        inside = any(p.kp_kmap_vaddr <= va < p.kp_kmap_vaddr + p.kp_len for p in mapped)
        linear = "image" in name and (machine.startswith(("mips", "powerpc")))
        assert inside or linear, name
    rest = pages[len(mapped) :]
    for p in rest:
        assert (p.kp_kmap_vaddr, p.kp_prot, p.kp_len) == (0, 3, size)
        assert reader.at[p.kp_paddr // size] == p.kp_offset
        assert reader.physical(p.kp_dmap_vaddr) == p.kp_paddr
    numbers = [p.kp_paddr // size for p in rest]
    assert numbers == sorted(numbers)
    assert set(numbers).isdisjoint(seen)
    assert seen | set(numbers) == set(reader.at)
    for p in mapped[::17]:
        if dump.direct and dump.direct[2] <= p.kp_paddr < dump.direct[2] + dump.direct[1] - dump.direct[0] - p.kp_len:
            assert reader.physical(p.kp_dmap_vaddr) == p.kp_paddr


def test_rights_of_hashed_pages(freebsd_written: Write, tmp_path: Path) -> None:
    """Entries that say "read only" (PP is 3) or "no execution" (N)."""
    dump = freebsd_written("powerpc64")
    reader = _reader(dump)
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        mapped = [page for page in kd.pages() if page.kp_kmap_vaddr]
    assert {page.kp_prot for page in mapped} == {7}
    table, start = reader.parts["pmap"], dump.core.read_bytes().index(reader.parts["pmap"])
    at = {low & 0xFFFFFFFFFFFF000: i * 16 + 15 for i, (_, low) in enumerate(struct.iter_unpack(">2Q", table))}
    raw = bytearray(dump.core.read_bytes())
    for page, bits in ((mapped[3], 3), (mapped[4], 6), (mapped[5], 7)):
        raw[start + at[page.kp_paddr]] = raw[start + at[page.kp_paddr]] & ~7 | bits
    (tmp_path / "core").write_bytes(raw)
    with pykvm.Kvm(tmp_path / "core", dump.kernel) as kd:
        found = [page.kp_prot for page in kd.pages() if page.kp_kmap_vaddr]
    assert found == [7, 7, 7, 5, 3, 1, *[7] * (len(mapped) - 6)]


def test_walk_stops(freebsd_written: Write) -> None:
    dump = freebsd_written()
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        shown: list[KvmPage] = []

        def three(page: KvmPage, closure: object) -> int:
            shown.append(page)
            assert closure == "mine"
            return len(shown) < 3

        assert pykvm.kvm_walk_pages(kd, three, "mine") == 0
        assert len(shown) == 3
        assert kvm_geterr(kd) == ""

        def fail(page: KvmPage, closure: object) -> int:
            raise pykvm.KvmError("mine")

        with pytest.raises(TypeError):
            pykvm.kvm_walk_pages(kd, lambda page, closure: None)  # type: ignore[arg-type, return-value]
        with pytest.raises(TypeError):
            pykvm.kvm_walk_pages(kd, "no function")  # type: ignore[arg-type]
        with pytest.raises(pykvm.KvmError, match="mine"):  # what the callback raises is its caller's
            pykvm.kvm_walk_pages(kd, fail)
        assert pykvm.kvm_walk_pages(kd, lambda page, closure: kd.close() or 1) == 0  # type: ignore[func-returns-value]


def test_full_dumps_are_not_walked(freebsd_written: Write) -> None:
    dump = freebsd_written(container="full")
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        assert pykvm.kvm_walk_pages(kd, lambda page, closure: 1) == 0
        assert kvm_geterr(kd).endswith("only minidumps' pages are walked, this is a full dump")


# -- damaged page maps ----------------------------------------------------------------------------------------------

KERNBASE, DMAP = 0xFFFFFE0000000000, 0xFFFFF80000000000


def _amd64_header(msgbuf: int, bitmap: int, page_map: int, avail: int) -> bytes:
    head = struct.pack("<4I3QI", 3, msgbuf, bitmap, page_map, KERNBASE, DMAP, DMAP + (1 << 40), avail)
    return b"minidump FreeBSD/amd64".ljust(24, b"\0") + head


def _small(tmp_path: Path, pages: dict[int, bytes], page_map: bytes) -> pykvm.Kvm:
    core = tmp_path / "core"
    core.write_bytes(minidump(_amd64_header, pages, page_map, avail=[(0, 1 << 24)]))
    return pykvm.Kvm(core, small_kernel(tmp_path / "kernel", {"version": KERNBASE}))


def test_a_table_used_again(tmp_path: Path) -> None:
    """A map of 128 KB whose entries all lead to one table of 512 pages: refused at the second."""
    table = b"".join(struct.pack("<Q", n << 12 | 3) for n in range(512))
    kd = _small(tmp_path, {0x5000: table, 0x6000: b""}, struct.pack("<Q", 0x5003) * (1 << 14))
    start, shown = time.process_time(), []
    assert pykvm.kvm_walk_pages(kd, lambda page, closure: shown.append(page) or 1) == 0  # type: ignore[func-returns-value]
    assert kvm_geterr(kd).endswith("page map: the table at 0x5000 is used again, for 0xfffffe0000200000")
    assert len(shown) == 512
    assert time.process_time() - start < 1 * SLOW


def test_pages_mapped_all_over(tmp_path: Path) -> None:
    """Large pages that show the same 512 pages, of which every second is there, more often than there are pages."""
    pages = {n << 12: b"x" for n in range(0, 512, 2)}
    kd = _small(tmp_path, pages, struct.pack("<Q", 0x83) * (1 << 14))
    start = time.process_time()
    with pytest.raises(pykvm.FormatError, match="page map: all pages are mapped more than 4 times over"):
        for _ in kd.pages():
            pass
    assert time.process_time() - start < 4 * SLOW


def test_tables_and_pages_that_are_not_there(tmp_path: Path) -> None:
    """Directory entries whose tables were not dumped, pages that are no memory, a file that was cut."""
    table = struct.pack("<QQ", 0x6000 | 1 << 63 | 1, 0xFEE00003).ljust(4096, b"\0")
    entries = struct.pack("<4Q", 0x9003, 0x5003, 0, 0x7FFFFFFFE00083)
    kd = _small(tmp_path, {0x5000: table, 0x6000: b"six", 0x8000: b"cut"}, entries)
    os.truncate(tmp_path / "core", (tmp_path / "core").stat().st_size - 1)
    kd = pykvm.Kvm(tmp_path / "core", tmp_path / "kernel")
    pages = list(kd.pages())
    assert [(p.kp_paddr, p.kp_kmap_vaddr, p.kp_prot, p.kp_len, p.kp_offset >= 0) for p in pages] == [
        (0x6000, KERNBASE + 0x200000, 1, 4096, True),
        (0xFEE00000, KERNBASE + 0x201000, 7, 4096, False),
        (0x7FFFFFFFE00000 & 0xFFFFFFFFFF000, KERNBASE + 0x600000, 7, 0x200000, False),
        (0x5000, 0, 3, 4096, True),
    ]
    assert pages[0].kp_dmap_vaddr == DMAP + 0x6000
    assert pages[1].kp_dmap_vaddr == DMAP + 0xFEE00000
    assert pages[2].kp_dmap_vaddr == 0


def test_maps_of_zeros_take_no_time(tmp_path: Path) -> None:
    """Half a gigabyte of empty tables of an arm64, in a file with holes."""
    core, size, base = tmp_path / "core", 1 << 29, 0xFFFF000000000000

    def header(msgbuf: int, bitmap: int, page_map: int, avail: int) -> bytes:
        places = base, 0x40000000, 0xFFFFA00000000000, 0xFFFFA00000100000
        head = struct.pack("<4I4QI", 2, msgbuf, bitmap, size, *places, avail)
        return b"minidump FreeBSD/arm64".ljust(24, b"\0") + head

    small = minidump(header, {0x40005000: b"five", 0x40007000: b"7"}, b"", avail=[(0x40000000, 0x41000000)])
    at = len(small) - 8192
    with core.open("wb") as f:
        f.write(small[:at])
        f.seek(at + size - 8)
        f.write(struct.pack("<Q", 0x40005000 | 1 << 53 | 0x83))
        f.write(small[at:])
    kd = pykvm.Kvm(core, small_kernel(tmp_path / "kernel", {"version": base}, machine="aarch64"))
    start = time.process_time()
    pages = list(kd.pages())
    assert time.process_time() - start < 2 * SLOW
    assert pages == [
        (2, 0x40005000, base + (size // 8 - 1 << 12), 0xFFFFA00000005000, 1, at + size, 4096),
        (2, 0x40007000, 0, 0xFFFFA00000007000, 3, at + size + 4096, 4096),
    ]


# -- per-CPU data ---------------------------------------------------------------------------------------------------

CPUS: list[tuple[str, dict[str, Any]]] = [
    ("amd64", {}),
    ("amd64", {"release": "10"}),
    ("amd64", {"release": "12"}),
    ("amd64", {"container": "full", "release": "15"}),
    ("i386", {"release": "10"}),
    ("arm", {}),
    ("powerpc64", {}),
    ("mips64", {}),
    ("amd64", {"types": False}),
    ("i386", {"types": False, "release": "10"}),
]


@pytest.mark.parametrize(("machine", "options"), CPUS, ids=lambda value: str(value))
def test_cpus(freebsd_written: Write, machine: str, options: dict[str, Any]) -> None:
    dump = freebsd_written(machine, **options)
    word, types = dump.word, options.get("types", True)
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        assert (pykvm.kvm_getmaxcpu(kd), pykvm.kvm_getncpus(kd)) == (8, 2)
        size = dump.layouts["pcpu"][0] if types else dump.facts.stride
        for cpu, at in enumerate(dump.facts.pcpu):
            found = pykvm.kvm_getpcpu(kd, cpu)
            assert found == kd.read(at, size)
            offset = dump.layouts["pcpu"][1]["pc_cpuid"][0]
            assert isinstance(found, bytes)
            assert int.from_bytes(found[offset : offset + 4], dump.order) == cpu  # type: ignore[arg-type]
        assert [pykvm.kvm_getpcpu(kd, cpu) for cpu in (-1, 2, 7, 8, 1 << 40)] == [None] * 5
        assert kvm_geterr(kd) == ""
        if types:
            assert pykvm.kvm_getcptime(kd) == [111, 222, 333, 444, 555]
        else:
            assert pykvm.kvm_getcptime(kd) == -1
            assert "carries no type information" in kvm_geterr(kd)
        base, total = dump.facts.counters["example_counter"]
        held = kd.read_ptr(kd.symbol("example_counter"))
        assert (held == base) == (machine != "amd64" or options.get("release") in ("10", "12"))
        assert pykvm.kvm_counter_u64_fetch(kd, held) == total
        assert pykvm.kvm_counter_u64_fetch(kd, base) == total
        for cpu in (0, 1):
            buf = bytearray(9)
            assert pykvm.kvm_read_zpcpu(kd, held, buf, 8, cpu) == 8
            assert buf == ((cpu + 1) * 0x100000001).to_bytes(8, dump.order) + b"\0"  # type: ignore[arg-type]
        assert pykvm.kvm_read_zpcpu(kd, held, bytearray(8), 8, 2) == -1
        assert kvm_geterr(kd) == "CPU 2 not found"
        assert pykvm.kvm_counter_u64_fetch(kd, 0) == 0
        assert kvm_geterr(kd) == "nothing is allocated at 0"
        with pytest.raises(ValueError, match="does not fit"):
            pykvm.kvm_read_zpcpu(kd, held, bytearray(8), 9, 0)
        # Dynamic variables: of CPU 0 until another one is chosen.
        for chosen in (None, 1, 0):
            if chosen is not None:
                assert pykvm.kvm_dpcpu_setcpu(kd, chosen) == 0
            for name, values in dump.facts.dpcpu.items():
                assert kd.read_ptr(kd.symbol(name)) == values[chosen or 0]
                assert kd.read_ptr(kd.symbols["_" + name]) == values[chosen or 0]
        assert [pykvm.kvm_dpcpu_setcpu(kd, cpu) for cpu in (2, 8, -1)] == [-1, -1, -1]
        assert kvm_geterr(kd) == "kvm_dpcpu_setcpu: CPU -1 too big (mp_maxcpus is 8)"
        moved = kd.symbol("hits")
        assert kd.symbol("pcpu_entry_hits") == dump.symbols["pcpu_entry_hits"] + dump.displacement
        assert moved != kd.symbol("pcpu_entry_hits")
        assert word == kd.info.pointer_size


def test_handles_have_their_own_cpu(freebsd_written: Write) -> None:
    dump, other = freebsd_written(), freebsd_written("i386", release="10")
    a, b, c = (pykvm.Kvm(d.core, d.kernel) for d in (dump, dump, other))
    assert pykvm.kvm_dpcpu_setcpu(a, 1) == 0
    assert [kd.read_ptr(kd.symbol("hits")) for kd in (a, b, c)] == [2000, 1000, 1000]
    assert pykvm.kvm_getpcpu(c, 1) == c.read(other.facts.pcpu[1], other.layouts["pcpu"][0])


def test_cpu_numbers_that_make_no_sense(freebsd_written: Write, tmp_path: Path) -> None:
    dump = freebsd_written()
    at = _file_offset(dump, dump.symbols["mp_maxcpus"])
    for value, message in ((0, "mp_maxcpus 0 makes no sense"), (1 << 30, "mp_maxcpus 1073741824 makes no sense")):
        core = _poked(dump, tmp_path, at, struct.pack("<i", value))
        with pykvm.Kvm(core, dump.kernel) as kd:
            assert pykvm.kvm_getmaxcpu(kd) == pykvm.kvm_getpcpu(kd, 0) == pykvm.kvm_getcptime(kd) == -1
            assert kvm_geterr(kd).endswith(message)
            assert pykvm.kvm_dpcpu_setcpu(kd, 0) == -1


def _file_offset(dump: FreebsdDump, va: int) -> int:
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        pa = kd.translate(va)
    return _reader(dump).at[pa // dump.page_size] + pa % dump.page_size


def _poked(dump: FreebsdDump, tmp_path: Path, offset: int, data: bytes) -> Path:
    core = tmp_path / "poked"
    raw = bytearray(dump.core.read_bytes())
    raw[offset : offset + len(data)] = data
    core.write_bytes(raw)
    return core


# -- virtual network stacks -----------------------------------------------------------------------------------------


def _system(**changes: Any) -> Any:
    return replace(default_system(8), **changes)


@pytest.mark.parametrize(("dumping", "jid"), [(100115, 0), (100113, 3), (0, 0), (424242, 0)])
def test_vnet(tmp_path: Path, dumping: int, jid: int) -> None:
    """Variables are those of the prison of the thread that made the dump: 100113 is jailed, but not on a CPU."""
    dump = write_freebsd(tmp_path, system=_system(dumping=dumping), release="12")
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        nl = [Nlist("_ifnet"), Nlist("_loif"), Nlist("_hits"), Nlist("_allproc"), Nlist("_nosuch")]
        nl2 = [KvmNlist(entry.n_name) for entry in nl]
        assert pykvm.kvm_nlist(kd, nl) == pykvm.kvm_nlist2(kd, nl2) == 1
        assert [e.n_value for e in nl] == [e.n_value for e in nl2]
        assert [e.n_type for e in nl] == [e.n_type for e in nl2] == [6, 6, 6, 6, 0]
        for entry in nl[:2]:
            assert kd.read_ptr(entry.n_value) == dump.facts.vnet[str(entry.n_name)[1:]][jid]
        assert kd.symbol("ifnet") == kd.symbols["ifnet"] == nl[0].n_value
        assert "ifnet" in kd.symbols
        assert "nosuch" not in kd.symbols
        assert kvm_geterr(kd) == ""
    if jid == 0:
        return
    command = [sys.executable, "-m", "pykvm", "nm", "-M", dump.core, "-N", dump.kernel, "ifnet", "hits"]
    shown = subprocess.run(command, capture_output=True, check=True, text=True).stdout.splitlines()
    assert shown == [f"{nl[0].n_value:016x} vnet_entry_ifnet", f"{nl[2].n_value:016x} pcpu_entry_hits"]


def test_vnet_that_is_none(freebsd_written: Write, tmp_path: Path) -> None:
    """The structure is not what it should be: the name is not found, the others are, and the message says why."""
    dump = freebsd_written()
    magic = next(iter(dump.addresses.vnets.values())) + dump.layouts["vnet"][1]["vnet_magic_n"][0]
    core = _poked(dump, tmp_path, _file_offset(dump, magic), b"\1\2\3\4")
    with pykvm.Kvm(core, dump.kernel) as kd:
        nl = [KvmNlist("_ifnet"), KvmNlist("_hits")]
        assert pykvm.kvm_nlist2(kd, nl) == 1
        assert (nl[0].n_type, nl[0].n_value, nl[1].n_type) == (0, 0, 6)
        assert "invalid vnet magic#: vnet_magic_n is 0x4030201" in kvm_geterr(kd)
        with pytest.raises(pykvm.KvmError, match="vnet_entry_ifnet: its network stack is not to be found"):
            kd.symbol("ifnet")


def test_vnet_without_types(freebsd_written: Write) -> None:
    dump = freebsd_written(types=False)
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        nl = [KvmNlist("_ifnet"), KvmNlist("_hits")]
        assert pykvm.kvm_nlist2(kd, nl) == 1
        assert nl[1].n_value == kd.symbol("hits")
        assert "carries no type information" in kvm_geterr(kd)


# -- swap -----------------------------------------------------------------------------------------------------------

SWAP = (SwapDevice("ada0p3", 0, 0x5D, 524288, 1234), SwapDevice("gpt/" + "long" * 9, 0, 0x72, 1024, 5),
        SwapDevice("", 0, 0, 4096, 7))  # fmt: skip


@pytest.mark.parametrize(
    ("machine", "release", "unused"), [("amd64", "15", 0), ("i386", "10", 32), ("mips64", "12", 0)]
)
def test_swap(tmp_path: Path, machine: str, release: str, unused: int) -> None:
    system = replace(default_system(4 if machine == "i386" else 8), swap=SWAP)
    dump = write_freebsd(tmp_path, machine, release=release, system=system)
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        names = ("ada0p3", ("gpt/" + "long" * 9)[:31], "[NFS swap]")
        devices = [(n, d.used, d.blocks - unused, 0) for n, d in zip(names, SWAP, strict=True)]
        total = ("", 1246, 524288 + 1024 + 4096 - 3 * unused, 0)
        assert pykvm.kvm_getswapinfo(kd, 16, 0) == [*devices, total]
        assert pykvm.kvm_getswapinfo(kd, 4, 0) == [*devices, total]
        assert pykvm.kvm_getswapinfo(kd, 2, 0) == [devices[0], total]
        assert pykvm.kvm_getswapinfo(kd, 1, 0) == [total]
        assert pykvm.kvm_getswapinfo(kd, 0, 0) == -1
        prefixed = pykvm.kvm_getswapinfo(kd, 16, pykvm.SWIF_DEV_PREFIX)
        assert isinstance(prefixed, list)
        assert [s.ksw_devname for s in prefixed] == ["/dev/ada0p3", "/dev/gpt/" + "long" * 5 + "lo", "[NFS swap]", ""]
        assert kvm_geterr(kd).endswith("no room even for the total")


def test_no_swap(tmp_path: Path) -> None:
    dump = write_freebsd(tmp_path, system=_system(swap=()))
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        assert pykvm.kvm_getswapinfo(kd, 8, 0) == [("", 0, 0, 0)]


def test_swap_that_makes_no_sense(freebsd_written: Write, tmp_path: Path) -> None:
    dump = freebsd_written()
    members = dump.layouts["swdevt"][1]
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        device = kd.read_ptr(kd.symbol("swtailq"))
    at = _file_offset(dump, device + members["sw_nblks"][0])
    with pykvm.Kvm(_poked(dump, tmp_path, at, b"\xff" * 4), dump.kernel) as kd:
        assert pykvm.kvm_getswapinfo(kd, 8, 0) == -1
        assert kvm_geterr(kd).endswith("sw_nblks -1, sw_used 1234 make no sense")
    at = _file_offset(dump, device + members["sw_list"][0])
    with pykvm.Kvm(_poked(dump, tmp_path, at, struct.pack("<Q", device)), dump.kernel) as kd:
        assert pykvm.kvm_getswapinfo(kd, 8, 0) == -1
        assert "loops" in kvm_geterr(kd)
    dump = freebsd_written(types=False)
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        assert pykvm.kvm_getswapinfo(kd, 8, 0) == -1
        assert kvm_geterr(kd).startswith(f"struct swdevt: {dump.kernel}: carries no type information (CTF, DWARF)")


# -- resolvers ------------------------------------------------------------------------------------------------------


def _stripped(dump: FreebsdDump, path: Path) -> Path:
    """The kernel file without its symbols."""
    raw = bytearray(dump.kernel.read_bytes())
    with dump.kernel.open("rb") as f:
        elf = ELFFile(f)
        number = next(i for i, s in enumerate(elf.iter_sections()) if s.name == ".symtab")
        at = elf["e_shoff"] + number * elf["e_shentsize"] + 4
        raw[at : at + 4] = bytes(3) + b"\0"
    path.write_bytes(raw)
    return path


class Book:
    """A resolver that keeps what it was asked for."""

    def __init__(self, symbols: Any) -> None:
        self.symbols = dict(symbols)
        self.asked: list[str] = []

    def __call__(self, name: str) -> int | None:
        self.asked.append(name)
        return self.symbols.get(name)


@pytest.mark.parametrize(
    ("machine", "options"),
    [
        ("amd64", {}),
        ("amd64", {"container": "full"}),
        ("i386", {"container": "full"}),
        ("arm64", {}),
        ("powerpc64", {}),
    ],
    ids=lambda value: str(value),
)
def test_kernels_without_symbols(freebsd_written: Write, tmp_path: Path, machine: str, options: dict[str, Any]) -> None:
    """All names are the resolver's: also those that it takes to translate, and those of the identity check."""
    dump = freebsd_written(machine, **options)
    kernel, book = _stripped(dump, tmp_path / "kernel"), Book(dump.symbols)
    errbuf = bytearray(2048)
    for execfile in (kernel, None):
        kd = pykvm.kvm_open2(execfile, dump.core, os.O_RDONLY, errbuf, book)
        assert kd is not None, errbuf
        with kd:
            assert kd.read_i32(kd.symbol("nprocs")) == len(dump.processes)
            assert kd.info.version == dump.facts.version.rstrip("\n")
            assert pykvm.kvm_kerndisp(kd) == dump.displacement
            nl = [KvmNlist("_allproc"), KvmNlist("_nosuch"), KvmNlist("_hits")]
            assert pykvm.kvm_nlist2(kd, nl) == 1
            assert [e.n_type for e in nl] == [pykvm.N_DATA | pykvm.N_EXT, 0, pykvm.N_DATA | pykvm.N_EXT]
            assert nl[0].n_value == dump.symbols["allproc"] + dump.displacement
            assert kd.read_ptr(nl[2].n_value) == 1000
            assert pykvm.kvm_getncpus(kd) == 2
            assert not list(kd.symbols.all())  # there are those of modules
    assert {"version", "nprocs", "_allproc", "allproc", "_nosuch", "nosuch"} <= set(book.asked)
    if "container" in options:
        assert pykvm.kvm_open2(kernel, dump.core, os.O_RDONLY, errbuf) is None
        assert b"has no symbol" in errbuf
        assert pykvm.kvm_open2(None, dump.core, os.O_RDONLY, errbuf) is None
        assert b"name the kernel file" in errbuf


def test_a_resolver_is_asked_for_what_the_file_lacks(freebsd_written: Write) -> None:
    dump = freebsd_written()
    one, two = Book({"mine": 0x1234, "allproc": 1}), Book({"mine": 0x5678})
    a = pykvm.kvm_open2(str(dump.kernel), str(dump.core), os.O_RDONLY, None, one)
    b = pykvm.kvm_open2(dump.kernel, dump.core, os.O_RDONLY, resolver=two)
    assert a is not None
    assert b is not None
    assert (a.symbol("mine"), b.symbol("mine")) == (0x1234, 0x5678)
    assert a.symbol("_allproc") == b.symbol("allproc") == dump.symbols["allproc"]
    assert "allproc" not in one.asked
    assert "mine" in a.symbols
    nl = [Nlist("_mine"), Nlist("_nprocs")]
    assert pykvm.kvm_nlist(b, nl) == 0
    assert [e.n_value for e in nl] == [0x5678, dump.symbols["nprocs"]]
    a.close()
    b.close()


def _raises(name: str) -> int:
    raise ZeroDivisionError("no more")


@pytest.mark.parametrize(
    ("resolver", "message"),
    [
        (_raises, "resolver: {}: ZeroDivisionError: no more"),
        (lambda name: -1, "resolver: {}: the int -0x1 is no address"),
        (lambda name: 1 << 64, "resolver: {}: the int of 65 bits is no address"),
        (lambda name: True, "resolver: {}: the bool 0x1 is no address"),
        (lambda name: "0x1000", "resolver: {}: a str is no address"),
        (lambda name: 1.5, "resolver: {}: a float is no address"),
        (lambda name, more: 1, "resolver: {}: TypeError: "),
    ],
)
def test_resolvers_that_fail(freebsd_written: Write, tmp_path: Path, resolver: Any, message: str) -> None:
    dump = freebsd_written(container="full")
    kernel, errbuf = _stripped(dump, tmp_path / "kernel"), bytearray(2048)
    assert pykvm.kvm_open2(kernel, dump.core, os.O_RDONLY, errbuf, resolver) is None
    assert errbuf.startswith(message.format("KPML5phys").encode())
    kd = pykvm.kvm_open2(dump.kernel, dump.core, os.O_RDONLY, errbuf, None)
    assert kd is not None
    kd = pykvm.kvm_open2(dump.kernel, dump.core, os.O_RDONLY, errbuf, lambda n: resolver(n) if n == "bad" else None)
    assert kd is not None, errbuf
    nl = [KvmNlist("_nprocs"), KvmNlist("bad")]
    assert pykvm.kvm_nlist2(kd, nl) == -1
    assert kvm_geterr(kd).startswith(message.format("bad"))
    assert nl[0].n_value == dump.symbols["nprocs"]
    with pytest.raises(pykvm.KvmError, match=r"^resolver: bad: "):
        kd.symbol("bad")


def test_wrong_calls(freebsd_written: Write) -> None:
    dump = freebsd_written()
    with pytest.raises(TypeError, match="resolver"):
        pykvm.kvm_open2(dump.kernel, dump.core, 0, None, "no function")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="errbuf"):
        pykvm.kvm_open2(dump.kernel, dump.core, 0, b"")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        KvmNlist(b"bytes")  # type: ignore[arg-type]
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        with pytest.raises(TypeError):
            pykvm.kvm_nlist2(kd, ["_allproc"])  # type: ignore[list-item]
        with pytest.raises(TypeError):
            pykvm.kvm_getpcpu(kd, "0")  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            pykvm.kvm_read_zpcpu(kd, 1, b"readonly", 1, 0)
        assert repr(KvmNlist("_x")) == "KvmNlist('_x', n_type=0x0, n_value=0x0)"
        assert pykvm.kvm_nlist2(kd, [KvmNlist(None), KvmNlist("_nosuch")]) == 0


# -- opening as FreeBSD does ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kernel", "core", "flags", "message"),
    [
        ("x" * 1024, "/dev/null", 0, "exec file name too long"),
        (None, "/dev/null", os.O_CREAT, "bad flags arg"),
        (None, "/dev/null", os.O_WRONLY, "bad flags arg"),
        (None, "EMPTY", 0, "empty file: Invalid argument ({EMPTY})"),
        (None, "/nosuch/core", 0, "/nosuch/core: No such file or directory"),
        (None, "/dev/zero", 0, "/dev/zero: not physical memory device"),
        ("/nosuch/kernel", "CORE", 0, "/nosuch/kernel: No such file or directory"),
        ("TEXT", "CORE", 0, "bad namelist: {TEXT}: kernel is not an ELF file: "),
        ("DATA", "CORE", 0, "bad namelist: {DATA}: unsupported ELF data encoding for kernel: EI_DATA is 7"),
        (
            "OTHER",
            "CORE",
            0,
            "bad namelist: {OTHER} is of arm, the dump {CORE} of x86_64: not a minidump for this platform",
        ),
        # Cores that are none: MirBSD's library opens them.
        ("TEXT", "TEXT", 0, "bad namelist: {TEXT}: kernel is not an ELF file: "),
        ("TEXT", "KERNEL", 0, "bad namelist: {TEXT}: kernel is not an ELF file: "),
        ("KERNEL", "TEXT", 0, "no valid dump header: {TEXT}"),
        ("KERNEL", "KERNEL", 0, "no valid dump header: {KERNEL} is an ELF "),
    ],
)
def test_messages(
    freebsd_written: Write, tmp_path: Path, kernel: str | None, core: str, flags: int, message: str
) -> None:
    dump = freebsd_written()
    files = {name: tmp_path / name for name in ("EMPTY", "TEXT", "DATA")}
    files |= {"CORE": dump.core, "KERNEL": dump.kernel, "OTHER": freebsd_written("arm").kernel}
    files["EMPTY"].write_bytes(b"")
    files["TEXT"].write_text("not a kernel\n")
    raw = dump.kernel.read_bytes()
    files["DATA"].write_bytes(raw[:5] + b"\7" + raw[6:])
    errbuf = bytearray(b"\xff" * 2048)
    execfile: Any = files.get(kernel or "", kernel)
    assert pykvm.kvm_open2(execfile, files.get(core, core), flags, errbuf) is None
    text = errbuf[: errbuf.index(0)].decode()
    assert text.startswith(message.format(**files))
    assert "\n" not in text


def test_the_null_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handle of the running kernel without its memory: alive; what no host's kernel tells fails clearly, and where
    nothing is known of the host's, every question (of Linux: test_procfs.py)."""
    errbuf = bytearray(2048)
    kd = pykvm.kvm_open2(None, "/dev/null", os.O_RDONLY, errbuf)
    assert kd is not None
    why = ": a handle on /dev/null has no memory"
    buf = bytearray(4)
    assert pykvm.kvm_read(kd, 0x1000, buf, 4) == pykvm.kvm_read2(kd, 0x1000, buf, 4) == -1
    assert kvm_geterr(kd) == "invalid address (1000)" + why
    assert pykvm.kvm_write(kd, 0x1000, buf, 4) == -1
    assert pykvm.kvm_nlist2(kd, [KvmNlist("_x")]) == -1
    assert kvm_geterr(kd) == "bad namelist" + why
    assert pykvm.kvm_native(kd) == 1
    memory: dict[str, tuple[Any, Any]] = {
        "kvm_walk_pages": (0, lambda: pykvm.kvm_walk_pages(kd, lambda page, closure: 1)),
        "kvm_getpcpu": (-1, lambda: pykvm.kvm_getpcpu(kd, 0)),
        "kvm_dpcpu_setcpu": (-1, lambda: pykvm.kvm_dpcpu_setcpu(kd, 0)),
        "kvm_read_zpcpu": (-1, lambda: pykvm.kvm_read_zpcpu(kd, 0x1000, buf, 4, 0)),
        "kvm_counter_u64_fetch": (0, lambda: pykvm.kvm_counter_u64_fetch(kd, 0x1000)),
    }
    if sys.platform == "linux":
        for name, (result, call) in memory.items():
            assert call() == result, name
            assert kvm_geterr(kd) == f"{name}: this handle has no memory, and /proc does not tell"
        kd.close()
    monkeypatch.setattr("pykvm.targets.live.can_tell", lambda: False)
    kd = pykvm.kvm_open2(None, "/dev/null", os.O_RDONLY, errbuf)
    assert kd is not None
    calls: dict[str, tuple[Any, Any]] = {
        **memory,
        "kvm_getmaxcpu": (-1, lambda: pykvm.kvm_getmaxcpu(kd)),
        "kvm_getncpus": (-1, lambda: pykvm.kvm_getncpus(kd)),
        "kvm_getswapinfo": (-1, lambda: pykvm.kvm_getswapinfo(kd, 8, 0)),
        "kvm_getcptime": (-1, lambda: pykvm.kvm_getcptime(kd)),
        "kvm_getprocs": (None, lambda: pykvm.kvm_getprocs(kd, 0, 0)),
        "kvm_getloadavg": (-1, lambda: pykvm.kvm_getloadavg(kd, 3)),
    }
    for name, (result, call) in calls.items():
        assert call() == result, name
        assert kvm_geterr(kd) == f"{name}: no live kernel to ask"
    assert pykvm.kvm_kerndisp(kd) == 0
    assert kvm_geterr(kd) == "failed to get kernel base address: no live kernel to ask"
    assert pykvm.kvm_close(kd) == 0
    assert pykvm.kvm_native(kd) == 0
    assert kvm_geterr(kd) == "handle is closed"


def test_what_other_systems_lack(mirbsd_dump: Any) -> None:
    with pykvm.Kvm(mirbsd_dump.core, mirbsd_dump.kernel) as kd:
        assert pykvm.kvm_walk_pages(kd, lambda page, closure: 1) == 0
        assert kvm_geterr(kd) == "kvm_walk_pages: MirBSD does not have it"
        for name, call in (
            ("kvm_getmaxcpu", pykvm.kvm_getmaxcpu),
            ("kvm_getncpus", pykvm.kvm_getncpus),
            ("kvm_getcptime", pykvm.kvm_getcptime),
        ):
            assert call(kd) == -1
            assert kvm_geterr(kd) == f"{name}: MirBSD does not have it"
        assert pykvm.kvm_getpcpu(kd, 0) == pykvm.kvm_getswapinfo(kd, 8, 0) == pykvm.kvm_dpcpu_setcpu(kd, 0) == -1
        assert pykvm.kvm_counter_u64_fetch(kd, 8) == pykvm.kvm_kerndisp(kd) == 0
        nl = [KvmNlist("_allproc"), KvmNlist("_nosuch")]
        assert pykvm.kvm_nlist2(kd, nl) == 1
        assert nl[0].n_value == mirbsd_dump.symbols["allproc"]


def test_where_the_kernel_runs(freebsd_written: Write) -> None:
    for machine in ("amd64", "powerpc64"):
        dump = freebsd_written(machine)
        with pykvm.Kvm(dump.core, dump.kernel) as kd:
            assert pykvm.kvm_kerndisp(kd) == dump.displacement
            assert kvm_geterr(kd) == ""


def test_a_kernel_that_was_moved(tmp_path: Path) -> None:
    """As KASLR does: the file's addresses, and a resolver's, are below those that it runs at. It may also be above."""
    text, linked = b"FreeBSD 14.2-RELEASE test\n\0", 0xFFFFFFFF80200000
    for moved in (0x1E00000, -0x200000):
        place = linked + moved
        index = (place - KERNBASE) >> 21
        page_map = bytes(index * 8) + struct.pack("<Q", 0x200083)
        pages = {0x200000: text, 0x201000: struct.pack("<Q", 77)}
        core = tmp_path / "core"
        core.write_bytes(minidump(_amd64_header, pages, page_map, avail=[(0, 1 << 24)]))
        kernel = small_kernel(tmp_path / "kernel", {"version": linked}, held={linked: text})
        kd = pykvm.kvm_open2(kernel, core, 0, None, Book({"value": linked + 0x1000}))
        assert kd is not None
        assert pykvm.kvm_kerndisp(kd) == moved
        assert kd.symbol("version") == place
        assert kd.read_u64(kd.symbol("value")) == 77
        kd.close()


def test_native(freebsd_written: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    amd64, arm64, powerpc = (
        freebsd_written("amd64"),
        freebsd_written("arm64", offset=1 << 30),
        freebsd_written("powerpc64"),
    )
    hosts = {
        ("x86_64", "little"): (1, 0, 0), ("aarch64", "little"): (0, 1, 0), ("powerpc64", "big"): (0, 0, 1),
        ("powerpc64", "little"): (0, 0, 0), ("i386", "little"): (0, 0, 0),
    }  # fmt: skip
    for host, expected in hosts.items():
        monkeypatch.setattr("pykvm.native._host", lambda host=host: host)
        handles = [pykvm.Kvm(dump.core, dump.kernel) for dump in (amd64, arm64, powerpc)]
        assert tuple(map(pykvm.kvm_native, handles)) == expected
    monkeypatch.undo()
    assert pykvm.native._host()[1] == sys.byteorder
