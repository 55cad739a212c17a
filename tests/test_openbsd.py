"""OpenBSD dumps from the fixture writer: memory of every machine, processes, threads, messages; what is refused."""

from __future__ import annotations

import gzip
import io
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bsd_truth import (
    check_identity,
    check_memory,
    check_messages,
    check_process,
    check_vectors,
    cut_vectors,
    layout_file,
    newest_first,
    nm_list,
)
from pykvm_fixtures.__main__ import main
from pykvm_fixtures.bsd import MACHINES, BsdDump

import pykvm

MACHINE = {"amd64": "x86_64", "arm64": "aarch64"}  # by what is before the dash
KERNEL = (0, 48813, 9021)  # the kernel's own processes, the oldest first


@pytest.fixture(scope="module")
def kd(openbsd_dump: BsdDump) -> Iterator[Any]:
    with pykvm.Kvm(openbsd_dump.core, openbsd_dump.kernel) as found:
        yield found


def one(kd: Any, pid: int) -> Any:
    (p,) = kd.processes(pykvm.KERN_PROC_PID, pid)
    return p


@pytest.mark.parametrize("machine", MACHINES["OpenBSD"])
@pytest.mark.parametrize("layout", [0, 1])
def test_every_machine(bsd_written: Any, machine: str, layout: int) -> None:
    dump = bsd_written("OpenBSD", machine, layout=layout, seed=1 + layout)
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        base = machine.partition("-")[0]
        assert kd.info.machine == MACHINE.get(base, base)
        check_identity(kd, dump)
        check_messages(kd, dump)
        check_memory(kd, dump)
        assert kd.facts()["boot time"] == pytest.approx(1700000000.25, abs=1e-6)
        found = kd.processes(pykvm.KERN_PROC_KTHREAD)
        assert [p.pid for p in found] == newest_first(dump)
        for p in found:
            check_process(p, dump.process(p.pid), dump)
        check_vectors(kd, dump, found)


def test_kernel_processes_are_left_out(kd: Any, openbsd_dump: BsdDump) -> None:
    told = [p.pid for p in kd.processes(pykvm.KERN_PROC_ALL)]
    assert told == [pid for pid in newest_first(openbsd_dump) if pid not in KERNEL]
    assert [p.comm for p in kd.processes(pykvm.KERN_PROC_KTHREAD) if p.pid in KERNEL] == [
        "softnet0", "idle0", "swapper",
    ]  # fmt: skip


def test_headers(openbsd_dump: BsdDump, bsd_written: Any) -> None:
    """As the real ones are: sizes, positions, whole blocks."""
    raw = openbsd_dump.core.read_bytes()[:0x1000]
    assert raw[:4] == b"\x00\x9d\x8f\xca"
    assert struct.unpack_from("<HHI", raw, 4) == (16, 8, 2)
    assert struct.unpack_from("<I", raw, 20) == (504,)
    assert openbsd_dump.placed.memory == 536
    i386 = bsd_written("OpenBSD", "i386", layout=0, seed=1)
    raw = i386.core.read_bytes()[:0x1000]
    assert raw[:4] == b"\x00\x86\x8f\xca"
    assert struct.unpack_from("<HHI", raw, 4) == (12, 8, 2)
    assert i386.placed.memory == 532
    last, size = i386.placed.segments[-1]
    assert i386.core.stat().st_size == 532 + last + size  # as it is, with its holes


def test_direct_map(kd: Any, openbsd_dump: BsdDump) -> None:
    """Pages of 2 MB, one of 1 GB behind a hole, nothing between."""
    base, size = 0xFFFFFD8000000000, openbsd_dump.page_size
    for n in sorted(openbsd_dump.memory)[::7]:
        assert kd.read(base + n * size, size) == openbsd_dump.memory[n]
        assert kd.translate(base + n * size) == n * size
    assert kd.translate(base + (9 << 30) + 0x1234) == (9 << 30) + 0x1234
    with pytest.raises(pykvm.AddressError):
        kd.translate(base + (8 << 30))


@pytest.mark.parametrize("machine", ["arm64", "riscv64"])
def test_static_range(bsd_written: Any, machine: str) -> None:
    """The kernel's image by the header, the rest by tables for 39 bits."""
    dump = bsd_written("OpenBSD", machine, layout=0, seed=1)
    raw = dump.core.read_bytes()[dump.placed.cpu :][: dump.placed.cpu_size]
    base, offset, size, table = struct.unpack_from("<4Q", raw)
    assert table == dump.roots[0]
    assert dump.placed.cpu_size == 504
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        assert kd.translate(base) == offset
        assert kd.translate(base + size - 1) == offset + size - 1
        assert kd.read(base, 0x8000) == kd.read_phys(offset, 0x8000)
        with pytest.raises(pykvm.AddressError):
            kd.translate(base + size)
        with pytest.raises(pykvm.AddressError):
            kd.translate(base - 1)


