"""DragonFly: whose dump it is, and its processes: releases with lists and with tables, structures laid out anew."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pykvm_fixtures.__main__ import main as write
from pykvm_fixtures.dragonfly import model as m
from pykvm_fixtures.dragonfly import write_dragonfly
from pykvm_fixtures.dragonfly.structures import RELEASES, layouts
from pykvm_fixtures.dragonfly.system import DragonflyDump
from pykvm_fixtures.freebsd import write_freebsd

import pykvm
from pykvm import constants as k
from pykvm.cli import main
from pykvm.errors import KvmError
from pykvm.targets.dragonfly.kernel import DragonFly
from pykvm.targets.freebsd.kernel import FreeBSD
from pykvm.types.layout import builtin

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
VARIANTS: list[Any] = [
    {"release": "2"},
    {"release": "3", "layout": 4},
    {"release": "4", "layout": 2},
    {"release": "6"},
    {"release": "6", "kinfo": False, "layout": 7},
    pytest.param({"release": "6", "types_as": "dwarf", "layout": 3}, marks=needs_gcc),
    pytest.param({"release": "2", "types_as": "dwarf", "layout": 1}, marks=needs_gcc),
]
SUMS = ("6",)  # releases whose records sum up all lwps
ADJUSTS = ("3", "4", "6")  # releases that say that a running lwp on no queue sleeps


@pytest.fixture(scope="module", params=VARIANTS, ids=lambda v: "-".join(map(str, v.values())))
def opened(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[tuple[pykvm.Kvm, DragonflyDump]]:
    dump = write_dragonfly(tmp_path_factory.mktemp("dfly"), **request.param)
    with pykvm.Kvm(dump.core, dump.kernel, layout=dump.layout) as kd:
        yield kd, dump


def shown(dump: DragonflyDump, p: m.Process) -> m.Lwp | None:
    """The lwp that a process's record shows."""
    lwps = sorted(p.lwps, key=lambda lwp: lwp.tid)
    return None if not lwps else lwps[-1] if dump.release in SUMS else lwps[0]


def summed(dump: DragonflyDump, p: m.Process) -> list[m.Lwp]:
    return list(p.lwps) if dump.release in SUMS else [lwp for lwp in (shown(dump, p),) if lwp]


def kl_stat(dump: DragonflyDump, lwp: m.Lwp | None) -> int:
    if lwp is None:
        return 0
    queued = lwp.tdflags & m.TDF_RUNQ or lwp.mpflags & m.LWP_MP_ONRUNQ
    return m.LSSLEEP if lwp.stat == m.LSRUN and not queued and dump.release in ADJUSTS else lwp.stat


def tdev(dump: DragonflyDump, t: m.Terminal) -> int:
    return t.inode if dump.release in ("4", "6") else t.major << 8 | t.minor


# -- whose dump it is -------------------------------------------------------------------------------------------------


def test_identity(opened: Any) -> None:
    kd, dump = opened
    assert type(kd.target) is DragonFly
    assert (kd.info.system, kd.info.release, kd.info.machine) == ("DragonFly", dump.osrelease, "x86_64")
    assert kd.info.version == dump.version.rstrip("\n")
    assert kd.loadavg() == list(dump.system.loadavg)
    assert b"panic: fixture" in kd.target.dmesg(kd.parts)
    facts = kd.facts()
    boot = dump.system.boottime[0] + dump.system.boottime[1] / 1e9
    assert {name: facts[name] for name in ("hostname", "panic", "cpus", "boot time", "dump time", "uptime")} == {
        "hostname": "dfly.example.org", "panic": "fixture", "cpus": 2, "boot time": boot,
        "dump time": dump.system.now, "uptime": dump.system.now - boot,
    }  # fmt: skip
    assert facts["physical memory"] == dump.system.physmem * 4096
    assert "panic registers" not in facts
    with pytest.raises(KvmError, match="DragonFly does not have it"):
        kd.target.maxcpu(kd.parts)


