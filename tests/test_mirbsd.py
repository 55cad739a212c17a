"""MirBSD dumps of every machine, from the fixture writer: each value against what was written."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest

import pykvm
from pykvm.targets.mirbsd.neutral import calcru

MACHINES = ["i386", "sun4m", "sun4c", "sun4"]
FLAVOURS = [
    ("i386", "elf", "savecore"),
    ("i386", "zmagic", "raw"),
    ("i386", "qmagic", "device"),
    ("sun4m", "elf", "savecore"),
    ("sun4m", "zmagic-old", "device"),
    ("sun4c", "omagic", "savecore"),
    ("sun4c", "elf", "device"),
    ("sun4", "nmagic", "savecore"),
    ("sun4", "elf", "device"),
]


@pytest.fixture(scope="module", params=FLAVOURS, ids="-".join)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    from pykvm_fixtures import write_mirbsd

    machine, namelist, container = request.param
    dump = write_mirbsd(
        tmp_path_factory.mktemp("dump"), machine=machine, namelist=namelist, container=container, seed=5, awkward=True
    )
    with pykvm.Kvm(dump.core, dump.kernel, dump.swap) as kd:
        if container == "device":
            assert pykvm.kvm_dump_mkheader(kd, dump.device_offset) > 0
        yield kd, dump


def test_info(both: Any) -> None:
    kd, dump = both
    info = kd.info
    machine = "i386" if dump.machine == "i386" else "sparc"
    assert (info.system, info.machine, info.pointer_size) == ("MirBSD", machine, 4)
    assert info.byteorder == ("little" if machine == "i386" else "big")
    assert info.page_size == dump.page_size == (8192 if dump.machine == "sun4" else 4096)
    assert info.release == dump.names["osrelease"].decode()
    assert info.version == dump.version.decode().rstrip("\n")
    assert info.format == {"savecore": "savecore", "raw": "raw", "device": "dump device"}[dump.container]
    facts = kd.facts()
    assert facts["hostname"] == dump.names["hostname"].decode()
    assert facts["boot time"] == dump.boottime[0] + dump.boottime[1] / 1e6


def test_every_symbol(both: Any) -> None:
    kd, dump = both
    for name, value in dump.symbols.items():
        assert kd.symbol(name) == value
        assert kd.symbol("_" + name) == value
        assert name in kd.symbols
    nl = [pykvm.Nlist("_" + name) for name in dump.symbols]
    assert pykvm.kvm_nlist(kd, nl) == 0
    assert [n.n_value for n in nl] == list(dump.symbols.values())
    assert all(n.n_type for n in nl)


def test_translation(both: Any) -> None:
    kd, dump = both
    for va, pa in dump.pages:
        assert kd.translate(va) == pa
        assert kd.read(va, dump.page_size) == kd.read_phys(pa, dump.page_size)
    for va, data in dump.markers:
        assert kd.read(va, len(data)) == data
    for start, end in (dump.hole, dump.unmapped):
        for va in (start, end - 4):
            with pytest.raises(pykvm.AddressError) as caught:
                kd.read(va, 4)
            assert caught.value.address == va
            assert str(caught.value) == f"invalid address ({va:x})"
    buf = bytearray(64)
    start = dump.hole[0]
    assert pykvm.kvm_read(kd, start - 32, buf, 32) == 32
    assert pykvm.kvm_read(kd, start - 32, buf, 64) == -1
    assert pykvm.kvm_geterr(kd) == f"invalid address ({start:x})"
    if dump.large_page:
        va, pa, size = dump.large_page
        assert kd.translate(va + size - 1) == pa + size - 1


def expected_stat(p: Any) -> str:
    if p.zombie:
        return "Z"
    letter = {2: "R", 3: "S", 4: "T"}[p.stat]
    if letter == "S":
        return ("I" if p.slptime >= 20 else "S") if p.flags & 0x80 else "D"
    return letter


@pytest.mark.parametrize("call", [pykvm.kvm_getprocs, pykvm.kvm_getproc2])
def test_attributes(both: Any, call: Any) -> None:
    kd, dump = both
    records = call(kd, pykvm.KERN_PROC_KTHREAD, 0)
    assert [p.pid for p in records] == [p.pid for p in dump.processes]
    pids = {p.pid for p in dump.processes}
    for p, t in zip(records, dump.processes, strict=True):
        for name in ("ppid", "pgid", "uid", "ruid", "svuid", "gid", "rgid", "svgid", "nice"):
            assert getattr(p, name) == getattr(t, name), name
        assert p.comm == t.comm.decode()
        assert p.groups == list(t.groups)
        assert p.tdev == t.tty
        assert p.sid == (t.sid if t.sid in pids else 0)
        assert p.wmesg == (t.wmesg or b"").decode()
        assert p.login == t.login.decode()
        assert p.paddr == dump.proc_addrs[t.pid]
        assert p.stat == expected_stat(t)
        assert p.flags & 0x280 == (t.flags & 0x80 | (0x200 if t.system else 0))
        if t.tty is not None:
            assert p.tpgid == t.tpgid
        else:
            assert p.tpgid is None
        if not t.zombie:
            assert p.start_time == t.start_time[0] + t.start_time[1] / 1e6
        else:
            assert p.start_time is None
        assert (p.utime, p.stime) == calcru(t.rtime[0] + t.rtime[1] / 1e6, t.uticks, t.sticks, t.iticks)
        assert (p.rssize, p.threads) == (None, 1)
        (thread,) = kd.threads(p)
        assert (thread.tid, thread.name, thread.addr) == (p.pid, p.comm, p.paddr)


def test_raw_records(both: Any) -> None:
    kd, dump = both
    i386 = dump.machine == "i386"
    for p, t in zip(kd.processes(), dump.processes, strict=True):
        assert len(bytes(p)) == (1020 if i386 else 984)
        assert bytes(p)[: 332 if i386 else 328] == kd.read(p.paddr, 332 if i386 else 328)
        assert bytes(p.kp_proc) == bytes(p)[: 332 if i386 else 328]
        assert p.kp_eproc.e_emul == t.emul
        assert t.system or t.zombie or p.kp_eproc.e_vm.vm_tsize == t.tsize
        assert p.kp_eproc.e_maxrss == t.rlimit_rss or t.zombie
        assert p.kp_eproc.e_ppid == t.ppid
        assert p.kp_eproc.e_pcred.p_svuid == t.svuid
        assert p.kp_eproc.e_wmesg == (t.wmesg or b"")[:7]
        assert p.kp_proc.p_sigmask == t.sigmask
        if not t.zombie:
            assert p.kp_eproc.e_pstats_valid == 1
            assert p.kp_eproc.e_pstats.p_ru.ru_utime.tv_sec == t.utime[0]
            assert p.kp_eproc.e_pstats.p_ru.ru_nivcsw == t.usage[13]
    for p, t in zip(pykvm.kvm_getproc2(kd, pykvm.KERN_PROC_KTHREAD, 0), dump.processes, strict=True):
        assert len(bytes(p)) == (596 if i386 else 600)
        assert (p.p_rtime_sec, p.p_rtime_usec) == t.rtime
        assert p.p_uticks == t.uticks
        assert p.p_uvalid == (0 if t.zombie else 1)
        if not t.zombie:
            assert (p.p_ustart_sec, p.p_ustart_usec) == t.start_time
            assert p.p_uru_nvcsw == t.usage[12] % 2**64
            assert p.p_uctime_sec == t.cutime[0] + t.cstime[0]
            assert p.p_uctime_usec == t.cutime[1] + t.cstime[1]


def test_elemsize(both: Any) -> None:
    kd, _ = both
    whole = [bytes(p) for p in pykvm.kvm_getproc2(kd, pykvm.KERN_PROC_KTHREAD, 0)]
    for size in (1, 100, 700):
        cut = pykvm.kvm_getproc2(kd, pykvm.KERN_PROC_KTHREAD, 0, size)
        assert [bytes(p) for p in cut] == [b[:size].ljust(size, b"\0") for b in whole]
        assert cut[0].pid == 23375 or cut[0].pid >= 0
    for size in (0, -1):
        assert pykvm.kvm_getproc2(kd, pykvm.KERN_PROC_KTHREAD, 0, size) is None
        assert "Invalid argument" in pykvm.kvm_geterr(kd)


def test_vectors(both: Any) -> None:
    kd, dump = both
    for p, t in zip(kd.processes(), dump.processes, strict=True):
        bare = t.zombie or t.system or t.where == "none"
        argv, env = (None, None) if bare else (list(t.argv) or None, list(t.env) or None)
        assert pykvm.kvm_getargv(kd, p, 0) == argv
        assert pykvm.kvm_getenvv(kd, p, 0) == env
        if argv:
            for limit in (1, 5, len(argv[0]), len(argv[0]) + 1, len(argv[0]) + 3):
                assert pykvm.kvm_getargv(kd, p, limit) == limited(argv, limit)
    two = pykvm.kvm_getproc2(kd, pykvm.KERN_PROC_KTHREAD, 0)
    for p, q in zip(kd.processes(), two, strict=True):
        assert pykvm.kvm_getargv(kd, p, 0) == pykvm.kvm_getargv2(kd, q, 0)
        assert pykvm.kvm_getenvv(kd, p, 0) == pykvm.kvm_getenvv2(kd, q, 0)


def limited(argv: list[bytes], limit: int) -> list[bytes]:
    """The first `limit` bytes of the strings laid end to end with their NULs."""
    found = []
    for word in argv:
        found.append(word[:limit])
        limit -= len(word) + 1
        if limit <= 0:
            break
    return found


def test_selection(both: Any) -> None:
    kd, dump = both

    def pids(op: int, arg: int = 0) -> list[int]:
        return [p.pid for p in pykvm.kvm_getprocs(kd, op, arg)]

    everyone = dump.processes
    tests = {
        pykvm.KERN_PROC_PID: "pid",
        pykvm.KERN_PROC_PGRP: "pgid",
        pykvm.KERN_PROC_UID: "uid",
        pykvm.KERN_PROC_RUID: "ruid",
        pykvm.KERN_PROC_GID: "gid",
        pykvm.KERN_PROC_RGID: "rgid",
    }
    for op, name in tests.items():
        for arg in {getattr(t, name) for t in everyone} | {31000}:
            assert pids(op, arg) == [t.pid for t in everyone if getattr(t, name) == arg]
    alive = {t.pid for t in everyone}
    for arg in {t.sid for t in everyone if t.sid in alive and t.sid}:
        assert pids(pykvm.KERN_PROC_SESSION, arg) == [t.pid for t in everyone if t.sid == arg]
    for arg in {t.tty for t in everyone if t.tty is not None}:
        assert pids(pykvm.KERN_PROC_TTY, arg) == [t.pid for t in everyone if t.tty == arg]
    assert pids(pykvm.KERN_PROC_ALL) == [t.pid for t in everyone if not t.system]


def test_files_and_load(both: Any) -> None:
    kd, dump = both
    files = pykvm.kvm_getfiles(kd, 0, 0)
    assert [f.paddr for f in files] == dump.file_addrs
    for f, t in zip(files, dump.files, strict=True):
        assert (f.f_type, f.f_flag, f.f_count, f.f_offset) == (t.type, t.flag, t.count, t.offset)
        assert len(bytes(f)) == (48 if dump.machine == "i386" else 56)
    assert pykvm.kvm_getloadavg(kd) == list(dump.loadavg)
    assert pykvm.kvm_getloadavg(kd, 2) == list(dump.loadavg[:2])
    assert pykvm.kvm_getloadavg(kd, -1) == pykvm.kvm_getloadavg(kd, 9) == list(dump.loadavg)
    assert kd.dmesg() == dump.msgbuf


def test_header_again(both: Any) -> None:
    """kvm_dump_wrtheader writes what stands before the memory: the file, or what savecore would make of the device."""
    kd, dump = both
    out = io.BytesIO()
    if dump.container == "raw":
        assert pykvm.kvm_dump_wrtheader(kd, out, 4096) == -1
        assert pykvm.kvm_geterr(kd) == "no valid dump header(s)"
        return
    size = pykvm.kvm_dump_wrtheader(kd, out, dump.memory_size)
    assert size == len(out.getvalue())
    with open(dump.core, "rb") as f:
        whole = f.read()
    if dump.container == "savecore":
        assert whole[: dump.dump_offset] == out.getvalue()
        assert pykvm.kvm_dump_mkheader(kd, 0) == -1
        assert pykvm.kvm_geterr(kd) == "already has a dump header"
    else:
        copy = dump.core.with_name("again.core")
        copy.write_bytes(out.getvalue() + whole[dump.dump_offset :])
        with pykvm.Kvm(copy, dump.kernel) as again:
            assert again.info.format == "savecore"
            assert [p.pid for p in again.processes()] == [p.pid for p in dump.processes]


@pytest.mark.parametrize("machine", ["sun4m", "sun4c"])
def test_memory_with_holes(mirbsd_dump_factory: Any, machine: str) -> None:
    """Several memory segments, packed one after another in the file."""
    segments = [(0, 0x100000), (0x400000, 0x80000), (0x1000000, 0)]
    dump = mirbsd_dump_factory(machine=machine, segments=segments, processes=300)
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        assert [p.pid for p in kd.processes()] == [p.pid for p in dump.processes]
        for va, data in dump.markers:
            assert kd.read(va, len(data)) == data
        with pytest.raises(pykvm.AddressError):
            kd.read_phys(0x200000, 4)


def test_two_dumps_of_different_machines_at_once(mirbsd_dump_factory: Any) -> None:
    dumps = [mirbsd_dump_factory(machine=m, seed=i) for i, m in enumerate(MACHINES)]
    handles = [pykvm.Kvm(d.core, d.kernel, d.swap) for d in dumps]
    for _ in range(2):
        for kd, dump in zip(handles, dumps, strict=True):
            assert [p.pid for p in kd.processes()] == [p.pid for p in dump.processes]
    for kd in handles:
        kd.close()


@pytest.mark.parametrize("count", [0, 1, 2500])
def test_any_number_of_processes(mirbsd_dump_factory: Any, count: int) -> None:
    if count == 0:
        dump = mirbsd_dump_factory(processes=[])
    else:
        dump = mirbsd_dump_factory(processes=count)
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        assert [p.pid for p in kd.processes()] == [p.pid for p in dump.processes]
        assert len(kd.processes()) == count


@pytest.mark.parametrize("version", ["OpenBSD 5.2 (RAMDISK) #160\n", "NetBSD 3.0 (GENERIC) #0\n"])
def test_a_relative(mirbsd_dump_factory: Any, version: str) -> None:
    """OpenBSD's dumps are made like MirBSD's: the version text tells. A port of NetBSD's with such names is refused."""
    dump = mirbsd_dump_factory()
    with pykvm.Kvm(dump.core, dump.kernel, writable=True) as kd:
        own = kd.read_cstr(kd.symbol("version"))
        kd.write(kd.symbol("version"), version.encode().ljust(len(own) + 1, b"\0"))
        kd.write(kd.symbol("osrelease"), version.split()[1].encode() + b"\0")
    dump.kernel.write_bytes(dump.kernel.read_bytes().replace(own, version.encode().ljust(len(own), b"\0")))
    if version.startswith("NetBSD"):
        with pytest.raises(pykvm.FormatError, match=r"is of 'NetBSD 3\.0 .*', which is no MirBSD"):
            pykvm.Kvm(dump.core, dump.kernel)
        return
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        assert (kd.info.system, kd.info.version) == ("OpenBSD", version)
        with pytest.raises(pykvm.KvmError, match=r"no table of OpenBSD .* on i386: --layout takes"):
            kd.processes()


def test_records_are_copied(mirbsd_dump: Any) -> None:
    with pykvm.Kvm(mirbsd_dump.core, mirbsd_dump.kernel) as kd:
        p = kd.processes()[0]
        assert copy.copy(p).pid == p.pid


@pytest.mark.parametrize(("there", "why"), [(b"", "there is nothing at 0x"), (b"\x84\xf7junk", r"there is '\\udc84")])
def test_no_version_of_its_own(mirbsd_dump_factory: Any, there: bytes, why: str) -> None:
    """Where the kernel file has its version there is none in memory: it is not the dump's."""
    dump = mirbsd_dump_factory()
    with pykvm.Kvm(dump.core, dump.kernel, writable=True) as kd:
        kd.write(kd.symbol("version"), there.ljust(16, b"\0"))
    with pytest.raises(pykvm.FormatError, match=rf"^bad namelist: .* is not the kernel of .*: .*{why}"):
        pykvm.Kvm(dump.core, dump.kernel)