def test_vectors(kd: Any, openbsd_dump: BsdDump) -> None:
    check_vectors(kd, openbsd_dump, kd.processes(pykvm.KERN_PROC_KTHREAD))
    cut_vectors(kd, openbsd_dump)


@pytest.mark.parametrize("machine", MACHINES["OpenBSD"])
def test_swap(openbsd_dump_factory: Any, machine: str) -> None:
    """Amaps of one chunk and of many; what is in swap, and what is in memory but in no page table."""
    dump = openbsd_dump_factory(machine=machine, swap=True)
    with pykvm.Kvm(dump.core, dump.kernel, dump.swap) as kd:
        check_vectors(kd, dump, kd.processes())
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        with pytest.raises(pykvm.AddressError, match=r"process 803: arguments: user memory at 0x.* is not in memory"):
            kd.argv(one(kd, 803))
        assert len(kd.environ(one(kd, 800))) == 150  # by anons, in memory


def test_kinfo_proc(kd: Any, openbsd_dump: BsdDump) -> None:
    """The record's own members."""
    a = openbsd_dump.addresses
    p = one(kd, 700)
    assert (p.p_stat, p.p_tid, p.p_paddr, p.p_addr) == (3, -1, a.threads[302], a.threads[302] ^ 0x100000)
    assert (p.p_vmspace, p.p_sess, p.p_tsess) == (a.vmspaces[700], a.sessions[700], a.sessions[700])
    assert (p.p_tdev, p.p_tpgid, p.p_jobc, p.p_acflag, p.p_eflag) == (0x500, 702, 0, 1, 1)
    assert (p.p_psflags, p.p_flag, p.p_nice, p.p_xstat) == (0x1 | 0x2, 0x80, 20, 0)
    assert (p.p_vm_rssize, p.p_vm_tsize, p.p_vm_dsize, p.p_vm_ssize) == (70, 40, 12, 3)
    assert (p.p_ustart_sec, p.p_ustart_usec) == (1700000012, 250007)
    assert (p.p_uctime_sec, p.p_uctime_usec) == (6, 249999)
    assert (p.p_rtime_sec, p.p_rtime_usec) == (0, 500000)
    assert (p.p_uticks, p.p_sticks, p.p_iticks) == (300, 100, 0)
    assert (p.utime, p.stime) == (300 / 128, 100 / 128)
    assert (p.p_uutime_sec, p.p_uutime_usec, p.p_ustime_sec, p.p_ustime_usec) == (2, 343750, 0, 781250)
    assert (p.p_sigignore, p.p_sigcatch, p.p_siglist, p.p_pledge) == (0x100000, 0x2, 0, 0x1234)
    assert (p.p_ngroups, tuple(p.p_groups)[:4]) == (3, (100, 0, 5, 0))
    assert (p.p_rlim_rss_cur, p.p_cpuid, p.p_holdcnt) == (123 << 32, (1 << 64) - 1, 1)
    for name, text in (("p_comm", b"sh"), ("p_login", b"alice"), ("p_wmesg", b"ttyin"), ("p_emul", b"native")):
        assert bytes(getattr(p, name)).split(b"\0")[0] == text
    assert len(bytes(p)) == 648


