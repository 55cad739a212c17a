"""Processes of Linux, on synthetic kernels of several releases and machines: records, where they wait, open files."""

from __future__ import annotations

import contextlib
import json
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pykvm_fixtures.linux.procs import Proc, ProcsDump, write_procs
from pykvm_fixtures.linux.vfs import Open

import pykvm
from pykvm.records import PROCESS_NAMES

VARIANTS = [
    ("x86_64", "6.12", True), ("x86_64", "6.1", True), ("x86_64", "4.18", True), ("x86_64", "6.18", True),
    ("x86_64", "6.1", False), ("i386", "6.12", False), ("i386", "4.18", False), ("aarch64", "6.1", True),
    ("aarch64", "6.18", True), ("aarch64", "4.18", True),
]  # fmt: skip
MOUNTS = ("/dev", "/dev/pts", "/srv/data")
SPECIAL = {
    3: (Open(d_dname="pipefs_dname", ino=77), "pipe:[77]"),
    4: (Open(d_dname="sockfs_dname", ino=123456), "socket:[123456]"),
    5: (Open(d_dname="anon_inodefs_dname", name=b"[eventfd]"), "anon_inode:[eventfd]"),
    6: (Open(d_dname="simple_dname", name=b"memfd:a b"), "/memfd:a b (deleted)"),
    7: (Open(d_dname="pidfs_dname"), "anon_inode:[pidfd]"),
    8: (Open(d_dname="ns_dname", ino=4026531840, word=b"net"), "net:[4026531840]"),
    9: (Open(d_dname="dmabuffs_dname", name=b"dmabuf", word=b"camera"), "/dmabuf:camera"),
    10: (Open(d_dname="dmabuffs_dname", name=b"dmabuf"), "/dmabuf:"),
    11: (Open(d_dname="nobody_knows_dname", name=b"x"), None),
}
PATHS = {
    0: (Open("/dev/null"), "/dev/null"),
    1: (Open("/dev/pts/0"), "/dev/pts/0"),
    2: (Open("/srv/data/deep/er/file"), "/srv/data/deep/er/file"),
    12: (Open("/tmp/gone", deleted=True), "/tmp/gone (deleted)"),
    13: (Open("/"), "/"),
    14: (Open("/dev"), "/dev"),
    15: (Open("/tmp/odd\udcff\nname"), "/tmp/odd\udcff\nname"),
    20: (Open(missing=True), None),
    64: (Open("/srv/data"), "/srv/data"),
    3000: (Open("/tmp/" + "L" * 255), "/tmp/" + "L" * 255),
}
FILES = SPECIAL | PATHS

PROCS = (
    Proc(
        1, comm=b"init", waits="do_wait_here", pgid=1, sid=1, groups=(7, 33, 70000), rss=(10, 20, 30, 40),
        task={"min_flt": 3, "maj_flt": 1, "nvcsw": 8, "nivcsw": 2, "prio": 120, "normal_prio": 121, "exit_signal": 17,
              "utime": 0, "stime": 0, "ioac__read_bytes": 512 * 5 + 511, "ioac__write_bytes": 1023},
        signal={"min_flt": 100, "maj_flt": 10, "nvcsw": 1000, "nivcsw": 30, "inblock": 7, "oublock": 9, "leader": 1,
                "cutime": 1_250_000_000, "cstime": 2_000_500_000, "maxrss": 50, "flags": 0},
        mm={"data_vm": 11, "exec_vm": 5, "stack_vm": 33, "start_code": 0x401000, "end_code": 0x404321,
            "hiwater_rss": 90},
        blocked=0x8000_0000_0001_0002, pending=(0x1_0000_0004, 0x200), rlimits={5: 4096 * 77},
        handlers={1: 1, 2: 0x4000, 15: 0x5000, 32: 1, 33: 0x6000, 64: 1}, files={k: f for k, (f, _) in FILES.items()},
    ),
    Proc(2, comm=b"kthreadd", mm=None, waits="worker_loop", pgid=0, sid=0, task={"prio": 98, "normal_prio": 98},
         kthread={"full_name": b"a name longer than comm has room for"}),
    Proc(
        300, 1, b"shell", pgid=300, sid=300, tty=(136, 300, 301), waits="__do_sys_nap", signal={"leader": 1},
        task={"se__sum_exec_runtime": 10**9, "utime": 3 * 10**8, "stime": 10**8},
        threads=({"se__sum_exec_runtime": 3 * 10**9, "utime": 10**9, "nvcsw": 5},
                 {"se__sum_exec_runtime": 5 * 10**8, "stime": 4, "nvcsw": 6, "ioac__read_bytes": 1024}),
        files={0: Open("/dev/null"), 1: Open("/dev/pts/0")},
    ),
    Proc(301, 300, b"job", pgid=301, sid=300, tty=(136, 300, 301), waits="lock:do_wait_here", of=300),
    Proc(302, 301, b"part", pgid=301, sid=300, tty=(136, 300, 301), task={"__state": 1, "personality": 8, "prio": -1}),
    Proc(303, 300, b"dead", mm=None, pgid=303, sid=300, task={"exit_state": 32, "exit_code": 0x100, "on_cpu": 0,
         "on_rq": 0, "__state": 0x80}, signal={"flags": 4, "group_exit_code": 0x300}),
    Proc(304, 2, b"kworker/0:1", mm=None, waits="worker_loop", task={"flags": 0x200020},
         kthread={"pool": 64, "desc": b"events", "current_work": 8}),
    Proc(305, 2, b"kworker/R-a_ver", mm=None, waits="worker_loop", task={"flags": 0x200020},
         kthread={"rescue_wq": b"a_very_long_queue"}),
    Proc(306, 1, b"late", waits="do_wait_here", task={"on_rq": 1}),
    Proc(307, 1, b"traced", waits="return_to_handler"),
    Proc(308, 1, b"recursive", waits="deep"),
)  # fmt: skip


