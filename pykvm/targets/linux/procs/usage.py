"""What a process has used besides time: getrusage(2)'s figures.

Source: getrusage() of kernel/sys.c, do_task_stat() of fs/proc/array.c.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pykvm.targets.common.columns import Member, total
from pykvm.targets.linux.procs.cputime import over_threads

if TYPE_CHECKING:
    from pykvm.targets.linux.procs.batch import Batch

# struct rusage's name, task_struct's and signal_struct's.
COUNTS = {
    "minflt": ("min_flt", "min_flt"),
    "majflt": ("maj_flt", "maj_flt"),
    "nvcsw": ("nvcsw", "nvcsw"),
    "nivcsw": ("nivcsw", "nivcsw"),
}
# Blocks of 512 bytes in signal_struct, bytes in the tasks.
BLOCKS = {"inblock": ("ioac.read_bytes", "inblock"), "oublock": ("ioac.write_bytes", "oublock")}
BLOCK_SHIFT = 9

MEMBERS = {
    **{f"dead_{name}": Member("signal", "signal_struct", (theirs,)) for name, (_, theirs) in (COUNTS | BLOCKS).items()},
    "dead_maxrss": Member("signal", "signal_struct", ("maxrss",)),
    "mm_maxrss": Member("mm", "mm_struct", ("hiwater_rss",)),
}


def count(name: str) -> Callable[[Batch], dict[str, Sequence[Any]]]:
    """A maker of a count that threads have each for themselves."""

    def make(batch: Batch) -> dict[str, Sequence[Any]]:
        return {name: list(over_threads(batch, batch[f"dead_{name}"], COUNTS[name][0]))}

    return make


def blocks(name: str) -> Callable[[Batch], dict[str, Sequence[Any]]]:
    """The same of blocks read or written."""

    def make(batch: Batch) -> dict[str, Sequence[Any]]:
        groups: Sequence[Sequence[int]] = batch["members"]
        column = batch.read.member([t for group in groups for t in group], "task_struct", BLOCKS[name][0])
        found, at = [], 0
        for group, left in zip(groups, batch[f"dead_{name}"], strict=True):
            own = [n if n is None else n >> BLOCK_SHIFT for n in column[at : at + len(group)]]
            found.append(total([*own, left]))
            at += len(group)
        return {name: found}

    return make


def maxrss(batch: Batch) -> dict[str, Sequence[Any]]:
    """The largest resident size that the process ever had, in kilobytes."""
    pages = batch.target.page_size // 1024
    rows = zip(batch["dead_maxrss"], batch["mm"], batch["mm_maxrss"], batch["pages"], strict=True)
    found = []
    for before, mm, high, now in rows:
        known = [before] if mm == 0 else [before, high, now]
        found.append(None if None in known else max(known) * pages)
    return {"maxrss": found}


MAKERS = {
    **{name: count(name) for name in COUNTS},
    **{name: blocks(name) for name in BLOCKS},
    "maxrss": maxrss,
}
