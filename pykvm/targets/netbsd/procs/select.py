"""kvm_getproc2(3) on NetBSD, and the LWPs of a process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykvm import constants as k
from pykvm.errors import AddressError
from pykvm.records import ProcessRecord, text
from pykvm.targets.base import Parts, Thread
from pykvm.targets.common import select
from pykvm.targets.netbsd.procs import state
from pykvm.targets.netbsd.procs.batch import Batch
from pykvm.targets.netbsd.procs.record import KinfoLwps, KinfoProcs2, NetBSDLwp, NetBSDProcess

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


def getlwps(target: NetBSD, parts: Parts, pid: int, paddr: int, elemsize: int | None) -> list[ProcessRecord]:
    """One kinfo_lwp each, in the kernel's order (the newest first). KvmError if there is no process at paddr."""
    select.check("kvm_getlwps", k.KERN_PROC_ALL, elemsize)
    target.types.struct("lwp")
    process = Batch(target, parts, {"proc": [paddr], "paddr": [paddr]})
    if process["pid"] == [None] or process["pid"][0] is None:
        raise AddressError(f"can't read proc at {paddr:#x}", paddr)
    rows = process.each_lwp()
    if pid:
        rows.known["pid"] = [pid] * len(rows)
    records = KinfoLwps(rows, target.types.struct("kinfo_lwp"))
    return [NetBSDLwp(records, i, elemsize) for i in range(len(rows))]


def threads(target: NetBSD, parts: Parts, record: ProcessRecord) -> list[Thread]:
    """The LWPs of a process, in the kernel's order (the newest first)."""
    rows = Batch(target, parts, {"proc": [record.paddr], "paddr": [record.paddr]}).each_lwp()
    names = ("lwp", "lid", "raw_lname", "l_stat", "l_flag", "slptime", "wmesg", "wchan")
    found = []
    for lwp, lid, name, stat, flags, slept, wmesg, wchan in zip(*(rows[n] for n in names), strict=True):
        letter = state.letter(stat, flags, slept)
        found.append(Thread(lid, text(name) if name else record.comm, letter or "?", wmesg, wchan, lwp))
    return found