def dump_of(room: Path, variant: tuple[str, str, bool], procs: Sequence[Proc] = PROCS, **how: Any) -> ProcsDump:
    machine, release, orc = variant
    return write_procs(room, procs, machine, release, orc=orc, mounts=MOUNTS, **how)


@pytest.fixture(scope="module", params=VARIANTS, ids=lambda v: "-".join(map(str, v)))
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    dump = dump_of(tmp_path_factory.mktemp("procs"), request.param)
    with pykvm.Kvm(dump.path) as kd:
        yield kd, dump, request.param


@pytest.fixture
def one(tmp_path: Path) -> ProcsDump:
    return dump_of(tmp_path, VARIANTS[0])


def poke(dump: ProcsDump, addr: int, data: bytes) -> None:
    with pykvm.Kvm(dump.path, writable=True) as kd:
        assert kd.write(addr, data) == len(data)


def point(dump: ProcsDump, pid: int, struct_name: str, *path: str, value: int = 0) -> None:
    """Put an address into a member of one of a process's structures."""
    at = dump.tasks[pid] if struct_name == "task_struct" else dump.structs[pid][struct_name]
    poke(dump, at + dump.shapes.offset(struct_name, *path), value.to_bytes(dump.word, "little"))


def process(kd: pykvm.Kvm, pid: int) -> Any:
    (found,) = kd.processes(pykvm.KERN_PROC_PID, pid)
    return found


HOLE = 0xFFFFFFFFFFFFF000


# -- records ------------------------------------------------------------------------------------------------


def test_attributes(both: Any) -> None:
    kd, dump, (_, release, _) = both
    found = {p.pid: p for p in kd.processes()}
    assert list(found) == [p.pid for p in PROCS]
    for proc in PROCS:
        p = found[proc.pid]
        assert p.paddr == dump.tasks[proc.pid]
        assert (p.ppid, p.pgid, p.sid) == (proc.ppid, proc.pgid, proc.sid)
        assert [p.ruid, p.uid, p.svuid, p.rgid, p.gid, p.svgid] == [proc.pid * 10 + i for i in range(6)]
        assert p.groups == list(proc.groups or ())
        assert p.threads == 1 + len(proc.threads)
        assert p.rssize == (proc.rss[0] + proc.rss[1] + proc.rss[3]) * kd.info.page_size
        assert p.start_time == 1_700_000_000 + proc.pid
        assert (p.tdev, p.tpgid) == ((136 << 8 | 300 & 0xFF | (300 & ~0xFF) << 12, 301) if proc.tty else (None, None))
        assert p.login is None
    assert {pid: p.stat for pid, p in found.items()} == {
        1: "S", 2: "S", 300: "S", 301: "S", 302: "S", 303: "Z", 304: "S", 305: "S", 306: "S", 307: "S", 308: "S",
    }  # fmt: skip
    assert found[1].comm == "init"
    assert found[2].comm == ("kthreadd" if release == "4.18" else "a name longer than comm has room for")
    assert found[304].comm == "kworker/0:1+events"
    assert found[305].comm == "kworker/R-a_ver"  # this kernel makes no names anew
    # The run time of all threads, divided as their sampled times are.
    p = found[300]
    total = 4.5 * 10**9
    stime = int(total) * (10**8 + 4) // (10**8 + 4 + 13 * 10**8)
    assert (p.utime, p.stime) == ((total - stime) / 1e9, stime / 1e9)


