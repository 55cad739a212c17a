"""Processes and LWPs of NetBSD, and what is known of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pykvm.targets.base import Parts
from pykvm.targets.common import batch
from pykvm.targets.common.columns import Columns
from pykvm.targets.netbsd.procs import ids, lists, signals, state, usage

if TYPE_CHECKING:
    from pykvm.targets.netbsd.kernel import NetBSD


def _lwps(rows: Batch) -> dict[str, Sequence[Any]]:
    return {"lwps": lists.lwps(rows.read, rows["proc"])}


def _threads(rows: Batch) -> dict[str, Sequence[Any]]:
    return {"threads": [len(group) for group in rows["lwps"]]}


class Batch(batch.Batch["NetBSD"]):
    """Some processes: `proc` is the address of each, `lwps` those of its LWPs, `lwp` that of the one that stands for
    it."""

    MEMBERS, MAKERS = batch.gathered((ids, state, usage, signals))
    MAKERS["lwps"] = _lwps
    MAKERS["threads"] = _threads

    @classmethod
    def of(cls, target: NetBSD, parts: Parts) -> Batch:
        """All processes."""
        read = Columns.of(target, parts)
        procs = lists.processes(read, parts)
        return cls(target, parts, {"proc": procs, "paddr": procs})

    def each_lwp(self) -> Batch:
        """One row for each LWP of these processes."""
        groups = self["lwps"]
        rows = [i for i, group in enumerate(groups) for _ in group]
        known = {name: [self[name][i] for i in rows] for name in ("proc", "paddr", "lwps", "realstat", "pid")}
        known["lwp"] = [lwp for group in groups for lwp in group]
        return Batch(self.target, self.parts, known, self.whole)
