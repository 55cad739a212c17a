"""The processes of a kernel that runs: it goes on while they are read.

The list is taken when each of its links is twice the same. Then everything about the chosen processes is read, each
page of memory once (pk_image_snapshot), and last it is seen that they still are what they were. What has changed is
read again; a process that has ended meanwhile is left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from pykvm.errors import AddressError, KvmError
from pykvm.records import PROCESS_NAMES, ProcessRecord
from pykvm.targets.base import Parts
from pykvm.targets.common import select
from pykvm.targets.common.columns import Columns
from pykvm.targets.linux.procs.batch import Batch
from pykvm.targets.linux.procs.cputime import MAX_TASKS
from pykvm.targets.linux.procs.neutral import PF_KTHREAD
from pykvm.targets.linux.procs.record import LinuxProcess, Waiting

if TYPE_CHECKING:
    from pykvm.targets.linux.kernel import Linux

T = TypeVar("T")
EXIT_DEAD = 0x10  # <linux/sched.h>
PATIENCE = 10.0  # seconds for one list
WALKS, ROUNDS = 10000, 100
# What a process is made of: a new value of one of them, and what was read before belongs to what was freed.
TGID, BEGAN = ("tgid",), ("start_boottime", "real_start_time")
KEPT = (TGID, BEGAN, ("start_time",), ("signal",), ("sighand",), ("mm",), ("real_cred", "cred"), ("files",),
        ("real_parent",))  # fmt: skip
# What is found when it is asked for, by walking the stack of a process that sleeps.
LATER = ("wmesg", "wchan", "login")


class Clock:
    """Bounds how long, and how often, a list that changes is read again."""

    def __init__(self) -> None:
        self.end = time.monotonic() + PATIENCE

    def out(self, turn: int, most: int) -> bool:
        """Whether it was enough. Whatever the clock says, it is tried a few times."""
        return turn >= most or (turn > 3 and time.monotonic() > self.end)


def snapshot(target: Linux, parts: Parts) -> Parts:
    """The same memory, each page as it is when it is read first from now on."""
    image = parts.image.snapshot(target.page_size)
    return replace(parts, memory=target.platform.memory(target.tables(image), image), image=image)


def listed(target: Linux, parts: Parts, clock: Clock) -> list[int]:
    """The thread group leaders on init_task.tasks, each of whose links was found the same twice, without pid 0."""
    read = Columns.of(target, parts)
    offset, mask = read.offset("task_struct", "tasks"), read.pointer_mask
    head = parts.address_of("init_task") + offset & mask
    why: KvmError | None = None
    turn = 0
    while not clock.out(turn, WALKS):
        turn += 1
        try:
            nodes = list(parts.memory.walk_list(head, 0, MAX_TASKS))
        except KvmError as e:
            if parts.memory.unreadable is not None:
                raise
            why = e
            continue
        size = read.pointer_size
        links = read.blocks(nodes, 0, 2 * size)
        ring = [*nodes[1:], head], [nodes[-1], *nodes[:-1]]
        order: Any = read.byteorder
        expected = [a.to_bytes(size, order) + b.to_bytes(size, order) for a, b in zip(*ring, strict=True)]
        if links == expected:
            return [node - offset & mask for node in nodes[1:]]
    raise KvmError(f"init_task.tasks: the list changes faster than it can be read{f': {why}' if why else ''}")


def identity(read: Columns, tasks: Sequence[int]) -> dict[int, tuple[Any, ...]]:
    """What each task is made of, as memory has it now."""
    columns = [read.member(tasks, "task_struct", *paths) for paths in KEPT]
    return dict(zip(tasks, zip(*columns, strict=True), strict=True))


def getproc2(target: Linux, parts: Parts, op: int, arg: int, elemsize: int | None) -> list[ProcessRecord]:
    """As tasks.getproc2(), of a kernel that runs."""
    clock, live = Clock(), Columns.of(target, parts)
    done: dict[int, ProcessRecord] = {}
    order: list[int] = []
    pids: set[int] | None = None
    turn = 0
    while True:
        tasks = listed(target, parts, clock)
        rest = [task for task in tasks if task not in done]
        before = identity(live, rest)
        if pids is not None:  # a new thread that has called execve(2) goes on as the process; others began later
            rest = [task for task in rest if before[task][0] in pids]
        records = _read(target, parts, tasks, rest, op, arg)
        batch = records.batch
        now, after = set(listed(target, parts, clock)), identity(live, batch["task"])
        if pids is None:
            order = [before[task][0] for task in batch["task"]]
        pids = set()  # of those that have changed, or are another task by now
        for i, task in enumerate(batch["task"]):
            pid = before[task][0]
            if pid is not None and task in now and after[task] == before[task]:
                done[task] = LinuxProcess(records, i, elemsize)
            elif pid is not None:
                pids.add(pid)
        turn += 1
        if not pids or pids.isdisjoint(live.member(list(now), "task_struct", *TGID)):
            break
        if clock.out(turn, ROUNDS):
            raise KvmError(f"{len(pids)} processes change faster than they can be read")
    by_pid = {record.pid: record for record in done.values()}
    return [by_pid[pid] for pid in order if pid in by_pid]


def _read(target: Linux, parts: Parts, tasks: list[int], rest: list[int], op: int, arg: int) -> Waiting:
    """Everything about those of the rest that op and arg select."""
    still = snapshot(target, parts)
    wanted = set(rest)
    whole = Batch.of(target, still, tasks)
    batch = whole.choose([i for i in select.places(whole, op, arg, "flags", PF_KTHREAD) if tasks[i] in wanted])
    for name in PROCESS_NAMES.difference(LATER):
        batch[name]
    records = Waiting(batch)
    records.buf  # noqa: B018 - all that the structures hold is read now
    batch.become(parts)
    return records


def same(target: Linux, parts: Parts, record: ProcessRecord) -> bool:
    """Whether a record's process is still there."""
    if not isinstance(record, LinuxProcess):
        return True
    read = Columns.of(target, parts)
    *found, dead = (read.member([record.paddr], "task_struct", *paths)[0] for paths in (TGID, BEGAN, ("exit_state",)))
    if dead is None or dead & EXIT_DEAD:  # it may lie there for a while, until its memory is another's
        return False
    batch, index = record._records.batch, record._index
    return found == [batch["pid"][index], batch["start_boot"][index]]


def unchanged(target: Linux, parts: Parts, record: ProcessRecord, ask: Callable[[], T]) -> T:
    """The answer of a process that is the record's before and after it is asked; KvmError if it has ended."""
    clock, turn = Clock(), 0
    while True:
        turn += 1
        failure: KvmError | None = None
        try:
            found = ask()
        except KvmError as e:
            failure = e
        if parts.memory.unreadable is None and not same(target, parts, record):
            raise AddressError(f"process {record.pid} has ended", record.paddr or 0)
        if failure is None:
            return found
        if parts.memory.unreadable is not None or clock.out(turn, 3):
            raise failure
