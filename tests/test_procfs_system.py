"""KVM_NO_FILES on Linux: open files, the system's figures, what others than root see, and C; against psutil."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from consumer_maker import PASSED, RUNNER, Programs, words
from living import HAS_PROC, PF_KTHREAD, ROOT, Start, numbers, process, sleeps, told_by, until

import pykvm
from pykvm.handle import Kvm
from pykvm.records import PROCESS_NAMES

pytestmark = HAS_PROC

NOBODY = 65534
LIBRARY = Path(pykvm.__file__).parent / "libkvm" / "libkvm.so"


# -- files ------------------------------------------------------------------------------------------------------------


def test_files(kd: Kvm, tmp_path: Path) -> None:
    path = tmp_path / "a file\n\udcff"
    path.write_bytes(b"x" * 100)
    gone = tmp_path / "gone"
    with contextlib.ExitStack() as stack:

        def keep(fd: int) -> int:
            stack.callback(os.close, fd)
            return fd

        read = keep(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        os.lseek(read, 42, os.SEEK_SET)
        append = keep(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK))
        deleted = keep(os.open(gone, os.O_RDWR | os.O_CREAT))
        gone.unlink()
        one, two = map(keep, os.pipe())
        directory = keep(os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY))
        high = keep(os.dup2(read, 200))
        sock = stack.enter_context(socket.socket(socket.AF_UNIX))
        files = {f.fd: f for f in kd.files() if f.pid == os.getpid()}
        assert set(files) == {fd for fd in numbers("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{fd}")}
        assert files[read].path == files[append].path == str(path)
        assert (files[read].f_pos, files[read].f_flags & ~0o100000) == (42, os.O_RDONLY)  # without O_LARGEFILE
        assert files[append].f_flags & ~0o100000 == os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK
        assert files[deleted].path == f"{gone} (deleted)"
        inode = os.fstat(one).st_ino
        assert files[one].path == files[two].path == f"pipe:[{inode}]"
        assert files[sock.fileno()].path == f"socket:[{os.fstat(sock.fileno()).st_ino}]"
        assert files[directory].path == str(tmp_path)
        assert (files[high].path, files[high].f_pos) == (str(path), 42)
        assert {f.paddr for f in files.values()} == {None}
        assert len(bytes(files[read])) == kd.types.struct("file").size
        assert struct.unpack("=qI", bytes(files[read])[:12]) == (42, files[read].f_flags)
        assert repr(files[one]) == f"<file {os.getpid()} {one} pipe:[{inode}]>"
        order = [(f.pid, f.fd) for f in kd.files()]
        assert order == sorted(order)
    assert not {f.fd for f in kd.files() if f.pid == os.getpid()} & {read, append, deleted, one, two, directory, high}


# -- for others than root ---------------------------------------------------------------------------------------------


@pytest.mark.skipif(not ROOT, reason="only root can become another user")
def test_unprivileged(kd: Kvm, spawned: Start) -> None:
    """Everybody sees everyone's stat and status; what is told to who may trace a process is not known, and not 0."""
    child = spawned("sleep", "100", env={"A": "secret"})
    until(sleeps(kd, child.pid))
    mine = process(kd, child.pid)
    names = sorted(PROCESS_NAMES - {"wmesg", "utime", "stime"})
    expected = [getattr(mine, name) for name in names]

    def look() -> Any:
        other = pykvm.kvm_openfiles(None, None, None, pykvm.KVM_NO_FILES)
        assert other is not None
        p, me = process(other, child.pid), process(other, os.getpid())
        files = other.files()
        hidden = other.message
        found = {
            "same": [getattr(p, name) for name in names],
            "unknown": [p.wmesg, p.wchan, p.paddr],
            "members": [p.p_comm.decode(), p.p_emul.decode(), p.p_uru_inblock, p.p_wmesg.decode()],
            "argv": [word.decode() for word in other.argv(p)],
            "environ": pykvm.kvm_getenvv(other, p, 0),
            "why": pykvm.kvm_geterr(other),
            "waits": [t.wmesg for t in other.threads(p)],
            "files": sorted({f.pid for f in files}),
            "hidden": hidden,
            "me": [me.pid, me.uid, me.ruid, me.gid, me.groups],
            "everyone": len(other.processes()) >= 2,
        }
        try:
            other.environ(p)
        except pykvm.KvmError as e:
            found["raised"] = str(e)
        return found

    found = told_by(look, NOBODY)
    assert found["same"] == expected
    assert found["unknown"] == [None, None, None]
    assert found["members"] == ["sleep", "", 0, ""]
    assert found["argv"] == ["sleep", "100"]
    assert found["environ"] is None
    assert found["why"] == found["raised"] == f"can't read /proc/{child.pid}/environ: Permission denied"
    assert found["waits"] == [None]
    assert child.pid not in found["files"]
    hidden = re.fullmatch(r"kvm_getfiles: the files of (\d+) processes are not for this user to see", found["hidden"])
    assert hidden is not None
    me, *ids = found["me"]
    assert me != os.getpid()
    assert ids == [NOBODY, NOBODY, NOBODY, []]
    kd.message = ""
    kd.files()  # root may not trace who has capabilities that it lacks, as in containers
    others = re.fullmatch(r"kvm_getfiles: the files of (\d+) process(?:es)? are not for this user to see|", kd.message)
    assert others is not None
    assert int(others[1] or 0) < int(hidden[1])


