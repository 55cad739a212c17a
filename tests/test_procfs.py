"""KVM_NO_FILES on Linux: processes of the running kernel by /proc, against what the tests themselves have made."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import resource
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from living import HAS_PROC, PF_KTHREAD, ROOT, Start, forked, numbers, process, sleeps, told_by, until

import pykvm
from pykvm.handle import Kvm
from pykvm.records import PROCESS_NAMES

pytestmark = HAS_PROC

TICK = 0.011  # seconds: a tick of the clock that processes' times are told by, and the millisecond of boot's
PR_SET_NAME = 15


# -- the handle -------------------------------------------------------------------------------------------------------


def test_nothing_is_loaded_before_it_is_asked() -> None:
    code = """
import sys, pykvm
def rooms():
    return sorted(n for n in sys.modules if n.startswith("pykvm.targets.linux."))
kd = pykvm.kvm_openfiles(None, None, None, pykvm.KVM_NO_FILES)
print(rooms(), kd.unreadable is not None, pykvm.kvm_read(kd, 1, bytearray(1), 1))
kd.loadavg()
print("pykvm.targets.linux.procfs.target" in rooms(), "pykvm.targets.linux.kernel" in rooms(), "psutil" in sys.modules)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == "[] True -1\nTrue False False\n"


def test_info(kd: Kvm) -> None:
    info, name = kd.info, os.uname()
    assert (info.system, info.release, info.version) == ("Linux", name.release, name.version)
    assert (info.format, info.live, info.page_size) == ("none", True, os.sysconf("SC_PAGE_SIZE"))
    assert info.byteorder == sys.byteorder
    if name.machine in ("x86_64", "aarch64", "riscv64"):
        assert (info.machine, info.pointer_size) == (name.machine, 8)
    assert kd.types.struct("kinfo_proc2").size == 608
    assert pykvm.kvm_native(kd) == 1


def test_no_memory(kd: Kvm) -> None:
    """The texts of MirBSD's library, also after processes were asked."""
    kd.processes()
    for _ in range(2):
        assert pykvm.kvm_nlist(kd, [pykvm.Nlist("_x")]) == -1
        assert pykvm.kvm_geterr(kd) == "bad namelist"
        assert pykvm.kvm_read(kd, 0x1000, bytearray(4), 4) == -1
        assert pykvm.kvm_geterr(kd) == "invalid address (1000)"
    with pytest.raises(pykvm.KvmError, match="bad namelist"):
        _ = kd.symbols
    with pytest.raises(pykvm.KvmError):
        kd.read(0x1000, 4)
    with pytest.raises(pykvm.KvmError, match="dmesg: this handle has no memory, and /proc does not tell"):
        kd.dmesg()


def test_the_null_device() -> None:
    """FreeBSD's way."""
    kd = pykvm.kvm_open2(None, "/dev/null", os.O_RDONLY)
    assert kd is not None
    assert process(kd, os.getpid()).ppid == os.getppid()
    kd.close()
    assert pykvm.kvm_getprocs(kd, pykvm.KERN_PROC_ALL, 0) is None
    assert pykvm.kvm_geterr(kd) == "handle is closed"


def test_closed(spawned: Start) -> None:
    """What was read stays; what was not says that the handle is closed."""
    kd = pykvm.kvm_openfiles(None, None, None, pykvm.KVM_NO_FILES)
    assert kd is not None
    child = spawned("sleep", "100")
    until(sleeps(kd, child.pid))
    first, second = process(kd, child.pid), process(kd, child.pid)
    (thread,) = kd.threads(first)
    known = first.wmesg, bytes(first)
    kd.close()
    assert (first.wmesg, bytes(first)) == known
    assert second.uid == os.geteuid()  # was read, as all of stat and status
    for look in (
        lambda: second.wmesg, lambda: bytes(second), lambda: second.p_uru_inblock, lambda: second.p_jobc,
        lambda: thread.wmesg, kd.processes, kd.loadavg, kd.files, kd.facts, lambda: kd.info,
    ):  # fmt: skip
        with pytest.raises(pykvm.KvmError, match="handle is closed"):
            look()


