"""Processes of synthetic FreeBSD systems: every machine, releases 10 to 15, structures laid out anew each time."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pykvm_fixtures.freebsd import model as m
from pykvm_fixtures.freebsd import write_freebsd
from pykvm_fixtures.freebsd.system import FreebsdDump

import pykvm
from pykvm import constants as k
from pykvm.errors import AddressError, FormatError, KvmError

VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("amd64", {"release": "10", "version": 1}),
    ("amd64", {"release": "12"}),
    ("amd64", {"layout": 3}),
    ("amd64", {"release": "15", "layout": 5}),
    ("amd64", {"container": "full", "release": "12"}),
    ("amd64", {"container": "full", "levels": 5}),
    ("arm64", {"layout": 2}),
    ("arm64-16k", {"release": "15"}),
    ("i386", {"release": "10"}),
    ("i386", {"container": "full", "release": "10"}),
    ("i386", {"container": "full"}),
    ("i386-pae", {"container": "full", "high": False}),
    ("i386-pae", {"container": "full", "high": False, "release": "10"}),
    ("arm", {"container": "full"}),
    ("arm-lpae", {}),
    ("riscv64", {}),
    ("powerpc64", {}),
    ("mips", {}),
    ("mips64", {"release": "12"}),
]
SIZES = {"i386": 768, "i386-pae": 768, "arm": 816, "arm-lpae": 816, "mips": 816}
FULL = "full"


@pytest.fixture(scope="module", params=VARIANTS, ids=lambda v: "-".join([v[0], *map(str, v[1].values())]))
def opened(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[tuple[pykvm.Kvm, FreebsdDump]]:
    machine, options = request.param
    dump = write_freebsd(tmp_path_factory.mktemp("fbsd"), machine=machine, **options)
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        yield kd, dump


def listed(dump: FreebsdDump) -> list[m.Process]:
    """As the kernel lists them: newest first, then zombies; those being made are not shown."""
    shown = [p for p in dump.processes if p.state != m.PRS_NEW]
    return [p for p in reversed(shown) if p.state != m.PRS_ZOMBIE] + [p for p in shown if p.state == m.PRS_ZOMBIE]


def ki_stat(p: m.Process, t: m.Thread) -> int:
    """<sys/proc.h>: SRUN 2, SSLEEP 3, SSTOP 4, SZOMB 5, SWAIT 6, SLOCK 7."""
    if p.state == m.PRS_ZOMBIE:
        return 5
    if t.state in (m.TDS_CAN_RUN, m.TDS_RUNQ, m.TDS_RUNNING):
        return 2
    if p.flag & (m.P_STOPPED_SIG | m.P_STOPPED_TRACE):
        return 4
    if t.inhibitors & m.TDI_SLEEPING:
        return 3
    return 7 if t.inhibitors & m.TDI_LOCK else 6


def test_processes(opened: Any) -> None:
    kd, dump = opened
    records = kd.processes()
    zombies = {p.pid for p in dump.processes if p.state == m.PRS_ZOMBIE}
    assert [r.pid for r in records if r.pid not in zombies] == [p.pid for p in listed(dump) if p.pid not in zombies]
    assert {r.pid for r in records} == {p.pid for p in listed(dump)}
    terminals = {t.name: t for t in dump.system.terminals}
    boot = dump.system.boottime
    for r in records:
        p = dump.process(r.pid)
        tty = terminals.get(p.tty or "") if p.flag & m.P_CONTROLT else None
        assert (r.paddr, r.comm, r.ppid, r.pgid, r.sid) == (
            dump.addresses.procs[p.pid], p.comm, p.tracer or p.ppid, p.group, p.session,
        )  # fmt: skip
        assert (r.uid, r.ruid, r.svuid, r.gid, r.rgid, r.svgid) == (
            p.uid, p.ruid, p.svuid, p.groups[0], p.rgid, p.svgid,
        )  # fmt: skip
        assert r.groups == list(p.groups)
        assert (r.nice, r.threads, r.flags) == (p.nice, len(p.threads), p.flag)
        assert r.tdev == (tty.inode if tty else None)
        assert r.tpgid == (tty.pgid if tty else None)
        assert r.wmesg == p.threads[0].wmesg
        assert r.wchan == dump.addresses.wchans[p.threads[0].tid]
        micro = (p.start[0] + boot[0]) * 10**6 + p.start[1] + boot[1]
        assert round(r.start_time * 10**6) == micro
        assert (r.ki_start.tv_sec, r.ki_start.tv_usec) == divmod(micro, 10**6)
        if p.state == m.PRS_ZOMBIE:
            assert (r.stat, r.rssize) == ("Z", 0)
        else:
            pages = p.resident + sum(t.kstack_pages for t in p.threads if not t.inhibitors & m.TDI_SWAPPED)
            assert r.rssize == pages * dump.page_size
    login = {p.session: p.login for p in dump.processes if p.login}
    assert all(r.login == login.get(r.sid, "") for r in records)


def test_kinfo_proc(opened: Any) -> None:
    """The members that have no attribute, by name."""
    kd, dump = opened
    rate = dump.system.tick_frequency
    first: Any = {}
    for r in kd.processes():
        p = dump.process(r.ki_pid)
        t = first[r.ki_pid] = p.threads[0]
        assert r.ki_structsize == len(bytes(r)) == SIZES.get(dump.machine, 1088)
        assert r.ki_stat == ki_stat(p, t)
        assert (r.ki_tid, r.ki_tdaddr) == (t.tid, dump.addresses.threads[t.tid])
        assert (r.ki_kstack, r.ki_pcb) == dump.addresses.stacks[t.tid]
        name = t.name.encode()
        assert (r.ki_tdname, r.ki_moretdname) == (name[:16], name[16:19])
        assert r.ki_wmesg == (t.wmesg or "").encode()[:8]
        assert r.ki_lockname == ((t.lockname or "").encode()[:8] if t.inhibitors & m.TDI_LOCK else b"")
        assert (r.ki_pri.pri_class, r.ki_pri.pri_level, r.ki_pri.pri_native, r.ki_pri.pri_user) == (
            t.pri_class, t.priority, t.base_pri, t.user_pri,
        )  # fmt: skip
        assert (r.ki_oncpu, r.ki_lastcpu) == (t.oncpu, t.lastcpu)
        assert (r.ki_oncpu_old, r.ki_lastcpu_old) == (255 if t.oncpu < 0 else t.oncpu, t.lastcpu)
        assert r.ki_tdflags == t.flags
        assert sets(r, "ki_siglist") == p.siglist
        assert (sets(r, "ki_sigmask"), sets(r, "ki_sigignore"), sets(r, "ki_sigcatch")) == (
            t.sigmask, p.sigignore, p.sigcatch,
        )  # fmt: skip
        assert (r.ki_size, r.ki_swrss, r.ki_tsize, r.ki_dsize, r.ki_ssize) == (
            (p.size, p.swrss, p.tsize, p.dsize, p.ssize) if p.state != m.PRS_ZOMBIE else (0,) * 5
        )
        assert r.ki_xstat == (p.xexit << 8 | p.xsig if p.state == m.PRS_ZOMBIE else p.xsig)
        assert (r.ki_acflag, r.ki_traceflag, r.ki_fibnum, r.ki_flag2) == (p.acflag, p.traceflag, p.fibnum, p.flag2)
        assert r.ki_jid == p.jid
        assert bool(r.ki_flag & m.P_JAILED) == bool(p.jid)
        assert r.ki_loginclass == p.loginclass.encode()
        kernel = bool(p.flag & m.P_SYSTEM)
        bits = p.bits or dump.word * 8
        assert r.ki_emul == (b"null" if kernel else b"FreeBSD ELF%d" % bits)
        assert (r.ki_ngroups, r.ki_groups[: r.ki_ngroups]) == (min(len(p.groups), 16), p.groups[:16])
        assert r.ki_cr_flags == (p.cr_flags & 1 | (0x80000000 if len(p.groups) > 16 else 0))
        assert r.ki_tracer == traced_by(dump, p)
        assert (r.ki_args, r.ki_vmspace) == (
            dump.addresses.args.get(p.pid, 0), dump.addresses.vmspaces.get(p.pid, r.ki_vmspace),
        )  # fmt: skip
        assert r.ki_runtime == p.exited * 10**6 // rate
        assert r.ki_cow == sum(x.cow for x in p.threads)
        assert r.ki_swtime == (dump.system.ticks - p.swtick) // dump.system.hz
        assert r.ki_slptime == (dump.system.ticks - t.slptick) // dump.system.hz
        child = p.child_user[0] + p.child_sys[0] + (p.child_user[1] + p.child_sys[1]) / 1e6
        assert r.ki_childtime.tv_sec + r.ki_childtime.tv_usec / 1e6 == pytest.approx(child, abs=2e-6)
    verylong = next(r for r in kd.processes() if r.comm.startswith("verylong"))
    assert verylong.ki_rusage.ru_nvcsw == 12
    assert verylong.ki_rusage.ru_maxrss == 6789
    assert first[701].ru[0] == ("ru_nvcsw", 12)


def sets(record: Any, name: str) -> tuple[int, ...]:
    """A sigset_t's words."""
    found: tuple[int, ...] = getattr(getattr(record, name), "__bits")
    return found


