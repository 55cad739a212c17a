"""kvm_getprocs(3) and kvm_getproc2(3) on DragonFly, and the threads of one process."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from pykvm import constants as k
from pykvm.records import ProcessRecord, text
from pykvm.targets.base import Parts, Thread
from pykvm.targets.common import kinfo2, select
from pykvm.targets.common.columns import Columns
from pykvm.targets.common.record import Records
from pykvm.targets.dragonfly.procs import lists
from pykvm.targets.dragonfly.procs.batch import Batch, structure
from pykvm.targets.dragonfly.procs.record import DragonFlyProcess, KinfoProcs, KinfoProcs2
from pykvm.types.layout import Struct

if TYPE_CHECKING:
    from pykvm.targets.dragonfly.kernel import DragonFly


THREADS = k.KERN_PROC_INC_THREAD | k.KERN_PROC_SHOW_THREADS


def getprocs(target: DragonFly, parts: Parts, op: int, arg: int) -> list[ProcessRecord]:
    """One record a process, and with KERN_PROC_KTHREAD one a thread of the kernel; with KERN_PROC_INC_THREAD one an
    lwp instead (DragonFly's KERN_PROC_FLAG_LWP), with KERN_PROC_SHOW_THREADS its lwps' behind each process's."""
    select.check("kvm_getprocs", op if op < 0 else op & ~THREADS, None)
    return _chosen(target, parts, op, arg, partial(_records, KinfoProcs, structure(target), None))


def getproc2(target: DragonFly, parts: Parts, op: int, arg: int, elemsize: int | None) -> list[ProcessRecord]:
    """The same as kinfo_proc2, `elemsize` bytes of each in bytes(p)."""
    select.check("kvm_getproc2", op if op < 0 else op & ~THREADS, elemsize)
    return _chosen(target, parts, op, arg, partial(_records, KinfoProcs2, kinfo2.structure(target), elemsize))


def _chosen(
    target: DragonFly, parts: Parts, op: int, arg: int, records: Callable[[Batch], list[ProcessRecord]]
) -> list[ProcessRecord]:
    plain = op & ~THREADS
    everyone = Batch.of(target, parts, plain == k.KERN_PROC_KTHREAD)
    chosen = everyone.choose(select.places(everyone, plain, arg, "kernel", 1))
    if op == plain:
        return records(chosen)
    found = records(chosen.apart())
    if op & k.KERN_PROC_SHOW_THREADS:
        each = iter(found)
        together: list[ProcessRecord] = []
        for record, group in zip(records(chosen), chosen["every"], strict=True):
            apart = [next(each) for _ in group or (0,)]
            together += [record, *apart] if group else [record]
        return together
    return found


def _records(kind: type[Records[Batch]], struct: Struct, length: int | None, batch: Batch) -> list[ProcessRecord]:
    records = kind(batch, struct)
    return [DragonFlyProcess(records, i, length) for i in range(len(batch))]


def threads(target: DragonFly, parts: Parts, record: ProcessRecord) -> list[Thread]:
    """The lwps of a process, by their numbers; of a thread of the kernel, itself."""
    read = Columns.of(target, parts)
    lists.needed(read)
    proc = record.paddr
    if proc is None:
        batch = Batch.made(target, parts, [], [], [record.td])
    else:
        groups = lists.lwps(read, [proc])
        if not groups[0]:
            return []
        batch = Batch.made(target, parts, [proc], groups).apart()
    columns = (batch[name] for name in ("lwp", "td", "tid", "td_comm", "stat", "wmesg", "wchan"))
    return [
        Thread(tid, text(name or b""), stat, wmesg, wchan, lwp or td)
        for lwp, td, tid, name, stat, wmesg, wchan in zip(*columns, strict=True)
    ]
