"""SunOS's kvm(3K) over dumps of three systems: what its functions give, against what was written."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pykvm_fixtures import FreebsdDump, LinuxDump, MirbsdDump

import pykvm
from pykvm import sunos
from pykvm.sunos import (
    Nlist,
    Rusage,
    Timeval,
    User,
    kvm_close,
    kvm_getcmd,
    kvm_getproc,
    kvm_getu,
    kvm_nextproc,
    kvm_nlist,
    kvm_open,
    kvm_read,
    kvm_setproc,
    kvm_write,
)

MICRO = 10**6


def opened(*paths: Any, flag: int = os.O_RDONLY, errstr: str | None = None) -> pykvm.Kvm:
    core, kernel, swap = (*paths, None, None, None)[:3]
    kd = kvm_open(kernel, core, swap, flag, errstr)
    assert isinstance(kd, pykvm.Kvm)
    return kd


@pytest.fixture
def mirbsd(mirbsd_dump: MirbsdDump) -> Iterator[pykvm.Kvm]:
    kd = opened(mirbsd_dump.core, mirbsd_dump.kernel, mirbsd_dump.swap)
    yield kd
    kd.close()


@pytest.fixture
def linux(linux_dump: LinuxDump) -> Iterator[pykvm.Kvm]:
    kd = opened(linux_dump.paths[0])
    yield kd
    kd.close()


@pytest.fixture
def freebsd(freebsd_dump: FreebsdDump) -> Iterator[pykvm.Kvm]:
    kd = opened(freebsd_dump.core, freebsd_dump.kernel)
    yield kd
    kd.close()


def the(kd: pykvm.Kvm, pid: int) -> tuple[pykvm.ProcessRecord, User]:
    """A process that there is, and its user area."""
    p = kvm_getproc(kd, pid)
    assert p is not None
    u = kvm_getu(kd, p)
    assert u is not None
    return p, u


def rest(kd: pykvm.Kvm) -> list[int]:
    """The pids of the processes that are left."""
    return [p.pid for p in iter(lambda: kvm_nextproc(kd), None)]


# -- opening, names, memory ---------------------------------------------------------------------------------


def test_open_and_close(mirbsd_dump: MirbsdDump) -> None:
    kd = opened(mirbsd_dump.core, mirbsd_dump.kernel)
    assert kd.info.system == "MirBSD"
    assert kvm_close(kd) == 0
    assert kvm_close(kd) == -1


def test_errors_of_open(mirbsd_dump: MirbsdDump, capfd: pytest.CaptureFixture[str]) -> None:
    """errstr is a program's name: with one, messages go to stderr."""
    assert kvm_open(None, "/nosuch", None, os.O_RDONLY, "ps") is None
    assert capfd.readouterr().err == "ps: /nosuch: No such file or directory\n"
    assert kvm_open(None, "/nosuch", None, os.O_RDONLY, None) is None
    assert capfd.readouterr().err == ""
    for flag, shown in ((os.O_WRONLY, "0x1"), (3, "0x3"), (os.O_RDWR | 0o100, "0x42"), (-1, "-0x1")):
        assert kvm_open(mirbsd_dump.kernel, mirbsd_dump.core, None, flag, "ps") is None
        assert capfd.readouterr().err == f"ps: illegal flag {shown} to kvm_open()\n"
        assert kvm_open(mirbsd_dump.kernel, mirbsd_dump.core, None, flag, None) is None
        assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "arguments", [(None, None, None, 0, 7), (None, None, None, "r", None), (5.0, "x", None, 0, None)]
)
def test_wrong_arguments_of_open(arguments: Any) -> None:
    with pytest.raises(TypeError):
        kvm_open(*arguments)


def test_errstr_of_later_calls(linux_dump: LinuxDump, capfd: pytest.CaptureFixture[str]) -> None:
    """Once each, and only those that are no soft ones."""
    kd = opened(linux_dump.paths[0], errstr="ps")
    p, _ = the(kd, 1)
    _, other = the(kd, 300)
    assert kvm_getcmd(kd, p, other, [], None) == -1
    assert capfd.readouterr().err == "ps: process 1: the user area is another process's\n"
    assert kvm_getproc(kd, 4711) is None
    assert capfd.readouterr().err == ""
    assert pykvm.kvm_geterr(kd) == "no process 4711"
    kvm_close(kd)
    assert kvm_nextproc(kd) is None
    assert capfd.readouterr().err == "ps: handle is closed\n"


