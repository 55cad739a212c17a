"""Processes of FreeBSD, and what is known of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pykvm.targets.base import Parts
from pykvm.targets.common import batch
from pykvm.targets.common.columns import Columns, Member
from pykvm.targets.freebsd.procs import ids, kinfo2, lists, names, perthread, signals, sizes, state, times

if TYPE_CHECKING:
    from pykvm.targets.freebsd.kernel import FreeBSD

SOURCES = (ids, state, signals, names, sizes, times, kinfo2)


def _threads(rows: Batch) -> dict[str, Sequence[Any]]:
    return {"tds": lists.threads(rows.read, rows["proc"])}


class Batch(batch.Batch["FreeBSD"]):
    """Some processes: `proc` and `td` are the addresses of the process and of its first thread, `tds` of all."""

    MEMBERS, MAKERS = batch.gathered(SOURCES)
    MEMBERS["td"] = Member("proc", "proc", ("p_threads.tqh_first",))
    MAKERS["tds"] = _threads

    @classmethod
    def of(cls, target: FreeBSD, parts: Parts) -> Batch:
        """All processes."""
        read = Columns.of(target, parts)
        procs = lists.processes(read, parts)
        return cls(target, parts, {"proc": procs, "paddr": procs})

    def threads(self) -> ThreadBatch:
        """One row for each thread of these processes."""
        groups = self["tds"]
        rows = [i for i, group in enumerate(groups) for _ in group]
        known = {name: [self[name][i] for i in rows] for name in ("proc", "paddr", "tds")}
        known["td"] = [td for group in groups for td in group]
        return ThreadBatch(self.target, self.parts, known, self.whole)


class ThreadBatch(Batch):
    """Threads: `td` is the address of each, `proc` of its process."""

    MEMBERS, MAKERS = batch.gathered((*SOURCES, perthread))
    MAKERS["tds"] = _threads