def mounted(options: str, code: str, uid: int = 0) -> Any:
    """What a program prints as JSON where /proc is mounted with these options; the test is skipped where it cannot be,
    or the options were of a PID namespace, before Linux 5.8."""
    if not ROOT or tuple(map(int, os.uname().release.split(".")[:2])) < (5, 8):
        pytest.skip("only root can mount")
    prelude = f"""
import json, os, sys, pykvm
kd = pykvm.kvm_openfiles(None, None, None, pykvm.KVM_NO_FILES)
kd.facts(), kd.files(), kd.threads(kd.processes()[0])  # the user may have no access to what these load
os.setgroups([]); os.setgid({uid}); os.setuid({uid})
"""
    script = f'mount -t proc -o "{options}" proc /proc || exit 77; exec "$0" -c "$1"'
    command = ["unshare", "-m", "sh", "-c", script, sys.executable, prelude + code]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("no unshare(1)")
    if done.returncode in (1, 77) and not done.stdout and "Traceback" not in done.stderr:
        pytest.skip(f"/proc cannot be mounted: {done.stderr}")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("level", [1, 2])
def test_hidden_processes(level: int) -> None:
    """hidepid of proc(5): with 1 others' files cannot be read, with 2 they are not listed. What is not for this user is
    left out, and is no failure."""
    code = """
everyone = kd.processes()
print(json.dumps([
    [p.pid for p in everyone], os.getpid(), {p.uid for p in everyone} == {os.getuid()},
    len(kd.processes(pykvm.KERN_PROC_PID, 1)), [f.pid for f in kd.files()][:1], len(kd.loadavg()),
]))
"""
    pids, own, only, one, files, loads = mounted(f"hidepid={level}", code, NOBODY)
    assert own in pids
    assert only
    assert (one, files, loads) == (0, [own], 3)


def test_processes_only() -> None:
    """subset=pid of proc(5): the system's figures are not there, which is said."""
    code = """
def why(call):
    try:
        return repr(call())
    except pykvm.KvmError as e:
        return str(e)
target = kd.target
print(json.dumps([
    len(kd.processes()) > 0, why(kd.loadavg), why(lambda: target.swapinfo(kd.parts)),
    why(lambda: target.cptime(kd.parts)), pykvm.kvm_getswapinfo(kd, 4), sorted(kd.facts()),
]))
"""
    some, load, swap, times, swapinfo, facts = mounted("subset=pid", code)
    assert some
    assert load == "can't read /proc/loadavg: No such file or directory"
    assert swap == "can't read /proc/meminfo: No such file or directory"
    assert times == "can't read /proc/stat: No such file or directory"
    assert swapinfo == -1
    assert {"boot time", "hostname", "processes"} <= set(facts)
    assert "load averages" not in facts