# -- processes --------------------------------------------------------------------------------------------------------


def test_this_process(kd: Kvm) -> None:
    p = process(kd, os.getpid())
    assert (p.pid, p.ppid, p.pgid, p.sid) == (os.getpid(), os.getppid(), os.getpgrp(), os.getsid(0))
    assert (p.ruid, p.uid, p.svuid) == os.getresuid()
    assert (p.rgid, p.gid, p.svgid) == os.getresgid()
    assert p.groups == sorted(os.getgroups())
    assert p.comm == Path("/proc/self/comm").read_text().rstrip("\n")
    assert p.stat == "R"
    assert p.nice == os.nice(0)
    assert p.threads == len(numbers("/proc/self/task"))
    assert not p.flags & PF_KTHREAD
    assert p.login is p.wchan is p.paddr is None
    usage = resource.getrusage(resource.RUSAGE_SELF)
    assert p.utime + p.stime == pytest.approx(usage.ru_utime + usage.ru_stime, abs=0.2)
    assert abs(p.p_uru_minflt - usage.ru_minflt) < 10000
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[1])
    assert p.rssize == pytest.approx(pages * os.sysconf("SC_PAGE_SIZE"), rel=0.2)
    assert p.p_vm_rssize * os.sysconf("SC_PAGE_SIZE") == p.rssize
    assert set(dir(p)) >= PROCESS_NAMES


def test_when_it_began(kd: Kvm, spawned: Start) -> None:
    """Within a tick, and the same each time, also by another handle."""
    before = time.time()
    child = spawned("sleep", "100")
    after = time.time()
    found = {process(kd, child.pid).start_time for _ in range(20)}
    assert len(found) == 1
    (start,) = found
    assert before - 2 * TICK <= start <= after
    other = pykvm.kvm_open2(None, "/dev/null", 0)
    assert other is not None
    assert process(other, child.pid).start_time == pytest.approx(start, abs=0.0011)
    p = process(kd, child.pid)
    assert p.p_uvalid == 1
    assert p.p_ustart_sec + p.p_ustart_usec / 1e6 == pytest.approx(start, abs=1e-6)


def test_the_record(kd: Kvm, spawned: Start) -> None:
    """Members and attributes say the same; bytes(p) is them in the host's byte order."""
    child = spawned("sleep", "100", start_new_session=True)
    until(sleeps(kd, child.pid))
    p = process(kd, child.pid)
    assert (p.p_pid, p.p_ppid, p.p_sid, p.p__pgid) == (child.pid, os.getpid(), child.pid, child.pid)
    assert (p.p_uid, p.p_gid, p.p_svuid, p.p_svgid) == (p.uid, p.gid, p.svuid, p.svgid)
    assert (p.p_stat, p.p_nice, p.p_eflag, p.p_exitsig) == (3, 20 + p.nice, 2, signal.SIGCHLD)
    assert (p.p_tdev, p.p_tpgid, p.tdev, p.tpgid) == (0xFFFFFFFF, -1, None, None)
    assert p.p_flag == p.p_realflag == p.flags
    assert (p.p_priority, p.p_usrpri) == (120 + p.nice, 120 + p.nice)
    assert p.p_comm == b"sleep"
    assert p.p_ngroups == min(len(p.groups), 16)
    assert list(p.p_groups[: p.p_ngroups]) == p.groups[:16]
    assert p.p_paddr == p.p_wchan == 0
    assert p.p_jobc == 0
    raw = bytes(p)
    assert len(raw) == 608
    assert struct.unpack_from("=iiii", raw, 108) == (p.pid, p.ppid, p.sid, p.pgid)
    if p.wmesg is not None:
        assert p.p_wmesg == p.wmesg.encode()[:7]
        assert raw[344:352].rstrip(b"\0") == p.wmesg.encode()[:7]
    (short,) = pykvm.kvm_getproc2(kd, pykvm.KERN_PROC_PID, child.pid, 112) or ()
    assert bytes(short) == raw[:112]


