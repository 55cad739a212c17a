"""kvm_getprocs(3) and kvm_getproc2(3) on FreeBSD, and the threads of one process."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from pykvm import constants as k
from pykvm.records import ProcessRecord, text
from pykvm.targets.base import Parts, Thread
from pykvm.targets.common import kinfo2, select
from pykvm.targets.common.record import Records
from pykvm.targets.freebsd.procs.batch import Batch
from pykvm.targets.freebsd.procs.numbers import P_KPROC
from pykvm.targets.freebsd.procs.record import FreeBSDProcess, KinfoProcs, KinfoProcs2
from pykvm.types import layout
from pykvm.types.layout import Struct

if TYPE_CHECKING:
    from pykvm.targets.freebsd.kernel import FreeBSD

THREADS = k.KERN_PROC_INC_THREAD | k.KERN_PROC_SHOW_THREADS
OPS = (*select.ATTRIBUTES, k.KERN_PROC_PROC)  # the last: what pgrep(1), top(1) ... ask for


def getprocs(target: FreeBSD, parts: Parts, op: int, arg: int) -> list[ProcessRecord]:
    """One record a process; with KERN_PROC_INC_THREAD one a thread instead, with KERN_PROC_SHOW_THREADS its threads'
    behind each process's. (FreeBSD's library gives threads for KERN_PROC_ALL on a dump.)"""
    select.check("kvm_getprocs", op if op < 0 else op & ~THREADS, None, OPS)
    return _chosen(target, parts, op, arg, partial(_records, KinfoProcs, structure(target), None))


def getproc2(target: FreeBSD, parts: Parts, op: int, arg: int, elemsize: int | None) -> list[ProcessRecord]:
    """The same as kinfo_proc2, `elemsize` bytes of each in bytes(p)."""
    select.check("kvm_getproc2", op if op < 0 else op & ~THREADS, elemsize, OPS)
    return _chosen(target, parts, op, arg, partial(_records, KinfoProcs2, kinfo2.structure(target), elemsize))


def _records(kind: type[Records[Batch]], struct: Struct, length: int | None, batch: Batch) -> list[ProcessRecord]:
    records = kind(batch, struct)
    return [FreeBSDProcess(records, i, length) for i in range(len(batch))]


def _chosen(
    target: FreeBSD, parts: Parts, op: int, arg: int, records: Callable[[Batch], list[ProcessRecord]]
) -> list[ProcessRecord]:
    plain = op & ~THREADS
    everyone = Batch.of(target, parts)
    by = k.KERN_PROC_KTHREAD if plain == k.KERN_PROC_PROC else plain
    chosen = everyone.choose(select.places(everyone, by, arg, "flags", P_KPROC))
    if op == plain:
        return records(chosen)
    found = records(chosen.threads())
    if op & k.KERN_PROC_SHOW_THREADS:
        each = iter(found)
        pairs = zip(records(chosen), chosen["tds"], strict=True)
        return [record for process, tds in pairs for record in (process, *(next(each) for _ in tds))]
    return found


def structure(target: FreeBSD) -> Struct:
    """struct kinfo_proc: as the kernel's own types have it, else as it has been since FreeBSD 12."""
    if "kinfo_proc" in target.types:
        return target.types.struct("kinfo_proc")
    return layout.builtin(target.kinfo).struct("kinfo_proc")


def threads(target: FreeBSD, parts: Parts, record: ProcessRecord) -> list[Thread]:
    """The threads of a process, the first one first."""
    batch = Batch(target, parts, {"proc": [record.paddr], "paddr": [record.paddr]}).threads()
    columns = (batch[name] for name in ("td", "tid", "tdname", "stat", "wmesg", "wchan"))
    return [
        Thread(tid, text(name or b""), stat, wmesg, wchan, td)
        for td, tid, name, stat, wmesg, wchan in zip(*columns, strict=True)
    ]