@pytest.mark.skipif(not ROOT, reason="only root can make a PID namespace")
def test_another_namespace() -> None:
    """In a PID namespace the numbers are its own."""
    code = """
import json, os, pykvm
kd = pykvm.kvm_openfiles(None, None, None, pykvm.KVM_NO_FILES)
print(json.dumps([[(p.pid, p.ppid, p.pgid, p.p_jobc) for p in kd.processes()], os.getpid(), len(kd.files()) > 2]))
"""
    command = ["unshare", "-m", "-p", "-f", "--mount-proc", sys.executable, "-c", code]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("no unshare(1)")
    if done.returncode and "Traceback" not in done.stderr:
        pytest.skip(done.stderr)
    (own,), pid, files = json.loads(done.stdout)
    assert pid == 1
    assert own[:2] == [1, 0]
    assert files


# -- figures ----------------------------------------------------------------------------------------------------------


def test_load(kd: Kvm) -> None:
    def said() -> list[float]:
        return [float(word) for word in Path("/proc/loadavg").read_text().split()[:3]]

    until(lambda: kd.loadavg() == said())
    assert pykvm.kvm_getloadavg(kd, 1) == kd.loadavg()[:1]


def test_times(kd: Kvm) -> None:
    first = pykvm.kvm_getcptime(kd)
    psutil = pytest.importorskip("psutil")
    now = psutil.cpu_times()
    last = pykvm.kvm_getcptime(kd)
    hz = os.sysconf("SC_CLK_TCK")
    assert isinstance(first, list)
    assert isinstance(last, list)
    expected = [now.user, now.nice, now.system, now.irq + now.softirq, now.idle + now.iowait]
    for before, value, after in zip(first, expected, last, strict=True):
        assert before - 1 <= value * hz <= after + 1
    assert len(first) == pykvm.constants.CPUSTATES


def test_cpus(kd: Kvm) -> None:
    assert pykvm.kvm_getncpus(kd) == os.sysconf("SC_NPROCESSORS_ONLN")
    assert pykvm.kvm_getmaxcpu(kd) >= pykvm.kvm_getncpus(kd)


def test_swap(kd: Kvm) -> None:
    psutil = pytest.importorskip("psutil")
    found = pykvm.kvm_getswapinfo(kd, 32)
    assert isinstance(found, list)
    memory = psutil.swap_memory()
    assert found[-1].ksw_devname == ""
    assert found[-1].ksw_total * os.sysconf("SC_PAGE_SIZE") == memory.total
    assert len(found) == len(Path("/proc/swaps").read_text().splitlines())


def test_facts(kd: Kvm) -> None:
    facts = kd.facts()
    psutil = pytest.importorskip("psutil")
    assert facts["hostname"] == socket.gethostname()
    assert facts["boot time"] == pytest.approx(psutil.boot_time(), abs=1.1)
    assert facts["boot time"] + facts["uptime"] == pytest.approx(time.time(), abs=1)
    assert facts["command line"] == Path("/proc/cmdline").read_text().strip()
    assert facts["cpus online"] == psutil.cpu_count()
    assert facts["processes"] == pytest.approx(len(psutil.pids()), abs=50)
    assert facts["threads"] >= facts["processes"] - 50
    if os.access("/sys/kernel/notes", os.R_OK):
        assert bytes.fromhex(facts["build id"]) in Path("/sys/kernel/notes").read_bytes()
    assert facts["tainted"] == int(Path("/proc/sys/kernel/tainted").read_text())


# -- psutil -----------------------------------------------------------------------------------------------------------