def test_times_of_living_threads(bsd_written: Any) -> None:
    """Since threads count for themselves, a process's times are those of threads that are gone and of the living; such
    a kernel here is one for several CPUs, whose numbers are their devices'."""
    dump = bsd_written("OpenBSD", "amd64", layout=1, seed=2)
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        for p in kd.processes():
            truth = dump.process(p.pid)
            living = () if truth.kind == "zombie" else truth.threads
            alive = int(truth.kind != "zombie")
            ticks = [alive * (own + len(living) * one) for own, one in zip(truth.ticks, (1, 2, 3), strict=True)]
            assert [p.p_uticks, p.p_sticks, p.p_iticks] == ticks
            run = alive * (truth.rtime + sum(t.rtime for t in living))
            assert (p.p_rtime_sec, p.p_rtime_usec) == (run // 10**9, run % 10**9 // 1000)
            assert (p.utime, p.stime) == (pytest.approx(ticks[0] / 128), pytest.approx(ticks[1] / 128))
            cpu = truth.threads[0].cpu
            assert p.p_cpuid == ((4 + cpu if cpu else 0) if alive else (1 << 64) - 1)
        found = kd.processes(pykvm.KERN_PROC_PID | pykvm.KERN_PROC_SHOW_THREADS, 701)
        assert [p.p_cpuid for p in found] == [5, 5, 0, 0]
        assert [(p.p_uticks, p.p_rtime_sec) for p in found[1:]] == [(1, 7), (1, 0), (1, 0)]


def test_threads(kd: Any, openbsd_dump: BsdDump) -> None:
    a, p = openbsd_dump.addresses, one(kd, 701)
    assert (p.p_stat, p.stat, p.p_siglist, p.p_nice) == (7, "R", 0x204, 30)
    assert [(t.tid, t.addr, t.name, t.stat, t.wmesg, t.wchan) for t in kd.threads(p)] == [
        (100303, a.threads[303], "worker", "R", None, None),
        (100304, a.threads[304], "pool-1", "I", "parked", a.wchans[304]),
        (100305, a.threads[305], "pool-2", "R", None, None),
    ]
    assert kd.threads(one(kd, 703)) == []


def test_threads_as_records(kd: Any) -> None:
    found = kd.processes(pykvm.KERN_PROC_PID | pykvm.KERN_PROC_SHOW_THREADS, 701)
    assert [(p.pid, p.p_tid) for p in found] == [(701, -1), (701, 100303), (701, 100304), (701, 100305)]
    _, worker, parked, waits = found
    assert [p.p_stat for p in found] == [7, 7, 3, 2]
    assert (bytes(worker.p_name).rstrip(b"\0"), bytes(parked.p_name).rstrip(b"\0")) == (b"worker", b"pool-1")
    assert (worker.p_uru_minflt, worker.p_uru_maxrss, waits.p_uru_minflt) == (345, 6789, 0)
    assert (worker.p_rtime_sec, worker.p_cpticks, worker.p_pctcpu, worker.p_estcpu) == (7, 3, 512, 9)
    assert (parked.p_slptime, parked.p_priority, parked.p_usrpri) == (25, 43, 50)
    assert bytes(parked.p_wmesg).rstrip(b"\0") == b"parked"
    assert worker.p_sigmask == 0x10000
    every = kd.processes(pykvm.KERN_PROC_KTHREAD | pykvm.KERN_PROC_SHOW_THREADS)
    assert sum(p.p_tid == -1 for p in every) == 12
    assert sum(p.p_tid > 100000 for p in every) == 12


def test_the_dead_and_the_stopped(kd: Any) -> None:
    exited, crashed, stopped = one(kd, 703), one(kd, 704), one(kd, 702)
    assert (exited.p_stat, exited.p_psflags & 0x40000, exited.p_xstat, crashed.p_xstat) == (6, 0x40000, 0x700, 11)
    assert (exited.start_time, exited.p_uvalid, exited.p_vmspace, exited.p_vm_rssize) == (None, 0, 0, 0)
    assert exited.p_ru != 0
    assert stopped.p_ru == 0
    assert (stopped.p_stat, stopped.stat, stopped.p_xstat) == (4, "T", 18)


def test_selections(kd: Any) -> None:
    def pids(op: int, arg: int) -> list[int | None]:
        return [p.pid for p in kd.processes(op, arg)]

    assert pids(pykvm.KERN_PROC_UID, 1001) == [702, 701, 700, 703]
    assert pids(pykvm.KERN_PROC_RUID, 1001) == [800, 702, 701, 700, 703]
    assert pids(pykvm.KERN_PROC_PGRP, 702) == [702, 703]
    assert pids(pykvm.KERN_PROC_SESSION, 700) == [702, 701, 700, 703]
    assert pids(pykvm.KERN_PROC_TTY, 0x500) == [702, 701, 700, 703]
    assert pids(pykvm.KERN_PROC_PID, 12345) == []


def test_many(openbsd_dump_factory: Any) -> None:
    dump = openbsd_dump_factory(processes=300)
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        found = kd.processes(pykvm.KERN_PROC_KTHREAD)
        assert [p.pid for p in found] == newest_first(dump)
        for p in found[::17]:
            check_process(p, dump.process(p.pid), dump)
            assert kd.environ(p) == list(dump.process(p.pid).environ)


@pytest.mark.parametrize("machine", ["amd64", "i386", "i386-pae", "riscv64"])
def test_device(openbsd_dump_factory: Any, tmp_path: Path, machine: str) -> None:
    """savecore(8)'s part: find the dump on its device, write the file."""
    dump = openbsd_dump_factory(machine=machine, container="device")
    out = io.BytesIO()
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        assert pykvm.kvm_dump_mkheader(kd, dump.placed.device - 512) == -1
        assert pykvm.kvm_geterr(kd) == "invalid magic in cpu_hdr"
        assert pykvm.kvm_dump_mkheader(kd, dump.placed.device) == 8 + dump.placed.cpu_size
        check_identity(kd, dump, "dump device")
        check_vectors(kd, dump, kd.processes())
        assert pykvm.kvm_dump_wrtheader(kd, out, 4096) == len(out.getvalue())
    copy = tmp_path / "again.core"
    copy.write_bytes(out.getvalue() + dump.core.read_bytes()[dump.placed.memory :])
    with pykvm.Kvm(copy, dump.kernel) as kd:
        check_identity(kd, dump)
        check_memory(kd, dump)
        assert [p.pid for p in kd.processes(pykvm.KERN_PROC_KTHREAD)] == newest_first(dump)


def test_dump_inval(openbsd_dump_factory: Any) -> None:
    dump = openbsd_dump_factory()
    with pykvm.Kvm(dump.core, dump.kernel, writable=True) as kd:
        assert kd.read_u32(kd.symbol("dumpmag")) == 0x8FCA0101
        assert pykvm.kvm_dump_inval(kd) == 0
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        assert kd.read_u64(kd.symbol("dumpmag")) == 0


@pytest.mark.parametrize(("compress", "kernel"), [("gz", "gz"), (None, "xz"), ("bz2", None)])
def test_compressed(openbsd_dump_factory: Any, compress: str | None, kernel: str | None) -> None:
    dump = openbsd_dump_factory(compress=compress, compress_kernel=kernel)
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        check_identity(kd, dump)
        assert kd.argv(one(kd, 702)) == [b"vi", b"two words", b"", b"last"]


def test_kernel_compressed_under_its_own_name(openbsd_dump: BsdDump, tmp_path: Path) -> None:
    """As boot loaders take it: /bsd, gzip'd."""
    kernel = tmp_path / "bsd"
    kernel.write_bytes(gzip.compress(openbsd_dump.kernel.read_bytes(), 1))
    with pykvm.Kvm(openbsd_dump.core, kernel) as kd:
        assert one(kd, 700).comm == "sh"


def test_wrong_kernels(openbsd_dump: BsdDump, netbsd_dump: BsdDump, bsd_written: Any, tmp_path: Path) -> None:
    def message(kernel: Path) -> str:
        with pytest.raises(pykvm.KvmError) as caught:
            pykvm.Kvm(openbsd_dump.core, kernel)
        return str(caught.value)

    raw = openbsd_dump.kernel.read_bytes()
    other = tmp_path / "other"
    other.write_bytes(raw.replace(b"(FIXTURE) #0:", b"(FIXTURE) #1:"))
    assert message(other) == (
        f"bad namelist: {other} is not the kernel of {openbsd_dump.core}, whose version is "
        "'OpenBSD 7.4 (FIXTURE) #0: Tue Nov 14 22:13:20 UTC 2023'"
    )
    i386 = bsd_written("OpenBSD", "i386", layout=0, seed=1).kernel
    assert message(i386) == f"bad namelist: {i386} is of i386, the dump {openbsd_dump.core} of x86_64"
    assert message(netbsd_dump.kernel).startswith(f"bad namelist: {netbsd_dump.kernel} is not the kernel of")


@pytest.mark.parametrize("machine", ["amd64", "i386-pae"])
def test_nm_list(bsd_written: Any, tmp_path: Path, machine: str) -> None:
    """Names without types: processes need a layout file."""
    dump = bsd_written("OpenBSD", machine, layout=0, seed=1)
    names = nm_list(dump, tmp_path / "bsd.nm")
    with pykvm.Kvm(dump.core, names) as kd:
        check_identity(kd, dump)
        check_memory(kd, dump)
        check_messages(kd, dump)
        with pytest.raises(pykvm.KvmError, match=r"no type information.*no table of OpenBSD 7\.4 on"):
            kd.processes()
    layout = layout_file(dump, tmp_path / "layout.json")
    with pykvm.Kvm(dump.core, names, layout=layout) as kd:
        found = kd.processes(pykvm.KERN_PROC_KTHREAD)
        for p in found:
            check_process(p, dump.process(p.pid), dump)
        check_vectors(kd, dump, found)


def test_no_types(openbsd_dump_factory: Any) -> None:
    dump = openbsd_dump_factory(types=False)
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        check_messages(kd, dump)
        for ask in (kd.processes, kd.files):
            with pytest.raises(pykvm.KvmError, match=r"pykvm layout"):
                ask()


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """python -m pykvm_fixtures openbsd."""
    assert main(["openbsd", str(tmp_path), "--container", "device", "--compress-kernel", "gz"]) == 0
    core, kernel, offset = (line.split()[1] for line in capsys.readouterr().out.splitlines())
    with pykvm.Kvm(Path(core), Path(kernel)) as kd:
        assert pykvm.kvm_dump_mkheader(kd, int(offset)) > 0
        assert len(kd.processes(pykvm.KERN_PROC_KTHREAD)) == 12