def test_members(both: Any) -> None:
    kd, dump, _ = both
    found = {p.pid: p for p in kd.processes()}
    p = found[1]
    assert (p.p_uru_minflt, p.p_uru_majflt, p.p_uru_nvcsw, p.p_uru_nivcsw) == (103, 11, 1008, 32)
    assert (p.p_uru_inblock, p.p_uru_oublock) == (12, 10)
    assert p.p_uru_maxrss == 90 * kd.info.page_size // 1024
    assert (p.p_uctime_sec, p.p_uctime_usec) == (3, 250500)
    assert (p.p_vm_rssize, p.p_vm_tsize, p.p_vm_dsize, p.p_vm_ssize) == (70, 4, 11, 33)
    assert (p.p_siglist, p.p_sigmask) == (0x204, 0x10002)
    assert (p.p_sigignore, p.p_sigcatch) == (1 | 1 << 31, 1 << 1 | 1 << 14)
    assert (p.p_priority, p.p_usrpri, p.p_nice, p.p_exitsig, p.p_emul) == (120, 121, 20, 17, b"linux")
    assert (p.p_eflag, p.p_rlim_rss_cur, p.p_ngroups) == (2, 4096 * 77, 3)
    assert p.p_groups[:4] == (7, 33, 70000, 0)
    at = dump.structs[1]
    assert (p.p_vmspace, p.p_fd, p.p_sigacts) == (at["mm_struct"], at["files_struct"], at["sighand_struct"])
    assert p.p_limit == at["signal_struct"] + dump.shapes.offset("signal_struct", "rlim")
    assert (p.p_tdev, p.p_tpgid, p.p_tsess) == (0xFFFFFFFF, -1, 0)
    shell = found[300]
    assert (shell.p_rtime_sec, shell.p_rtime_usec) == (4, 500000)
    assert (shell.p_uru_nvcsw, shell.p_uru_inblock) == (11, 2)
    assert shell.p_eflag == 3
    assert shell.p_tsess == shell.p_sess == found[301].p_sess != 0
    assert found[2].p_priority == 98
    assert (found[302].p_priority, found[302].p_emul) == (0, b"linux32")
    assert (found[303].p_xstat, found[303].p_stat) == (0x300, 5)
    # 301's group has a parent outside of it, the dead one's does not count, and 302's parent is inside.
    assert {pid: q.p_jobc for pid, q in found.items() if q.p_jobc} == {301: 1, 302: 1}
    assert process(kd, 302).p_jobc == 1


def test_bytes(both: Any) -> None:
    kd, _, _ = both
    for p in kd.processes():
        raw = bytes(p)
        assert len(raw) == 608
        assert struct.unpack_from("<Q", raw, 16) == (p.paddr,)
        assert struct.unpack_from("<ii", raw, 108) == (p.pid, p.ppid)
        assert struct.unpack_from("<Q", raw, 352) == (p.wchan or 0,)
        assert raw[344:352] == (p.wmesg or "").encode()[:7].ljust(8, b"\0")
        assert raw[320:344] == p.p_comm.ljust(24, b"\0")
    (p,) = pykvm.kvm_getproc2(kd, pykvm.KERN_PROC_PID, 1, 112)
    assert len(bytes(p)) == 112
    (p,) = pykvm.kvm_getproc2(kd, pykvm.KERN_PROC_PID, 1, 700)
    assert bytes(p)[608:] == bytes(92)


