"""A /proc that is not the kernel's: cut short, with numbers that are too large, without what it had."""

from __future__ import annotations

import os
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from living import HAS_PROC, asked

import pykvm
from pykvm.handle import Kvm

pytestmark = HAS_PROC
if Path("/proc/self/stat").exists():
    from pykvm.targets.linux.procfs import figures, parse
    from pykvm.targets.linux.procfs.target import ProcFs
    from pykvm.targets.linux.procfs.tree import number

HUGE = 10**20 - 1  # more than 64 bits have
HZ, PAGE = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
FIELDS = 49  # behind the letter
NUMBERS: dict[str, int] = {
    "ppid": 1, "pgrp": 7, "session": 6, "tty_nr": 0x8801, "tpgid": 8, "flags": 0x400000, "minflt": 11, "majflt": 12,
    "utime": 150, "stime": 25, "cutime": 3, "cstime": 4, "priority": 25, "nice": 5, "threads": 1, "starttime": 12345,
    "rss": 77, "rsslim": (1 << 64) - 1, "exit_signal": 17, "exit_code": 256,
}  # fmt: skip
STATUS = """Name:	{name}
Umask:	0022
State:	S (sleeping)
Tgid:	{pid}
Ngid:	0
Pid:	{pid}
PPid:	1
TracerPid:	0
Uid:	10	11	12	13
Gid:	20	21	22	23
FDSize:	64
Groups:	5 6 7
VmHWM:	    1234 kB
VmData:	     400 kB
VmStk:	     132 kB
VmExe:	      20 kB
Threads:	1
SigQ:	0/1
SigPnd:	0000000000000001
ShdPnd:	0000000000000002
SigBlk:	8000000000000004
SigIgn:	0000000000000008
SigCgt:	00000001ffffffff
voluntary_ctxt_switches:	31
nonvoluntary_ctxt_switches:	32
"""


def stat_of(pid: int, name: bytes = b"name", letter: str = "S", **changes: int) -> bytes:
    """A line of stat."""
    values = {**dict.fromkeys(parse.FIELDS, 0), **NUMBERS, **changes}
    return b"%d (%b) %b %b\n" % (pid, name, letter.encode(), b" ".join(b"%d" % v for v in values.values()))


def status_of(pid: int, name: str = "name") -> bytes:
    return STATUS.format(pid=pid, name=name).encode().replace(b"5 6 7\n", b"5 6 7 \n")


class Fake:
    """A directory like /proc, and a handle that asks it."""

    def __init__(self, root: Path, kd: Kvm) -> None:
        self.root, self.kd = root, kd
        (root / "self").symlink_to("7")
        kd._target, kd._parts = ProcFs.opened(kd, str(root))
        self.add(7)

    def add(self, pid: int, **files: bytes | None) -> Path:
        """A process; files: instead of those that it has, or more; None: not there."""
        directory = self.root / str(pid)
        directory.mkdir()
        every: dict[str, bytes | None] = {"stat": stat_of(pid), "status": status_of(pid), "cmdline": b"a\0b\0"}
        for name, raw in {**every, **files}.items():
            if raw is not None:
                (directory / name).write_bytes(raw)
        return directory

    @property
    def pids(self) -> list[int]:
        return [p.pid for p in self.kd.processes()]


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[Fake]:
    with asked() as kd:
        yield Fake(tmp_path, kd)


# -- what is said ------------------------------------------------------------------------------------------------------


