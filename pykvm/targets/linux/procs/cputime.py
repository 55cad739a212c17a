"""Processor time, and when a process began. Times are nanoseconds in the columns, seconds in the attributes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pykvm.errors import KvmError
from pykvm.targets.common.columns import Column, Columns, Member, total
from pykvm.targets.linux import clock
from pykvm.targets.linux.places import Places
from pykvm.targets.linux.procs import neutral

if TYPE_CHECKING:
    from pykvm.targets.linux.procs.batch import Batch

MAX_TASKS = 1 << 22  # PID_MAX_LIMIT
MAX_THREADS = 1 << 18  # of one process
NSEC = 10**9

MEMBERS = {
    "start_boot": Member("task", "task_struct", ("start_boottime", "real_start_time")),  # renamed in Linux 5.5
    "dead_utime": Member("signal", "signal_struct", ("utime",)),
    "dead_stime": Member("signal", "signal_struct", ("stime",)),
    "dead_rtime": Member("signal", "signal_struct", ("sum_sched_runtime",)),
    "told_utime": Member("signal", "signal_struct", ("prev_cputime.utime",)),
    "told_stime": Member("signal", "signal_struct", ("prev_cputime.stime",)),
    "children_utime": Member("signal", "signal_struct", ("cutime",)),
    "children_stime": Member("signal", "signal_struct", ("cstime",)),
}


def members_of(read: Columns, signal: int | None, leader: int, count: int | None) -> list[int]:
    """The threads of a process, of which nr_threads says the number. A dead leader is still on the list."""
    if signal is None or count is None or count <= 1:
        return [leader]
    limit = min(count, MAX_THREADS) + 2  # the head, and a dead leader
    node = read.offset("task_struct", "thread_node")
    head = signal + read.offset("signal_struct", "thread_head") & read.pointer_mask
    try:
        return [a - node & read.pointer_mask for a in read.memory.walk_list(head, 0, limit)[1:]] or [leader]
    except KvmError:
        if read.memory.unreadable is not None:
            raise
        return [leader]


def members(batch: Batch) -> dict[str, Sequence[Any]]:
    """The threads of each process."""
    found, room = [], MAX_TASKS
    for task, signal, count in zip(batch["task"], batch["signal"], batch["threads"], strict=True):
        group = members_of(batch.read, signal, task, count)
        found.append(group)
        # Lists may be shared in a damaged dump; one that could not be followed has cost its limit.
        room -= len(group) if len(group) > 1 else max(1, min(count or 0, MAX_THREADS))
        if room < 0:
            raise KvmError(f"thread_head: more than {MAX_TASKS} threads in all")
    return {"members": found}


def over_threads(batch: Batch, past: Column, *paths: str) -> Iterator[int | None]:
    """For each process a member of task_struct, summed over its threads, and what the dead ones have left."""
    groups: Sequence[Sequence[int]] = batch["members"]
    column = batch.read.member([t for group in groups for t in group], "task_struct", *paths)
    at = 0
    for group, left in zip(groups, past, strict=True):
        yield total([*column[at : at + len(group)], left])
        at += len(group)


def used(batch: Batch) -> dict[str, Sequence[Any]]:
    """User and system time: thread_group_cputime_adjusted() of kernel/sched/cputime.c; and the run time itself."""
    rows = zip(
        over_threads(batch, batch["dead_utime"], "utime"),
        over_threads(batch, batch["dead_stime"], "stime"),
        over_threads(batch, batch["dead_rtime"], "se.sum_exec_runtime"),
        batch["told_utime"],
        batch["told_stime"],
        strict=True,
    )
    split: list[tuple[int | None, int | None, int | None]] = []
    for utime, stime, rtime, told_utime, told_stime in rows:
        if utime is None or stime is None or rtime is None or told_utime is None or told_stime is None:
            split.append((None, None, rtime))
        else:
            split.append((*neutral.adjusted(utime, stime, rtime, told_utime, told_stime), rtime))
    return {
        "utime_ns": [row[0] for row in split],
        "stime_ns": [row[1] for row in split],
        "rtime_ns": [row[2] for row in split],
    }


def of_children(batch: Batch) -> dict[str, Sequence[Any]]:
    """User and system time of the children that were waited for."""
    return {"ctime_ns": [total(pair) for pair in zip(batch["children_utime"], batch["children_stime"], strict=True)]}


def start(batch: Batch) -> dict[str, Sequence[Any]]:
    """When it began, since 1970."""
    since_boot, boot = batch["start_boot"], clock.boot(Places(batch.target, batch.parts))
    if boot is None and batch.parts.memory.unreadable is not None:
        raise KvmError(batch.parts.memory.unreadable)
    return {"start_ns": [None if t is None or boot is None else t + boot for t in since_boot]}


def in_seconds(column: Column) -> list[float | None]:
    """Nanoseconds as seconds."""
    return [None if t is None else t / NSEC for t in column]


MAKERS = {
    "members": members,
    "utime_ns stime_ns rtime_ns": used,
    "ctime_ns": of_children,
    "start_ns": start,
    "utime": lambda batch: {"utime": in_seconds(batch["utime_ns"])},
    "stime": lambda batch: {"stime": in_seconds(batch["stime_ns"])},
    "start_time": lambda batch: {"start_time": in_seconds(batch["start_ns"])},
}
