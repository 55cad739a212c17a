"""The lists of processes and threads."""

from __future__ import annotations

from collections.abc import Sequence

from pykvm.targets.base import Parts
from pykvm.targets.bsd.lists import whole
from pykvm.targets.common.columns import Columns
from pykvm.targets.common.lists import follow, one_list

MAX_PROCESSES, MAX_THREADS = 1 << 17, 1 << 20


def processes(read: Columns, parts: Parts) -> list[int]:
    """allprocess, then zombprocess, as sysctl(3) lists them."""
    found: list[int] = []
    for name in ("allprocess", "zombprocess"):
        found += one_list(read, parts, name, MAX_PROCESSES, "process", "ps_list.le_next")
    found = list(dict.fromkeys(found))
    whole(parts, found, "nprocesses")
    return found


def threads(read: Columns, processes: Sequence[int]) -> list[list[int]]:
    """The threads (struct proc) of each process."""
    heads = read.member(processes, "process", "ps_threads.tqh_first")
    return follow(read, [h or 0 for h in heads], read.offset("proc", "p_thr_link.tqe_next"), MAX_THREADS, "proc")
