"""kvm_getprocs(3) on OpenBSD, and the threads of a process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykvm import constants as k
from pykvm.records import ProcessRecord, text
from pykvm.targets.base import Parts, Thread
from pykvm.targets.common import select
from pykvm.targets.openbsd.procs import state
from pykvm.targets.openbsd.procs.batch import Batch
from pykvm.targets.openbsd.procs.numbers import PS_SYSTEM
from pykvm.targets.openbsd.procs.record import KinfoProcs, OpenBSDProcess
from pykvm.types.layout import Struct

if TYPE_CHECKING:
    from pykvm.targets.openbsd.kernel import OpenBSD


def getprocs(target: OpenBSD, parts: Parts, name: str, op: int, arg: int, elemsize: int | None) -> list[ProcessRecord]:
    """One record a process, the newest first, zombies last; with KERN_PROC_SHOW_THREADS its threads' behind each (those
    have their p_tid, the process's is -1). KERN_PROC_ALL leaves the kernel's own processes out."""
    plain = op if op < 0 else op & ~k.KERN_PROC_SHOW_THREADS
    select.check(name, plain, elemsize)
    everyone = Batch.of(target, parts)
    chosen = everyone.choose(select.places(everyone, plain, arg, "psflags", PS_SYSTEM))
    struct = target.record_struct(parts, name == "kvm_getproc2")
    found = _records(chosen, struct, elemsize)
    if op == plain:
        return found
    rows = chosen.each_thread()
    each = iter(_records(rows, struct, elemsize))
    counts = [0 if gone else len(group) for group, gone in zip(chosen["tds"], chosen["dead"], strict=True)]
    return [
        r for record, count in zip(found, counts, strict=True) for r in (record, *(next(each) for _ in range(count)))
    ]


def _records(batch: Batch, struct: Struct, elemsize: int | None) -> list[ProcessRecord]:
    records = KinfoProcs(batch, struct)
    return [OpenBSDProcess(records, i, elemsize) for i in range(len(batch))]


def threads(target: OpenBSD, parts: Parts, record: ProcessRecord) -> list[Thread]:
    """The threads of a process, the first one first."""
    process = target.process_of(parts, record)
    rows = Batch(target, parts, {"process": [process]}).each_thread()
    found = []
    for tid, addr, name, stat, flags, slept, wmesg, wchan in zip(
        *(rows[n] for n in ("tid", "proc", "raw_name", "p_stat", "flags", "slptime", "wmesg", "wchan")), strict=True
    ):
        letter = state.letter(stat, flags, slept) or "?"
        found.append(Thread(tid, text(name) if name else record.comm, letter, wmesg, wchan, addr))
    return found
