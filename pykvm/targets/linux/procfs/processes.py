"""Processes by /proc, in the records that the same processes have by the kernel's memory (linux/procs).

Times are of the clock's ticks here, not nanoseconds; addresses, and what is told to a process's owner only, are not
known. A process that ends while it is read is left out.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pykvm.errors import KvmError
from pykvm.records import ProcessRecord, text
from pykvm.targets.base import Parts, Thread
from pykvm.targets.common import batch, kinfo2, select
from pykvm.targets.common import pack as packing
from pykvm.targets.common.record import Records, RowRecord
from pykvm.targets.common.vectors import limited
from pykvm.targets.linux.procfs import parse
from pykvm.targets.linux.procfs.parse import Row
from pykvm.targets.linux.procs.neutral import PF_KTHREAD

if TYPE_CHECKING:
    from pykvm.targets.linux.procfs.target import ProcFs

NSEC = 10**9
TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
# The letters of /proc that ps(1) of BSD does not have: traced, dead, parked.
LETTERS = {"t": "T", "X": "Z", "x": "Z", "P": "I", "K": "D", "W": "D"}
COMM = 15  # bytes of task_struct's comm: /proc tells the longer names of kernel threads
MAX_PRIO = 100  # MAX_RT_PRIO: what a priority in stat is less than in the kernel
SIGNALS = 0xFFFFFFFF  # the first 32 of Linux's 64
MAX_VECTOR = 8 << 20

# kinfo_proc2's members beside kinfo2.SHARED, as linux/procs/kinfo.py has them.
MEMBERS = {
    "p_siglist": "siglist", "p_sigmask": "sigmask", "p_sigignore": "sigignore", "p_sigcatch": "sigcatch",
    "p_vm_rssize": "pages", "p_uru_maxrss": "maxrss", "p_uru_minflt": "minflt", "p_uru_majflt": "majflt",
    "p_uru_nvcsw": "nvcsw", "p_uru_nivcsw": "nivcsw",
}  # fmt: skip


class Batch(batch.Batch["ProcFs"]):
    """Some processes; of columns that /proc does not have every value is None."""

    def __getitem__(self, name: str) -> Sequence[Any]:
        found = self.known.get(name)
        return [None] * len(self) if found is None else found


class Listed(Records[Batch]):
    """Records of one list."""

    def pack(self) -> bytearray:
        found = kinfo2.columns(self.batch, self.layout, MEMBERS, ("prio", "prio"))
        return packing.pack(found, self.layout, self.batch.read.order)


class LiveProcess(RowRecord):
    """A kinfo_proc2."""

    __slots__ = ()
    login = None  # Linux does not have it
    wchan = None  # an address, which /proc does not tell
    _records: Listed

    @property
    def wmesg(self) -> str | None:
        """The function of the kernel that the process waits in; told to who may trace it."""
        target, pid = self._records.batch.target, self._records.batch["pid"][self._index]
        return wait_channel(target, self, str(pid))


def rows(target: ProcFs) -> list[Row]:
    """All processes, in the order of their numbers."""
    found = []
    for pid in target.proc.numbers():
        row = one(target, str(pid))
        if row is not None and row["pid"] == pid:
            found.append(row)
    return found


def one(target: ProcFs, *names: str) -> Row | None:
    """A process, or a thread: its stat, and what its status says."""
    raw = target.proc.read(*names, "stat")
    row = None if raw is None else parse.stat(raw)
    raw = target.proc.read(*names, "status")
    if row is None or raw is None:
        return None
    row["status"] = parse.status(raw)
    return row


def columns(all_rows: Sequence[Row]) -> dict[str, list[Any]]:
    """The columns of the records."""
    boot = time.clock_gettime_ns(time.CLOCK_REALTIME) - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    groups = {row["pid"]: (row["pgid"], row["sid"]) for row in all_rows}
    jobs = Counter(
        row["pgid"]
        for row in all_rows
        if row["letter"] not in "XZ"
        and (parent := groups.get(row["ppid"])) is not None
        and parent[0] != row["pgid"]
        and parent[1] == row["sid"]
    )
    made = [_columns(row, boot, jobs) for row in all_rows]
    return {name: [values[name] for values in made] for name in made[0]} if made else {"pid": []}


def _columns(row: Row, boot: int, jobs: Counter[int]) -> dict[str, Any]:
    told = row["status"]
    uid, gid = told.get("Uid"), told.get("Gid")
    own = row["flags"] & PF_KTHREAD == 0 and row["letter"] not in "XZ"  # has memory of its own

    def pages(name: str) -> int | None:
        """A size of its memory, of kilobytes."""
        return told[name] * 1024 // PAGE if name in told else None if own else 0

    def ticks(*names: str) -> int:
        return int(sum(max(0, row[name]) for name in names) * NSEC // TICK)

    def mask(*names: str) -> int | None:
        value = 0
        for name in names:
            if name not in told:
                return None
            value |= told[name]
        return value & SIGNALS

    single = row["threads"] == 1  # counts of switches are of one thread each
    start = ticks("starttime") + boot
    utime, stime = ticks("utime"), ticks("stime")
    return {
        "pid": row["pid"], "ppid": row["ppid"], "pgid": row["pgid"], "sid": row["sid"],
        "uid": uid and uid.effective, "ruid": uid and uid.real, "svuid": uid and uid.saved,
        "gid": gid and gid.effective, "rgid": gid and gid.real, "svgid": gid and gid.saved,
        "groups": told.get("Groups"),
        "comm": text(row["comm"]), "raw_comm": row["comm"][:COMM],
        "stat": LETTERS.get(row["letter"], row["letter"]),
        "flags": row["flags"], "nice": row["nice"], "threads": row["threads"], "prio": row["priority"] + MAX_PRIO,
        "tdev": row["tty_nr"] & 0xFFFFFFFF or None, "tpgid": row["tpgid"] if row["tpgid"] >= 0 else None,
        "eflag": (kinfo2.EPROC_CTTY if row["tty_nr"] else 0)
        | (kinfo2.EPROC_SLEADER if row["sid"] == row["pid"] else 0),
        "jobc": jobs[row["pgid"]], "exit_signal": row.get("exit_signal"), "starttime": row["starttime"],
        "start_ns": start, "utime_ns": utime, "stime_ns": stime, "rtime_ns": utime + stime,
        "ctime_ns": ticks("cutime", "cstime"),
        "start_time": start / NSEC, "utime": utime / NSEC, "stime": stime / NSEC,
        "pages": max(0, row["rss"]), "rssize": max(0, row["rss"]) * PAGE, "maxrss": told.get("VmHWM"),
        "tsize": pages("VmExe"), "dsize": pages("VmData"), "ssize": pages("VmStk"),
        "rlim_rss": row["rsslim"] if own else None, "minflt": row["minflt"], "majflt": row["majflt"],
        "nvcsw": told.get("voluntary_ctxt_switches") if single else None,
        "nivcsw": told.get("nonvoluntary_ctxt_switches") if single else None,
        "siglist": mask("SigPnd", "ShdPnd"), "sigmask": mask("SigBlk"),
        "sigignore": mask("SigIgn"), "sigcatch": mask("SigCgt"),
    }  # fmt: skip


def getproc2(target: ProcFs, parts: Parts, op: int, arg: int, elemsize: int | None) -> list[ProcessRecord]:
    """kvm_getproc2(3)."""
    select.check("kvm_getproc2", op, elemsize)
    whole = Batch(target, parts, columns(rows(target)))
    records = Listed(whole.choose(select.places(whole, op, arg, "flags", PF_KTHREAD)), kinfo2.structure(target))
    return [LiveProcess(records, i, elemsize) for i in range(len(records.batch))]


def same(target: ProcFs, record: ProcessRecord) -> bool:
    """Whether the process of a record is still there: a number may be another's by now."""
    raw = target.proc.read(str(record.pid), "stat")
    row = None if raw is None else parse.stat(raw)
    if row is None:
        return False
    return not isinstance(record, LiveProcess) or row["starttime"] == record._records.batch["starttime"][record._index]