def traced_by(dump: FreebsdDump, p: m.Process) -> int:
    """p_pptr, of a process that is traced."""
    return p.ppid if p.flag & m.P_TRACED else 0


def test_threads(opened: Any) -> None:
    kd, dump = opened
    rows = pykvm.kvm_getprocs(kd, k.KERN_PROC_KTHREAD | k.KERN_PROC_INC_THREAD, 0)
    by_pid = {r.pid: r for r in kd.processes()}
    wanted = [(pid, t) for pid in by_pid for t in dump.process(pid).threads]
    assert [(r.ki_pid, r.ki_tid) for r in rows] == [(pid, t.tid) for pid, t in wanted]
    for r, (pid, t) in zip(rows, wanted, strict=True):
        p = dump.process(pid)
        assert r.ki_stat == ki_stat(p, t)
        assert (r.ki_runtime, r.ki_cow) == (t.runtime * 10**6 // dump.system.tick_frequency, t.cow)
        assert sets(r, "ki_siglist") == t.siglist
        assert (r.ki_rssize, r.comm) == (by_pid[pid].ki_rssize, p.comm)
        assert r.ki_rusage.ru_minflt == dict(t.ru).get("ru_minflt", 0)
        assert bool(r.ki_kiflag & 4) == bool(t.inhibitors & m.TDI_LOCK)
    threads = kd.threads(by_pid[701])
    assert [(t.tid, t.name, t.stat) for t in threads] == [
        (100102, "worker", "R"), (100103, "pool-1", "S"), (100104, "pool-2-waits-for-it", "D"), (100105, "pool-3", "R"),
    ]  # fmt: skip
    assert [t.addr for t in threads] == [dump.addresses.threads[t.tid] for t in threads]
    mixed = kd.processes(k.KERN_PROC_PID | k.KERN_PROC_SHOW_THREADS, 701)
    assert [r.ki_tid for r in mixed] == [100102, 100102, 100103, 100104, 100105]


def test_ops(opened: Any) -> None:
    kd, dump = opened
    everyone = [dump.process(r.pid) for r in kd.processes()]
    for op, arg, of in (
        (k.KERN_PROC_PID, 700, lambda p: p.pid), (k.KERN_PROC_PGRP, 702, lambda p: p.group),
        (k.KERN_PROC_SESSION, 700, lambda p: p.session), (k.KERN_PROC_UID, 65534, lambda p: p.uid),
        (k.KERN_PROC_RUID, 1001, lambda p: p.ruid), (k.KERN_PROC_GID, 25, lambda p: p.groups[0]),
        (k.KERN_PROC_RGID, 26, lambda p: p.rgid),
        (k.KERN_PROC_TTY, 0x71, lambda p: 0x71 if p.flag & m.P_CONTROLT and p.tty else None),
    ):  # fmt: skip
        assert [p.pid for p in kd.processes(op, arg)] == [p.pid for p in everyone if of(p) == arg] != []
    users = [p.pid for p in everyone if not p.flag & m.P_KPROC]
    assert [p.pid for p in kd.processes(k.KERN_PROC_ALL)] == users
    assert [p.pid for p in kd.processes(k.KERN_PROC_PROC)] == [p.pid for p in everyone]
    threads = [p.ki_tid for p in kd.processes(k.KERN_PROC_KTHREAD | k.KERN_PROC_INC_THREAD)]
    assert [p.ki_tid for p in kd.processes(k.KERN_PROC_PROC | k.KERN_PROC_INC_THREAD)] == threads != []
    with pytest.raises(KvmError, match="op 9: Invalid argument"):
        kd.processes(9)


def test_vectors(opened: Any) -> None:
    """What the kernel keeps of the arguments; user memory where the dump has it."""
    kd, dump = opened
    full = dump.container == FULL
    read = 0
    for r in kd.processes():
        p = dump.process(r.pid)
        kept = dump.addresses.args.get(p.pid)
        none = p.state == m.PRS_ZOMBIE or p.flag & m.P_KPROC
        args = p.title.rstrip(b"\0").split(b"\0") if p.title else list(p.args)
        if none or kept or full:
            assert kd.argv(r) == ([] if none else args), p.comm
        elif p.comm != "noargs":
            with pytest.raises(KvmError, match=f"process {p.pid}: arguments: a minidump does not hold"):
                kd.argv(r)
        if none or full:
            assert kd.environ(r) == ([] if none else list(p.environ)), p.comm
            read += len(p.environ)
        else:
            with pytest.raises(KvmError, match="minidump does not hold"):
                kd.environ(r)
    assert read > 150 or not full


def test_info_says_who_dumped(opened: Any) -> None:
    kd, dump = opened
    facts = kd.facts()
    assert (facts["panic tid"], facts["panic pid"], facts["panic command"]) == (100115, 803, "reboot")
    if "sp" in facts.get("panic registers", {}):
        assert facts["panic registers"]["sp"] == dump.facts.registers["pcb_sp"]


@pytest.mark.parametrize("machine", ["amd64", "i386", "powerpc64"])
def test_without_types(tmp_path: Path, machine: str) -> None:
    """Pids, names and threads, by the constants for debuggers; without those, an error that says what is missing."""
    dump = write_freebsd(tmp_path, machine=machine, types=False)
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        rows = kd.processes(k.KERN_PROC_KTHREAD | k.KERN_PROC_INC_THREAD)
        shown = [p for p in reversed(dump.processes) if p.state not in (m.PRS_NEW, m.PRS_ZOMBIE)]
        # p_state is not told: the newborn one is not known to be one, and zombies are not looked for.
        assert [(r.pid, r.comm, r.ki_tid, r.ki_tdname.decode() + r.ki_moretdname.decode()) for r in rows] == [
            (p.pid, p.comm, t.tid, t.name)
            for p in reversed(dump.processes) if p.state != m.PRS_ZOMBIE for t in p.threads
        ]  # fmt: skip
        assert {p.pid for p in shown} < {r.pid for r in rows}
        assert (rows[0].uid, rows[0].stat, rows[0].utime) == (None, None, None)
    bare = write_freebsd(tmp_path / "bare", machine=machine, types=False, constants=False)
    with pykvm.Kvm(bare.core, bare.kernel) as kd, pytest.raises(KvmError, match="carries no type information"):
        kd.processes()


def patched(dump: FreebsdDump, address: int, value: int) -> None:
    """Another word at a kernel address of a dump."""
    with pykvm.Kvm(dump.core, dump.kernel, writable=True) as kd:
        raw = struct.pack(("<" if dump.order == "little" else ">") + ("Q" if dump.word == 8 else "I"), value)
        assert kd.write(address, raw) == dump.word


def member(dump: FreebsdDump, kind: str, *path: str) -> int:
    """The offset of a member, or of a member of its member."""
    offset = 0
    for name in path:
        at, kind = dump.layouts[kind][1][name]
        offset += at
    return offset


def test_damaged_lists(tmp_path: Path) -> None:
    """A loop, a wild pointer, a thread on two lists: errors that say where; a damaged table of pids costs the
    zombies only."""
    dump = write_freebsd(tmp_path, machine="amd64", container="full")
    procs, threads = dump.addresses.procs, dump.addresses.threads
    link = member(dump, "proc", "p_list", "le_next")
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        whole = [p.pid for p in kd.processes()]
        before = kd.read_ptr(procs[700] + link)
        table = kd.read_ptr(kd.symbol("pidhashtbl"))
    patched(dump, procs[700] + link, procs[804])
    with pykvm.Kvm(dump.core, dump.kernel) as kd, pytest.raises(KvmError, match="allproc: "):
        kd.processes()
    patched(dump, procs[700] + link, 0x1234)
    with pykvm.Kvm(dump.core, dump.kernel) as kd, pytest.raises(AddressError, match=r"can't read proc at 0x1234"):
        kd.processes()
    patched(dump, procs[700] + link, before)
    patched(dump, threads[100103] + member(dump, "thread", "td_plist", "tqe_next"), threads[100102])
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        assert [p.pid for p in kd.processes()] == whole
        with pytest.raises(FormatError, match="is on its list twice"):
            kd.threads(next(p for p in kd.processes() if p.pid == 701))
    patched(dump, table, 0x4567)
    patched(dump, dump.symbols["pidhash"], (1 << 40) - 1)
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        assert [p.pid for p in kd.processes()] == [pid for pid in whole if pid not in (705, 706)]
        assert pykvm.kvm_geterr(kd) == "pidhash: the table of processes has 1099511627776 heads"


def test_damaged_vectors(tmp_path: Path) -> None:
    """Lengths and counts that make no sense."""
    dump = write_freebsd(tmp_path, machine="amd64", container="full", release="12")
    with pykvm.Kvm(dump.core, dump.kernel, writable=True) as kd:
        records = {p.pid: p for p in kd.processes()}
        at = dump.addresses.args[700] + member(dump, "pargs", "ar_length")
        kd.write(at, struct.pack("<I", 0x7FFFFFFF))
        with pytest.raises(FormatError, match=r"process 700: arguments: struct pargs .*: ar_length is 2147483647"):
            kd.argv(records[700])
        sysent = kd.read_ptr(records[701].paddr + member(dump, "proc", "p_sysent"))
        strings = kd.read_u64(sysent + member(dump, "sysentvec", "sv_psstrings"))
        kd.write(sysent + member(dump, "sysentvec", "sv_psstrings"), struct.pack("<Q", strings - (1 << 30)))
        with pytest.raises(AddressError, match=r"process 701: arguments: user memory at .* is not in memory"):
            kd.argv(records[701])
        kd.write(sysent + member(dump, "sysentvec", "sv_psstrings"), bytes(8))
        with pytest.raises(KvmError, match="the ABI has no ps_strings"):
            kd.environ(records[701])


def test_many(tmp_path: Path) -> None:
    """Thousands of processes, all columns; a closed handle's records say so."""
    dump = write_freebsd(tmp_path, machine="amd64", processes=1200)
    kd = pykvm.Kvm(dump.core, dump.kernel)
    records = kd.processes(k.KERN_PROC_UID, 3)
    assert len(records) == len([p for p in dump.processes if p.uid == 3])
    assert bytes(records[5])[:4] == (1088).to_bytes(4, "little")
    late = kd.processes()
    kd.close()
    assert records[5].ki_uid == 3
    with pytest.raises(KvmError, match="closed"):
        _ = late[0].start_time
    with pytest.raises(KvmError, match="closed"):
        bytes(late[0])
