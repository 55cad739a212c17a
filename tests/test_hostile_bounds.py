"""What damaged files may cost: time, memory and descriptors are bounded, messages are one line, nothing is written."""

from __future__ import annotations

import contextlib
import gc
import os
import struct
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bounds import SLOW
from triage import poke, triage

import pykvm
from pykvm.types.btf import BtfTypes

MAXIMA = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


@contextlib.contextmanager
def cheap(megabytes: int = 64) -> Iterator[None]:
    """Less than 2 seconds, and so much of Python's memory."""
    tracemalloc.start()
    start = time.process_time()
    try:
        yield
        assert time.process_time() - start < 2 * SLOW
        assert tracemalloc.get_traced_memory()[1] < megabytes << 20
    finally:
        tracemalloc.stop()


def descriptors() -> int:
    gc.collect()  # a closed handle that is part of a cycle lets go of its files only then
    return len(list(Path("/proc/self/fd").iterdir()))


# -- sparse files that promise the earth --------------------------------------------------------------------


def aout(a_syms: int, rest: bytes = b"") -> bytes:
    return struct.pack(">I", 0x860107) + struct.pack("<7I", 0, 0, 0, a_syms, 0, 0, 0) + rest


def elf_sections(raw: bytes, count: int) -> bytes:
    """The number of sections in sh_size of the first, as in files with many; the table is a hole behind the file."""
    changed = bytearray(raw)
    struct.pack_into("<I", changed, 32, len(raw))
    struct.pack_into("<H", changed, 48, 0)
    return bytes(changed) + struct.pack("<10I", 0, 0, 0, 0, 0, count, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda raw: aout(0xFFFFFFF0), "symbol table of 357913940 entries"),
        (lambda raw: aout(12, bytes(12) + b"\xf0\xff\xff\xff"), "string table of 4294967280 bytes"),
        (lambda raw: elf_sections(raw, 1 << 20), "e_shnum is 1048576"),
    ],
)
def test_sparse_kernels(mirbsd_dump_factory: Any, make: Callable[[bytes], bytes], message: str) -> None:
    dump = mirbsd_dump_factory(processes=1)
    dump.kernel.write_bytes(make(dump.kernel.read_bytes()))
    os.truncate(dump.kernel, (1 << 32) + 100_000)
    with cheap(), pytest.raises(pykvm.FormatError, match=message) as caught:
        pykvm.Kvm(dump.core, dump.kernel)
    assert str(caught.value).startswith(f"bad namelist: {dump.kernel}: ")


def test_names_that_share_their_bytes(mirbsd_dump_factory: Any) -> None:
    """20,000 symbols, all of them with one name of 65,000 bytes."""
    dump = mirbsd_dump_factory(processes=1)
    table = struct.pack("<IBBHI", 4, 5, 0, 0, 0xD0100000) * 20_000
    strings = b"a" * 65_000 + b"\0"
    dump.kernel.write_bytes(aout(len(table), table + struct.pack("<I", len(strings) + 4) + strings))
    with pytest.raises(pykvm.FormatError, match="the names of the symbols take more than"):
        pykvm.Kvm(dump.core, dump.kernel)


def test_sparse_cpu_data(mirbsd_dump_factory: Any) -> None:
    dump = mirbsd_dump_factory(machine="sun4c", processes=1)
    poke(dump.core, 20, struct.pack(">I", 0xF0000000))
    os.truncate(dump.core, 1 << 33)
    with cheap(), pykvm.Kvm(dump.core, dump.kernel) as kd:
        assert pykvm.kvm_read(kd, dump.symbols["nprocs"], bytearray(4), 4) == -1
        assert "c_size of the CORE_CPU segment is 4026531840" in pykvm.kvm_geterr(kd)


def elf_core(path: Path, phnum: int, phdrs: bytes, size: int, sh_info: int = 0) -> None:
    header = struct.pack("<HHIQQQIHHHHHH", 4, 62, 1, 0, 128, 64, 0, 64, 56, phnum, 64, 1, 0)
    section = bytes(44) + struct.pack("<I", sh_info) + bytes(16)
    path.write_bytes(b"\x7fELF\2\1\1" + bytes(9) + header + section + phdrs)
    os.truncate(path, size)


def test_sparse_program_headers(tmp_path: Path) -> None:
    path = tmp_path / "vmcore"
    elf_core(path, 0xFFFF, b"", 4 << 30, 50_000_000)
    with cheap(), pytest.raises(pykvm.FormatError, match="50000000 program headers"):
        pykvm.Kvm(path)


