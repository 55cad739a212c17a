"""Names of kernel threads, as /proc/PID/comm gives them: longer than task_struct's comm has room for.

Source: proc_task_name() of fs/proc/array.c, get_kthread_comm() (since Linux 5.17), wq_worker_comm().
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from pykvm.errors import KvmError
from pykvm.memory import Memory
from pykvm.types.layout import Types

PF_WQ_WORKER, PF_KTHREAD = 0x20, 0x00200000
LIMIT = 64  # of what proc_task_name() makes


def names(
    memory: Memory, types: Types, flags: Sequence[int], kthreads: Sequence[int], comms: Sequence[bytes]
) -> list[bytes]:
    """The whole name of each task; what cannot be read leaves its comm."""
    if "kthread" not in types or "full_name" not in types.struct("kthread"):
        return list(comms)
    found = []
    for flag, kthread, comm in zip(flags, kthreads, comms, strict=True):
        if flag & PF_KTHREAD and kthread:
            better = _worker if flag & PF_WQ_WORKER else _full
            with contextlib.suppress(KvmError):
                comm = better(memory, types, kthread, comm)
        found.append(comm[: LIMIT - 1])
    return found


def _full(memory: Memory, types: Types, kthread: int, comm: bytes) -> bytes:
    name = memory.read_ptr(kthread + types.struct("kthread").offset("full_name"))
    return memory.read_cstr(name, LIMIT) if name else comm


def _worker(memory: Memory, types: Types, kthread: int, comm: bytes) -> bytes:
    """A workqueue's thread: a rescuer by its queue, another by what it does (+) or did last (-)."""
    worker = memory.read_ptr(kthread + types.struct("kthread").offset("data"))
    if not worker:
        return comm
    layout = types.struct("worker")
    if "rescue_wq" in layout:
        queue = memory.read_ptr(worker + layout.offset("rescue_wq"))
        if queue:
            comm = b"kworker/R-" + memory.read_cstr(queue + types.struct("workqueue_struct").offset("name"), LIMIT)
    if memory.read_ptr(worker + layout.offset("pool")):
        what = memory.read_cstr(worker + layout.offset("desc"), 32)
        if what:
            comm += (b"+" if memory.read_ptr(worker + layout.offset("current_work")) else b"-") + what
    return comm
