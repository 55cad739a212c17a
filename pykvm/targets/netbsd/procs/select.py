"""kvm_getproc2(3) on NetBSD, and the LWPs of a process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykvm.records import ProcessRecord, text
from pykvm.targets.base import Parts, Thread
from pykvm.targets.common import select
from pykvm.targets.netbsd.procs import state
from pykvm.targets.netbsd.procs.batch import Batch
from pykvm.targets.netbsd.procs.record import KinfoProcs2, NetBSDProcess

if TYPE_CHECKING:
    from pykvm.targets.netbsd.kernel import NetBSD


def getproc2(target: NetBSD, parts: Parts, name: str, op: int, arg: int, elemsize: int | None) -> list[ProcessRecord]:
    """One record a process, the newest first, zombies last. KERN_PROC_ALL gives all of them, process 0 included: its
    kernel threads are LWPs."""
    select.check(name, op, elemsize)
    target.types.struct("proc")  # which says why there is none
    everyone = Batch.of(target, parts)
    records = KinfoProcs2(
        everyone.choose(select.places(everyone, op, arg, "flags", 0)), target.record_struct(parts, True)
    )
    return [NetBSDProcess(records, i, elemsize) for i in range(len(records.batch))]


def threads(target: NetBSD, parts: Parts, record: ProcessRecord) -> list[Thread]:
    """The LWPs of a process, in the kernel's order (the newest first)."""
    rows = Batch(target, parts, {"proc": [record.paddr], "paddr": [record.paddr]}).each_lwp()
    names = ("lwp", "lid", "raw_lname", "l_stat", "l_flag", "slptime", "wmesg", "wchan")
    found = []
    for lwp, lid, name, stat, flags, slept, wmesg, wchan in zip(*(rows[n] for n in names), strict=True):
        letter = state.letter(stat, flags, slept)
        found.append(Thread(lid, text(name) if name else record.comm, letter or "?", wmesg, wchan, lwp))
    return found
