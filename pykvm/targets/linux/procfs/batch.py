"""What is known of processes by their stat and status: the columns that linux/procs has by the kernel's memory.

Times are of the clock's ticks here, not of nanoseconds. What a process does by many threads is told of all of them,
but for how often it was switched, which is of one thread in each file (single.py), and of those that have ended is
told nowhere. Its largest size is that since execve(2).
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pykvm.records import text
from pykvm.targets.base import Parts
from pykvm.targets.common import batch, kinfo2
from pykvm.targets.linux.procfs import parse
from pykvm.targets.linux.procfs.parse import FIELDS, Ids, Stat
from pykvm.targets.linux.procs.names import LIMIT, PF_WQ_WORKER
from pykvm.targets.linux.procs.signals import MASK
from pykvm.targets.linux.procs.state import NICE_0, accounting

if TYPE_CHECKING:
    from pykvm.targets.linux.procfs.target import ProcFs

Maker = Callable[[Any], dict[str, Sequence[Any]]]

NSEC = 10**9
HZ = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
# ps(1)'s letters for those of task_state_array: traced, dead, parked (as linux/procs/neutral.py), and what was before
# Linux 3.14: waking, killable, paging.
LETTERS = {**{c: c for c in "RSDTZI"}, "t": "T", "X": "Z", "x": "Z", "P": "I", "W": "D", "K": "D"}
COMM = 15  # bytes of a name in task_struct
POOLED = re.compile(rb"kworker/u?\d+:\d+H?")
MAX_RT_PRIO = 100  # <linux/sched/prio.h>
FIFO, RR, DEADLINE = 1, 2, 6  # <uapi/linux/sched.h>
# How often a thread was switched.
SWITCHES = {"nvcsw": parse.count("voluntary_ctxt_switches"), "nivcsw": parse.count("nonvoluntary_ctxt_switches")}
SETS = ("sigmask", "sigignore", "sigcatch")
# What is not told: addresses; and what has a file of its own (single.py).
UNKNOWN = ("paddr", "session", "tty_session", "limit", "stack", "files", "mm", "sighand", "inblock", "oublock")


class Row(NamedTuple):
    """What a process's files say; cmdline: None if it was not read."""

    told: Stat
    ids: Ids
    status: bytes
    cmdline: bytes | None = None


class Batch(batch.Batch["ProcFs"]):
    """Some processes, as they were when they were read. `alone`: reads all of them, if these are not chosen of all."""

    alone: Callable[[], Batch] | None = None

    @classmethod
    def of(cls, target: ProcFs, parts: Parts, rows: Sequence[Row], boot: int) -> Batch:
        """Of what stat and status say; boot: when the system was started, in nanoseconds."""
        told = [row.told for row in rows]
        keys: dict[str, Sequence[Any]] = {"pid": [one.pid for one in told], "told": told}
        keys.update(ids=[row.ids for row in rows], status=[row.status for row in rows], boot=[boot] * len(rows))
        keys["cmdline"] = [row.cmdline for row in rows]
        return cls(target, parts, keys)

    @property
    def whole(self) -> Any:
        if self.alone is not None and self._chosen_from is None:
            self._chosen_from = self.alone()
        return super().whole


def letter(told: Stat) -> str | None:
    """ps(1)'s letter; None for one that is not known."""
    return LETTERS.get(told.letter)


def short_name(name: bytes, flags: int) -> bytes:
    """task_struct's comm. stat says more of kernel threads: the whole name, and of a workqueue's what it does
    (proc_task_name() of fs/proc/array.c)."""
    pooled = POOLED.match(name) if flags & PF_WQ_WORKER else None
    return (name if pooled is None else pooled[0])[:COMM]


def _field(name: str, column: str | None = None) -> dict[str, Maker]:
    """A maker of a column that is a field of stat as it is: None where the kernel is too old to have it."""
    at, column = FIELDS.index(name), column or name

    def make(batch: Batch) -> dict[str, Sequence[Any]]:
        return {column: [int(told.words[at]) if at < len(told.words) else None for told in batch["told"]]}

    return {column: make}


def _each(name: str, base: str, make: Callable[[Any], Any]) -> dict[str, Maker]:
    """A maker of a column out of another one, value by value."""
    return {name: lambda batch: {name: [make(value) for value in batch[base]]}}


def _status(name: str, pattern: re.Pattern[bytes]) -> dict[str, Maker]:
    """A maker of a column that is a number in status."""
    return _each(name, "status", lambda raw: parse.value(pattern, raw))