@pytest.mark.parametrize(
    ("op", "arg", "pids"),
    [
        (pykvm.KERN_PROC_ALL, 0, [1, 300, 301, 302, 303, 306, 307, 308]),
        (pykvm.KERN_PROC_KTHREAD, 5, [p.pid for p in PROCS]),
        (pykvm.KERN_PROC_PID, 302, [302]),
        (pykvm.KERN_PROC_PID, 1300, []),
        (pykvm.KERN_PROC_PGRP, 301, [301, 302]),
        (pykvm.KERN_PROC_SESSION, 300, [300, 301, 302, 303]),
        (pykvm.KERN_PROC_TTY, 0x10882C, [300, 301, 302]),
        (pykvm.KERN_PROC_TTY, -1, []),
        (pykvm.KERN_PROC_TTY, 0, []),
        (pykvm.KERN_PROC_UID, 3011, [301]),
        (pykvm.KERN_PROC_RUID, 3010, [301]),
        (pykvm.KERN_PROC_GID, 3014, [301]),
        (pykvm.KERN_PROC_RGID, 3013, [301]),
    ],
)
def test_selection(both: Any, op: int, arg: int, pids: list[int]) -> None:
    kd, _, _ = both
    assert [p.pid for p in pykvm.kvm_getproc2(kd, op, arg)] == pids
    assert [p.pid for p in pykvm.kvm_getprocs(kd, op, arg)] == pids
    assert [p.pid for p in kd.processes(op, arg)] == pids


@pytest.mark.parametrize("op", [pykvm.KERN_PROC_INC_THREAD, pykvm.KERN_PROC_SHOW_THREADS, 8, -1, 1 << 70])
def test_selection_of_nothing(both: Any, op: int) -> None:
    kd, _, _ = both
    assert pykvm.kvm_getproc2(kd, op, 0) is None
    assert pykvm.kvm_geterr(kd) == f"kvm_getproc2: op {op}: Invalid argument"


def test_records_and_the_handle(one: ProcsDump) -> None:
    """What was read stays; what was not says that the handle is closed."""
    kd = pykvm.Kvm(one.path)
    first, second = kd.processes(), kd.processes()
    told = [(p.pid, p.comm, p.uid, p.wmesg) for p in first]
    raw = [bytes(p) for p in second]
    threads = kd.threads(first[0])
    kd.close()
    assert [(p.pid, p.comm, p.uid, p.wmesg) for p in first] == told
    assert [p.p_pid for p in second] == [p.pid for p in second]
    assert [bytes(p) for p in second] == raw
    for look in (
        lambda: first[0].utime,
        lambda: first[0].p_flag,
        lambda: bytes(first[0]),
        lambda: threads[0].wmesg,
        lambda: [getattr(p, "groups") for p in first],  # noqa: B009
    ):
        with pytest.raises(pykvm.KvmError, match="handle is closed"):
            look()


def test_one_reading_for_all(one: ProcsDump) -> None:
    """A list is read once: what changes later does not change it."""
    with pykvm.Kvm(one.path, writable=True) as kd:
        before = kd.processes()
        assert [p.uid for p in before[:2]] == [11, 21]
        at = one.structs[1]["cred"] + one.shapes.offset("cred", "euid", "val")
        kd.write(at, struct.pack("<I", 4711))
        assert [p.uid for p in before[:2]] == [11, 21]
        assert kd.processes()[0].uid == 4711


# -- where they wait ----------------------------------------------------------------------------------------


def test_waits(both: Any) -> None:
    kd, dump, (_, release, _) = both
    delayed = release in ("6.12", "6.18")
    if delayed:
        at = dump.tasks[306] + dump.shapes.offset("task_struct", "se", "sched_delayed")
    expected = {
        1: "do_wait_here", 2: "worker_loop", 300: "__do_sys_nap", 301: "do_wait_here", 302: None, 303: None,
        304: "worker_loop", 305: "worker_loop", 306: None, 307: None, 308: None,
    }  # fmt: skip
    found = kd.processes()
    assert {p.pid: p.wmesg for p in found} == expected
    for p in found:
        assert p.wchan == (None if p.wmesg is None else dump.symbols[p.wmesg])
        for thread in kd.threads(p):
            assert (thread.wmesg, thread.wchan) == (p.wmesg, p.wchan)
    if delayed:
        with pykvm.Kvm(dump.path, writable=True) as other:
            other.write(at, b"\1")
            assert process(other, 306).wmesg == "do_wait_here"
            other.write(at, b"\0")