def test_psutil(kd: Kvm, spawned: Start) -> None:
    """Everything that psutil knows of every process that sleeps all the while."""
    psutil = pytest.importorskip("psutil")
    child = spawned("nice", "-n", "5", "sleep", "100", cwd="/")
    until(sleeps(kd, child.pid))
    letters = dict(
        zip(
            "RSDTIZ",
            (
                psutil.STATUS_RUNNING,
                psutil.STATUS_SLEEPING,
                psutil.STATUS_DISK_SLEEP,
                psutil.STATUS_STOPPED,
                psutil.STATUS_IDLE,
                psutil.STATUS_ZOMBIE,
            ),
            strict=True,
        )
    )
    compared = 0

    def ran(p: Any) -> tuple[int, int, float, float, str]:
        """What changes when a process runs, for however short a time."""
        return p.p_uru_nvcsw, p.p_uru_nivcsw, p.utime, p.stime, p.stat

    for p in kd.processes():
        before = ran(p)
        try:
            other = psutil.Process(p.pid)
            with other.oneshot():
                ids = tuple(other.uids()), tuple(other.gids())
                said = (
                    other.ppid(),
                    ids,
                    other.num_threads(),
                    other.nice(),
                    tuple(other.cpu_times())[:2],
                    other.status(),
                )
                start, terminal, name, rss = (
                    other.create_time(),
                    other.terminal(),
                    other.name(),
                    other.memory_info().rss,
                )
            argv = [word.encode("utf-8", "surrogateescape") for word in other.cmdline()]
        except psutil.NoSuchProcess:
            continue
        ids = (p.ruid, p.uid, p.svuid), (p.rgid, p.gid, p.svgid)
        ours = p.ppid, ids, p.threads, p.nice, (p.utime, p.stime), letters[p.stat]
        again = kd.processes(pykvm.KERN_PROC_PID, p.pid)
        if p.pid != os.getpid() and p.stat == "S" and [ran(q) for q in again] == [before]:
            assert ours == said, p
            # Its figure is of statm, which sums up what each CPU has counted since Linux 6.2; stat, and so memory, not.
            assert p.rssize == pytest.approx(rss, rel=0.1, abs=1 << 20)
            compared += 1
        assert p.start_time == pytest.approx(start, abs=1.1)
        assert (p.tdev is None) or terminal is not None or not Path("/dev/pts").exists()
        assert p.comm[:15] == name[:15] or p.flags & PF_KTHREAD
        if p.pid == child.pid:
            assert kd.argv(p) == argv == [b"sleep", b"100"]
            assert p.nice == other.nice() == min(19, os.nice(0) + 5)
    assert compared >= 2


def test_psutil_environment_and_files(kd: Kvm, spawned: Start, tmp_path: Path) -> None:
    psutil = pytest.importorskip("psutil")
    with open(tmp_path / "file", "w") as file:
        file.write("x" * 10)
        file.flush()
        child = spawned("sleep", "100", env={"A": "1", "B": ""}, pass_fds=[file.fileno()])
        until(sleeps(kd, child.pid))
        other = psutil.Process(child.pid)
        assert dict(word.decode().split("=", 1) for word in kd.environ(process(kd, child.pid))) == other.environ()
        (said,) = other.open_files()
        (found,) = (f for f in kd.files() if f.pid == child.pid and f.fd == said.fd)
        assert (found.path, found.f_pos) == (said.path, said.position) == (str(tmp_path / "file"), 10)
        assert found.f_flags == said.flags
        assert len([f for f in kd.files() if f.pid == child.pid]) == other.num_fds()


# -- from C -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    return Programs(tmp_path_factory.mktemp("programs"))