def test_signals(kd: Kvm) -> None:
    def act() -> None:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.signal(signal.SIGUSR2, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_SETMASK, [signal.SIGHUP, signal.SIGRTMAX])
        os.kill(os.getpid(), signal.SIGHUP)

    def bit(number: int) -> int:
        return 1 << number - 1

    with forked(act) as pid:
        p = process(kd, pid)
        assert p.p_siglist == bit(signal.SIGHUP)
        assert p.p_sigmask == bit(signal.SIGHUP)  # as the others have no room
        both = bit(signal.SIGUSR1) | bit(signal.SIGUSR2)
        assert (p.p_sigignore & both, p.p_sigcatch & both) == (bit(signal.SIGUSR1), bit(signal.SIGUSR2))


@pytest.mark.parametrize(
    "name",
    [b"a) R 1 (b", b"line\nline", b"\xff\xfe\x80", b"  ", b") ", b"(((((((((((((((", b"\xc3\xa4\\n", b"12345678901234"],
)
def test_odd_names(kd: Kvm, name: bytes) -> None:
    with forked(lambda: ctypes.CDLL(None).prctl(PR_SET_NAME, ctypes.c_char_p(name))) as pid:
        p = process(kd, pid)
        assert p.comm.encode("utf-8", "surrogateescape") == p.p_comm == name
        assert (p.ppid, p.stat) == (os.getpid(), "S")
        assert [t.name for t in kd.threads(p)] == [p.comm]
        assert p.uid == os.geteuid()


ENVIRONMENT = {b"FIRST": b"\xff\n", b"EMPTY": b"", b"LONG": b"y" * 5000}
VARIABLES = [b"FIRST=\xff\n", b"EMPTY=", b"LONG=" + b"y" * 5000]


def test_vectors(kd: Kvm, spawned: Start) -> None:
    """Arguments of any bytes and length, and none behind others; the environment; nchr."""
    code = b"import signal; print(flush=True); signal.pause()"
    argv = [sys.executable.encode(), b"-Sc", code, b"a\n b", b"", b"%300d" % 7, b"\xff\x80", b"x" * 100000, b"", b""]
    child = spawned(*argv, env=ENVIRONMENT)
    child.stdout.readline()
    p = process(kd, child.pid)
    assert kd.argv(p) == argv
    assert kd.environ(p) == VARIABLES
    assert pykvm.kvm_getargv(kd, p, 0) == pykvm.kvm_getargv2(kd, p, 0) == argv
    assert pykvm.kvm_getargv2(kd, p, len(argv[0]) + 6) == [argv[0], b"-Sc", code[:1]]
    assert pykvm.kvm_getenvv2(kd, p, 4) == [b"FIRS"]


@pytest.mark.parametrize("name", [b"", b" ", b"(cat)\n", b"\xff" * 300])
def test_argv_0(kd: Kvm, spawned: Start, name: bytes) -> None:
    child = spawned(name, executable="/bin/cat", env={})
    until(lambda: process(kd, child.pid).comm == "cat" and process(kd, child.pid).stat == "S")
    p = process(kd, child.pid)
    assert kd.argv(p) == [name]
    assert kd.environ(p) == []
    assert pykvm.kvm_getenvv(kd, p, 0) is None


def test_no_argv(kd: Kvm) -> None:
    """Since Linux 5.18 a program has an empty argument at least."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(reader, 0)
        ctypes.CDLL(None).execve(b"/bin/cat", (ctypes.c_char_p * 1)(None), (ctypes.c_char_p * 1)(None))
        os._exit(1)
    os.close(reader)
    try:
        until(lambda: process(kd, pid).comm == "cat" or process(kd, pid).stat == "Z")
        p = process(kd, pid)
        if p.stat != "Z":
            until(lambda: process(kd, pid).stat == "S")
        assert kd.argv(p) in ([b""], [])
        assert kd.environ(p) == []
    finally:
        os.close(writer)
        os.waitpid(pid, 0)


def test_a_title_over_the_arguments(kd: Kvm, spawned: Start) -> None:
    """As setproctitle(3) of sendmail and others has it: what was written over all of them goes on into the
    environment."""
    code = """
