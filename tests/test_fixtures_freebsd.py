"""The writers of FreeBSD's dumps, checked by a reader that is nobody's: what they write can be read back."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import pytest
import zstandard
from elftools.elf.elffile import ELFFile
from freebsd_reader import Full, Minidump, Missing, Structures

from fixtures.__main__ import main
from fixtures.freebsd import MACHINES, FreebsdDump, write_freebsd
from fixtures.freebsd.dumpheader import dump_header
from fixtures.freebsd.model import PRS_ZOMBIE
from fixtures.linux.memory import PhysicalMemory

VARIANTS = [
    *((name, {}) for name in MACHINES),
    ("amd64", {"version": 1, "release": "10"}),
    ("amd64", {"version": 2, "release": "12"}),
    ("amd64", {"release": "15", "layout": 3, "seed": 5}),
    ("arm64", {"version": 1}),
    ("arm64", {"version": 2, "offset": 1 << 30}),
    ("arm", {"version": 1}),
    ("arm", {"how": {"avail_word": 4}}),
    ("i386", {"version": 1, "release": "10"}),
    ("i386", {"release": "10", "how": {"avail_word": 4}}),
    ("i386-pae", {"release": "10"}),
    ("riscv64", {"version": 1}),
    ("powerpc64", {"version": 1, "moved": 0xC000000001000000}),
    ("mips", {"version": 2, "how": {"avail_word": 4}}),
    ("mips64", {"version": 2}),
    ("dragonfly", {"version": 1}),
]


def _reader(dump: FreebsdDump, avail_word: int = 8) -> Minidump:
    order = "<" if dump.order == "little" else ">"
    bitmap = 4 if dump.machine.startswith("mips") and (dump.version == 1 or dump.word == 4) else 8
    reader = Minidump(dump.core, dump.page_size, order, dump.word, avail_word, bitmap)
    if dump.machine == "mipsn32":
        reader.h["entry"] = 8
    return reader


@pytest.mark.parametrize(("machine", "options"), VARIANTS, ids=lambda value: str(value))
def test_minidumps_read_back(tmp_path: Path, machine: str, options: dict) -> None:
    dump = write_freebsd(tmp_path, machine, **options)
    reader = _reader(dump, options.get("how", {}).get("avail_word", 8))
    assert reader.end == len(reader.data)
    assert reader.version == dump.version == options.get("version", dump.version)
    for probe in dump.probes:
        assert reader.kernel(probe.va, len(probe.data)) == probe.data, probe.name
    for pfn, data in dump.memory.items():
        assert reader.read(pfn * dump.page_size, dump.page_size) == data
    for va in dump.holes:
        with pytest.raises(Missing):
            reader.kernel(va, 8)
    assert set(reader.at) >= set(dump.memory)
    assert reader.parts["msgbuf"].count(b"panic: fixture\n") == 1
    at = dump.symbols["version"] + dump.displacement
    assert reader.kernel(at, len(dump.facts.version)) == dump.facts.version.encode()
    if machine != "dragonfly":
        _check_processes(dump, Structures(dump.layouts, reader.kernel, reader.order, dump.word))
    _check_kernel(dump, reader)


def _check_processes(dump: FreebsdDump, s: Structures) -> None:
    """allproc, zombproc and the table by pid have them all, with their threads and strings."""
    move = dump.displacement
    found = _list(s, dump.symbols["allproc"] + move, "p_list")
    zombies = {p.pid for p in dump.processes if p.state == PRS_ZOMBIE}
    assert found == [p.pid for p in reversed(dump.processes) if p.pid not in zombies]
    if dump.release in ("10", "12"):
        assert set(_list(s, dump.symbols["zombproc"] + move, "p_list")) == zombies
    else:
        assert "zombproc" not in dump.symbols
    table = s.number(dump.symbols["pidhashtbl"] + move, s.word)
    mask = s.number(dump.symbols["pidhash"] + move, s.word)
    by_pid = [pid for i in range(mask + 1) for pid in _list(s, table + i * s.word, "p_hash")]
    assert sorted(by_pid) == sorted(p.pid for p in dump.processes)
    assert s.number(dump.symbols["nprocs"] + move, 4) == len(dump.processes)
    for p in dump.processes:
        at = dump.addresses.procs[p.pid]
        assert s.get(at, "proc", "p_pid") == p.pid
        assert s.bytes(at, "proc", "p_comm", 20) == p.comm.encode().ljust(20, b"\0")
        assert s.get(s.get(at, "proc", "p_ucred"), "ucred", "cr_svuid") == p.svuid
        assert s.string(s.get(s.get(at, "proc", "p_sysent"), "sysentvec", "sv_name")) in (
            (b"null",) if p.flag & 0x200 else (b"FreeBSD ELF%d" % (p.bits or 8 * s.word),)
        )
        threads, td = [], s.get(at, "proc", "p_threads", "tqh_first")
        while td:
            threads.append((s.get(td, "thread", "td_tid"), s.bytes(td, "thread", "td_name", 20).rstrip(b"\0").decode()))
            assert s.get(td, "thread", "td_proc") == at
            td = s.get(td, "thread", "td_plist", "tqe_next")
        assert threads == [(t.tid, t.name) for t in p.threads]
        if p.pid in dump.addresses.args:
            pargs = s.get(at, "proc", "p_args")
            text = s.bytes(pargs, "pargs", "ar_args", s.get(pargs, "pargs", "ar_length"))
            assert text == (p.title or b"".join(arg + b"\0" for arg in p.args))
    pcpu = dump.facts.pcpu[1]
    assert s.number(dump.symbols["cpuid_to_pcpu"] + move + s.word, s.word) == pcpu
    assert s.get(pcpu, "pcpu", "pc_curthread") == dump.addresses.threads[100102]
    for i, values in enumerate(zip(*dump.facts.dpcpu.values(), strict=True)):
        offset = s.number(dump.symbols["dpcpu_off"] + move + i * s.word, s.word)
        place = dump.symbols["pcpu_entry_hits"] + move + offset
        assert s.number(place & (1 << 8 * s.word) - 1, s.word) == values[0]


def _list(s: Structures, head: int, member: str) -> list[int]:
    out, at = [], s.number(head, s.word)
    while at:
        out.append(s.get(at, "proc", "p_pid"))
        at = s.get(at, "proc", member, "le_next")
    return out


def _check_kernel(dump: FreebsdDump, reader: Minidump) -> None:
    """The file: its machine, its symbols, its text, its types."""
    with dump.kernel.open("rb") as f:
        elf = ELFFile(f)
        assert (elf.elfclass, elf.little_endian) == (8 * dump.word, dump.order == "little")
        names = {s.name: s["st_value"] for s in elf.get_section_by_name(".symtab").iter_symbols()}
        assert names == {**dump.symbols, "": 0}
        for name in (".text", ".rodata"):
            section = elf.get_section_by_name(name)
            data = section.data()
            assert reader.kernel(section["sh_addr"] + dump.displacement, len(data)) == data
        assert dump.facts.version.encode() in elf.get_section_by_name(".rodata").data()
        if dump.machine == "dragonfly":
            assert elf.get_section_by_name(".SUNW_ctf") is None
            return
        magic, version = struct.unpack(
            ("<" if elf.little_endian else ">") + "HB", elf.get_section_by_name(".SUNW_ctf").data()[:3]
        )
        assert (magic, version) == (0xCFF1, 2 if dump.release in ("10", "12") else 3)
        offset = dump.symbols["proc_off_p_comm"] + dump.displacement
        assert int.from_bytes(reader.kernel(offset, 4), dump.order) == dump.layouts["proc"][1]["p_comm"][0]


FULL = [
    ("amd64", {}, "amd64"),
    ("amd64", {"release": "12"}, "amd64"),
    ("amd64", {"kernphys": 0x3200000, "how": {"delta": True}}, "amd64"),
    ("amd64", {"levels": 5}, "la57"),
    ("i386", {}, "i386"),
    ("i386", {"release": "10"}, "i386"),
    ("i386-pae", {"high": False}, "pae"),
    ("i386-pae", {"high": False, "release": "10"}, "pae"),
    ("arm", {}, "arm"),
    ("arm", {"how": {"delta": False}}, "arm"),
]


@pytest.mark.parametrize(("machine", "options", "kind"), FULL, ids=lambda value: str(value))
def test_full_dumps_read_back(tmp_path: Path, machine: str, options: dict, kind: str) -> None:
    dump = write_freebsd(tmp_path, machine, container="full", **options)
    reader = Full(dump.core, dump.word == 8)
    assert (reader.identity[7], reader.kind, reader.machine) == (255, 4, {"arm": 40, "amd64": 62}.get(machine, 3))
    assert set(reader.at) == {n for start, size in dump.banks for n in range(start // 4096, (start + size) // 4096)}
    delta = options.get("how", {}).get("delta", machine == "arm")
    assert reader.delta == (dump.load if delta else None)
    root, users = dump.roots
    assert root is not None
    for probe in dump.probes:
        assert reader.virtual(root, probe.va, len(probe.data), kind) == probe.data, probe.name
    for va in dump.holes:
        with pytest.raises(Missing):
            reader.virtual(root, va, 8, kind)

    def static(name: str, size: int) -> int:
        """A variable of the image, by where the image lies."""
        return reader.number(dump.symbols[name] - dump.load[0] + dump.load[1], size)

    if kind in ("amd64", "la57"):
        assert static({"la57": "KPML5phys"}.get(kind, "KPML4phys"), 8) == root
        pml4 = static("KPML4phys", 8)
        assert reader.number(pml4 + 256 * 8, 8) & 0xFFFFFFFFFF000 == pml4
        assert ("kernphys" in dump.symbols) == (dump.load[1] != 0x200000)
    elif kind == "arm":
        assert static("kernel_l1pa", 4) == root
    else:
        assert root in [static(n, 4) for n in ("IdlePTD", "IdlePDPT", "IdlePTD_nopae") if n in dump.symbols]
    _check_processes(dump, Structures(dump.layouts, lambda va, n: reader.virtual(root, va, n, kind), "<", dump.word))
    _check_user(dump, reader, kind, users)


def _check_user(dump: FreebsdDump, reader: Full, kind: str, users: dict[int, int]) -> None:
    root = dump.roots[0]
    s = Structures(dump.layouts, lambda va, n: reader.virtual(root, va, n, kind), "<", dump.word)
    assert set(users) == {p.pid for p in dump.processes if p.user}
    for p in dump.processes:
        if not p.user:
            continue
        at = dump.addresses.procs[p.pid]
        sysent, vmspace = s.get(at, "proc", "p_sysent"), s.get(at, "proc", "p_vmspace")
        pmap = vmspace + dump.layouts["vmspace"][1]["vm_pmap"][0]
        if kind in ("amd64", "la57"):
            assert s.get(pmap, "pmap", "pm_cr3") & ~0xFFF == users[p.pid]
        elif kind == "pae":
            assert reader.walk(root, s.get(pmap, "pmap", "pm_pdpt"), kind) == users[p.pid]
        else:
            first = s.get(pmap, "pmap", "pm_pt1" if kind == "arm" else "pm_pdir")
            assert reader.walk(root, first, kind) == users[p.pid]
        strings = s.get(sysent, "sysentvec", "sv_psstrings")
        if "vm_stacktop" in dump.layouts["vmspace"][1] and s.get(vmspace, "vmspace", "vm_stacktop"):
            strings = s.get(vmspace, "vmspace", "vm_stacktop") - s.get(sysent, "sysentvec", "sv_psstringssz")
        word = (p.bits or 8 * dump.word) // 8
        mine = Structures({}, lambda va, n, r=users[p.pid]: reader.virtual(r, va, n, kind), "<", word)
        for i, expected in enumerate((p.args, p.environ)):
            vector = mine.number(strings + 2 * i * word, word)
            assert mine.number(strings + (2 * i + 1) * word, 4) == len(expected)
            assert tuple(mine.string(mine.number(vector + j * word, word)) for j in range(len(expected))) == expected
            assert mine.number(vector + len(expected) * word, word) == 0


@pytest.mark.parametrize("compress", ["gz", "zst"])
def test_compressed_and_on_the_device(tmp_path: Path, compress: str) -> None:
    plain = write_freebsd(tmp_path / "plain", "riscv64").core.read_bytes()
    dump = write_freebsd(tmp_path / "packed", "riscv64", compress=compress)
    expand = (
        gzip.decompress
        if compress == "gz"
        else lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data)
    )
    assert dump.core.suffix == f".{compress}"
    assert expand(dump.core.read_bytes()) == plain
    device = write_freebsd(tmp_path / "device", "riscv64", compress=compress, device=4).core.read_bytes()
    header = device[:512]
    assert header == device[-512:]
    length = int.from_bytes(header[40:48], "big")
    assert expand(device[512 : 512 + length]) == plain
    assert header[495] == {"gz": 1, "zst": 2}[compress]


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_dump_headers(tmp_path: Path, version: int) -> None:
    dump = write_freebsd(tmp_path, "amd64", device=version, header={"hostname": "dumper"})
    data = dump.core.read_bytes()
    header = data[:512]
    assert header == data[-512:]
    assert len(data) == 1024 + int.from_bytes(header[40:48], "big")
    words = struct.unpack(">128I", header)
    parity = 0
    for word in words:
        parity ^= word
    assert parity == 0
    assert header[:32] == b"FreeBSD Kernel Dump\0amd64".ljust(32, b"\0")
    assert (words[8], words[9]) == (version, 2)
    host = 60 if version == 1 else 64
    assert header[host : host + 7] == b"dumper\0"
    assert header[host + 64 :].startswith(b"FreeBSD 14.1-RELEASE FIXTURE\n\0")
    assert header[host + 256 :].startswith(b"fixture\0")
    assert words[14 if version == 1 else 15] == 512


def test_a_damaged_header_has_another_parity() -> None:
    good, bad = (dump_header("amd64", 2, 4096, damage_parity=wrong) for wrong in (False, True))
    assert [i for i in range(512) if good[i] != bad[i]] == [511]


def test_layouts_differ_by_number_and_machine(tmp_path: Path) -> None:
    first, second = (write_freebsd(tmp_path / str(n), "riscv64", layout=n).layouts for n in (0, 1))
    assert {n: m[0] for n, m in first["proc"][1].items()} != {n: m[0] for n, m in second["proc"][1].items()}
    assert first["timeval"] == second["timeval"]


def test_what_is_not_possible_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no full dumps"):
        write_freebsd(tmp_path, "arm64", container="full")
    with pytest.raises(ValueError, match="version 9"):
        write_freebsd(tmp_path, "amd64", version=9)
    with pytest.raises(ValueError, match="behind 4 GB"):
        write_freebsd(tmp_path, "i386-pae", container="full")
    with pytest.raises(ValueError, match="avail_word=4"):
        write_freebsd(tmp_path, "i386-pae", how={"avail_word": 4})


def test_the_command_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["freebsd", str(tmp_path), "--machine", "arm64", "--option", "version=2", "--no-types"]) == 0
    words = dict(line.split() for line in capsys.readouterr().out.splitlines())
    assert Path(words["core"]).read_bytes()[24:28] == b"\2\0\0\0"
    assert b".SUNW_ctf" not in Path(words["kernel"]).read_bytes()
    with pytest.raises(SystemExit):
        main(["freebsd", str(tmp_path), "--option", "nonsense=1"])


def test_the_factory_makes_many(freebsd_dump_factory, freebsd_dump: FreebsdDump) -> None:
    dump = freebsd_dump_factory(processes=100)
    assert len(dump.processes) == len(freebsd_dump.processes) + 100
    assert dump.core != freebsd_dump.core


def test_memory_that_is_full_says_so() -> None:
    memory = PhysicalMemory([(0x1000, 0x2000)], 0x1000, 1)
    assert {memory.new(), memory.new()} == {0x1000, 0x2000}
    with pytest.raises(ValueError, match="no page left in the 8192 bytes of memory at 0x1000"):
        memory.new()
