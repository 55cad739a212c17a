"""Sizes of a process's memory, as struct vmspace has them: pages, but for the map's size, which is bytes. A zombie has
no vmspace any more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pykvm.targets.common.columns import Member

if TYPE_CHECKING:
    from pykvm.targets.dragonfly.procs.batch import Batch

MEMBERS = {
    "vmspace": Member("proc", "proc", ("p_vmspace",)),
    "size": Member("vmspace", "vmspace", ("vm_map.size",)),
    "resident": Member("vmspace", "vmspace", ("vm_pmap.pm_stats.resident_count",), signed=True),
    "swrss": Member("vmspace", "vmspace", ("vm_swrss",), signed=True),
    "tsize": Member("vmspace", "vmspace", ("vm_tsize",), signed=True),
    "dsize": Member("vmspace", "vmspace", ("vm_dsize",), signed=True),
    "ssize": Member("vmspace", "vmspace", ("vm_ssize",), signed=True),
}


def in_bytes(batch: Batch) -> dict[str, Sequence[Any]]:
    """Resident memory."""
    size = batch.target.page_size
    rows = zip(batch["vmspace"], batch["resident"], strict=True)
    return {"rssize": [0 if vm == 0 else None if pages is None else pages * size for vm, pages in rows]}


MAKERS = {"rssize": in_bytes}