def test_every_value(fake: Fake) -> None:
    """Attributes and members, each of a value that no other has."""
    (p,) = fake.kd.processes()
    assert (p.pid, p.ppid, p.pgid, p.sid, p.tdev, p.tpgid) == (7, 1, 7, 6, 0x8801, 8)
    assert (p.ruid, p.uid, p.svuid, p.rgid, p.gid, p.svgid, p.groups) == (10, 11, 12, 20, 21, 22, [5, 6, 7])
    assert (p.comm, p.stat, p.flags, p.nice, p.threads, p.rssize) == ("name", "S", 0x400000, 5, 1, 77 * PAGE)
    assert (p.utime, p.stime) == (150 / HZ, 25 / HZ)
    assert p.start_time == (figures.boot() + 12345 * 10**9 // HZ) / 10**9
    assert (p.login, p.wmesg, p.wchan, p.paddr) == (None, None, None, None)
    assert (p.p_uutime_sec, p.p_uutime_usec) == (150 // HZ, 150 % HZ * 10**6 // HZ)
    assert p.p_rtime_sec * 10**6 + p.p_rtime_usec == 175 * 10**6 // HZ
    assert (p.p_uctime_sec, p.p_uctime_usec) == (0, 7 * 10**6 // HZ)
    assert (p.p_siglist, p.p_sigmask, p.p_sigignore, p.p_sigcatch) == (3, 4, 8, 0xFFFFFFFF)
    assert (p.p_vm_rssize, p.p_vm_tsize, p.p_vm_dsize, p.p_vm_ssize) == (
        77, 20 * 1024 // PAGE, 400 * 1024 // PAGE, 132 * 1024 // PAGE,
    )  # fmt: skip
    assert (p.p_uru_maxrss, p.p_uru_minflt, p.p_uru_majflt) == (1234, 11, 12)
    assert (p.p_uru_nvcsw, p.p_uru_nivcsw) == (31, 32)
    assert (p.p_priority, p.p_usrpri, p.p_nice) == (125, 125, 25)
    assert (p.p_exitsig, p.p_xstat, p.p_rlim_rss_cur) == (17, 256, (1 << 64) - 1)
    assert (p.p_eflag, p.p_tdev, p.p_tpgid, p.p_acflag) == (1, 0x8801, 8, 0)
    assert p.p_ngroups == 3


@pytest.mark.parametrize(
    ("letter", "stat", "number"),
    [("R", "R", 2), ("S", "S", 3), ("D", "D", 3), ("T", "T", 4), ("t", "T", 4), ("Z", "Z", 5), ("X", "Z", 5),
     ("x", "Z", 5), ("I", "I", 3), ("P", "I", 3), ("W", "D", 3), ("K", "D", 3), ("Q", None, 0)],
)  # fmt: skip
def test_letters(fake: Fake, letter: str, stat: str | None, number: int) -> None:
    fake.add(9, stat=stat_of(9, letter=letter))
    p = fake.kd.processes()[1]
    assert (p.pid, p.stat, p.p_stat) == (9, stat, number)


@pytest.mark.parametrize(
    ("policy", "real_time", "priority", "expected"),
    [
        (0, 0, 20, (120, 125)),
        (1, 20, -21, (79, 79)),
        (2, 99, -100, (0, 0)),
        (6, 0, -101, (0, 0)),
        (3, 0, -2, (98, 125)),
    ],
)
def test_priorities(fake: Fake, policy: int, real_time: int, priority: int, expected: tuple[int, int]) -> None:
    """p_usrpri is what it has without what others lend it: rt_mutex_setprio() of kernel/sched."""
    fake.add(9, stat=stat_of(9, policy=policy, rt_priority=real_time, priority=priority))
    p = fake.kd.processes()[1]
    assert (p.p_priority, p.p_usrpri) == expected


@pytest.mark.parametrize(
    ("name", "flags", "short"),
    [
        (b"kworker/0:1-events_power", 0x200020, b"kworker/0:1"),
        (b"kworker/u8:12H+flush", 0x200020, b"kworker/u8:12H"),
        (b"kworker/R-kblockd", 0x200020, b"kworker/R-kbloc"),
        (b"rcu_exp_par_gp_kthread_worker/0", 0x200000, b"rcu_exp_par_gp_"),
        (b"kworker/0:1-users", 0, b"kworker/0:1-use"),
        (b"n" * 100, 0x200000, b"n" * 15),
    ],
)
def test_names_of_kernel_threads(fake: Fake, name: bytes, flags: int, short: bytes) -> None:
    """stat has them whole; task_struct's comm, which memory gives p_comm of, has 15 bytes."""
    fake.add(9, stat=stat_of(9, name=name, flags=flags))
    p = fake.kd.processes()[1]
    assert (p.p_comm, p.comm) == (short, name.decode()[:63])


def test_job_control(fake: Fake) -> None:
    """pg_jobc: members of the group with a parent in another group of the session, but for the dead."""
    for pid, ppid, group, letter in (
        (20, 7, 20, "S"),
        (21, 20, 21, "S"),
        (22, 20, 21, "S"),
        (23, 20, 21, "Z"),
        (24, 21, 21, "S"),
    ):
        fake.add(pid, stat=stat_of(pid, letter=letter, ppid=ppid, pgrp=group, session=6))
    assert [(p.pid, p.p_jobc) for p in fake.kd.processes()] == [(7, 0), (20, 1), (21, 2), (22, 2), (23, 2), (24, 2)]
    (one,) = fake.kd.processes(pykvm.KERN_PROC_PID, 22)
    assert one.p_jobc == 2
    assert [p.p_jobc for p in fake.kd.processes(pykvm.KERN_PROC_PGRP, 20)] == [1]


# -- what makes no sense -----------------------------------------------------------------------------------------------

WHOLE = None if not Path("/proc/self/stat").exists() else stat_of(9)


@pytest.mark.parametrize(
    "change",
    [
        {"stat": None}, {"status": None}, {"stat": b""}, {"status": b""}, {"stat": b"\n" * 5000},
        {"stat": b"\0" * 5000}, {"stat": b"9"}, {"stat": b"9 (name"}, {"stat": b"9 (name)"}, {"stat": b"9 (name) S"},
        {"stat": b"9 (name) S 1 2 3\n"}, {"stat": b"9 () " * 1000}, {"stat": b"(" * 5000}, {"stat": b") " * 5000},
        {"stat": b"x (name) S" + b" 1" * 50}, {"stat": b"9 (name) S" + b" 1" * 21},
        {"stat": b"9 (name) S" + b" 1" * 500}, {"stat": b"9 (name) SS" + b" 1" * 49},
        {"stat": b"9 (name) S" + b" 1" * 30 + b" x" + b" 1" * 18}, {"stat": b"9 (name) S" + b"  1" * 49},
        {"stat": b"9 (name) S" + b" 1" * 30 + b" " + b"9" * 5000}, {"stat": b"9 (name) S" + b" --1" * 49},
        {"stat": b"8 (name) S" + b" 1" * 49}, {"stat": b"99999999999999999999 (name) S" + b" 1" * 49},
        {"stat": b"9 (name) \xe4" + b" 1" * 49}, {"stat": b"-9 (name) S" + b" 1" * 49},
        {"status": status_of(9).replace(b"Uid:", b"Uix:") if WHOLE else b""},
        {"status": status_of(9).replace(b"11\t12", b"11 x12") if WHOLE else b""},
        {"status": status_of(9).replace(b"11\t", b"99999999999\t") if WHOLE else b""},
        {"status": status_of(9)[:100] if WHOLE else b""},
        {"status": status_of(10) if WHOLE else b""},  # a thread of 10
    ],
    ids=lambda change: repr(change)[:40],
)  # fmt: skip
def test_left_out(fake: Fake, change: dict[str, bytes | None]) -> None:
    """Who says nothing that makes sense is no process; the others are there as before."""
    fake.add(9, **change)
    fake.add(11)
    assert fake.pids == [7, 11]
    assert fake.kd.processes(pykvm.KERN_PROC_PID, 9) == []
    assert fake.kd.message == ""


@pytest.mark.parametrize("cut", [*range(0, 300, 7), -1])
def test_cut_short(fake: Fake, cut: int) -> None:
    """Wherever stat ends, it is left out, or whole up to what it has."""
    raw = stat_of(9)[:cut]
    fake.add(9, stat=raw)
    found = {p.pid: p for p in fake.kd.processes()}
    if 9 in found:
        assert len(raw.split()) >= 25
        p = found[9]
        assert (p.ppid, p.pgid, p.threads) == (1, 7, 1)
        assert len(bytes(p)) == 608


@pytest.mark.parametrize("cut", range(0, 700, 9))
def test_status_cut_short(fake: Fake, cut: int) -> None:
    """A line that is not whole is not believed."""
    fake.add(9, status=status_of(9)[:cut])
    found = {p.pid: p for p in fake.kd.processes()}
    if 9 in found:
        p = found[9]
        assert (p.uid, p.gid) == (11, 21)
        assert p.groups in (None, [5, 6, 7])
        assert p.p_uru_maxrss in (0, 1234)
        assert p.p_sigcatch in (0, 0xFFFFFFFF)
        assert p.p_uru_nvcsw in (0, 31)


@pytest.mark.parametrize("value", [HUGE, -HUGE, (1 << 64) - 1, 1 << 63, -1, 0])
def test_huge_numbers(fake: Fake, value: int) -> None:
    """They wrap in the record as C's would; nothing fails."""
    fake.add(9, stat=stat_of(9, **dict.fromkeys(parse.FIELDS, value)))
    fake.add(
        12, status=status_of(12).replace(b"1234 kB", b"%d kB" % abs(value)).replace(b"400 kB", b"%d kB" % abs(value))
    )
    for p in fake.kd.processes():
        for name in pykvm.records.PROCESS_NAMES:
            getattr(p, name)
        assert len(bytes(p)) == 608
    assert fake.pids == [7, 9, 12]
    for op in (pykvm.KERN_PROC_UID, pykvm.KERN_PROC_PGRP, pykvm.KERN_PROC_TTY):
        fake.kd.processes(op, value)


def test_odd_entries(fake: Fake) -> None:
    """What is not spelt as a process is none, nor what is no directory, or leads in circles."""
    for name in ("007", "0x9", "+9", " 9", "9 ", "9a", "²", "\udcff", "99999999999", "4294967303", "-1", "٣"):
        (fake.root / name).mkdir()
    (fake.root / "10").write_text("no directory")
    (fake.root / "11").symlink_to("11")
    (fake.root / "12").symlink_to("/nonexistent")
    for pid, what in ((13, "stat"), (14, "status")):
        fake.add(pid, **{what: None})
        (fake.root / str(pid) / what).mkdir()
    for pid, what in ((15, "stat"), (16, "status")):
        fake.add(pid, **{what: None})
        os.mkfifo(fake.root / str(pid) / what)
    for pid, what in ((17, "stat"), (18, "status")):
        fake.add(pid, **{what: None})
        (fake.root / str(pid) / what).symlink_to("/dev/zero")
    assert fake.pids == [7]
    assert fake.kd.files() == []


def test_many_groups(fake: Fake) -> None:
    many = list(range(100000, 100000 + 65536))
    fake.add(9, status=status_of(9).replace(b"5 6 7", b" ".join(b"%d" % gid for gid in many)))
    fake.add(10, status=status_of(10).replace(b"5 6 7", b"1 " * 65537))
    fake.add(11, status=status_of(11).replace(b"5 6 7", b""))
    fake.add(12, status=status_of(12).replace(b"5 6 7", b"5 %d" % HUGE))
    nine, ten, eleven, twelve = fake.kd.processes()[1:]
    assert nine.groups == many
    assert (nine.p_ngroups, list(nine.p_groups)) == (16, many[:16])
    assert ten.groups is twelve.groups is None
    assert eleven.groups == []


def test_another_process(fake: Fake) -> None:
    """Of a number that was used again nothing is told, in place of who had it."""
    directory = fake.add(
        9, environ=b"A=1\0", wchan=b"do_wait", personality=b"00000008\n", io=b"read_bytes: 5120\nwrite_bytes: 1024\n"
    )
    kd = fake.kd
    first, second = (kd.processes(pykvm.KERN_PROC_PID, 9)[0] for _ in range(2))
    assert (kd.argv(first), kd.environ(first), first.wmesg) == ([b"a", b"b"], [b"A=1"], "do_wait")
    assert (first.p_emul, first.p_uru_inblock, first.p_uru_oublock) == (b"linux32", 10, 2)
    (directory / "stat").write_bytes(stat_of(9, starttime=54321))
    for ask in (kd.argv, kd.environ, kd.threads):
        with pytest.raises(pykvm.KvmError, match=r"^process 9 has ended$"):
            ask(first)
        with pytest.raises(pykvm.KvmError, match=r"^process 9 has ended$"):
            ask(second)
    assert second.wmesg is None
    assert (second.p_emul, second.p_uru_inblock, second.p_wmesg) == (b"", 0, b"")
    assert first.wmesg == "do_wait"


def test_threads(fake: Fake) -> None:
    directory = fake.add(9)
    (directory / "task").mkdir()
    kd = fake.kd
    (p,) = kd.processes(pykvm.KERN_PROC_PID, 9)
    with pytest.raises(pykvm.KvmError, match="process 9 has ended"):
        kd.threads(p)
    for tid, raw in (
        (8, stat_of(8, b"x) R 1")),
        (9, stat_of(9)),
        (10, b"nonsense"),
        (11, stat_of(12)),
        (13, stat_of(13, letter="Q")),
    ):
        (directory / "task" / str(tid)).mkdir()
        (directory / "task" / str(tid) / "stat").write_bytes(raw)
    (directory / "task" / "14").mkdir()
    assert [(t.tid, t.name, t.stat) for t in kd.threads(p)] == [
        (9, "name", "S"),
        (8, "x) R 1", "S"),
        (13, "name", None),
    ]
    assert [t.wmesg for t in kd.threads(p)] == [None] * 3


def test_arguments(fake: Fake) -> None:
    def of(pid: int, **files: bytes | None) -> Any:
        fake.add(pid, **files)
        return fake.kd.processes(pykvm.KERN_PROC_PID, pid)[0]

    kd = fake.kd
    assert kd.argv(of(10, cmdline=b"")) == []
    assert kd.argv(of(11, cmdline=b"no end")) == [b"no end"]
    assert kd.argv(of(12, cmdline=b"\0\0\0")) == [b"", b"", b""]
    assert kd.argv(of(13, stat=stat_of(13, flags=0x200000))) == []
    assert kd.argv(of(14, stat=stat_of(14, letter="Z"))) == []
    with pytest.raises(pykvm.KvmError, match="process 15: cmdline has more than 8388608 bytes"):
        kd.argv(of(15, cmdline=b"x" * ((8 << 20) + 1)))
    with pytest.raises(pykvm.KvmError, match="process 16 has ended"):
        kd.argv(of(16, cmdline=None))


def test_files(fake: Fake) -> None:
    directory = fake.add(9)
    (directory / "fd").mkdir()
    (directory / "fdinfo").mkdir()
    told = {
        0: b"pos:\t5\nflags:\t02100002\nmnt_id:\t1\n", 1: b"pos:\t-1\nflags:\t0\n", 2: b"", 3: b"pos:\t5\n",
        4: b"flags:\t0\npos:\t5\n", 5: b"pos:\tx\nflags:\t0\n", 6: b"pos:\t5\nflags:\t9\n", 7: None,
        8: b"pos:\t%d\nflags:\t77777777777\n" % HUGE,
    }  # fmt: skip
    for fd, raw in told.items():
        (directory / "fd" / str(fd)).symlink_to("/a\n\udcff (deleted)" if fd else "socket:[1]")
        if raw is not None:
            (directory / "fdinfo" / str(fd)).write_bytes(raw)
    (directory / "fd" / "9").write_text("no link")
    (directory / "fd" / "010").symlink_to("x")
    found = fake.kd.files()
    assert [(f.pid, f.fd) for f in found] == [(9, 0), (9, 1), (9, 8)]
    assert [f.path for f in found] == ["socket:[1]", *["/a\n\udcff (deleted)"] * 2]
    assert [(f.f_pos, f.f_flags) for f in found[:2]] == [(5, 0o100002), (-1, 0)]
    assert fake.kd.message == ""


# -- the system's figures ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "loads"),
    [
        (b"0.01 1234.50 3.00 1/234 567\n", [0.01, 1234.5, 3.0]), (b"", None), (b"0.01 1.00\n", None), (None, None),
        (b"nan nan nan 1/2 3\n", None), (b"1e400 0.00 0.00 1/2 3\n", None), (b"\xff\n", None),
        (b"0.01 0.02 0.03\n", None),
    ],
)  # fmt: skip
def test_load(fake: Fake, raw: bytes | None, loads: list[float] | None) -> None:
    if raw is not None:
        (fake.root / "loadavg").write_bytes(raw)
    if loads is None:
        assert pykvm.kvm_getloadavg(fake.kd) == -1
        assert str(fake.root / "loadavg") in fake.kd.message
        assert "\n" not in fake.kd.message
    else:
        assert pykvm.kvm_getloadavg(fake.kd) == fake.kd.loadavg() == loads


@pytest.mark.parametrize(
    ("raw", "times"),
    [
        (b"cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 9 9 9 9 9 9 9 9 9 9\n", [1, 2, 3, 13, 9]),
        (b"cpu  1 2 3 4 5 6 7\n", [1, 2, 3, 13, 9]),
        (b"cpu0 1 2 3 4 5 6 7 8 9 10\n", None), (b"cpu 1 2 3\n", None), (b"cpu -1 2 3 4 5 6 7 8\n", None), (b"", None),
        (None, None),
    ],
)  # fmt: skip
def test_times(fake: Fake, raw: bytes | None, times: list[int] | None) -> None:
    if raw is not None:
        (fake.root / "stat").write_bytes(raw)
    assert pykvm.kvm_getcptime(fake.kd) == (-1 if times is None else times)


SWAPS = rb"""Filename				Type		Size		Used		Priority
/dev/sda2                               partition	8388604		1024		-2
/dev/mapper/a\040b                      partition	4096		0		5
/swap\011file\134x\040(deleted)          file		4000		4		-3
/dev/zram0 partition %b 0 100
/nonsense file x 0 1
/too few
""" % str(HUGE).encode()


def test_swap(fake: Fake) -> None:
    (fake.root / "swaps").write_bytes(SWAPS)
    scale = PAGE // 1024
    found = pykvm.kvm_getswapinfo(fake.kd, 10, pykvm.SWIF_DEV_PREFIX)
    assert isinstance(found, list)
    assert [(d.ksw_devname, d.ksw_used, d.ksw_total) for d in found[:3]] == [
        ("/dev/sda2", 1024 // scale, 8388604 // scale), ("/dev/mapper/a b", 0, 4096 // scale),
        ("[/swap\tfile\\x (deleted)]", 4 // scale, 4000 // scale),
    ]  # fmt: skip
    assert [d.ksw_devname for d in found[3:]] == ["/dev/zram0", ""]
    assert found[-1].ksw_used == 1028 // scale
    few = pykvm.kvm_getswapinfo(fake.kd, 2)
    assert isinstance(few, list)
    assert [d.ksw_devname for d in few] == ["sda2", ""]


def test_no_swap(fake: Fake) -> None:
    """A kernel without swap space has no such file; a directory without anything tells nothing."""
    assert pykvm.kvm_getswapinfo(fake.kd, 10) == -1
    assert fake.kd.message == f"can't read {fake.root}/meminfo: No such file or directory"
    (fake.root / "meminfo").write_bytes(b"MemTotal: 1 kB\n")
    found = pykvm.kvm_getswapinfo(fake.kd, 10)
    assert isinstance(found, list)
    assert [(d.ksw_devname, d.ksw_total) for d in found] == [("", 0)]


@pytest.mark.parametrize(
    ("raw", "cpus"),
    [("0-3\n", [0, 1, 2, 3]), ("0,2-4,7\n", [0, 2, 3, 4, 7]), ("0\n", [0]), ("\n", []), ("x\n", None),
     ("0-99999999999\n", None), ("3-1\n", None), ("1-\n", None), (None, None)],
)  # fmt: skip
def test_cpus(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raw: str | None, cpus: list[int] | None
) -> None:
    monkeypatch.setattr(figures, "CPUS", str(tmp_path))
    for kind in ("online", "possible"):
        if raw is not None:
            (tmp_path / kind).write_text(raw)
    if cpus is None:
        assert pykvm.kvm_getncpus(fake.kd) == pykvm.kvm_getmaxcpu(fake.kd) == -1
        assert str(tmp_path) in fake.kd.message
    else:
        assert pykvm.kvm_getncpus(fake.kd) == len(cpus)
        assert pykvm.kvm_getmaxcpu(fake.kd) == max(cpus, default=0) + 1


def test_nothing_there(tmp_path: Path) -> None:
    with asked() as kd:
        with pytest.raises(pykvm.KvmError, match="is not mounted: there is no live kernel to ask"):
            ProcFs.opened(kd, str(tmp_path))
        (tmp_path / "self").symlink_to("1")
        kd._target, kd._parts = ProcFs.opened(kd, str(tmp_path))
        assert kd.processes() == kd.files() == kd.processes(pykvm.KERN_PROC_UID, 0) == []
        assert {"hostname", "boot time", "uptime"} <= set(kd.facts())
        (tmp_path / "self").unlink()
        tmp_path.rmdir()
        assert pykvm.kvm_getprocs(kd, pykvm.KERN_PROC_ALL, 0) is None
        assert kd.message == f"can't read {tmp_path}: No such file or directory"


def test_facts(fake: Fake) -> None:
    (fake.root / "cmdline").write_bytes(b"root=/dev/sda1 \xff\n")
    (fake.root / "sys" / "kernel").mkdir(parents=True)
    for tainted, value, letters in ((b"4609\n", 4609, "PWO"), (b"0\n", 0, None), (b"x\n", None, None)):
        (fake.root / "sys" / "kernel" / "tainted").write_bytes(tainted)
        facts = fake.kd.facts()
        assert facts["command line"] == "root=/dev/sda1 \udcff"
        assert facts.get("tainted") == value
        assert facts.get("taint flags") == letters
        assert facts["processes"] == 1
        assert "load averages" not in facts


# -- any bytes ---------------------------------------------------------------------------------------------------------

LINES = st.one_of(
    st.binary(max_size=300),
    st.text(string.digits + "() -SRx\n", max_size=300).map(str.encode),
    st.lists(st.integers(-HUGE, HUGE), min_size=20, max_size=60).map(
        lambda values: b"9 (a) S " + b" ".join(b"%d" % v for v in values)
    ),
)


@given(LINES)
def test_any_stat(raw: bytes) -> None:
    told = parse.stat(raw)
    if told is not None:
        assert raw.startswith(b"%b (%b) %b " % (raw[: raw.index(b" ")], told.name, told.letter.encode()))
        assert all(abs(int(word)) <= HUGE for word in told.words)
        assert (told.began, told.flags) == (int(told.words[18]), int(told.words[5]))


@given(
    pid=st.integers(0, 1 << 22),
    name=st.binary(max_size=64),
    letter=st.sampled_from("RSDTtZXxKWPI"),
    values=st.lists(st.integers(-(1 << 63), (1 << 64) - 1), min_size=22, max_size=60),
    end=st.sampled_from([b"", b"\n"]),
)
def test_a_stat_is_read_as_it_was_written(pid: int, name: bytes, letter: str, values: list[int], end: bytes) -> None:
    raw = b"%d (%b) %b %b%b" % (pid, name, letter.encode(), b" ".join(b"%d" % v for v in values), end)
    told = parse.stat(raw)
    assert told is not None
    assert (told.pid, told.name, told.letter) == (pid, name, letter)
    assert [int(word) for word in told.words] == values


KEYS = "Name Tgid Pid PPid Uid Gid Groups VmHWM SigPnd ShdPnd SigBlk SigIgn SigCgt voluntary_ctxt_switches".split()
STATUSES = st.lists(
    st.tuples(
        st.sampled_from(KEYS), st.one_of(st.text(string.hexdigits + " \t:kB", max_size=30), st.just("1\t2\t3\t4"))
    ),
    max_size=30,
).map(lambda rows: "".join(f"{key}:\t{value}\n" for key, value in rows).encode())


@given(st.one_of(st.binary(max_size=500), STATUSES))
def test_any_status(raw: bytes) -> None:
    ids = parse.ids(raw)
    assert ids is None or all(0 <= value < 10**10 for value in ids)
    groups = parse.groups(raw)
    assert groups is None or all(0 <= gid < 10**10 for gid in groups)
    signals = parse.signals(raw)
    assert signals is None or all(0 <= mask < 1 << 128 for mask in signals)
    for key in ("VmHWM", "voluntary_ctxt_switches"):
        value = parse.value(parse.count(key), raw)
        assert value is None or 0 <= value <= HUGE
    leader = parse.leader(raw)
    assert leader is None or b"Tgid:" in raw


@given(
    ids=st.lists(st.integers(0, (1 << 32) - 1), min_size=8, max_size=8),
    groups=st.lists(st.integers(0, (1 << 32) - 1), max_size=40),
    masks=st.lists(st.integers(0, (1 << 64) - 1), min_size=5, max_size=5),
    count=st.integers(0, (1 << 64) - 1),
    name=st.text(
        string.printable.replace("\n", "").replace("\x0b", "").replace("\x0c", "").replace("\r", ""), max_size=60
    ),
)
def test_a_status_is_read_as_it_was_written(ids: Any, groups: Any, masks: Any, count: int, name: str) -> None:
    """A name cannot pretend to be another line: its newlines are escaped."""
    sets = zip(("SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt"), masks, strict=True)
    raw = (
        f"Name:\t{name}\nTgid:\t9\nUid:\t" + "\t".join(map(str, ids[:4])) + "\nGid:\t" + "\t".join(map(str, ids[4:]))
        + "\nFDSize:\t64\nGroups:\t" + "".join(f"{gid} " for gid in groups) + f"\nVmHWM:\t{count:8} kB\n"
        + "".join(f"{key}:\t{mask:016x}\n" for key, mask in sets) + f"voluntary_ctxt_switches:\t{count}\n"
    ).encode()  # fmt: skip
    ruid, uid, svuid, _, rgid, gid, svgid, _ = ids
    assert parse.ids(raw) == (ruid, uid, svuid, rgid, gid, svgid)
    assert parse.groups(raw) == groups
    assert list(parse.signals(raw) or ()) == masks
    assert parse.value(parse.count("VmHWM"), raw) == parse.value(parse.count("voluntary_ctxt_switches"), raw) == count
    assert parse.leader(raw) == 9


@settings(max_examples=30, deadline=None)
@given(stat=LINES, status=st.one_of(st.binary(max_size=500), STATUSES))
def test_any_files(tmp_path_factory: pytest.TempPathFactory, stat: bytes, status: bytes) -> None:
    with asked() as kd:
        fake = Fake(tmp_path_factory.mktemp("fake"), kd)
        fake.add(9, stat=stat, status=status, cmdline=stat, io=status, personality=stat, wchan=status)
        fake.add(10, io=status, personality=stat, wchan=status, cmdline=status)
        for p in kd.processes():
            assert p.pid in (7, 9, 10)
            assert len(bytes(p)) == 608
            kd.argv(p)


@given(st.text(max_size=12))
def test_any_number(word: str) -> None:
    value = number(word)
    assert value is None or (str(value) == word and value < 1 << 31)


def test_the_fields() -> None:
    """Of the kernel's own file: as many, and each where this program's own figures say."""
    told = parse.stat(Path("/proc/self/stat").read_bytes())
    assert told is not None
    assert len(told.words) == FIELDS == len(parse.FIELDS)
    values = dict(zip(parse.FIELDS, map(int, told.words), strict=True))
    assert (values["ppid"], values["pgrp"], values["session"]) == (os.getppid(), os.getpgrp(), os.getsid(0))
    assert (values["exit_signal"], values["nice"]) == (17, os.nice(0))