def test_thread(both: Any) -> None:
    kd, dump, _ = both
    threads = kd.threads(process(kd, 300))
    assert [(t.tid, t.name, t.stat) for t in threads] == [(300 + i * 1000, "shell", "S") for i in range(3)]
    assert threads[0].addr == dump.tasks[300]
    assert "wmesg='__do_sys_nap'" in repr(threads[1])
    assert threads[0] == kd.threads(process(kd, 300))[0]
    with pytest.raises(AttributeError):
        _ = threads[0].nosuch


@pytest.mark.parametrize("variant", [VARIANTS[0], VARIANTS[4], VARIANTS[5], VARIANTS[7]], ids=str)
@pytest.mark.parametrize("value", [0, 1, 0x7FFFFFFFFFFFFFF8, HOLE, 0xFFFFFFFFFFFFFFFF])
def test_damaged_stacks(tmp_path: Path, variant: Any, value: int) -> None:
    dump = dump_of(tmp_path, variant)
    value &= (1 << 8 * dump.word) - 1
    saved = ("thread", "cpu_context", "fp") if variant[0] == "aarch64" else ("thread", "sp")
    point(dump, 1, "task_struct", *saved, value=value)
    point(dump, 300, "task_struct", "stack", value=value)
    with pykvm.Kvm(dump.path) as kd:
        assert process(kd, 1).wmesg is None
        assert process(kd, 300).wmesg is None
        assert process(kd, 301).wmesg == "do_wait_here"


def test_kernel_without_frame_pointers(tmp_path: Path) -> None:
    """A register that only looks like a frame pointer is none."""
    dump = dump_of(tmp_path, VARIANTS[4])
    with pykvm.Kvm(dump.path) as kd:
        assert process(kd, 1).wmesg == "do_wait_here"
    poke(dump, dump.symbols["io_schedule"], b"\x90" * 16)
    with pykvm.Kvm(dump.path) as kd:
        assert [p.wmesg for p in kd.processes()] == [None] * len(PROCS)


@pytest.mark.parametrize("name", ["__start_orc_unwind_ip", "__start_orc_unwind"])
def test_damaged_tables(one: ProcsDump, name: str) -> None:
    """Tables that make no sense lead nowhere; they lead astray only where they make the same sense."""
    poke(one, one.symbols[name], b"\xff" * 32)
    with pykvm.Kvm(one.path) as kd:
        assert {p.wmesg for p in kd.processes()} <= {None, "do_wait_here", "__do_sys_nap", "worker_loop"}


# -- open files ---------------------------------------------------------------------------------------------


def test_files(both: Any) -> None:
    kd, dump, _ = both
    found = kd.files()
    mine = [f for f in found if f.pid == 1]
    assert {f.fd: f.path for f in mine} == {fd: path for fd, (_, path) in FILES.items() if fd != 20}
    assert [f.fd for f in mine] == sorted(f.fd for f in mine)
    for f in mine:
        assert f.paddr == dump.vfs.files[FILES[f.fd][0]]
        assert f.f_mode == 3
        assert len(bytes(f)) == kd.types.struct("file").size
    # A process that shares another's table has records of its own; threads, kernel threads and the dead have none.
    rest = [(f.pid, f.fd, f.path) for f in found if f.pid != 1]
    assert rest == [(pid, fd, path) for pid in (300, 301) for fd, path in ((0, "/dev/null"), (1, "/dev/pts/0"))]
    same = [f for f in found if f.path == "/dev/null"]
    assert {f.pid for f in same} == {1, 300, 301}
    assert len({f.paddr for f in same}) == 1
    assert [(f.pid, f.fd) for f in pykvm.kvm_getfiles(kd, 0, 0)] == [(f.pid, f.fd) for f in found]
    assert repr(mine[0]) == "<file 1 0 /dev/null>"
    assert {"pid", "fd", "path", "paddr", "f_pos"} <= set(dir(mine[0]))


def test_files_after_close(one: ProcsDump) -> None:
    with pykvm.Kvm(one.path) as kd:
        found = kd.files()
    assert found[0].path == "/dev/null"
    assert len(bytes(found[0])) == found[0]._struct.size


def test_files_elsewhere(mirbsd_dump: Any) -> None:
    with pykvm.Kvm(mirbsd_dump.core, mirbsd_dump.kernel) as kd:
        found = kd.files()
    assert found
    assert {(f.pid, f.fd, f.path) for f in found} == {(None, None, None)}