def test_nlist(mirbsd: pykvm.Kvm, mirbsd_dump: MirbsdDump) -> None:
    nl = [Nlist("_nprocs"), Nlist("_nosuch"), Nlist("_allproc"), Nlist("")]
    assert kvm_nlist(mirbsd, nl) == 1
    assert [n.n_value for n in nl] == [mirbsd_dump.symbols["nprocs"], 0, mirbsd_dump.symbols["allproc"], 0]


def test_read(mirbsd: pykvm.Kvm, mirbsd_dump: MirbsdDump) -> None:
    """As much as there is, where BSD's function gives -1."""
    for va, data in mirbsd_dump.markers:
        buf = bytearray(len(data) + 1)
        assert kvm_read(mirbsd, va, buf, len(data)) == len(data)
        assert buf == data + b"\0"
    hole = mirbsd_dump.hole[0]
    buf = bytearray(b"\xff" * 64)
    assert kvm_read(mirbsd, hole - 32, buf, 32) == 32
    assert kvm_read(mirbsd, hole - 32, buf, 64) == 32
    assert pykvm.kvm_geterr(mirbsd) == f"invalid address ({hole:x})"
    assert buf == mirbsd.read(hole - 32, 32) + b"\xff" * 32
    assert pykvm.kvm_read(mirbsd, hole - 32, buf, 64) == -1
    assert kvm_read(mirbsd, hole, buf, 4) == -1
    assert kvm_read(mirbsd, hole, buf, 0) == 0
    assert buf[32:] == b"\xff" * 32


@pytest.mark.parametrize("addr", [-1, 1 << 64, 1 << 200, 0, (1 << 64) - 1])
def test_read_of_no_address(mirbsd: pykvm.Kvm, linux: pykvm.Kvm, freebsd: pykvm.Kvm, addr: int) -> None:
    for kd in (mirbsd, linux, freebsd):
        assert kvm_read(kd, addr, bytearray(8), 8) == -1
        assert pykvm.kvm_geterr(kd).startswith("invalid")


def test_wrong_arguments_of_read(mirbsd: pykvm.Kvm, mirbsd_dump: MirbsdDump) -> None:
    at = mirbsd_dump.symbols["nprocs"]
    for n in (5, -1, 1 << 70):
        with pytest.raises(ValueError, match="does not fit"):
            kvm_read(mirbsd, at, bytearray(4), n)
    wrong: Any
    for wrong in (b"four", "four", None, 4):
        with pytest.raises(TypeError):
            kvm_read(mirbsd, at, wrong, 4)
    for wrong in ("nprocs", None, 1.5):
        with pytest.raises(TypeError):
            kvm_read(mirbsd, wrong, bytearray(4), 4)


def test_write(mirbsd_dump: MirbsdDump, tmp_path: Path) -> None:
    core = tmp_path / "core"
    shutil.copyfile(mirbsd_dump.core, core)
    kd = opened(core, mirbsd_dump.kernel, flag=os.O_RDWR)
    at = mirbsd_dump.symbols["nprocs"]
    assert kvm_write(kd, at, b"\x01\x02\x03\x04", 4) == 4
    buf = bytearray(4)
    assert kvm_read(kd, at, buf, 4) == 4
    assert buf == b"\x01\x02\x03\x04"
    assert kvm_write(kd, mirbsd_dump.hole[0], b"abcd", 4) == -1
    assert kvm_close(kd) == 0
    kd = opened(mirbsd_dump.core, mirbsd_dump.kernel)
    assert kvm_write(kd, at, b"abcd", 4) == -1
    kvm_close(kd)


# -- the list -----------------------------------------------------------------------------------------------


def test_every_process(
    mirbsd: pykvm.Kvm, linux: pykvm.Kvm, freebsd: pykvm.Kvm, mirbsd_dump: MirbsdDump, linux_dump: LinuxDump
) -> None:
    """Without kvm_setproc, too; and after the last there is none until the list is begun anew."""
    for kd, pids in (
        (mirbsd, [t.pid for t in mirbsd_dump.processes]),
        (linux, [t.pid for t in linux_dump.tasks]),
        (freebsd, [p.pid for p in freebsd.processes()]),
    ):
        assert len(pids) > 4
        assert rest(kd) == pids
        assert kvm_nextproc(kd) is None
        assert pykvm.kvm_geterr(kd) == ""
        assert kvm_setproc(kd) == 0
        first = kvm_nextproc(kd)
        assert first is not None
        assert first.pid == pids[0]
        assert kvm_setproc(kd) == 0
        assert rest(kd) == pids


