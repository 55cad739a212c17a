"""Sizes of a process's memory, as struct vmspace has them: pages, but for the map's size, which is bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pykvm.targets.common.columns import Member
from pykvm.targets.freebsd.procs.numbers import PRS_NEW, PRS_ZOMBIE, TDI_SWAPPED

if TYPE_CHECKING:
    from pykvm.targets.freebsd.procs.batch import Batch


MEMBERS = {
    "vmspace": Member("proc", "proc", ("p_vmspace",)),
    "size": Member("vm", "vmspace", ("vm_map.size",)),
    "resident": Member("vm", "vmspace", ("vm_pmap.pm_stats.resident_count",), signed=True),
    "swrss": Member("vm", "vmspace", ("vm_swrss",), signed=True),
    "tsize": Member("vm", "vmspace", ("vm_tsize",), signed=True),
    "dsize": Member("vm", "vmspace", ("vm_dsize",), signed=True),
    "ssize": Member("vm", "vmspace", ("vm_ssize",), signed=True),
}


def own(batch: Batch) -> dict[str, Sequence[Any]]:
    """The vmspace that may be looked into: a zombie's is not its own any more (0: it has none)."""
    rows = zip(batch["vmspace"], batch["state"], strict=True)
    return {"vm": [0 if state in (PRS_NEW, PRS_ZOMBIE) else at for at, state in rows]}


def resident(batch: Batch) -> dict[str, Sequence[Any]]:
    """Resident pages: those of the pmap, and the kernel stacks of its threads, as the kernel counts them."""
    read, groups = batch.read, batch["tds"]
    threads = [td for group in groups for td in group]
    pages = read.member(threads, "thread", "td_kstack_pages", signed=True)
    inhibitors = read.member(threads, "thread", "td_inhibitors")
    found: list[int | None] = []
    at = 0
    for vm, count, group in zip(batch["vm"], batch["resident"], groups, strict=True):
        here = range(at, at + len(group))
        at += len(group)
        if vm == 0:
            found.append(0)
            continue
        stacks = [pages[i] for i in here if not (inhibitors[i] or 0) & TDI_SWAPPED]
        found.append(None if count is None or None in stacks else count + sum(n or 0 for n in stacks))
    return {"pages": found}


def in_bytes(batch: Batch) -> dict[str, Sequence[Any]]:
    """The same in bytes."""
    return {"rssize": [None if n is None else n * batch.target.page_size for n in batch["pages"]]}


MAKERS = {"vm": own, "pages": resident, "rssize": in_bytes}