@pytest.mark.parametrize("machine", ["amd64", "i386"])
def test_first_minidumps_of_freebsd(tmp_path: Path, machine: str) -> None:
    dump = write_freebsd(tmp_path, machine, release="10", version=1)
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        assert type(kd.target) is FreeBSD
        assert kd.info.system == "FreeBSD"
        assert kd.processes(k.KERN_PROC_PID, 1)[0].comm == "init"


# -- processes --------------------------------------------------------------------------------------------------------


def test_attributes(opened: Any) -> None:
    kd, dump = opened
    records = [r for r in kd.processes() if r.paddr is not None]
    assert [r.pid for r in records] == dump.addresses.order
    assert 706 not in dump.addresses.order  # is being made
    login = {p.session: p.login for p in dump.processes if p.login}
    terminals = {t.name: t for t in dump.system.terminals}
    for r in records:
        p = dump.process(r.pid)
        lwp, tty = shown(dump, p), terminals.get(p.tty or "")
        assert (r.paddr, r.comm, r.ppid, r.pgid, r.sid) == (
            dump.addresses.procs[p.pid], p.comm, p.tracer or p.ppid, p.group, p.session,
        )  # fmt: skip
        assert (r.uid, r.ruid, r.svuid, r.gid, r.rgid, r.svgid) == (
            p.uid, p.ruid, p.svuid, p.groups[0], p.rgid, p.svgid,
        )  # fmt: skip
        assert (r.groups, r.flags, r.nice, r.threads) == (list(p.groups), p.flags, p.nice, len(p.lwps))
        assert (r.tdev, r.tpgid) == ((tdev(dump, tty), tty.pgid) if tty else (None, None))
        assert r.login == login.get(p.session, "")
        assert (r.wmesg, r.wchan) == ((lwp.wmesg, dump.addresses.wchans[lwp.wchan]) if lwp else (None, None))
        assert r.start_time == p.start[0] + p.start[1] / 1e6
        assert r.rssize == p.resident * 4096
        assert r.utime == pytest.approx(p.utime[0] + (p.utime[1] + sum(x.ticks[0] for x in p.lwps)) / 1e6)
        assert r.stime == pytest.approx(p.stime[0] + (p.stime[1] + sum(x.ticks[1] for x in p.lwps)) / 1e6)
    letters = {r.pid: r.stat for r in records}
    expected = {1: "I", 700: "S", 702: "T", 705: "Z", 1057: "R", 1058: "R", 1060: "D"}
    expected[1059] = "S" if dump.release in ADJUSTS else "R"
    assert {pid: letters[pid] for pid in expected} == expected