import ctypes, sys, signal
words = open("/proc/self/stat", "rb").read().rsplit(b")", 1)[1].split()
start, end = int(words[45]), int(words[46])
ctypes.memset(start, 0x78, end - start + 5)
ctypes.memset(end + 5, 0, 1)
print(end - start, flush=True)
signal.pause()
"""
    child = spawned(sys.executable, "-Sc", code, env={"A_VARIABLE": "value"})
    size = int(child.stdout.readline())
    assert kd.argv(process(kd, child.pid)) == [b"x" * (size + 5)]


def test_zombie(kd: Kvm) -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(3)
    try:
        until(lambda: process(kd, pid).stat == "Z")
        p = process(kd, pid)
        assert (p.ppid, p.p_stat, p.threads, p.rssize) == (os.getpid(), 5, 1, 0)
        assert p.p_xstat == 3 << 8
        assert p.wmesg is None
        assert kd.argv(p) == kd.environ(p) == []
        assert pykvm.kvm_getargv(kd, p, 0) is pykvm.kvm_getenvv(kd, p, 0) is None
        assert [(t.tid, t.stat) for t in kd.threads(p)] == [(pid, "Z")]
        assert [f for f in kd.files() if f.pid == pid] == []
    finally:
        os.waitpid(pid, 0)
    assert kd.processes(pykvm.KERN_PROC_PID, pid) == []


def test_stopped(kd: Kvm, spawned: Start) -> None:
    child = spawned("sleep", "100")
    until(sleeps(kd, child.pid))
    child.send_signal(signal.SIGSTOP)
    until(lambda: process(kd, child.pid).stat == "T")
    p = process(kd, child.pid)
    assert p.p_stat == 4
    assert p.p_xstat == signal.SIGSTOP
    child.send_signal(signal.SIGCONT)
    until(lambda: process(kd, child.pid).stat == "S")


def test_a_terminal(kd: Kvm) -> None:
    """A session on a pseudo-terminal, with a job in the foreground and one behind it."""
    pid, master = os.forkpty()
    if pid == 0:
        try:
            behind, front = os.fork(), None
            if behind == 0:
                os.setpgid(0, 0)
                signal.pause()
            os.setpgid(behind, behind)
            front = os.fork()
            if front == 0:
                os.setpgid(0, 0)
                signal.pause()
            os.setpgid(front, front)
            signal.signal(signal.SIGTTOU, signal.SIG_IGN)
            os.tcsetpgrp(0, front)
            os.write(1, b"%d %d\n" % (behind, front))
            signal.pause()
        finally:
            os._exit(1)
    try:
        behind, front = map(int, os.read(master, 100).split())
        device = Path(f"/proc/{pid}/fd/0").stat().st_rdev
        packed = (device & 0xFF) | (os.major(device) << 8) | (os.minor(device) & ~0xFF) << 12
        session = {p.pid: p for p in kd.processes(pykvm.KERN_PROC_SESSION, pid)}
        assert set(session) == {pid, behind, front}
        assert {p.tdev for p in session.values()} == {packed}
        assert {p.p_tdev for p in session.values()} == {packed}
        assert {p.tpgid for p in session.values()} == {p.p_tpgid for p in session.values()} == {front}
        assert [session[n].p_eflag for n in (pid, behind, front)] == [3, 1, 1]
        # Each job has a member whose parent is in another group of the session; the leader's parent is in another one.
        assert [session[n].p_jobc for n in (pid, behind, front)] == [0, 1, 1]
        assert {p.pid for p in kd.processes(pykvm.KERN_PROC_TTY, packed)} == {pid, behind, front}
        assert [p.pid for p in kd.processes(pykvm.KERN_PROC_PGRP, front)] == [front]
    finally:
        for one in (behind, front, pid):
            os.kill(one, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(master)


def test_threads(kd: Kvm) -> None:
    names = [b"first", b"a) S 1", b"\xff", b"last\nline"]

    def act() -> None:
        ready = threading.Barrier(len(names) + 1)

        def run(name: bytes) -> None:
            ctypes.CDLL(None).prctl(PR_SET_NAME, ctypes.c_char_p(name))
            ready.wait()
            signal.pause()

        for name in names:
            threading.Thread(target=run, args=(name,), daemon=True).start()
        ready.wait()

    with forked(act) as pid:
        p = process(kd, pid)
        assert p.threads == len(names) + 1
        until(lambda: {t.stat for t in kd.threads(p)} == {"S"})
        found = kd.threads(p)
        assert found[0].tid == pid
        assert [t.tid for t in found] == numbers(f"/proc/{pid}/task")
        assert sorted(t.name.encode("utf-8", "surrogateescape") for t in found[1:]) == sorted(names)
        assert {(t.wchan, t.addr) for t in found} == {(None, None)}

        def waits() -> dict[int, str | None]:
            said = {t.tid: Path(f"/proc/{pid}/task/{t.tid}/wchan").read_text() for t in found}
            return {tid: None if text in ("", "0") else text for tid, text in said.items()}

        until(lambda: {t.tid: t.wmesg for t in kd.threads(p)} == waits())  # when all have come to rest
        assert found[1] == kd.threads(p)[1]
        # A thread has a directory that is not listed: it is no process.
        assert kd.processes(pykvm.KERN_PROC_PID, found[1].tid) == []
        switched = [Path(f"/proc/{pid}/task/{t.tid}/status").read_text(errors="replace") for t in found]
        total = sum(int(text.split("\nvoluntary_ctxt_switches:")[1].split()[0]) for text in switched)
        assert p.p_uru_nvcsw == total >= len(names)


@pytest.mark.parametrize(
    ("op", "name"),
    [
        (pykvm.KERN_PROC_PID, "pid"), (pykvm.KERN_PROC_PGRP, "pgid"), (pykvm.KERN_PROC_SESSION, "sid"),
        (pykvm.KERN_PROC_UID, "uid"), (pykvm.KERN_PROC_RUID, "ruid"), (pykvm.KERN_PROC_GID, "gid"),
        (pykvm.KERN_PROC_RGID, "rgid"),
    ],
)  # fmt: skip
def test_selection(kd: Kvm, op: int, name: str) -> None:
    mine = getattr(process(kd, os.getpid()), name)
    before = {(p.pid, getattr(p, name)) for p in kd.processes()}
    found = kd.processes(op, mine)
    # Others begin, end and change beside the tests: of those that were the same before and after, all is known.
    still = before & {(p.pid, getattr(p, name)) for p in kd.processes()}
    chosen = [pid for pid, value in sorted(still) if value == mine]
    rest = {pid for pid, value in still if value != mine}
    assert os.getpid() in [p.pid for p in found]
    assert {getattr(p, name) for p in found} == {mine}
    assert [p.pid for p in found] == sorted(p.pid for p in found)
    assert kd.processes(op, 1 << 40) == kd.processes(op, -7) == []
    assert [p.pid for p in found if p.pid in set(chosen) | rest] == chosen
    assert not rest & {p.pid for p in found}


def test_selection_of_kinds(kd: Kvm) -> None:
    every, users = kd.processes(pykvm.KERN_PROC_KTHREAD), kd.processes(pykvm.KERN_PROC_ALL)
    kernel = {p.pid for p in every if p.flags & PF_KTHREAD}
    assert not kernel & {p.pid for p in users}
    assert {os.getpid(), os.getppid()} <= {p.pid for p in users}
    if ROOT and 2 in kernel:  # not in a container
        two = process(kd, 2)
        assert (two.comm, two.ppid, two.rssize, two.p_vm_tsize) == ("kthreadd", 0, 0, 0)
        assert kd.argv(two) == kd.environ(two) == []
        for p in every:
            if p.comm.startswith("kworker/") and p.pid in kernel:  # task_struct's own name is short
                assert len(p.p_comm) <= 15
                assert p.comm.encode().startswith(p.p_comm)
                assert b"-" not in p.p_comm or b"R-" in p.p_comm
    for op in (pykvm.KERN_PROC_INC_THREAD, pykvm.KERN_PROC_SHOW_THREADS, 8, -1):
        assert pykvm.kvm_getproc2(kd, op, 0) is None
        assert pykvm.kvm_geterr(kd) == f"kvm_getproc2: op {op}: Invalid argument"


def test_what_it_has_written(kd: Kvm, tmp_path: Path) -> None:
    def act() -> None:
        with open(tmp_path / "file", "wb") as file:
            file.write(b"x" * (1 << 20))
            file.flush()
            os.fsync(file.fileno())

    with forked(act) as pid:
        said = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
        p = process(kd, pid)
        assert (p.p_uru_inblock, p.p_uru_oublock) == tuple(int(said[k]) // 512 for k in ("read_bytes", "write_bytes"))
        assert p.p_emul == b"linux"


# -- while they change ------------------------------------------------------------------------------------------------


def test_ended(kd: Kvm, spawned: Start) -> None:
    child = spawned("sleep", "100")
    until(sleeps(kd, child.pid))
    p, other = process(kd, child.pid), process(kd, child.pid)
    (thread,) = kd.threads(p)
    child.kill()
    child.wait()
    for ask in (kd.argv, kd.environ, kd.threads):
        with pytest.raises(pykvm.KvmError, match=f"process {p.pid} has ended"):
            ask(p)
    assert pykvm.kvm_getargv(kd, p, 0) is None
    assert pykvm.kvm_geterr(kd) == f"process {p.pid} has ended"
    assert p.wmesg is thread.wmesg is None
    raw = bytes(other)
    assert len(raw) == 608
    assert struct.unpack_from("=i", raw, 108) == (p.pid,)
    assert (other.uid, other.comm, other.p_wmesg) == (os.geteuid(), "sleep", b"")


def test_while_processes_come_and_go(kd: Kvm, spawned: Start) -> None:
    """Whoever stays is on every list, and is the same there."""
    still = spawned("sleep", "1000")
    until(sleeps(kd, still.pid))
    expected = (still.pid, os.getpid(), "sleep", os.geteuid(), process(kd, still.pid).start_time)
    code = """