def test_ps_in_c(kd: Kvm, programs: Programs, spawned: Start) -> None:
    child = spawned("sleep", "100", env={"A": "1\n2"})
    until(sleeps(kd, child.pid))
    lines = programs.lines("ps", "-n", more=["-DKVM_TARGET_LP64"])
    found = {int(line.split()[0]): line for line in lines}
    assert found[child.pid] == f"{child.pid} {os.getpid()} {os.geteuid()} 3 sleep 0 sleep 100 +A=1\\0122"
    assert os.getpid() in found
    assert len(found) == len(lines)


def test_procinfo_in_c(kd: Kvm, programs: Programs, spawned: Start) -> None:
    """kvm_getprocinfo has all attributes; what is not known is -1, 0 or nothing there."""
    child = spawned("sleep", "100")
    until(sleeps(kd, child.pid))
    p = process(kd, child.pid)
    (line,) = programs.lines("procinfo", "-n", pykvm.KERN_PROC_PID, child.pid)
    ids = (p.pid, p.ppid, p.pgid, p.sid, -1 if p.tpgid is None else p.tpgid, p.uid, p.ruid, p.svuid, p.gid, p.rgid)
    numbers = [*ids, p.svgid, -1 if p.tdev is None else p.tdev, p.rssize]
    times = [round(value * 1e6) for value in (p.start_time, p.utime, p.stime)]
    rest = f"{p.threads} {p.nice} {p.flags:x} 0 0 S <sleep> <> <{p.wmesg or ''}>{words(kd, p)}"
    assert line == " ".join(map(str, [*numbers, *times, rest]))
    assert len(programs.lines("procinfo", "-n")) > 1


def test_vmstat_in_c(kd: Kvm, programs: Programs) -> None:
    load, one, times, swap, cpus = programs.lines("vmstat", "-n")
    assert len(load.split()) == 4
    assert one == "load of one 1"
    before = [int(word) for word in times.split()[1:]]
    after = pykvm.kvm_getcptime(kd)
    assert isinstance(after, list)
    assert all(0 <= b <= a for b, a in zip(before, after, strict=True))
    assert swap.split()[0] == "swap"
    assert cpus


@pytest.mark.skipif(bool(PASSED or RUNNER), reason="sanitizers and valgrind must be there from the start")
def test_in_this_program(kd: Kvm) -> None:
    """libkvm.so by ctypes, with Python's own interpreter: the same records."""
    lib = ctypes.CDLL(str(LIBRARY))
    lib.kvm_openfiles.restype = lib.kvm_getproc2.restype = lib.kvm_getargv2.restype = ctypes.c_void_p
    lib.kvm_geterr.restype = ctypes.c_char_p
    errbuf = ctypes.create_string_buffer(2048)
    handle = lib.kvm_openfiles(None, None, None, ctypes.c_int(pykvm.KVM_NO_FILES - (1 << 32)), errbuf)
    assert handle, errbuf.value
    handle = ctypes.c_void_p(handle)
    count = ctypes.c_int(-7)
    size = ctypes.c_size_t(608)
    at = lib.kvm_getproc2(handle, pykvm.KERN_PROC_PID, os.getpid(), size, ctypes.byref(count))
    assert at
    assert count.value == 1
    raw = ctypes.string_at(at, 608)
    mine = bytes(process(kd, os.getpid()))
    assert raw[104:212] == mine[104:212]  # flags and ids
    assert raw[320:344] == mine[320:344]
    vector = lib.kvm_getargv2(handle, ctypes.c_void_p(at), 0)
    first = ctypes.cast(vector, ctypes.POINTER(ctypes.c_char_p))[0]
    assert first == kd.argv(process(kd, os.getpid()))[0]
    assert lib.kvm_getproc2(handle, pykvm.KERN_PROC_PID, -5, size, ctypes.byref(count)) is not None
    assert count.value == 0
    loads = (ctypes.c_double * 3)()
    assert lib.kvm_getloadavg(handle, loads, 3) == 3
    assert lib.kvm_nlist(handle, (ctypes.c_char * 64)()) == -1
    assert lib.kvm_geterr(handle) == b"bad namelist"
    assert lib.kvm_close(handle) == 0
