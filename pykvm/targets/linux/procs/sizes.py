"""Sizes of a process's memory, in pages; limits.

Source: do_task_stat() and task_mem() of fs/proc: a kernel thread has no memory, and so 0 of everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pykvm.targets.common.columns import Column, Member
from pykvm.targets.linux.procs.neutral import PF_KTHREAD

if TYPE_CHECKING:
    from pykvm.targets.linux.procs.batch import Batch

COUNTERS = {"MM_FILEPAGES": 0, "MM_ANONPAGES": 1, "MM_SHMEMPAGES": 3}  # <linux/mm_types_task.h>, since Linux 4.5
RLIMIT_RSS = 5  # <asm-generic/resource.h>


MEMBERS = {
    "used_mm": Member("task", "task_struct", ("mm",)),
    "data_vm": Member("mm", "mm_struct", ("data_vm",)),
    "stack_vm": Member("mm", "mm_struct", ("stack_vm",)),
    "exec_vm": Member("mm", "mm_struct", ("exec_vm",)),
    "start_code": Member("mm", "mm_struct", ("start_code",)),
    "end_code": Member("mm", "mm_struct", ("end_code",)),
}


def own(batch: Batch) -> dict[str, Sequence[Any]]:
    """The address space; a kernel thread may work in another's for a while, but has none (get_task_mm())."""
    rows = zip(batch["used_mm"], batch["flags"], strict=True)
    return {"mm": [0 if flags and flags & PF_KTHREAD else mm for mm, flags in rows]}


def resident(batch: Batch) -> dict[str, Sequence[Any]]:
    """Resident pages: of files, anonymous and shared memory.

    Since Linux 6.2 the counts are of per-CPU counters, of which /proc/PID/stat looks at the common part only, which
    may be behind by some pages for each CPU; so does this.
    """
    read, mms = batch.read, batch["mm"]
    field = read.field("mm_struct", "rss_stat")
    counter = read.layout("percpu_counter")
    if field is None:
        return {"pages": [0 if mm == 0 else None for mm in mms]}
    if "percpu_counter" in field.type and counter is not None:
        step, inside, size = counter.size, counter.offset("count"), counter.field("count").size
    else:
        step, inside, size = read.pointer_size, 0, read.pointer_size
    columns = [
        read.ints(mms, field.offset + step * kind + inside, size, signed=True)
        for kind in (read.types.constant(name, usual) or 0 for name, usual in COUNTERS.items())
    ]
    found: list[int | None] = []
    for mm, *counts in zip(mms, *columns, strict=True):
        if mm == 0:
            found.append(0)
        else:
            found.append(None if None in counts else sum(max(0, n) for n in counts))
    return {"pages": found}


def size(batch: Batch) -> dict[str, Sequence[Any]]:
    """Resident bytes."""
    return {"rssize": [n if n is None else n * batch.target.page_size for n in batch["pages"]]}


def segments(batch: Batch) -> dict[str, Sequence[Any]]:
    """Text (VmExe of /proc/PID/status), data (VmData) and stack (VmStk)."""
    page, mms = batch.target.page_size, batch["mm"]
    text: list[int | None] = []
    for start, end, executable in zip(batch["start_code"], batch["end_code"], batch["exec_vm"], strict=True):
        if start is None or end is None or executable is None:
            text.append(None)
        else:
            text.append(max(0, min(-(-end // page) - start // page, executable)))
    return {
        name: [0 if mm == 0 else n for mm, n in zip(mms, column, strict=True)]
        for name, column in (("tsize", text), ("dsize", batch["data_vm"]), ("ssize", batch["stack_vm"]))
    }


def limits(batch: Batch) -> dict[str, Sequence[Any]]:
    """Where the resource limits are, and that of resident memory, in bytes (-1 as an unsigned long: none)."""
    read, field = batch.read, batch.read.field("signal_struct", "rlim")
    signals: Column = batch["signal"]
    if field is None:
        nothing: list[int | None] = [None] * len(signals)
        return {"limit": nothing, "rlim_rss": nothing}
    one = read.types.struct("rlimit")
    at = field.offset + RLIMIT_RSS * one.size + one.offset("rlim_cur")
    return {
        "limit": [s + field.offset & read.pointer_mask if s else s for s in signals],
        "rlim_rss": read.pointers(signals, at),
    }


MAKERS = {"mm": own, "pages": resident, "rssize": size, "tsize dsize ssize": segments, "limit rlim_rss": limits}