def test_kinfo_proc(opened: Any) -> None:
    kd, dump = opened
    terminals = {t.name: t for t in dump.system.terminals}
    for r in kd.processes(k.KERN_PROC_ALL):
        p = dump.process(r.kp_pid)
        tty = terminals.get(p.tty or "")
        assert r.structure == "kinfo_proc"
        assert len(bytes(r)) == (992 if dump.release in SUMS else 976)
        assert (r.kp_paddr, r.kp_fd, r.kp_ktaddr) == (
            dump.addresses.procs[p.pid], dump.addresses.fds[p.pid], 0,
        )  # fmt: skip
        assert (r.kp_flags, r.kp_stat, r.kp_lock, r.kp_acflag, r.kp_traceflag) == (
            p.flags, p.stat, p.lock, p.acflag, p.traceflag,
        )  # fmt: skip
        assert [tuple(getattr(r, f"kp_sig{name}").__getattr__("__bits")) for name in ("list", "ignore", "catch")] == [
            p.siglist, p.sigignore, p.sigcatch,
        ]  # fmt: skip
        assert (r.kp_sigflag, r.kp_comm, r.kp_start.tv_sec, r.kp_start.tv_usec) == (
            p.sigflag, p.comm.encode(), *p.start,
        )  # fmt: skip
        assert r.kp_ngroups == len(p.groups)
        assert tuple(r.kp_groups[: len(p.groups)]) == p.groups
        assert (r.kp_uid, r.kp_ruid, r.kp_svuid, r.kp_rgid, r.kp_svgid) == (p.uid, p.ruid, p.svuid, p.rgid, p.svgid)
        assert (r.kp_ppid, r.kp_pgid, r.kp_sid, r.kp_jobc) == (p.tracer or p.ppid, p.group, p.session, p.jobc)
        assert r.kp_login == r.login.encode()
        assert (r.kp_tdev, r.kp_tpgid, r.kp_tsid) == (
            (tdev(dump, tty), tty.pgid, tty.sid) if tty else (0xFFFFFFFF, 0, 0)
        )
        leader = p.session == p.pid
        assert r.kp_auxflags == (1 if p.session == 700 else 0) | (2 if leader else 0)
        assert (r.kp_exitstat, r.kp_nthreads, r.kp_nice, r.kp_swtime) == (p.xstat, len(p.lwps), p.nice, p.swtime)
        assert (r.kp_vm_map_size, r.kp_vm_rssize, r.kp_vm_swrss, r.kp_vm_tsize, r.kp_vm_dsize, r.kp_vm_ssize) == (
            p.size, p.resident, p.swrss, p.tsize, p.dsize, p.ssize,
        )  # fmt: skip
        assert r.kp_jailid == p.jid
        assert (r.kp_ru.ru_utime.tv_sec, r.kp_ru.ru_utime.tv_usec) == p.utime
        assert (r.kp_cru.ru_utime.tv_sec, r.kp_cru.ru_utime.tv_usec) == p.child_utime
        assert r.kp_ru.ru_nivcsw == dict(p.ru).get("ru_nivcsw", 0)


def test_kinfo_lwp(opened: Any) -> None:
    kd, dump = opened
    for r in kd.processes(k.KERN_PROC_ALL):
        p = dump.process(r.pid)
        lwp, lwps, kl = shown(dump, p), summed(dump, p), r.kp_lwp
        if lwp is None:
            assert (kl.kl_pid, kl.kl_tid, kl.kl_stat, kl.kl_wmesg) == (0, 0, 0, b"")
            continue
        assert (kl.kl_pid, kl.kl_tid, kl.kl_flags, kl.kl_stat) == (p.pid, lwp.tid, lwp.flags, kl_stat(dump, lwp))
        assert (kl.kl_lock, kl.kl_tdflags, kl.kl_prio, kl.kl_tdprio) == (
            lwp.lock, lwp.tdflags, lwp.priority, lwp.tdprio,
        )  # fmt: skip
        assert (kl.kl_rtprio.type, kl.kl_rtprio.prio) == lwp.rtprio
        assert (kl.kl_uticks, kl.kl_sticks, kl.kl_iticks) == tuple(
            sum(x.ticks[i] for x in lwps) for i in range(3)
        )  # fmt: skip
        assert (kl.kl_cpticks, kl.kl_pctcpu, kl.kl_slptime, kl.kl_estcpu) == tuple(
            sum(getattr(x, name) for x in lwps) for name in ("cpticks", "pctcpu", "slptime", "estcpu")
        )
        assert (kl.kl_cpuid, kl.kl_origcpu) == (lwp.cpu, lwp.batch)
        assert kl.kl_wmesg == (lwp.wmesg or "").encode()[:8]
        assert kl.kl_wchan == dump.addresses.wchans[lwp.wchan]
        used = [dict(x.ru) for x in lwps]
        assert kl.kl_ru.ru_nvcsw == sum(u.get("ru_nvcsw", 0) for u in used)
        assert kl.kl_ru.ru_maxrss == max(u.get("ru_maxrss", 0) for u in used)
        micro = sum(x.utime[0] * 10**6 + x.utime[1] for x in lwps)
        assert (kl.kl_ru.ru_utime.tv_sec, kl.kl_ru.ru_utime.tv_usec) == divmod(micro, 10**6)
        if dump.release in SUMS:
            assert kl.kl_comm == (lwp.name or p.comm).encode()[:16]