def test_getproc_moves_nothing(mirbsd: pykvm.Kvm, mirbsd_dump: MirbsdDump) -> None:
    seen = []
    for t in mirbsd_dump.processes:
        for pid in (1, t.pid):
            p = kvm_getproc(mirbsd, pid)
            assert p is not None
            assert p.pid == pid
            assert p.paddr == mirbsd_dump.proc_addrs[pid]
        p = kvm_nextproc(mirbsd)
        assert p is kvm_getproc(mirbsd, t.pid)
        assert p is not None
        assert (p.pid, p.comm) == (t.pid, t.comm.decode())
        assert p.structure == "kinfo_proc"
        seen.append(p)
    # Those of before stay what they were, whatever is asked for afterwards.
    assert kvm_setproc(mirbsd) == 0
    assert [p.pid for p in seen] == [t.pid for t in mirbsd_dump.processes]


@pytest.mark.parametrize("pid", [-1, 4711, 1 << 80])
def test_getproc_of_none(mirbsd: pykvm.Kvm, pid: int) -> None:
    assert kvm_getproc(mirbsd, pid) is None
    assert pykvm.kvm_geterr(mirbsd) == f"no process {pid}"


def test_getproc_of_something_else(mirbsd: pykvm.Kvm) -> None:
    wrong: Any
    for wrong in ("1", None, 1.0, b"1"):
        with pytest.raises(TypeError):
            kvm_getproc(mirbsd, wrong)


def test_two_handles(mirbsd_dump: MirbsdDump, mirbsd: pykvm.Kvm) -> None:
    """Each has its own place."""
    other = opened(mirbsd_dump.core, mirbsd_dump.kernel)
    pids = [t.pid for t in mirbsd_dump.processes]
    kvm_nextproc(mirbsd)
    assert rest(other) == pids
    assert rest(mirbsd) == pids[1:]
    kvm_close(other)


