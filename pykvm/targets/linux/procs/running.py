"""The processes of a kernel that runs: it goes on while they are read.

The list is taken when each of its links is twice the same. Then everything about the chosen processes is read, each
page of memory once (pk_image_snapshot), and last it is seen that they still are what they were. What has changed is
read again; a process that has ended meanwhile is left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from pykvm.errors import AddressError, KvmError
from pykvm.records import PROCESS_NAMES, ProcessRecord
from pykvm.targets.base import Parts
from pykvm.targets.common import select
from pykvm.targets.common.columns import Columns
from pykvm.targets.linux import alive
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
ALIKE = 50  # walks that fail at the same place: the list is not one that changes
# What a process is made of: a new value of one of them, and what was read before belongs to what was freed.
TGID, BEGAN = ("tgid",), ("start_boottime", "real_start_time")
KEPT: tuple[tuple[str, ...], ...] = (
    TGID, BEGAN, ("start_time",), ("signal",), ("sighand",), ("mm",), ("real_cred", "cred"), ("files",),
    ("real_parent",),
)  # fmt: skip
# What is found when it is asked for, by walking the stack of a process that sleeps.
LATER = ("wmesg", "wchan", "login")


class Ended(AddressError):
    """The process is no more: what lies where it lay is another's, or will be."""


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
    return parts.but(memory=target.platform.memory(target.tables(image), image), image=image)


def quiet(target: Linux, parts: Parts) -> Parts:
    """The same memory as it is, of which a try that fails is nobody's last error."""
    return parts.but(memory=target.quiet(parts.image))


def listed(target: Linux, parts: Parts, clock: Clock) -> list[int]:
    """The thread group leaders on init_task.tasks, each of whose links was found the same twice, without pid 0."""
    read = Columns.of(target, parts)
    offset, mask = read.offset("task_struct", "tasks"), read.pointer_mask
    head = parts.address_of("init_task") + offset & mask
    why: KvmError | None = None
    turn = alike = 0
    while not clock.out(turn, WALKS):
        turn += 1
        try:
            nodes = list(parts.memory.walk_list(head, 0, MAX_TASKS))
        except KvmError as e:
            alike = alike + 1 if why is not None and str(why) == str(e) else 0
            if parts.memory.unreadable is not None or alike == ALIKE:
                alive.search_again(target, parts)
                raise KvmError(f"init_task.tasks: {e}") from e
            why = e
            continue
        if not nodes or parts.memory.read_ptr(nodes[-1]) == 0:
            why = KvmError("it ends with NULL, not where it began")
            continue
        size = read.pointer_size
        links = read.blocks(nodes, 0, 2 * size)
        ring = [*nodes[1:], head], [nodes[-1], *nodes[:-1]]
        order: Any = read.byteorder
        expected = [a.to_bytes(size, order) + b.to_bytes(size, order) for a, b in zip(*ring, strict=True)]
        if links == expected:
            return [node - offset & mask for node in nodes[1:]]
    alive.search_again(target, parts)
    raise KvmError(f"init_task.tasks: the list changes faster than it can be read{f': {why}' if why else ''}")


def identity(read: Columns, tasks: Sequence[int]) -> dict[int, tuple[Any, ...]]:
    """What each task is made of, as memory has it now."""
    columns = [read.member(tasks, "task_struct", *paths) for paths in KEPT]
    return dict(zip(tasks, zip(*columns, strict=True), strict=True))


def getproc2(target: Linux, parts: Parts, op: int, arg: int, elemsize: int | None) -> list[ProcessRecord]:
    """As tasks.getproc2(), of a kernel that runs."""
    whole, parts = parts, quiet(target, parts)
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
        records = _read(target, parts, whole, tasks, rest, op, arg)
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


def _read(target: Linux, parts: Parts, whole: Parts, tasks: list[int], rest: list[int], op: int, arg: int) -> Waiting:
    """Everything about those of the rest that op and arg select; what is asked for later is read from `whole`."""
    still = snapshot(target, parts)
    wanted = set(rest)
    everyone = Batch.of(target, still, tasks)
    batch = everyone.choose([i for i in select.places(everyone, op, arg, "flags", PF_KTHREAD) if tasks[i] in wanted])
    for name in PROCESS_NAMES.difference(LATER):
        batch[name]
    records = Waiting(batch)
    records.buf  # noqa: B018 - all that the structures hold is read now
    batch.become(whole)
    return records


def same(target: Linux, parts: Parts, record: ProcessRecord) -> bool:
    """Whether a record's process is still there."""
    return not isinstance(record, LinuxProcess) or _is(target, parts, record._records.batch, record._index)


def _is(target: Linux, parts: Parts, batch: Batch, index: int) -> bool:
    read, task = Columns.of(target, parts), batch["task"][index]
    *found, dead = (read.member([task], "task_struct", *paths)[0] for paths in (TGID, BEGAN, ("exit_state",)))
    if dead is None or dead & EXIT_DEAD:  # it may lie there for a while, until its memory is another's
        return False
    return found == [batch["pid"][index], batch["start_boot"][index]]


def unchanged(target: Linux, parts: Parts, record: ProcessRecord, ask: Callable[[Parts], T]) -> T:
    """The answer of a process that is the record's before and after it is asked, of the same memory; KvmError if it has
    ended, or goes on to run other programs."""
    if not isinstance(record, LinuxProcess):
        return ask(parts)
    return _unchanged(target, parts, record._records.batch, record._index, ask)


def _unchanged(target: Linux, parts: Parts, batch: Batch, index: int, ask: Callable[[Parts], T]) -> T:
    clock, turn, parts = Clock(), 0, quiet(target, parts)
    read, task = Columns.of(target, parts), batch["task"][index]
    while True:
        turn += 1
        failure: KvmError | None = None
        before = read.member([task], "task_struct", "mm")
        try:
            found = ask(parts)
        except KvmError as e:
            failure = e
        if parts.memory.unreadable is None and not _is(target, parts, batch, index):
            raise Ended(f"process {batch['pid'][index]} has ended", task)
        # execve(2) makes it another program, whose memory is elsewhere: the old one's may be anyone's by now.
        moved = read.member([task], "task_struct", "mm") != before
        if failure is None and not moved:
            return found
        if failure is not None and (parts.memory.unreadable is not None or (not moved and clock.out(turn, 3))):
            raise failure
        if clock.out(turn, ROUNDS):
            raise failure or KvmError(f"process {batch['pid'][index]} changes faster than it can be read")


def channel(target: Linux, parts: Parts, batch: Batch, index: int) -> tuple[str | None, int | None]:
    """(wmesg, wchan) of a process, asked for later than the rest; (None, None) if it has ended."""
    task = batch["task"][index]
    if not parts.image.live:
        return target.waits(parts).channel(task)
    try:
        return _unchanged(target, parts, batch, index, lambda now: target.waits(now).channel(task))
    except Ended:
        return None, None
