"""A process of FreeBSD as MirBSD's struct kinfo_proc2 (common/kinfo2.py), and the columns that only this needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pykvm.targets.common import kinfo2
from pykvm.targets.common.columns import Column, Member
from pykvm.targets.freebsd.procs import times
from pykvm.types.layout import Struct

if TYPE_CHECKING:
    from pykvm.targets.freebsd.procs.batch import Batch

# The member of each column that is FreeBSD's own.
OWN = {
    "p_addr": "kstack",
    "p_flag": "ki_flag",
    "p_realflag": "ki_flag",
    "p_fd": "fd",
    "p_stats": "stats",
    "p_vmspace": "vmspace",
    "p_sigacts": "sigacts",
    "p_holdcnt": "lock",
    "p_pctcpu": "pctcpu",
    "p_swtime": "swtime",
    "p_slptime": "slptime",
    "p_tracep": "tracevp",
    "p_traceflag": "traceflag",
    "p_wmesg": "raw_wmesg",
    "p_wchan": "wchan",
    "p_login": "raw_login",
    "p_vm_rssize": "pages",
    "p_emul": "emul",
}
# Sets of signals, of which there is room for the first 32: these have one number on all BSDs.
SIGNALS = ("siglist", "sigmask", "sigignore", "sigcatch")
PRIORITIES = ("priority", "user_pri")  # FreeBSD's own scale, 0 to 255
RLIMIT_RSS = 5  # <sys/resource.h>

MEMBERS: Mapping[str, Member] = {
    "exit_signal": Member("proc", "proc", ("p_sigparent",)),
    "limit": Member("proc", "proc", ("p_limit",)),
    "rlim_rss": Member("limit", "plimit", (f"pl_rlimit[{RLIMIT_RSS}].rlim_cur",)),
}


def pack(batch: Batch, layout: Struct) -> bytearray:
    """The records of all rows, one after another."""
    columns = kinfo2.columns(batch, layout, OWN, PRIORITIES)
    for name in SIGNALS:
        columns[f"p_{name}"] = [None if words is None else words[0] for words in batch[name]]
    for i, name in enumerate(times.TICKS, 1):  # of the statistics clock
        columns[f"p_{name}"] = [None if row is None else row[i] for row in batch["rux"]]
    for i, name in enumerate(times.COUNTS):
        columns[kinfo2.RUSAGE[name]] = [None if row is None else row[i] for row in batch["counts"]]
    return kinfo2.pack(batch, columns, layout)


def flags(batch: Batch) -> dict[str, Sequence[Any]]:
    """p_eflag."""
    leads = [leader == proc for leader, proc in zip(batch["leader"], batch["paddr"], strict=True)]
    return {"eflag": kinfo2.eflag(batch["ttyvp"], leads)}


def start(batch: Batch) -> dict[str, Sequence[Any]]:
    """When the process began, in nanoseconds since 1970."""
    return {"start_ns": [None if t is None else (t[0] * times.MICRO + t[1]) * kinfo2.USEC for t in batch["start"]]}


def children(batch: Batch) -> dict[str, Sequence[Any]]:
    """User and system time of the children that were waited for."""
    rows = zip(batch["cutime_us"], batch["cstime_us"], strict=True)
    return {"ctime_ns": in_ns([None if u is None or s is None else u + s for u, s in rows])}


def in_ns(column: Column) -> list[int | None]:
    """Microseconds in nanoseconds."""
    return [None if t is None else t * kinfo2.USEC for t in column]


def _of(name: str, column: str) -> Callable[[Batch], dict[str, Sequence[Any]]]:
    return lambda batch: {name: in_ns(batch[column])}


MAKERS = {
    "eflag": flags,
    "start_ns": start,
    "utime_ns": _of("utime_ns", "utime_us"),
    "stime_ns": _of("stime_ns", "stime_us"),
    "rtime_ns": _of("rtime_ns", "runtime"),
    "ctime_ns": children,
}