def arguments(target: ProcFs, record: ProcessRecord, environment: bool, nchr: int) -> list[bytes] | None:
    """The strings; None for a process that has none. KvmError if it has ended, or its environment is not for this
    user."""
    name = "environ" if environment else "cmdline"
    raw = target.proc.read(str(record.pid), name, limit=MAX_VECTOR)
    if not same(target, record):
        raise KvmError(f"process {record.pid} has ended")
    if raw is None:
        raise KvmError(f"process {record.pid}: {target.proc.root}/{record.pid}/{name} is not for this user to read")
    return limited(raw.removesuffix(b"\0").split(b"\0"), nchr) if raw else None


def threads(target: ProcFs, record: ProcessRecord) -> list[Thread]:
    """The threads of a process."""
    pid = str(record.pid)
    found = []
    for tid in target.proc.numbers(pid, "task"):
        raw = target.proc.read(pid, "task", str(tid), "stat")
        row = None if raw is None else parse.stat(raw)
        if row is not None:
            letter = str(LETTERS.get(row["letter"], row["letter"]))
            wait = wait_channel(target, record, pid, "task", str(tid))
            found.append(Thread(tid, text(row["comm"]), letter, wait, None, None))
    if not found or not same(target, record):
        raise KvmError(f"process {record.pid} has ended")
    return found


def wait_channel(target: ProcFs, record: ProcessRecord, *names: str) -> str | None:
    """The function that a process, or a thread of it, waits in; None if it runs, has ended, or it is not told."""
    raw = target.proc.read(*names, "wchan", limit=256)
    if raw is None or raw in (b"", b"0") or not same(target, record):
        return None
    return text(raw)