def table_member(dump: ProcsDump, member: str, value: int, size: int) -> None:
    poke(dump, dump.structs[1]["fdtable"] + dump.shapes.offset("fdtable", member), value.to_bytes(size, "little"))


def files_error(dump: ProcsDump) -> str:
    with pykvm.Kvm(dump.path) as kd:
        assert pykvm.kvm_getfiles(kd, 0, 0) is None
        message = pykvm.kvm_geterr(kd)
        with pytest.raises(pykvm.KvmError):
            kd.files()
        assert [p.pid for p in kd.processes()] == [p.pid for p in PROCS]
    return message


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda d: point(d, 1, "task_struct", "files", value=HOLE),
            "process 1: can't read files_struct at 0xfffffffff",
        ),
        (lambda d: point(d, 1, "files_struct", "fdt", value=8), "process 1: can't read files_struct"),
        (lambda d: table_member(d, "max_fds", 0xFFFFFFFF, 4), "process 1: max_fds of 4294967295 open files"),
        (lambda d: table_member(d, "max_fds", 1 << 30, 4), "process 1: can't read its open_fds: invalid address"),
        (lambda d: table_member(d, "open_fds", HOLE, 8), "process 1: can't read its open_fds: invalid address"),
        (lambda d: table_member(d, "fd", HOLE, 8), "process 1: can't read descriptor 0 at 0xfffffffffffff000"),
        (
            lambda d: poke(d, d.structs[1]["slots"] + 8, bytes(7) + b"\x80"),
            "process 1: descriptor 1: can't read file at",
        ),
    ],
)
def test_damaged_tables_of_files(one: ProcsDump, damage: Callable[[ProcsDump], None], message: str) -> None:
    damage(one)
    assert files_error(one).startswith(message)


def test_more_files_than_a_dump_can_hold(tmp_path: Path) -> None:
    """Tables may share their pages in a hostile dump: what they promise together is bounded."""
    procs = [Proc(1, files={0: Open("/dev/null")}), *(Proc(i, 1) for i in range(2, 200))]
    dump = write_procs(tmp_path, procs, table=1 << 14, mounts=MOUNTS)
    at = dump.structs[1]
    poke(dump, at["open_fds"], b"\xff" * 2048)
    slot = dump.vfs.files[Open("/dev/null")].to_bytes(8, "little")
    poke(dump, at["slots"], slot * (1 << 14))
    with pykvm.Kvm(dump.path) as kd:
        assert len(kd.files()) == 1 << 14
    for pid in range(2, 200):
        point(dump, pid, "task_struct", "files", value=at["files_struct"])
    with pykvm.Kvm(dump.path) as kd, pytest.raises(pykvm.KvmError, match="open files, for a dump of this size"):
        kd.files()
    for pid in range(2, 200):  # tables of their own, of the same pages
        point(dump, pid, "task_struct", "files", value=dump.structs[pid]["files_struct"])
        point(dump, pid, "files_struct", "fdt", value=at["fdtable"])
    with pykvm.Kvm(dump.path) as kd, pytest.raises(pykvm.KvmError, match="open files, for a dump of this size"):
        kd.files()


@pytest.mark.parametrize("member", ["d_parent", "d_name.len", "d_name.name", "d_op", "d_inode"])
@pytest.mark.parametrize("value", [0, 1, 0xFFFFFFFFFFFFFFFF, HOLE])
def test_damaged_dentries(one: ProcsDump, member: str, value: int) -> None:
    """A path that cannot be had is None, and all others are what they were."""
    root = one.vfs.mounts["/"][0]
    at = one.vfs.dentries[root, "/tmp"]
    path = member.split(".")
    size = 4 if member == "d_name.len" else 8
    offset = one.shapes.offset("dentry", path[0]) + (one.shapes.offset("qstr", path[1]) if path[1:] else 0)
    poke(one, at + offset, (value & (1 << 8 * size) - 1).to_bytes(size, "little"))
    with pykvm.Kvm(one.path) as kd:
        found = {f.fd: f.path for f in kd.files() if f.pid == 1}
    for fd, (opened, path) in FILES.items():
        if not opened.path.startswith("/tmp") and fd != 20:
            assert found[fd] == path


