"""kvm_getprocs(3) on FreeBSD, and the threads of one process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykvm import constants as k
from pykvm.records import ProcessRecord, text
from pykvm.targets.base import Parts, Thread
from pykvm.targets.common import select
from pykvm.targets.freebsd.procs.batch import Batch
from pykvm.targets.freebsd.procs.numbers import P_KPROC
from pykvm.targets.freebsd.procs.record import FreeBSDProcess, KinfoProcs
from pykvm.types import layout
from pykvm.types.layout import Struct

if TYPE_CHECKING:
    from pykvm.targets.freebsd.kernel import FreeBSD


def getprocs(target: FreeBSD, parts: Parts, op: int, arg: int) -> list[ProcessRecord]:
    """One record a process; with KERN_PROC_INC_THREAD one a thread instead, with KERN_PROC_SHOW_THREADS its threads'
    behind each process's. (FreeBSD's library gives threads for KERN_PROC_ALL on a dump.)"""
    plain = op & ~(k.KERN_PROC_INC_THREAD | k.KERN_PROC_SHOW_THREADS)
    select.check("kvm_getprocs", op if op < 0 else plain, None)
    everyone = Batch.of(target, parts)
    chosen = everyone.choose(select.places(everyone, plain, arg, "flags", P_KPROC))
    struct = structure(target)
    if op == plain:
        return _records(chosen, struct)
    found: list[ProcessRecord] = _records(chosen.threads(), struct)
    if op & k.KERN_PROC_SHOW_THREADS:
        each = iter(found)
        pairs = zip(_records(chosen, struct), chosen["tds"], strict=True)
        return [record for process, tds in pairs for record in (process, *(next(each) for _ in tds))]
    return found


def _records(batch: Batch, struct: Struct) -> list[ProcessRecord]:
    records = KinfoProcs(batch, struct)
    return [FreeBSDProcess(records, i) for i in range(len(batch))]


def structure(target: FreeBSD) -> Struct:
    """struct kinfo_proc: as the kernel's own types have it, else as it has been since FreeBSD 12."""
    if "kinfo_proc" in target.types:
        return target.types.struct("kinfo_proc")
    name = "lp64" if target.pointer_size == 8 else "i386" if target.machine == "i386" else "ilp32"
    return layout.builtin(f"freebsd-{name}").struct("kinfo_proc")


def threads(target: FreeBSD, parts: Parts, record: ProcessRecord) -> list[Thread]:
    """The threads of a process, the first one first."""
    batch = Batch(target, parts, {"proc": [record.paddr], "paddr": [record.paddr]}).threads()
    columns = (batch[name] for name in ("td", "tid", "tdname", "stat", "wmesg", "wchan"))
    return [
        Thread(tid, text(name or b""), stat, wmesg, wchan, td)
        for td, tid, name, stat, wmesg, wchan in zip(*columns, strict=True)
    ]