def test_many_notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hundred segments of 60 MB, all of them the same: of 12 GB of notes 16 MB are read."""
    path = tmp_path / "vmcore"
    count, size = 200, 60 << 20
    phdr = struct.pack("<IIQQQQQQ", 4, 0, 128 + 56 * count, 0, 0, size, size, 4)
    elf_core(path, count, phdr * count, 128 + 56 * count + size)
    read: list[int] = []
    pread = os.pread

    def counted(fd: int, n: int, offset: int) -> bytes:
        data = pread(fd, n, offset)
        read.append(len(data))
        return data

    monkeypatch.setattr(os, "pread", counted)
    with pytest.raises(pykvm.KvmError, match="carries no symbols"):
        pykvm.Kvm(path)
    assert 1 << 20 < sum(read) < 32 << 20


def test_many_processes_in_little_memory(mirbsd_dump_factory: Any) -> None:
    """A list whose elements overlap, one every 4 bytes: more than there can be pids."""
    dump = mirbsd_dump_factory(processes=1)
    with pykvm.Kvm(dump.core, dump.kernel, writable=True) as kd:
        directory = kd.read_u32(dump.symbols["PTDpaddr"])
        offset = kd.types.struct("proc").offset("p_list.le_next")
        kd.write(dump.symbols["allproc"], struct.pack("<I", 0xE0000000))
        kd.write(dump.symbols["nprocs"], struct.pack("<i", 0x7FFFFFFF))
    poke(dump.core, dump.dump_offset + directory + 4 * (0xE0000000 >> 22), struct.pack("<I", 0x1000000 | 0x81))
    os.truncate(dump.core, dump.dump_offset + (0x1400000))
    count = 70_000
    chain = struct.pack(f"<{count}I", *(0xE0000004 - offset + 4 * i for i in range(count)))
    poke(dump.core, dump.dump_offset + 0x1000000, chain)
    with cheap(), pykvm.Kvm(dump.core, dump.kernel) as kd:
        assert kd.read_u32(0xE0000000 + offset) == 0xE0000004
        with pytest.raises(pykvm.KvmError, match="allproc: list at e0000000 has more than 65536 elements"):
            kd.processes()


def btf(types: bytes, strings: bytes) -> bytes:
    return struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings)) + types + strings


@pytest.mark.parametrize("kind", [4, 5])
@pytest.mark.parametrize("name", [0, 3])
def test_btf_that_holds_itself(kind: int, name: int) -> None:
    """A nameless structure (or a union) of 1000 members, each of them itself."""
    member = struct.pack("<III", name, 2, 0)
    types = struct.pack("<III", 1, 4 << 24 | 1, 8) + member + struct.pack("<III", 0, kind << 24 | 1000, 8)
    data = btf(types + member * 1000, b"\0a\0b\0")
    start = time.process_time()
    found = BtfTypes(data, "x", 8).struct("a")
    assert len(found.fields) < 1 << 15
    assert time.process_time() - start < 2 * SLOW


def test_btf_names_are_bounded() -> None:
    long = b"b" * 100_000
    member = struct.pack("<III", 3, 2, 0)
    types = struct.pack("<III", 1, 4 << 24 | 1, 8) + member + struct.pack("<IIII", 0, 1 << 24, 4, 32)
    found = BtfTypes(btf(types, b"\0a\0" + long + b"\0"), "x", 8).struct("a")
    assert [len(name) for name in found.fields] == [512]


# -- user memory --------------------------------------------------------------------------------------------


@pytest.fixture
def stack(mirbsd_dump_factory: Any) -> Any:
    """A dump, a process whose stack lies in memory, and the addresses of what leads to it."""
    dump = mirbsd_dump_factory()
    p = next(p for p in dump.processes if p.argv and p.where == "memory" and not p.pageoff)
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        types = kd.types
        entry, amap = types.struct("vm_map_entry"), types.struct("vm_amap")
        vmspace = kd.read_u32(dump.proc_addrs[p.pid] + types.struct("proc").offset("p_vmspace"))
        head = vmspace + types.struct("vmspace").offset("vm_map.header")
        entries = [a for a in kd.walk_list(head, entry.offset("next")) if a != head]
        holds = next(
            a
            for a in entries
            if kd.read_u32(a + entry.offset("start")) <= 0xCFBFDFF0 < kd.read_u32(a + entry.offset("end"))
        )
        where = kd.read_u32(holds + entry.offset("aref.ar_amap"))
        slot = (0xCFBFD000 - kd.read_u32(holds + entry.offset("start"))) // 4096
        anon = kd.read_u32(kd.read_u32(where + amap.offset("am_anon")) + 4 * slot)
        page = kd.read_u32(anon + types.struct("vm_anon").offset("u"))
    return dump, p, types, {"vm_map_entry": holds, "vm_amap": where, "vm_anon": anon, "vm_page": page}


@pytest.mark.parametrize(
    ("name", "member"),
    [
        ("vm_map_entry", "start"),
        ("vm_map_entry", "end"),
        ("vm_map_entry", "next"),
        ("vm_map_entry", "aref.ar_pageoff"),
        ("vm_map_entry", "aref.ar_amap"),
        ("vm_amap", "am_nslot"),
        ("vm_amap", "am_anon"),
        ("vm_anon", "u"),
        ("vm_anon", "an_swslot"),
        ("vm_page", "phys_addr"),
    ],
)
def test_user_memory_damaged(stack: Any, name: str, member: str) -> None:
    dump, p, types, where = stack
    for value in (*MAXIMA, 0xD0000000, 0xFFFFF000):
        with pykvm.Kvm(dump.core, dump.kernel, writable=True) as kd:
            address = where[name] + types.struct(name).offset(member)
            before = kd.read(address, 4)
            kd.write(address, struct.pack("<I", value))
        with pykvm.Kvm(dump.core, dump.kernel, dump.swap) as kd:
            record = kd.processes(pykvm.KERN_PROC_PID, p.pid)[0]
            found = pykvm.kvm_getargv(kd, record, 0)
            if found is None:
                assert pykvm.kvm_geterr(kd)
                assert "\n" not in pykvm.kvm_geterr(kd)
            else:
                assert all(isinstance(arg, bytes) for arg in found)
            # What the stack's page hangs on is needed.
            if member in ("start", "aref.ar_amap", "am_anon", "phys_addr") and value == 0xFFFFFFFF:
                assert found is None
        with pykvm.Kvm(dump.core, dump.kernel, writable=True) as kd:
            kd.write(address, before)
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        assert kd.argv(kd.processes(pykvm.KERN_PROC_PID, p.pid)[0]) == list(p.argv)


# -- descriptors, writes, messages --------------------------------------------------------------------------


def test_failures_leave_no_descriptor(mirbsd_dump_factory: Any, tmp_path: Path) -> None:
    dump = mirbsd_dump_factory()
    packed = mirbsd_dump_factory(compress="gz", compress_kernel="xz")
    whole = packed.core.read_bytes()
    bad = tmp_path / "bad"
    bad.write_bytes(b"\x7fELF" + bytes(60))
    triage(dump.core, dump.kernel, dump.swap)
    triage(packed.core, packed.kernel)
    before = descriptors()
    for core, kernel, swap, layout in (
        (dump.core, bad, None, None),
        (bad, dump.kernel, None, None),
        (dump.core, dump.kernel, tmp_path / "none", None),
        (dump.core, dump.kernel, tmp_path, None),
        (packed.core, tmp_path, None, None),
        (dump.core, dump.kernel, None, bad),
        (dump.core, dump.kernel, None, tmp_path),
        ([dump.core, dump.core], dump.kernel, None, None),
    ):
        with contextlib.suppress(pykvm.KvmError):
            pykvm.Kvm(core, kernel, swap, layout=layout).close()
    packed.core.write_bytes(whole[: len(whole) // 2])
    for core in (packed.core, dump.core):
        triage(core, packed.kernel)
    assert descriptors() == before


@pytest.mark.parametrize("compress", [None, "gz"])
def test_nothing_is_written(mirbsd_dump_factory: Any, compress: str | None) -> None:
    dump = mirbsd_dump_factory(compress=compress)
    before = dump.core.read_bytes(), dump.kernel.read_bytes(), dump.swap.read_bytes()
    at = dump.symbols["nprocs"]
    for writable in (False, True) if compress else (False,):
        with pykvm.Kvm(dump.core, dump.kernel, dump.swap, writable=writable) as kd:
            with pytest.raises(pykvm.KvmError, match=r"not opened for writing|compressed with gzip"):
                kd.write(at, b"\xff\xff\xff\xff")
            assert pykvm.kvm_write(kd, at, b"\xff\xff\xff\xff", 4) == -1
            assert str(dump.core) in pykvm.kvm_geterr(kd)
            assert pykvm.kvm_dump_inval(kd) == -1
            triage(dump.core, dump.kernel, dump.swap)
    assert (dump.core.read_bytes(), dump.kernel.read_bytes(), dump.swap.read_bytes()) == before


def test_messages_are_one_line(mirbsd_dump_factory: Any, tmp_path: Path) -> None:
    dump = mirbsd_dump_factory()
    odd = tmp_path / "two\nlines\x1b[31m"
    for core, kernel in ((odd, dump.kernel), (dump.core, odd)):
        with pytest.raises(pykvm.KvmError, match="No such file") as caught:
            pykvm.Kvm(core, kernel)
        assert "two\\x0alines\\x1b[31m" in str(caught.value)
    errbuf = bytearray(2048)
    assert pykvm.kvm_openfiles(str(odd), str(dump.core), None, os.O_RDONLY, errbuf) is None
    assert b"\n" not in errbuf
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        with pytest.raises(pykvm.KvmError) as caught:
            kd.symbol("a\nb")
        assert str(caught.value) == "a\\x0ab: no such symbol"
        raw = os.fsdecode(b"\xff")
        with pytest.raises(pykvm.KvmError, match="no such symbol"):
            kd.symbol(raw)
        assert pykvm.kvm_geterr(kd) == f"{raw}: no such symbol"


def test_names_that_no_file_has(mirbsd_dump: Any) -> None:
    lone = "\ud800"
    with pykvm.Kvm(mirbsd_dump.core, mirbsd_dump.kernel) as kd:
        assert lone not in kd.symbols
        assert pykvm.kvm_nlist(kd, [pykvm.Nlist(lone), pykvm.Nlist("_nprocs")]) == 1
        with pytest.raises(pykvm.KvmError, match=r"\\ud800: no such symbol"):
            kd.symbol(lone)
    for path in (lone, "a\0b"):
        with pytest.raises(pykvm.KvmError):
            pykvm.Kvm(mirbsd_dump.core, mirbsd_dump.kernel, layout=path)


@pytest.mark.parametrize("huge", [1 << 31, 1 << 40, 1 << 62, 1 << 70])
def test_huge_numbers(mirbsd_dump: Any, huge: int) -> None:
    with cheap(), pykvm.Kvm(mirbsd_dump.core, mirbsd_dump.kernel) as kd:
        at = mirbsd_dump.symbols["nprocs"]
        for call in (
            lambda: kd.read(at, huge),
            lambda: kd.gather([at], huge),
            lambda: kd.gather([at, at], huge),
            lambda: kd.read_phys(0, huge),
            lambda: kd.walk_list(at, huge),
            lambda: kd.read_u64(huge),
            lambda: kd.translate(huge),
            lambda: kd.read_phys(huge, 1),
            lambda: kd.read(-huge, 1),
            lambda: kd.gather([-huge], 1),
        ):
            with pytest.raises(pykvm.AddressError):
                call()
        with pytest.raises(pykvm.KvmError):
            kd.write(huge, b"x")
        first = kd.read_u32(mirbsd_dump.symbols["allproc"])
        live = [p for p in mirbsd_dump.processes if not p.zombie]
        assert len(kd.walk_list(first, kd.types.struct("proc").offset("p_list.le_next"), huge)) == len(live)
        assert pykvm.kvm_getprocs(kd, huge, 0) is None
        assert pykvm.kvm_getproc2(kd, 0, 0, huge) is None
        assert pykvm.kvm_dump_mkheader(kd, huge) == -1
        assert pykvm.kvm_getloadavg(kd, huge) == kd.loadavg()


# -- Linux --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [1, 0x7FFFFFFFFFFFFFFF, 0x8000000000000000, 0xFFFFFFFFFFFFFFFF])
@pytest.mark.parametrize(
    "member", ["signal", "cred", "mm", "real_parent", "worker_private", "thread_node.next", "flags"]
)
def test_linux_pointers(tmp_path: Path, member: str, value: int) -> None:
    """A pointer near the end of the address space: what lies behind it is not there, and all else is."""
    from pykvm_fixtures import write_linux

    dump = write_linux(tmp_path, seed=7, machine="x86_64", container="elf")
    task = dump.task_addrs[301]
    with pykvm.Kvm(dump.paths[0], writable=True) as kd:
        kd.write(task + kd.types.struct("task_struct").offset(member), struct.pack("<Q", value))
    with pykvm.Kvm(dump.paths[0]) as kd:
        found = kd.processes()
        assert [p.pid for p in found] == [t.pid for t in dump.tasks]
        for p in found:
            with contextlib.suppress(pykvm.KvmError):
                kd.argv(p)
            kd.threads(p)
            assert bytes(p)


def test_linux_thread_counts(tmp_path: Path) -> None:
    from pykvm_fixtures import write_linux

    dump = write_linux(tmp_path, seed=7, machine="x86_64", container="elf")
    with pykvm.Kvm(dump.paths[0], writable=True) as kd:
        types = kd.types
        signal = kd.read_ptr(dump.task_addrs[301] + types.struct("task_struct").offset("signal"))
        at = signal + types.struct("signal_struct").offset("nr_threads")
        for value, threads in ((0, 1), (-1, 1), (2**31 - 1, 4), (4, 4)):
            kd.write(at, struct.pack("<i", value))
            p = next(p for p in kd.processes() if p.pid == 301)
            assert len(kd.threads(p)) == threads
