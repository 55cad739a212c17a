"""The lists of processes and LWPs."""

from __future__ import annotations

from collections.abc import Sequence

from pykvm.targets.base import Parts
from pykvm.targets.bsd.lists import whole
from pykvm.targets.common.columns import Columns
from pykvm.targets.common.lists import follow, one_list
from pykvm.targets.netbsd.procs.numbers import PK_MARKER

MAX_PROCESSES, MAX_LWPS = 1 << 17, 1 << 20


def processes(read: Columns, parts: Parts) -> list[int]:
    """allproc, then zombproc (which NetBSD has up to 9), as sysctl(3) lists them."""
    found = one_list(read, parts, "allproc", MAX_PROCESSES)
    if parts.symbols.loose("zombproc") is not None:
        found += one_list(read, parts, "zombproc", MAX_PROCESSES)
    found = list(dict.fromkeys(found))
    # What sysctl(3) puts into the list while it goes through it is no process, and nothing else in it is set.
    flags = read.member(found, "proc", "p_flag")
    found = [proc for proc, flag in zip(found, flags, strict=True) if not (flag or 0) & PK_MARKER]
    whole(parts, found, "nprocs")
    return found


def lwps(read: Columns, procs: Sequence[int]) -> list[list[int]]:
    """The LWPs of each process."""
    heads = read.member(procs, "proc", "p_lwps.lh_first", "p_lwps")
    return follow(read, [head or 0 for head in heads], read.offset("lwp", "l_sibling.le_next"), MAX_LWPS, "lwp")