def _pages(name: str, key: str) -> dict[str, Maker]:
    """A size of memory, which is 0 of a process that has none: its status then has no such line."""
    pattern = parse.count(key)
    return _each(name, "status", lambda raw: (parse.value(pattern, raw) or 0) * 1024 // PAGE)


def nanoseconds(ticks: int) -> int:
    """Of the clock that /proc tells times by."""
    return ticks * NSEC // HZ


def _ticks(name: str, *fields: str) -> dict[str, Maker]:
    """A maker of a sum of times, in nanoseconds. Those of children are signed there."""
    places = [FIELDS.index(field) for field in fields]

    def make(batch: Batch) -> dict[str, Sequence[Any]]:
        return {name: [nanoseconds(sum(max(0, int(told.words[at])) for at in places)) for told in batch["told"]]}

    return {name: make}


def signals(batch: Batch) -> dict[str, Sequence[Any]]:
    """The first 32 of each set; those that are pending for the leader and for the process are one."""
    rows = [parse.signals(raw) for raw in batch["status"]]
    found: dict[str, Sequence[Any]] = {
        name: [None if row is None else getattr(row, name) & MASK for row in rows] for name in SETS
    }
    found["siglist"] = [None if row is None else (row.pending | row.shared) & MASK for row in rows]
    return found


def names(batch: Batch) -> dict[str, Sequence[Any]]:
    """The whole name, and task_struct's."""
    rows = batch["told"]
    return {
        "comm": [text(told.name[: LIMIT - 1]) for told in rows],
        "raw_comm": [short_name(told.name, told.flags) for told in rows],
    }


def terminals(batch: Batch) -> dict[str, Sequence[Any]]:
    """The controlling terminal's number, as memory has it and stat writes it (as an int), and its foreground group."""
    return {
        "tdev": [number & 0xFFFFFFFF or None for number in batch["tty_nr"]],
        "tpgid": [group if group > 0 else None for group in batch["tpgrp"]],
    }


def normal_priority(batch: Batch) -> dict[str, Sequence[Any]]:
    """What the priority is when none is lent: __normal_prio() of kernel/sched."""
    rows = zip(batch["policy"], batch["rt_priority"], batch["nice"], strict=True)
    found = []
    for policy, real_time, nice in rows:
        if policy == DEADLINE:
            found.append(-1)
        elif policy in (FIFO, RR):
            found.append(MAX_RT_PRIO - 1 - (real_time or 0))
        else:
            found.append(NICE_0 + nice)
    return {"normal_prio": found}


def jobc(batch: Batch) -> dict[str, Sequence[Any]]:
    """BSD's pg_jobc, as linux/procs/ids.py has it."""
    whole = batch.whole
    groups = dict(zip(whole["pid"], zip(whole["pgid"], whole["sid"], strict=True), strict=True))
    rows = zip(whole["ppid"], whole["pgid"], whole["sid"], whole["stat"], strict=True)
    count: Counter[int] = Counter()
    for ppid, pgid, sid, stat in rows:
        group, session = groups.get(ppid, (0, 0))
        count[pgid] += stat != "Z" and group != pgid and session == sid
    return {"jobc": [count[pgid] for pgid in batch["pgid"]]}


def flags(batch: Batch) -> dict[str, Sequence[Any]]:
    """p_eflag."""
    leads = [pid == sid for pid, sid in zip(batch["pid"], batch["sid"], strict=True)]
    return {"eflag": kinfo2.eflag(batch["tty_nr"], leads)}


def start(batch: Batch) -> dict[str, Sequence[Any]]:
    """When it began, since 1970: the tick's beginning."""
    rows = zip(batch["told"], batch["boot"], strict=True)
    return {"start_ns": [nanoseconds(told.began) + boot for told, boot in rows]}


def run_time(batch: Batch) -> dict[str, Sequence[Any]]:
    """User and system time together."""
    return {"rtime_ns": [user + system for user, system in zip(batch["utime_ns"], batch["stime_ns"], strict=True)]}


MAKERS: dict[str, Maker] = {
    " ".join(Ids._fields): lambda batch: {name: [ids[i] for ids in batch["ids"]] for i, name in enumerate(Ids._fields)},
    " ".join(UNKNOWN): lambda batch: {name: [None] * len(batch) for name in UNKNOWN},
    **_field("ppid"), **_field("pgrp", "pgid"), **_field("session", "sid"), **_field("tty_nr"),
    **_field("tpgid", "tpgrp"), **_field("nice"), **_field("threads"), **_field("minflt"), **_field("majflt"),
    **_field("rsslim", "rlim_rss"), **_field("exit_signal"), **_field("exit_code", "xstat"), **_field("policy"),
    **_field("rt_priority"), **_field("priority"),
    "tdev tpgid": terminals, "comm raw_comm": names, "normal_prio": normal_priority, "jobc": jobc, "eflag": flags,
    "acflag": accounting, "start_ns": start, "rtime_ns": run_time,
    **_each("flags", "told", lambda told: told.flags),
    **_each("stat", "told", letter),
    **_each("prio", "priority", lambda value: value + MAX_RT_PRIO),
    **_each("groups", "status", parse.groups),
    **_ticks("utime_ns", "utime"), **_ticks("stime_ns", "stime"), **_ticks("ctime_ns", "cutime", "cstime"),
    **_each("utime", "utime_ns", lambda t: t / NSEC), **_each("stime", "stime_ns", lambda t: t / NSEC),
    **_each("start_time", "start_ns", lambda t: t / NSEC),
    **_each("pages", "told", lambda told: max(0, int(told.words[FIELDS.index("rss")]))),
    **_each("rssize", "pages", lambda pages: pages * PAGE),
    **_pages("tsize", "VmExe"), **_pages("dsize", "VmData"), **_pages("ssize", "VmStk"),
    **_status("maxrss", parse.count("VmHWM")),
    **_status("nvcsw", SWITCHES["nvcsw"]), **_status("nivcsw", SWITCHES["nivcsw"]),
    "siglist sigmask sigignore sigcatch": signals,
}  # fmt: skip
Batch.MAKERS = {name: make for names, make in MAKERS.items() for name in names.split()}
