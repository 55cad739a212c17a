"""kvm_getfiles(3) of a kernel that runs: descriptors are opened and closed while they are read.

The processes are listed, and all is read, each page of memory once. Then it is seen of each process that it still is
what it was and has the same descriptors, each with the same struct file. Those of whom that is not so are read again,
one by one; who has ended is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from pykvm.errors import KvmError
from pykvm.records import FileRecord
from pykvm.targets.base import Parts
from pykvm.targets.common.columns import Columns
from pykvm.targets.common.descriptors import Opened, room
from pykvm.targets.linux.files import tables
from pykvm.targets.linux.procs import running
from pykvm.targets.linux.procs.batch import Batch

if TYPE_CHECKING:
    from pykvm.targets.linux.kernel import Linux

TRIES = 3  # of a process that has not changed, and whose files cannot be read


class Found(NamedTuple):
    """What was read of one process."""

    records: list[FileRecord]
    descriptors: list[Opened]


def getfiles(target: Linux, parts: Parts) -> list[FileRecord]:
    """As files.getfiles()."""
    parts, clock = running.quiet(target, parts), running.Clock()
    read, most = Columns.of(target, parts), room(parts)
    done: dict[int, list[FileRecord]] = {}
    failures: dict[int, int] = {}
    order: list[int] | None = None
    turn = 0
    while True:
        turn += 1
        tasks = running.listed(target, parts, clock)
        if order is None:
            order = tasks
        still_there = set(tasks)
        rest = [task for task in order if task in still_there and task not in done]
        before = running.identity(read, rest)
        rest = [task for task in rest if before[task][0] is not None]
        found, failed = _read(target, parts, rest, most, together=turn == 1)
        now = _descriptors(target, parts, list(found), most)
        after = running.identity(read, rest)
        for task in rest:
            if after[task] != before[task]:
                failures.pop(task, None)
            elif task in found and found[task].descriptors == now.get(task):
                done[task] = found[task].records
            elif task in failed:
                failures[task] = failures.get(task, 0) + 1
                if failures[task] == TRIES:
                    raise failed[task]
        if all(task in done for task in rest):
            return [record for task in order for record in done.get(task, ())]
        if clock.out(turn, running.ROUNDS):
            raise KvmError(f"the files of {len(rest)} processes change faster than they can be read")


def _read(
    target: Linux, parts: Parts, tasks: Sequence[int], most: int, *, together: bool
) -> tuple[dict[int, Found], dict[int, KvmError]]:
    """Of each process, or why not. together: all at once if that goes, which is much quicker."""
    found: dict[int, Found] = {}
    failed: dict[int, KvmError] = {}
    if not tasks:
        return found, failed
    still = running.snapshot(target, parts)
    if together:
        try:
            batch = Batch.of(target, still, tasks)
            rows = tables.descriptors(target, batch, most)
            records = tables.records(target, batch, rows, most)
        except KvmError:
            still = running.snapshot(target, parts)
        else:
            by_pid: dict[int | None, Found] = {pid: Found([], []) for pid in batch["pid"]}
            for record, row in zip(records, rows, strict=True):
                by_pid[row.pid].records.append(record)
                by_pid[row.pid].descriptors.append(row)
            return {task: by_pid[pid] for task, pid in zip(tasks, batch["pid"], strict=True)}, failed
    for task in tasks:
        try:
            batch = Batch.of(target, still, [task])
            rows = tables.descriptors(target, batch, most)
            found[task] = Found(tables.records(target, batch, rows, most), rows)
        except KvmError as e:
            if parts.memory.unreadable is not None:
                raise
            failed[task] = e
    return found, failed


def _descriptors(target: Linux, parts: Parts, tasks: Sequence[int], most: int) -> dict[int, list[Opened]]:
    """What each process has open now, as far as that can be read."""
    found: dict[int, list[Opened]] = {}
    for task in tasks:
        try:
            found[task] = tables.descriptors(target, Batch.of(target, parts, [task]), most)
        except KvmError:
            if parts.memory.unreadable is not None:
                raise
    return found