def test_kernel_threads(opened: Any) -> None:
    kd, dump = opened
    records = [r for r in kd.processes() if r.paddr is None]
    truth = {t.name: t for t in dump.system.threads if t.name}
    assert [r.comm for r in records] == list(truth)
    for r in records:
        t = truth[r.comm]
        assert (r.pid, r.uid, r.ppid, r.groups, r.start_time, r.threads) == (-1, None, None, None, None, 1)
        assert (r.kp_pid, r.kp_flags, r.kp_tdev, r.kp_stat) == (-1, m.P_SYSTEM, 0xFFFFFFFF, 1 if t.idle else 2)
        assert (r.kp_ktaddr, r.kp_paddr, r.kp_comm) == (dump.addresses.kernel[t.name], 0, t.name.encode())
        kl = r.kp_lwp
        assert (kl.kl_pid, kl.kl_tid, kl.kl_tdflags, kl.kl_tdprio, kl.kl_cpuid) == (-1, -1, t.flags, t.prio, t.cpu)
        assert (kl.kl_rtprio.type, kl.kl_rtprio.prio) == (3, t.prio)
        assert kl.kl_stat == (m.LSRUN if t.flags & m.TDF_RUNQ else m.LSSLEEP)
        assert (kl.kl_uticks, kl.kl_sticks, kl.kl_iticks) == t.ticks
        assert (r.utime, r.stime) == (t.ticks[0] / 1e6, t.ticks[1] / 1e6)
        assert (r.wmesg, kl.kl_wmesg) == (t.wmesg, (t.wmesg or "").encode())
        (thread,) = kd.threads(r)
        assert (thread.tid, thread.name, thread.addr) == (-1, t.name, r.kp_ktaddr)
        assert (kd.argv(r), pykvm.kvm_getargv(kd, r, 0)) == ([], None)
    letters = {r.comm: r.stat for r in records}
    assert (letters["idle_0"], letters["softclock 0"], letters["netisr 1"], letters["pagedaemon"]) == (
        "I", "D", "S", "R",
    )  # fmt: skip


def test_threads(opened: Any) -> None:
    kd, dump = opened
    (pool,) = kd.processes(k.KERN_PROC_PID, 701)
    p = dump.process(701)
    found = kd.threads(pool)
    assert [(t.tid, t.name, t.addr) for t in found] == [
        (lwp.tid, lwp.name, dump.addresses.lwps[701, lwp.tid]) for lwp in p.lwps
    ]
    assert [t.stat for t in found] == ["S" if lwp.tid % 2 else "D" for lwp in p.lwps]
    assert [(t.wmesg, t.wchan) for t in found] == [("umtxsl", dump.addresses.wchans[lwp.wchan]) for lwp in p.lwps]
    (zombie,) = kd.processes(k.KERN_PROC_PID, 705)
    assert kd.threads(zombie) == []
    records = kd.processes(k.KERN_PROC_PID | k.KERN_PROC_INC_THREAD, 701)
    assert [r.kp_lwp.kl_tid for r in records] == [lwp.tid for lwp in p.lwps]
    for r, lwp in zip(records, p.lwps, strict=True):
        assert (r.pid, r.utime, r.kp_lwp.kl_uticks) == (701, lwp.ticks[0] / 1e6, lwp.ticks[0])
        assert (r.kp_lwp.kl_ru.ru_nvcsw, r.kp_lwp.kl_slptime, r.kp_lwp.kl_cpuid) == (lwp.tid, lwp.slptime, lwp.cpu)
    both = kd.processes(k.KERN_PROC_PID | k.KERN_PROC_SHOW_THREADS, 701)
    assert [r.kp_lwp.kl_tid for r in both[1:]] == [lwp.tid for lwp in p.lwps]
    assert bytes(both[0]) == bytes(pool)
    every = kd.processes(k.KERN_PROC_KTHREAD | k.KERN_PROC_INC_THREAD)
    assert len(every) == sum(len(dump.process(pid).lwps) or 1 for pid in dump.addresses.order) + 7
    assert [r.comm for r in every if r.paddr is None][1:3] == ["softclock 0", "netisr 0"]