def test_dentries_in_a_ring(one: ProcsDump) -> None:
    root = one.vfs.mounts["/"][0]
    inside, outside = one.vfs.dentries[root, "/tmp/gone"], one.vfs.dentries[root, "/tmp"]
    poke(one, outside + one.shapes.offset("dentry", "d_parent"), inside.to_bytes(8, "little"))
    with pykvm.Kvm(one.path) as kd:
        found = {f.fd: f.path for f in kd.files() if f.pid == 1}
    assert found[12] is None
    assert found[2] == "/srv/data/deep/er/file"


def test_a_file_outside_of_its_mount(one: ProcsDump) -> None:
    """d_path() gives "/" for what cannot be reached from its mount's root."""
    mount, root = one.vfs.mounts["/srv/data"]
    at = one.vfs.dentries[mount, "/deep/er"]
    poke(one, at + one.shapes.offset("dentry", "d_parent"), at.to_bytes(8, "little"))
    with pykvm.Kvm(one.path) as kd:
        found = {f.fd: f.path for f in kd.files() if f.pid == 1}
    assert root
    assert (found[2], found[64]) == ("/", "/srv/data")


# -- damage -------------------------------------------------------------------------------------------------


def test_a_list_that_breaks(one: ProcsDump) -> None:
    """Half a list is none: the error says where it broke."""
    point(one, 301, "task_struct", "tasks", "next", value=HOLE)
    at = HOLE - one.shapes.offset("task_struct", "tasks")
    with pykvm.Kvm(one.path) as kd:
        with pytest.raises(pykvm.AddressError, match=f"can't read task at {at:#x}: invalid address") as caught:
            kd.processes()
        assert caught.value.address == HOLE
        assert pykvm.kvm_getprocs(kd, pykvm.KERN_PROC_ALL, 0) is None
        assert pykvm.kvm_getfiles(kd, 0, 0) is None
        assert f"can't read task at {at:#x}" in pykvm.kvm_geterr(kd)


def test_a_list_that_loops(one: ProcsDump) -> None:
    first = one.tasks[2] + one.shapes.offset("task_struct", "tasks")
    point(one, 301, "task_struct", "tasks", "next", value=first)
    with pykvm.Kvm(one.path) as kd, pytest.raises(pykvm.KvmError, match=r"init_task.tasks: list at .* loops"):
        kd.processes()


def test_a_task_that_ends_in_a_hole(tmp_path: Path) -> None:
    """A page in the middle of the list that is not there: its task has a next, and no pid."""
    dump = dump_of(tmp_path, VARIANTS[0])
    node = dump.shapes.offset("task_struct", "tasks")
    where = dump.structs[1]["slots"] + 0x100000  # not mapped
    point(dump, 300, "task_struct", "tasks", "next", value=where + node)
    with pykvm.Kvm(dump.path) as kd, pytest.raises(pykvm.AddressError, match=f"can't read task at {where:#x}"):
        kd.processes()


NONE_WITHOUT = {
    "signal": "pgid sid threads utime stime tpgid tdev",
    "real_cred": "uid ruid svuid gid rgid svgid groups",
    "mm": "rssize",
    "real_parent": "ppid",
}


@pytest.mark.parametrize("member", NONE_WITHOUT)
@pytest.mark.parametrize("value", [1, HOLE, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF])
def test_what_cannot_be_read_is_none(one: ProcsDump, member: str, value: int) -> None:
    point(one, 300, "task_struct", member, value=value)
    with pykvm.Kvm(one.path) as kd:
        found = {p.pid: p for p in kd.processes()}
        p = found[300]
        missing = {name for name in PROCESS_NAMES - {"login"} if getattr(p, name) is None}
        assert missing == set(NONE_WITHOUT[member].split())
        assert len(bytes(p)) == 608
        assert p.p_pid == 300
        others = {name for name in PROCESS_NAMES if getattr(found[1], name) is None}
        assert others == {"login", "tdev", "tpgid"}


