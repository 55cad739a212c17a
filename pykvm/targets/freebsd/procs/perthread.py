"""Columns of records that stand for one thread each: what is the thread's own, not the process's.

Source: fill_kinfo_thread(td, kp, 1) of sys/kern/kern_proc.c.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pykvm.targets.common.columns import Member
from pykvm.targets.freebsd.procs import signals, times

if TYPE_CHECKING:
    from pykvm.targets.freebsd.procs.batch import Batch

MEMBERS: Mapping[str, Member] = {"cow": Member("td", "thread", ("td_cow",))}


def run_times(batch: Batch) -> dict[str, Sequence[Any]]:
    """The thread's own struct rusage_ext, with what is not in it yet."""
    read, tds = batch.read, batch["td"]
    own = times.integers(read, tds, "thread", [f"td_rux.{name}" for name in times.EXT])
    late = times.integers(read, tds, "thread", ["td_incruntime", *(f"td_{name}" for name in times.TICKS)])
    rows = [None if row is None else (*row, 0, 0, 0) for row in late]
    return {"rux": times.sums(rows, [(td,) for td in tds], own)}


def counts(batch: Batch) -> dict[str, Sequence[Any]]:
    """Its struct rusage."""
    paths = [f"td_ru.{name}" for name in times.COUNTS]
    return {"counts": times.integers(batch.read, batch["td"], "thread", paths)}


MAKERS = {
    "rux": run_times,
    "counts": counts,
    "siglist": lambda batch: {"siglist": signals.words(batch, "td", "thread", "td_sigqueue.sq_signals")},
    "pctcpu": lambda batch: {"pctcpu": times.shares_of(batch, batch["td"])},
}
