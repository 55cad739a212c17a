"""Processes and threads of OpenBSD, and what is known of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pykvm.targets.base import Parts
from pykvm.targets.common import batch
from pykvm.targets.common.columns import Columns, Member
from pykvm.targets.openbsd.procs import ids, lists, state, usage

if TYPE_CHECKING:
    from pykvm.targets.openbsd.kernel import OpenBSD


def _threads(rows: Batch) -> dict[str, Sequence[Any]]:
    return {"tds": lists.threads(rows.read, rows["process"])}


def _count(rows: Batch) -> dict[str, Sequence[Any]]:
    return {"threads": [len(group) for group in rows["tds"]]}


def _paddr(rows: Batch) -> dict[str, Sequence[Any]]:
    return {"paddr": rows["proc"]}


class Batch(batch.Batch["OpenBSD"]):
    """Some processes: `process` is the address of each, `proc` of its first thread (which records call p_paddr), `tds`
    of all its threads."""

    MEMBERS, MAKERS = batch.gathered((ids, state, usage))
    MEMBERS["proc"] = Member("process", "process", ("ps_mainproc",))
    MAKERS["tds"] = _threads
    MAKERS["threads"] = _count
    MAKERS["paddr"] = _paddr

    @classmethod
    def of(cls, target: OpenBSD, parts: Parts) -> Batch:
        """All processes."""
        read = Columns.of(target, parts)
        return cls(target, parts, {"process": lists.processes(read, parts)})

    of_processes = True  # not of threads

    @property
    def used_by(self) -> tuple[Sequence[Any], str, str]:
        """Whose struct tusage counts: (addresses, structure, member)."""
        return self["process"], "process", "ps_tu"

    def each_thread(self) -> ThreadBatch:
        """One row for each thread of these processes, but of the dead."""
        groups = [[] if gone else group for group, gone in zip(self["tds"], self["dead"], strict=True)]
        rows = [i for i, group in enumerate(groups) for _ in group]
        known: dict[str, Sequence[Any]] = {name: [self[name][i] for i in rows] for name in ("process", "tds", "dead")}
        known["proc"] = [thread for group in groups for thread in group]
        return ThreadBatch(self.target, self.parts, known, self.whole)


def _state(rows: ThreadBatch) -> dict[str, Sequence[Any]]:
    return {"state": rows["p_stat"], "stat": state.letters(rows, rows["p_stat"])}


def _share(rows: ThreadBatch) -> dict[str, Sequence[Any]]:
    return {"pctcpu": rows["p_pctcpu"]}


class ThreadBatch(Batch):
    """Threads: `proc` is the address of each."""

    MAKERS = {**Batch.MAKERS, "state": _state, "stat": _state, "pctcpu": _share}
    of_processes = False

    @property
    def used_by(self) -> tuple[Sequence[Any], str, str]:
        return self["proc"], "proc", "p_tu"
