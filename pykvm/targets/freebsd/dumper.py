"""The thread that made the dump: its number is in dumptid, since FreeBSD 8."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from pykvm.errors import KvmError
from pykvm.targets.base import Parts
from pykvm.targets.common.columns import Columns
from pykvm.targets.freebsd import pcpu
from pykvm.targets.freebsd.procs import lists

if TYPE_CHECKING:
    from pykvm.targets.freebsd.family import Family


class Dumper(NamedTuple):
    """A thread and its process, by their addresses; None: it is not to be found."""

    tid: int
    td: int | None = None
    proc: int | None = None


def find(target: Family, parts: Parts) -> Dumper | None:
    """Who it was; None: the kernel does not say. What runs on a CPU is looked at first: lists may be what the kernel
    died of."""
    symbol = parts.symbols.find("dumptid")
    tid = parts.memory.read_i32(symbol.value) if symbol is not None else 0
    if tid <= 0:
        return None
    read = Columns.of(target, parts)
    if read.field("thread", "td_tid") is None:
        return Dumper(tid)
    return _running(target, parts, read, tid) or _listed(parts, read, tid) or Dumper(tid)


def _place(read: Columns, threads: Sequence[int], tid: int) -> int | None:
    tids = read.member(threads, "thread", "td_tid", signed=True)
    return tids.index(tid) if tid in tids else None


def _running(target: Family, parts: Parts, read: Columns, tid: int) -> Dumper | None:
    try:
        member = target.types.struct("pcpu").offset("pc_curthread")
        threads = [parts.memory.read_ptr(at + member) for at in pcpu.addresses(target, parts).values()]
    except KvmError:
        return None
    place = _place(read, threads, tid)
    if place is None:
        return None
    (proc,) = read.member([threads[place]], "thread", "td_proc")
    return Dumper(tid, threads[place], proc or None)


def _listed(parts: Parts, read: Columns, tid: int) -> Dumper | None:
    try:
        procs = lists.processes(read, parts)
        groups = lists.threads(read, procs)
    except KvmError:
        return None
    rows = [(proc, td) for proc, group in zip(procs, groups, strict=True) for td in group]
    place = _place(read, [td for _, td in rows], tid)
    return None if place is None else Dumper(tid, rows[place][1], rows[place][0])
