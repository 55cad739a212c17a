"""Times, and what processes have used.

Sources: fill_kinfo_proc(), fill_kinfo_lwp() of sys/kern/kern_kinfo.c; calcru_proc() of sys/kern/kern_resource.c: what
lwps have not handed in yet is counted, in microseconds, in their threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pykvm.targets.common.columns import Member

if TYPE_CHECKING:
    from pykvm.targets.dragonfly.procs.batch import Batch

MICRO = 10**6
TIMES = ("ru_utime.tv_sec", "ru_utime.tv_usec", "ru_stime.tv_sec", "ru_stime.tv_usec")
COUNTS = (
    "ru_maxrss", "ru_ixrss", "ru_idrss", "ru_isrss", "ru_minflt", "ru_majflt", "ru_nswap", "ru_inblock", "ru_oublock",
    "ru_msgsnd", "ru_msgrcv", "ru_nsignals", "ru_nvcsw", "ru_nivcsw",
)  # fmt: skip
RUSAGE = TIMES + COUNTS
TICKS = ("td_uticks", "td_sticks", "td_iticks")
ESTIMATES = ("lwp_cpticks", "lwp_pctcpu", "lwp_slptime")

MEMBERS = {
    "start_sec": Member("proc", "proc", ("p_start.tv_sec",), signed=True),
    "start_usec": Member("proc", "proc", ("p_start.tv_usec",), signed=True),
}

Row = tuple[int, ...]


def integers(
    batch: Batch, addrs: Sequence[int | None], name: str, paths: Sequence[str], signed: bool = False
) -> list[Row | None]:
    """Several numbers of the structure at each address; None where one of them is not there."""
    columns: list[Any] = [batch.read.member(addrs, name, path, signed=signed) for path in paths]
    return [None if None in row else row for row in zip(*columns, strict=True)]


def ticks(batch: Batch) -> dict[str, Sequence[Any]]:
    """The three kinds of run time of the lwps that the row sums up, or of the kernel's thread; the same of all."""
    return {"ticks": _ticks(batch, "lwps"), "all_ticks": _ticks(batch, "every")}


def _ticks(batch: Batch, groups: str) -> list[Row | None]:
    read = batch.read
    flat = [lwp for group in batch[groups] for lwp in group]
    rows = iter(integers(batch, read.member(flat, "lwp", "lwp_thread"), "thread", TICKS))
    own = integers(batch, batch["td"], "thread", TICKS)
    return [
        _sum([next(rows) for _ in group], len(TICKS)) if proc else row
        for proc, group, row in zip(batch["proc"], batch[groups], own, strict=True)
    ]


def _sum(rows: Sequence[Row | None], width: int) -> Row | None:
    if None in rows:
        return None
    return tuple(map(sum, zip(*rows, strict=True))) if rows else (0,) * width


def estimates(batch: Batch) -> dict[str, Sequence[Any]]:
    """cpticks, pctcpu, slptime and estcpu of the lwps that the row sums up."""
    flat = [lwp for group in batch["lwps"] for lwp in group]
    rows = iter(integers(batch, flat, "lwp", ESTIMATES))
    est = iter(integers(batch, flat, "lwp", ("lwp_usdata.bsd4.estcpu",), signed=True))
    found: list[Row | None] = []
    estcpu: list[int | None] = []
    for group in batch["lwps"]:
        found.append(_sum([next(rows) for _ in group], len(ESTIMATES)))
        added = _sum([next(est) for _ in group], 1)
        estcpu.append(None if added is None else added[0])
    return {"estimates": found, "estcpu": estcpu}


def rusages(batch: Batch) -> dict[str, Sequence[Any]]:
    """struct rusage of the process, of its children that were waited for, and of the lwps that the row sums up."""
    flat = [lwp for group in batch["lwps"] for lwp in group]
    rows = iter(integers(batch, flat, "lwp", [f"lwp_ru.{name}" for name in RUSAGE], signed=True))
    return {
        "ru": integers(batch, batch["proc"], "proc", [f"p_ru.{name}" for name in RUSAGE], signed=True),
        "cru": integers(batch, batch["proc"], "proc", [f"p_cru.{name}" for name in RUSAGE], signed=True),
        "lwp_ru": [added([next(rows) for _ in group]) for group in batch["lwps"]],
    }


def added(rows: Sequence[Row | None]) -> Row | None:
    """ruadd(): ru_maxrss is the largest, the others are sums."""
    if not rows or None in rows:
        return None
    columns: list[Row] = list(zip(*rows, strict=True))
    added = [sum(column) for column in columns]
    added[RUSAGE.index("ru_maxrss")] = max(columns[RUSAGE.index("ru_maxrss")])
    for sec, usec in ((0, 1), (2, 3)):
        carry, added[usec] = divmod(added[usec], MICRO)
        added[sec] += carry
    return tuple(added)


def used(batch: Batch) -> dict[str, Sequence[Any]]:
    """User and system time in microseconds, as ps(1) counts it: without that of interrupts. A single lwp has its own
    only."""
    utime: list[int | None] = []
    stime: list[int | None] = []
    for single, row, ru in zip(batch["single"], batch["all_ticks"], batch["ru"], strict=True):
        before = (0,) * len(TIMES) if single else ru
        known = row is not None and before is not None
        utime.append(before[0] * MICRO + before[1] + row[0] if known else None)
        stime.append(before[2] * MICRO + before[3] + row[1] if known else None)
    return {"utime_us": utime, "stime_us": stime}


def seconds(batch: Batch) -> dict[str, Sequence[Any]]:
    """The same in seconds."""
    return {name: [None if t is None else t / MICRO for t in batch[f"{name}_us"]] for name in ("utime", "stime")}


def start(batch: Batch) -> dict[str, Sequence[Any]]:
    """When the process began, in seconds since 1970."""
    rows = zip(batch["start_sec"], batch["start_usec"], strict=True)
    return {"start_time": [None if s is None or u is None else s + u / MICRO for s, u in rows]}


MAKERS = {
    "ticks all_ticks": ticks,
    "estimates estcpu": estimates,
    "ru cru lwp_ru": rusages,
    "utime_us stime_us": used,
    "utime stime": seconds,
    "start_time": start,
}