def test_everything_none_in_json(one: ProcsDump, capsys: pytest.CaptureFixture[str]) -> None:
    from pykvm.cli import main

    for member in NONE_WITHOUT:
        point(one, 300, "task_struct", member, value=HOLE)
    assert main(["ps", "-M", str(one.path), "--json"]) == 0
    assert '"uid": null' in capsys.readouterr().out
    assert main(["ps", "-M", str(one.path), "-aux"]) == 0
    assert "shell" in capsys.readouterr().out


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_fuzz(fuzz_room: tuple[ProcsDump, bytes, list[int], Path], data: Any) -> None:
    """Whatever stands in the kernel's memory: an error, or an answer."""
    dump, raw, places, path = fuzz_room
    out = bytearray(raw)
    for _ in range(data.draw(st.integers(1, 12))):
        at = data.draw(st.sampled_from(places)) + data.draw(st.integers(0, 1023)) * 8
        known = data.draw(st.sampled_from([*dump.tasks.values(), *dump.structs[1].values()]))
        value = data.draw(st.sampled_from([0, 1, HOLE, 0xFFFFFFFFFFFFFFFF, 0x7FFFFFFF, known, known + 8]))
        out[at : at + 8] = value.to_bytes(8, "little")
    path.write_bytes(out[: len(raw)])
    with contextlib.suppress(pykvm.KvmError), pykvm.Kvm(path) as kd:
        with contextlib.suppress(pykvm.KvmError):
            assert all(f.path is None or isinstance(f.path, str) for f in kd.files())
        for p in kd.processes():
            for name in PROCESS_NAMES:
                getattr(p, name)
            assert len(bytes(p)) == 608
            for thread in kd.threads(p):
                assert (thread.wmesg is None) == (thread.wchan is None)


@pytest.fixture(scope="module")
def fuzz_room(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The dump, its bytes, where in them the pages of its structures are, and a path to write to."""
    room = tmp_path_factory.mktemp("fuzz")
    dump = dump_of(room, VARIANTS[0])
    raw = dump.path.read_bytes()
    with pykvm.Kvm(dump.path) as kd:
        wanted = {kd.translate(a) // 4096 for a in dump.tasks.values()}
        wanted |= {kd.translate(a) // 4096 for at in dump.structs.values() for a in at.values()}
        wanted |= {kd.translate(a) // 4096 for a in dump.vfs.dentries.values()}
        places = [e.offset + (pfn * 4096 - e.addr) for pfn in wanted for e in kd.image.held.extents
                  if e.addr <= pfn * 4096 < e.addr + e.size]  # fmt: skip
    return dump, raw, places, room / "damaged"


@pytest.mark.parametrize(
    ("name", "member", "entry", "message"),
    [
        ("task_struct", "comm", [500, 1 << 19, f"char [{1 << 19}]"], "struct task_struct: comm has 524288 bytes"),
        ("task_struct", "comm", [500, 0, "char [0]"], "struct task_struct: comm has 0 bytes"),
        ("k_sigaction", None, 1 << 19, "struct k_sigaction: sa_handler at 0 of 524288 bytes"),
        ("file", None, 1 << 19, "can't read file|open files of 524288 bytes each"),
    ],
)
def test_structures_larger_than_a_kernels(
    one: ProcsDump, tmp_path: Path, name: str, member: str | None, entry: Any, message: str
) -> None:
    with pykvm.Kvm(one.path) as kd:
        fields = {n: [f.offset, f.size, f.type] for n, f in kd.types.struct(name).fields.items()}
        size = kd.types.struct(name).size
    if member is None:
        size = entry
    else:
        fields[member], size = entry, 1 << 20
    layout = tmp_path / "layout.json"
    layout.write_text(json.dumps({name: {"size": size, "fields": fields}}))
    with pykvm.Kvm(one.path, layout=layout) as kd, pytest.raises(pykvm.KvmError, match=message):
        use(kd)


def use(kd: pykvm.Kvm) -> None:
    kd.files()
    for p in kd.processes():
        assert p.comm
        assert p.p_sigcatch >= 0


def test_a_list_that_ends(one: ProcsDump) -> None:
    """The list of tasks is a ring: NULL in it is damage, not its end."""
    point(one, 301, "task_struct", "tasks", "next", value=0)
    with (
        pykvm.Kvm(one.path) as kd,
        pytest.raises(pykvm.FormatError, match=r"init_task.tasks: the list ends at 0x\w+ with NULL"),
    ):
        kd.processes()


def test_a_record_of_another_handle(one: ProcsDump) -> None:
    with pykvm.Kvm(one.path) as kd, pykvm.Kvm(one.path) as other:
        p = other.processes()[0]
        for ask in (kd.threads, kd.argv, kd.environ):
            with pytest.raises(pykvm.KvmError, match=f"process {p.pid}: the record is of another handle"):
                ask(p)
        assert pykvm.kvm_getargv(kd, p, 0) is None
        assert len(other.threads(p)) >= 1