def test_ops(opened: Any) -> None:
    kd, dump = opened
    alive = [dump.process(pid) for pid in dump.addresses.order]

    def pids(op: int, arg: int = 0) -> list[int]:
        return [r.pid for r in kd.processes(op, arg)]

    def where(test: Callable[[m.Process], bool]) -> list[int]:
        return [p.pid for p in alive if test(p)]

    terminal = dump.system.terminals[0]
    assert pids(k.KERN_PROC_ALL) == where(lambda p: p.pid != 0)
    assert pids(k.KERN_PROC_KTHREAD) == [p.pid for p in alive] + [-1] * 7
    assert pids(k.KERN_PROC_PGRP, 702) == where(lambda p: p.group == 702) != []
    assert pids(k.KERN_PROC_SESSION, 700) == where(lambda p: p.session == 700)
    assert pids(k.KERN_PROC_TTY, tdev(dump, terminal)) == where(lambda p: p.tty == terminal.name) != []
    assert pids(k.KERN_PROC_UID, 1001) == where(lambda p: p.uid == 1001)
    assert pids(k.KERN_PROC_RUID, 80) == [800]
    assert pids(k.KERN_PROC_GID, 65534) == [801]
    assert pids(k.KERN_PROC_RGID, 26) == [800]
    assert pids(k.KERN_PROC_PID, -1) == []
    with pytest.raises(KvmError, match="op 99"):
        kd.processes(99)


def test_arguments(opened: Any) -> None:
    kd, dump = opened
    by_pid = {r.pid: r for r in kd.processes(k.KERN_PROC_KTHREAD) if r.pid >= 0}
    assert kd.argv(by_pid[701]) == list(dump.process(701).args or ())
    assert pykvm.kvm_getargv(kd, by_pid[701], 20) == [b"verylongcommand1", b"two"]
    title = [b"nginx: master process"] if dump.release == "6" else [b"nginx"]
    assert kd.argv(by_pid[800]) == title
    assert kd.argv(by_pid[0]) == []
    assert kd.argv(by_pid[705]) == []
    for what, call in (("arguments", kd.argv), ("environment", kd.environ)):
        with pytest.raises(KvmError, match=f"process 801: {what}: a minidump does not hold the memory of processes"):
            call(by_pid[801])


def test_records_after_close(tmp_path: Path) -> None:
    dump = write_dragonfly(tmp_path)
    with pykvm.Kvm(dump.core, dump.kernel, layout=dump.layout) as kd:
        (r,) = kd.processes(k.KERN_PROC_PID, 700)
        assert r.comm == "sh"
    assert r.comm == "sh"
    with pytest.raises(KvmError, match="closed"):
        bytes(r)


def test_many(tmp_path: Path) -> None:
    dump = write_dragonfly(tmp_path, processes=400)
    with pykvm.Kvm(dump.core, dump.kernel, layout=dump.layout) as kd:
        assert [r.pid for r in kd.processes(k.KERN_PROC_KTHREAD)][:-7] == dump.addresses.order
        assert len(dump.addresses.order) > 400


# -- types ------------------------------------------------------------------------------------------------------------