def test_threads_share_the_list(mirbsd_dump: MirbsdDump, mirbsd: pykvm.Kvm) -> None:
    """Each process goes to one of them."""
    found: list[list[int]] = []
    threads = [threading.Thread(target=lambda: found.append(rest(mirbsd))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(pid for pids in found for pid in pids) == sorted(t.pid for t in mirbsd_dump.processes)


def test_a_list_that_cannot_be_read(mirbsd_dump: MirbsdDump, tmp_path: Path) -> None:
    """The reason is told, and the next call tries again."""
    core = tmp_path / "core"
    shutil.copyfile(mirbsd_dump.core, core)
    kd = opened(core, mirbsd_dump.kernel, flag=os.O_RDWR)
    at = mirbsd_dump.symbols["allproc"]
    good = kd.read(at, 4)
    assert kvm_write(kd, at, b"\x04\0\0\0", 4) == 4
    calls: tuple[Callable[[], Any], ...] = (lambda: kvm_nextproc(kd), lambda: kvm_getproc(kd, 1))
    for call in calls:
        kd.message = ""
        assert call() is None
        assert "proc" in pykvm.kvm_geterr(kd)
    assert kvm_setproc(kd) == -1
    assert kvm_write(kd, at, good, 4) == 4
    assert len(rest(kd)) == len(mirbsd_dump.processes)
    # What kvm_setproc could not list anew is not given from before.
    assert kvm_write(kd, at, b"\x04\0\0\0", 4) == 4
    assert kvm_nextproc(kd) is None
    assert kvm_getproc(kd, 1) is not None
    assert kvm_setproc(kd) == -1
    assert kvm_getproc(kd, 1) is None
    kvm_close(kd)


# -- user areas ---------------------------------------------------------------------------------------------


def test_user_areas(mirbsd: pykvm.Kvm, mirbsd_dump: MirbsdDump) -> None:
    zombies = 0
    for t in mirbsd_dump.processes:
        p = kvm_getproc(mirbsd, t.pid)
        assert p is not None
        u = kvm_getu(mirbsd, p)
        if t.zombie:
            assert u is None
            assert pykvm.kvm_geterr(mirbsd) == f"process {t.pid}: a zombie has no user area"
            zombies += 1
            continue
        assert u is not None
        assert u.u_procp == mirbsd_dump.proc_addrs[t.pid]
        assert u.u_comm == t.comm.decode()
        assert u.u_start == Timeval(*t.start_time)
        assert (u.u_uid, u.u_gid, u.u_ruid, u.u_rgid) == (t.uid, t.gid, t.ruid, t.rgid)
        assert u.u_groups == tuple(t.groups)
        for shown, true in ((u.u_ru.ru_utime, p.utime), (u.u_ru.ru_stime, p.stime)):
            assert shown is not None
            assert shown.tv_sec + shown.tv_usec / MICRO == pytest.approx(true, abs=1e-6)
            assert 0 <= shown.tv_usec < MICRO
    assert zombies > 0


def test_user_area_of_linux(linux: pykvm.Kvm, linux_dump: LinuxDump) -> None:
    _, u = the(linux, 300)
    assert u == User(
        u_procp=linux_dump.task_addrs[300],
        u_comm="sh",
        u_start=Timeval(1700000005, 500000),
        u_ru=Rusage(Timeval(1, 230000), Timeval(0, 770000)),
        u_uid=1001,
        u_gid=u.u_gid,
        u_ruid=1000,
        u_rgid=u.u_rgid,
        u_groups=(4, 100, 70000),
    )
    (task,) = (t for t in linux_dump.tasks if t.pid == 300)
    assert (u.u_ruid, u.u_uid, u.u_rgid, u.u_gid) == (task.ids[0], task.ids[1], task.ids[3], task.ids[4])
    assert task.times == (1_230_000_000, 770_000_000)


def test_user_area_of_freebsd(freebsd: pykvm.Kvm) -> None:
    p, u = the(freebsd, 1)
    assert (u.u_comm, u.u_procp, u.u_start) == ("init", p.paddr, Timeval(1700000001, 750000))
    _, u = the(freebsd, 800)
    assert (u.u_uid, u.u_ruid) == (0, 1001)
    assert u.u_groups is not None
    assert u.u_groups[:3] == (25, 2000, 2001)
    p, u = the(freebsd, 0)  # the kernel has one, too
    assert (u.u_comm, u.u_procp) == ("kernel", p.paddr)


def test_times_to_the_microsecond(linux: pykvm.Kvm) -> None:
    """Seconds as floats lie a little beside them, on either side."""
    (known,) = linux.processes(pykvm.KERN_PROC_PID, 1)
    for start in (2, 8, 1400000123, 1700000005):
        for usec in range(0, MICRO, 997):
            told = {"pid": 1, "start_time": start + usec / MICRO}
            u = kvm_getu(linux, pykvm.ProcessRecord(known._struct, bytes(known), 0, "little", {}, told))
            assert u is not None
            assert u.u_start == Timeval(start, usec)


def test_user_area_that_is_not_told(linux: pykvm.Kvm) -> None:
    """None, not 0; and what no target tells is not there."""
    (known,) = linux.processes(pykvm.KERN_PROC_PID, 1)
    p = pykvm.ProcessRecord(known._struct, bytes(known), 0, "little", {}, {"pid": 1})
    assert kvm_getu(linux, p) == User(None, None, None, Rusage(None, None), None, None, None, None, None)
    with pytest.raises(AttributeError):
        _ = the(linux, 1)[1].u_pcb  # type: ignore[attr-defined]


def test_records_of_the_other_functions(mirbsd: pykvm.Kvm, mirbsd_dump: MirbsdDump) -> None:
    records = pykvm.kvm_getproc2(mirbsd, pykvm.KERN_PROC_PID, 1)
    assert records is not None
    u = kvm_getu(mirbsd, records[0])
    assert u == the(mirbsd, 1)[1]
    arg: list[bytes] = []
    assert kvm_getcmd(mirbsd, records[0], u, arg, None) == 0
    assert arg == next(t.argv for t in mirbsd_dump.processes if t.pid == 1)


def test_something_else_than_a_record(mirbsd: pykvm.Kvm, linux: pykvm.Kvm, linux_dump: LinuxDump) -> None:
    _, u = the(mirbsd, 1)
    wrong: Any
    for wrong in (None, 1, "init", u):
        with pytest.raises(TypeError):
            kvm_getu(mirbsd, wrong)
        with pytest.raises(TypeError):
            kvm_getcmd(mirbsd, wrong, u, [], [])
    stranger, of_stranger = the(linux, 1)
    assert kvm_getu(mirbsd, stranger) is None
    assert pykvm.kvm_geterr(mirbsd) == "process 1: the record is of another handle"
    assert kvm_getcmd(mirbsd, stranger, of_stranger, [], []) == -1


# -- commands -----------------------------------------------------------------------------------------------


def test_commands(mirbsd: pykvm.Kvm, mirbsd_dump: MirbsdDump) -> None:
    """Those in memory and in swap, those without an environment, and the kernel's own, which have none."""
    kinds = set()
    for t in mirbsd_dump.processes:
        p = kvm_getproc(mirbsd, t.pid)
        assert p is not None
        u = kvm_getu(mirbsd, p)
        arg, env = [b"old"], [b"older", b"x"]
        done = kvm_getcmd(mirbsd, p, u, arg, env)
        if t.zombie or t.system:
            assert done == -1
            assert (arg, env) == ([b"old"], [b"older", b"x"])
            reason = "no user area" if t.zombie else "it has no arguments"
            assert pykvm.kvm_geterr(mirbsd) == f"process {t.pid}: {reason}"
            assert kvm_getcmd(mirbsd, p, u, None, env) == -1
            kinds.add("none")
            continue
        assert done == 0
        assert arg == t.argv
        assert env == t.env
        kinds |= {t.where, "empty" if not env else "full"}
        only: list[bytes] = []
        assert kvm_getcmd(mirbsd, p, u, None, only) == 0
        assert only == t.env
        assert kvm_getcmd(mirbsd, p, u, only, None) == 0
        assert only == t.argv
        assert kvm_getcmd(mirbsd, p, u, None, None) == 0
    assert {"none", "swap", "empty", "full"} <= kinds


def test_commands_of_linux(linux: pykvm.Kvm, linux_dump: LinuxDump) -> None:
    checked = 0
    for t in linux_dump.tasks:
        p = kvm_getproc(linux, t.pid)
        assert p is not None
        arg: list[bytes] = []
        env: list[bytes] = []
        has = bool(t.argv) and p.stat != "Z"
        assert kvm_getcmd(linux, p, kvm_getu(linux, p), arg, env) == (0 if has else -1)
        assert arg == (list(t.argv or ()) if has else [])
        assert env == (list(t.env) if has else [])
        checked += has
    assert checked > 2


def test_what_the_dump_does_not_have(freebsd: pykvm.Kvm, freebsd_dump: FreebsdDump) -> None:
    """A minidump has the arguments that the kernel kept, and no environment: both or none are given."""
    (t,) = (t for t in freebsd_dump.processes if t.pid == 1)
    p, u = the(freebsd, 1)
    arg, env = [b"old"], [b"old"]
    assert kvm_getcmd(freebsd, p, u, arg, env) == -1
    assert "a minidump does not hold the memory of processes" in pykvm.kvm_geterr(freebsd)
    assert (arg, env) == ([b"old"], [b"old"])
    assert kvm_getcmd(freebsd, p, u, arg, None) == 0
    assert arg == list(t.args) == [b"/sbin/init"]


def test_swap_that_was_not_named(mirbsd_dump: MirbsdDump) -> None:
    kd = opened(mirbsd_dump.core, mirbsd_dump.kernel)
    p, u = the(kd, 1900)
    arg = [b"old"]
    assert kvm_getcmd(kd, p, u, arg, None) == -1
    assert pykvm.kvm_geterr(kd) != ""
    assert arg == [b"old"]
    kvm_close(kd)


def test_wrong_arguments_of_getcmd(mirbsd: pykvm.Kvm) -> None:
    p, u = the(mirbsd, 1)
    wrong: Any
    for wrong in ((), "x", b"x", 7, {}):
        with pytest.raises(TypeError):
            kvm_getcmd(mirbsd, p, u, wrong, None)
        with pytest.raises(TypeError):
            kvm_getcmd(mirbsd, p, u, None, wrong)
        with pytest.raises(TypeError):
            kvm_getcmd(mirbsd, p, wrong, None, None)
    both: list[bytes] = []
    with pytest.raises(ValueError, match="two lists"):
        kvm_getcmd(mirbsd, p, u, both, both)
    assert kvm_getcmd(mirbsd, p, None, both, None) == -1
    assert pykvm.kvm_geterr(mirbsd) == "process 1: no user area"
    _, other = the(mirbsd, 1024)
    assert kvm_getcmd(mirbsd, p, other, both, None) == -1
    assert both == []


# -- handles ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("close", [kvm_close, pykvm.kvm_close, pykvm.Kvm.close])
def test_closed_handles(mirbsd: pykvm.Kvm, mirbsd_dump: MirbsdDump, close: Callable[[pykvm.Kvm], Any]) -> None:
    """Whoever closed it; with a list that was begun, and records and user areas of before."""
    p, u = the(mirbsd, 1)
    kvm_nextproc(mirbsd)
    close(mirbsd)
    buf = bytearray(4)
    at = mirbsd_dump.symbols["nprocs"]
    arg: list[bytes] = []
    for call, result in (
        (lambda: kvm_nextproc(mirbsd), None),
        (lambda: kvm_getproc(mirbsd, 1), None),
        (lambda: kvm_setproc(mirbsd), -1),
        (lambda: kvm_nextproc(mirbsd), None),
        (lambda: kvm_getu(mirbsd, p), None),
        (lambda: kvm_getcmd(mirbsd, p, u, arg, None), -1),
        (lambda: kvm_getcmd(mirbsd, p, u, None, None), -1),
        (lambda: kvm_read(mirbsd, at, buf, 4), -1),
        (lambda: kvm_read(mirbsd, at, buf, 0), -1),
        (lambda: kvm_write(mirbsd, at, buf, 4), -1),
        (lambda: kvm_nlist(mirbsd, [Nlist("_nprocs")]), -1),
        (lambda: kvm_close(mirbsd), -1),
    ):
        mirbsd.message = ""
        assert call() == result
        assert pykvm.kvm_geterr(mirbsd) == "handle is closed"
    assert (arg, p.pid, u.u_procp) == ([], 1, p.paddr)


@pytest.mark.parametrize("kd", [None, 3, "kd", object()])
def test_no_handle(kd: Any, mirbsd: pykvm.Kvm) -> None:
    """What an open that failed gives is refused, not followed."""
    p, u = the(mirbsd, 1)
    for call in (
        lambda: kvm_close(kd),
        lambda: kvm_read(kd, 0, bytearray(4), 4),
        lambda: kvm_write(kd, 0, b"four", 4),
        lambda: kvm_nlist(kd, []),
        lambda: kvm_setproc(kd),
        lambda: kvm_nextproc(kd),
        lambda: kvm_getproc(kd, 1),
        lambda: kvm_getu(kd, p),
        lambda: kvm_getcmd(kd, p, u, [], []),
    ):
        with pytest.raises(TypeError, match=r"kd must be a pykvm\.Kvm"):
            call()


def test_the_running_system() -> None:
    """Without its memory: processes as on a dump, and reads that say why not."""
    kd = opened(flag=pykvm.KVM_NO_FILES)
    p, u = the(kd, os.getpid())
    assert u.u_procp is None  # nothing tells it
    assert u.u_uid == os.geteuid()
    assert u.u_start is not None
    assert u.u_start.tv_sec > 0
    arg: list[bytes] = []
    assert kvm_getcmd(kd, p, u, arg, None) == 0
    assert b"\0".join([*arg, b""]) == Path("/proc/self/cmdline").read_bytes()
    assert os.getpid() in rest(kd)
    assert kvm_read(kd, 0xC0000000, bytearray(4), 4) == -1
    assert pykvm.kvm_geterr(kd).startswith("invalid address (c0000000)")
    assert kvm_close(kd) == 0
    assert kvm_nextproc(kd) is None


def test_all_names() -> None:
    """A script's `from pykvm.sunos import *` gives what <kvm.h> declares, and what it takes and gives."""
    assert all(hasattr(sunos, name) for name in sunos.__all__)
    assert {name for name in sunos.__all__ if name.startswith("kvm_")} == {
        f"kvm_{name}"
        for name in ("open", "close", "read", "write", "nlist", "getproc", "nextproc", "setproc", "getu", "getcmd")
    }