import os, time
while True:
    for _ in range(20):
        if not os.fork():
            time.sleep(0.05)
            os._exit(0)
    for _ in range(20):
        os.waitpid(-1, 0)
"""
    storm = [spawned(sys.executable, "-Sc", code) for _ in range(2)]
    seen = set()
    for turn in range(50):
        found = {p.pid: p for p in kd.processes()}
        p = found[still.pid]
        assert (p.pid, p.ppid, p.comm, p.uid, p.start_time) == expected
        assert {child.pid for child in storm} <= set(found)
        for p in found.values():
            assert p.stat in ("R", "S", "D", "T", "Z", "I")
            assert p.uid is not None
            assert p.start_time > 1e9
        seen |= set(found)
        if turn % 10 == 0:
            assert {len(bytes(p)) for p in found.values()} == {608}
            for p in found.values():
                with contextlib.suppress(pykvm.KvmError):
                    kd.argv(p), kd.threads(p)
            kd.files()
    assert len(seen) > 2 * len(found)  # there was a storm


def test_no_descriptors_left(kd: Kvm) -> None:
    """Nothing stays open, and what the reader lacks is not a process that is gone."""
    kd.processes(), kd.files(), [kd.threads(p) for p in kd.processes(pykvm.KERN_PROC_PID, os.getpid())]
    before = numbers("/proc/self/fd")
    [bytes(p) for p in kd.processes()], kd.files(), kd.argv(process(kd, os.getpid()))
    assert numbers("/proc/self/fd") == before

    def starved() -> list[str]:
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
        said = []
        for ask in (kd.processes, kd.files, kd.loadavg, lambda: kd.processes(pykvm.KERN_PROC_PID, 1)):
            try:
                said.append(f"{len(ask())} things")
            except pykvm.KvmError as e:
                said.append(str(e))
        return said

    why = os.strerror(errno.EMFILE)
    assert told_by(starved) == [
        f"can't read /proc: {why}", f"can't read /proc: {why}", f"can't read /proc/loadavg: {why}",
        f"can't read /proc: {why}",
    ]  # fmt: skip