def test_table() -> None:
    """The table for kernels without types is what a compiler makes of the header's members."""
    truth = layouts("6", 0).structs
    table = builtin("dragonfly")
    assert {name: (s.size, {n: f.offset for n, f in s.fields.items()}) for name, s in table.items()} == {
        name: (truth[name][0], {member: at for member, (at, _) in truth[name][1].items()}) for name in table
    }


@pytest.mark.parametrize("release", RELEASES)
def test_no_types(tmp_path: Path, release: str) -> None:
    dump = write_dragonfly(tmp_path, release=release, types_as="none")
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        assert kd.info.system == "DragonFly"
        with pytest.raises(KvmError) as caught:
            kd.processes()
        assert "struct proc, struct lwp, struct thread (struct proc: " in str(caught.value)
        assert "carries no type information (CTF, DWARF)" in str(caught.value)
        assert "kernel.debug" in str(caught.value)
        assert kd.facts()["cpus"] == 2


def test_some_types(tmp_path: Path) -> None:
    """A layout file that lacks members: those that nothing can be said without are an error, others are None."""
    dump = write_dragonfly(tmp_path)
    assert dump.layout is not None
    data = json.loads(dump.layout.read_text())
    for name in ("ucred", "globaldata", "privatespace", "cdev"):
        del data[name]
    del data["lwp"]["fields"]["lwp_ru"]
    dump.layout.write_text(json.dumps(data))
    with pykvm.Kvm(dump.core, dump.kernel, layout=dump.layout) as kd:
        (r,) = kd.processes(k.KERN_PROC_PID, 700)
        assert (r.comm, r.uid, r.groups, r.gid, r.tdev, r.kp_lwp.kl_cpuid) == ("sh", None, None, None, None, 0)
        assert (r.kp_uid, r.kp_tpgid, r.kp_lwp.kl_ru.ru_nvcsw) == (0, 701, 0)
        assert [r.pid for r in kd.processes()] == dump.addresses.order  # without the kernel's threads
        assert "globaldata" in pykvm.kvm_geterr(kd)
    del data["lwp"]["fields"]["lwp_thread"], data["thread"]
    dump.layout.write_text(json.dumps(data))
    with (
        pykvm.Kvm(dump.core, dump.kernel, layout=dump.layout) as kd,
        pytest.raises(KvmError, match="layouts of struct lwp: lwp_thread, struct thread \\("),
    ):
        kd.processes()


# -- commands ---------------------------------------------------------------------------------------------------------


def test_command(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    dump = write_dragonfly(tmp_path)
    flags = ["-M", str(dump.core), "-N", str(dump.kernel), "--layout", str(dump.layout)]
    assert main(["ps", *flags, "-aux"]) == 0
    lines = capsysbinary.readouterr().out.splitlines()
    assert any(b"nginx: master process" in line for line in lines)
    assert sum(b"(pagedaemon)" in line for line in lines) == 1
    assert main(["ps", *flags, "--json"]) == 0
    assert {row["comm"] for row in json.loads(capsysbinary.readouterr().out)} >= {"init", "sh", "netisr 1"}
    assert main(["ps", "-M", str(dump.core), "-N", str(dump.kernel)]) == 1
    assert b"need the layouts of struct proc" in capsysbinary.readouterr().err


def test_the_fixtures_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], dragonfly_dump_factory: Callable[..., DragonflyDump]
) -> None:
    assert write(["dragonfly", str(tmp_path / "d"), "--release", "4", "--processes", "3", "--layout", "2"]) == 0
    paths = dict(line.split(" ", 1) for line in capsys.readouterr().out.splitlines())
    other = dragonfly_dump_factory(release="4", processes=3, layout=2)
    assert Path(paths["core"]).read_bytes() == other.core.read_bytes()
    with pykvm.Kvm(paths["core"], paths["kernel"], layout=paths["layout"]) as kd:
        assert [r.pid for r in kd.processes(k.KERN_PROC_KTHREAD)][:-7] == other.addresses.order
