"""The list of processes: every thread group of init_task.tasks; kvm_getproc2(3)'s choice of them; threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pykvm.errors import AddressError, FormatError, KvmError
from pykvm.records import ProcessRecord, text
from pykvm.targets.base import Parts, Thread
from pykvm.targets.common import select
from pykvm.targets.common.columns import Columns
from pykvm.targets.linux.procs import neutral, running
from pykvm.targets.linux.procs.batch import Batch
from pykvm.targets.linux.procs.cputime import MAX_TASKS, members_of
from pykvm.targets.linux.procs.neutral import PF_KTHREAD
from pykvm.targets.linux.procs.record import LinuxProcess, Waiting
from pykvm.targets.linux.procs.thread import LazyThread

if TYPE_CHECKING:
    from pykvm.targets.linux.kernel import Linux


def getproc2(target: Linux, parts: Parts, op: int, arg: int, elemsize: int | None) -> list[ProcessRecord]:
    """One record a process, in the order of the kernel's list; the idle task (pid 0) is none."""
    select.check("kvm_getproc2", op, elemsize)
    if parts.image.live:
        return running.getproc2(target, parts, op, arg, elemsize)
    batch = everyone(target, parts)
    records = Waiting(batch.choose(select.places(batch, op, arg, "flags", PF_KTHREAD)))
    batch = records.batch
    return [LinuxProcess(records, i, elemsize) for i in range(len(batch))]


def everyone(target: Linux, parts: Parts) -> Batch:
    """All processes. AddressError if the list cannot be followed to its end, or a process on it has no pid."""
    read = Columns.of(target, parts)
    offset = read.offset("task_struct", "tasks")
    head = parts.address_of("init_task") + offset & read.pointer_mask
    try:
        nodes = parts.memory.walk_list(head, 0, MAX_TASKS)
    except AddressError as e:
        at = e.address - offset & read.pointer_mask
        raise AddressError(f"can't read task at {at:#x}: {e}", e.address) from e
    except KvmError as e:
        raise KvmError(f"init_task.tasks: {e}") from e
    if parts.memory.read_ptr(nodes[-1]) != head:
        raise FormatError(f"init_task.tasks: the list ends at {nodes[-1]:#x} with NULL, not where it began")
    batch = Batch.of(target, parts, [node - offset & read.pointer_mask for node in nodes[1:]])
    pids = batch["pid"]
    if None in pids:
        at = batch["task"][pids.index(None)] + read.offset("task_struct", "tgid") & read.pointer_mask
        parts.memory.read(at, 4)  # which says why
        raise AddressError(f"can't read task's tgid at {at:#x}", at)
    return batch


def threads(target: Linux, parts: Parts, record: ProcessRecord) -> list[Thread]:
    """The threads of a process, the leader first."""
    if parts.image.live:
        return running.unchanged(target, parts, record, lambda now: of_group(target, now, record))
    return of_group(target, parts, record)


def of_group(target: Linux, parts: Parts, record: ProcessRecord) -> list[Thread]:
    """The same, once."""
    read = Columns.of(target, parts)
    task, leader = "task_struct", record.paddr
    signal = read.member([leader], task, "signal")
    (count,) = read.member(signal, "signal_struct", "nr_threads", signed=True)
    members: Sequence[int] = members_of(read, signal[0], leader, count)
    comm = read.text_field(task, "comm")
    columns = (
        members,
        read.member(members, task, "pid", signed=True),
        read.member(members, task, "__state", "state"),
        read.member(members, task, "exit_state", signed=True),
        read.blocks(members, comm.offset, comm.size),
    )
    found: list[Thread] = []

    def waits(addr: int) -> Callable[[], tuple[str | None, int | None]]:
        if parts.image.live:  # the thread may be gone when it is asked for
            now = target.waits(parts).channel(addr)
            return lambda: now
        return lambda: target.waits(parts).channel(addr)

    for addr, tid, state, dead, name in zip(*columns, strict=True):
        letter = None if state is None or dead is None else neutral.stat(state, dead)
        found.append(LazyThread(tid, text((name or b"").split(b"\0", 1)[0]), letter, addr, waits(addr)))
    return found
