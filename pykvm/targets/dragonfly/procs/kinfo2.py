"""A process of DragonFly as MirBSD's struct kinfo_proc2 (common/kinfo2.py), and the columns that only this needs.

What lwps count for themselves is the sum of all, as getrusage(2) says it; a record of one lwp has its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pykvm.targets.common import kinfo2
from pykvm.targets.common.columns import Member
from pykvm.targets.dragonfly.procs import usage
from pykvm.types.layout import Struct

if TYPE_CHECKING:
    from pykvm.targets.dragonfly.procs.batch import Batch

# The member of each column that is DragonFly's own.
OWN = {
    "p_addr": "td",
    "p_fd": "fd",
    "p_stats": "stats",
    "p_vmspace": "vmspace",
    "p_sigacts": "sigacts",
    "p_estcpu": "estcpu",
    "p_holdcnt": "lock",
    "p_swtime": "swtime",
    "p_slptime": "lwp_slptime",
    "p_traceflag": "traceflag",
    "p_wmesg": "raw_wmesg",
    "p_wchan": "wchan",
    "p_login": "raw_login",
    "p_vm_rssize": "resident",
}
# Sets of signals, of which there is room for the first 32: these have one number on all BSDs.
SIGNALS = {"siglist": "siglist", "sigmask": "lwp_sigmask", "sigignore": "sigignore", "sigcatch": "sigcatch"}
PRIORITIES = ("priority", "priority")  # the scheduler's own scale
RLIMIT_RSS = 5  # <sys/resource.h>

MEMBERS: Mapping[str, Member] = {
    "stats": Member("proc", "proc", ("p_stats",)),
    "exit_signal": Member("proc", "proc", ("p_sigparent",)),
    "limit": Member("proc", "proc", ("p_limit",)),
    "rlim_rss": Member("limit", "plimit", (f"pl_rlimit[{RLIMIT_RSS}].rlim_cur",)),
}


def pack(batch: Batch, layout: Struct) -> bytearray:
    """The records of all rows, one after another."""
    columns = kinfo2.columns(batch, layout, OWN, PRIORITIES)
    for member, name in SIGNALS.items():
        columns[f"p_{member}"] = [None if words is None else words[0] for words in batch[name]]
    for i, member in enumerate(("p_cpticks", "p_pctcpu")):
        columns[member] = [None if row is None else row[i] for row in batch["estimates"]]
    for name in usage.COUNTS:
        i = usage.RUSAGE.index(name)
        columns[kinfo2.RUSAGE[name]] = [None if row is None else row[i] for row in batch["all_ru"]]
    return kinfo2.pack(batch, columns, layout)


def flags(batch: Batch) -> dict[str, Sequence[Any]]:
    """p_eflag."""
    leads = [proc and leader == proc for leader, proc in zip(batch["leader"], batch["proc"], strict=True)]
    return {"eflag": kinfo2.eflag(batch["ttyvp"], leads)}


def times(batch: Batch) -> dict[str, Sequence[Any]]:
    """Times in nanoseconds: since 1970 when the process began, its own (p_rtime: without that of interrupts), and its
    children's that were waited for."""
    starts = zip(batch["start_sec"], batch["start_usec"], strict=True)
    user, system = batch["utime_us"], batch["stime_us"]
    return {
        "start_ns": [_ns(None if s is None or u is None else s * usage.MICRO + u) for s, u in starts],
        "utime_ns": [_ns(t) for t in user],
        "stime_ns": [_ns(t) for t in system],
        "rtime_ns": [_ns(None if u is None or s is None else u + s) for u, s in zip(user, system, strict=True)],
        "ctime_ns": [_ns(None if r is None else (r[0] + r[2]) * usage.MICRO + r[1] + r[3]) for r in batch["cru"]],
    }


def _ns(micro: int | None) -> int | None:
    return None if micro is None else micro * kinfo2.USEC


def resources(batch: Batch) -> dict[str, Sequence[Any]]:
    """struct rusage of the process with that of all its lwps; of a single lwp its own."""
    flat = [lwp for group in batch["every"] for lwp in group]
    names = [f"lwp_ru.{name}" for name in usage.RUSAGE]
    known = dict(zip(flat, usage.integers(batch, flat, "lwp", names, signed=True), strict=True))
    found = []
    for single, ru, group in zip(batch["single"], batch["ru"], batch["every"], strict=True):
        parts = [known[lwp] for lwp in group]
        found.append(usage.added(parts if single else [ru, *parts]))
    return {"all_ru": found}


MAKERS = {"eflag": flags, "start_ns utime_ns stime_ns rtime_ns ctime_ns": times, "all_ru": resources}
