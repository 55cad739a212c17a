"""Names of processes, as /proc/PID/comm gives them: for kernel threads longer than task_struct's comm has room for.

Source: proc_task_name() of fs/proc/array.c, get_kthread_comm() (since Linux 5.17), wq_worker_comm() (since 4.18).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pykvm.records import text
from pykvm.targets.common.columns import Member
from pykvm.targets.linux.procs.neutral import PF_KTHREAD

if TYPE_CHECKING:
    from pykvm.targets.linux.procs.batch import Batch

PF_WQ_WORKER = 0x20
LIMIT = 64  # of what proc_task_name() makes, with its NUL
DESC = 32  # WORKER_DESC_LEN
DYING = b"kworker/dying"

MEMBERS = {
    # struct kthread; a member of its own since Linux 5.17.
    "kthread": Member("task", "task_struct", ("worker_private", "set_child_tid")),
}


def short(batch: Batch) -> dict[str, Sequence[Any]]:
    """task_struct's own."""
    field = batch.read.text_field("task_struct", "comm")
    blocks = batch.read.blocks(batch["task"], field.offset, field.size)
    return {"raw_comm": [None if block is None else block.split(b"\0", 1)[0] for block in blocks]}


def names(batch: Batch) -> dict[str, Sequence[Any]]:
    """The whole name; what cannot be read of it leaves task_struct's."""
    found: list[bytes | None] = list(batch["raw_comm"])
    threads: list[int] = []
    workers: list[int] = []
    for i, flags in enumerate(batch["flags"]):
        if flags and flags & PF_KTHREAD and found[i] is not None:
            (workers if flags & PF_WQ_WORKER else threads).append(i)
    _put(found, threads, _full(batch, threads))
    _put(found, workers, _workers(batch, workers, found))
    return {"comm": [None if name is None else text(name[: LIMIT - 1]) for name in found]}


def _put(found: list[bytes | None], places: Sequence[int], better: Sequence[bytes | None]) -> None:
    for i, name in zip(places, better, strict=True):
        if name is not None:
            found[i] = name


def _full(batch: Batch, places: Sequence[int]) -> Sequence[bytes | None]:
    """The names that kernel threads were made with, where they were too long."""
    pointers = batch.read.member([batch["kthread"][i] for i in places], "kthread", "full_name")
    return batch.read.texts(pointers, LIMIT)


def _workers(batch: Batch, places: Sequence[int], comms: Sequence[bytes | None]) -> list[bytes | None]:
    """A workqueue's threads: a rescuer by its queue, others by what they do (+) or did last (-)."""
    read = batch.read
    workers = read.member([batch["kthread"][i] for i in places], "kthread", "data")
    pools = read.member(workers, "worker", "pool")
    current = read.member(workers, "worker", "current_work")
    desc = read.field("worker", "desc")
    descs: Sequence[bytes | None] = read.blocks(workers, desc.offset, DESC) if desc else [None] * len(workers)
    # Since Linux 6.10 the first part is made anew from the worker, before it was always comm.
    anew = read.types.constant("WORKER_ID_LEN") is not None
    full = _full(batch, places) if anew else [None] * len(places)
    queues = _queues(batch, workers) if anew else full
    found = []
    for i, pool, work, what, whole, queue in zip(places, pools, current, descs, full, queues, strict=True):
        name = comms[i]
        if name is not None and name != DYING:
            name = b"kworker/R-" + queue if queue is not None else whole or name
        if name is not None and pool and what and what[0]:
            name += (b"+" if work else b"-") + what.split(b"\0", 1)[0]
        found.append(name)
    return found


def _queues(batch: Batch, workers: Sequence[int | None]) -> Sequence[bytes | None]:
    """The names of the queues that rescuers are for."""
    queues = batch.read.member(workers, "worker", "rescue_wq")
    name = batch.read.text_field("workqueue_struct", "name")
    blocks = batch.read.blocks(queues, name.offset, name.size)
    return [None if block is None else block.split(b"\0", 1)[0] for block in blocks]


MAKERS = {"raw_comm": short, "comm": names}
