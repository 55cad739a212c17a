"""What a process has used: times, struct rusage, memory; and what it points at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pykvm.records import text
from pykvm.targets.bsd.usage import children_ns
from pykvm.targets.common import kinfo2
from pykvm.targets.common.columns import Columns, Member
from pykvm.targets.netbsd.procs.numbers import SZOMB

if TYPE_CHECKING:
    from pykvm.targets.netbsd.procs.batch import Batch

NANO = 10**9
EMUL = 15  # bytes of an emulation's name

MEMBERS = {
    "fd": Member("proc", "proc", ("p_fd",)),
    "cwdi": Member("proc", "proc", ("p_cwdi",)),
    "stats": Member("proc", "proc", ("p_stats",)),
    "limit": Member("proc", "proc", ("p_limit",)),
    "vmspace": Member("proc", "proc", ("p_vmspace",)),
    "sigacts": Member("proc", "proc", ("p_sigacts",)),
    "tracep": Member("proc", "proc", ("p_tracep",)),
    "traceflag": Member("proc", "proc", ("p_traceflag",)),
    "p_pctcpu": Member("proc", "proc", ("p_pctcpu",)),
    "l_cpticks": Member("lwp", "lwp", ("l_cpticks",)),
    "uticks": Member("proc", "proc", ("p_uticks",)),
    "sticks": Member("proc", "proc", ("p_sticks",)),
    "iticks": Member("proc", "proc", ("p_iticks",)),
    "emul": Member("proc", "proc", ("p_emul",)),
    "e_name": Member("emul", "emul", ("e_name",)),
    "start_sec": Member("stats", "pstats", ("p_start.tv_sec",), signed=True),
    "start_usec": Member("stats", "pstats", ("p_start.tv_usec",), signed=True),
    "tsize": Member("vmspace", "vmspace", ("vm_tsize",), signed=True),
    "dsize": Member("vmspace", "vmspace", ("vm_dsize",), signed=True),
    "ssize": Member("vmspace", "vmspace", ("vm_ssize",), signed=True),
    "issize": Member("vmspace", "vmspace", ("vm_issize",), signed=True),
    "resident": Member("pmap", "pmap", ("pm_stats.resident_count",), signed=True),
}


def _at(read: Columns, addrs: Sequence[int | None], name: str, member: str) -> list[int | None]:
    """The addresses of a structure within others."""
    offset = read.offset(name, member)
    return [None if not at else at + offset & read.pointer_mask for at in addrs]


def maps(batch: Batch) -> dict[str, Sequence[Any]]:
    """The pmap and the size of each map."""
    read = batch.read
    at = _at(read, batch["vmspace"], "vmspace", "vm_map")
    return {"pmap": read.member(at, "vm_map", "pmap"), "map_size": read.member(at, "vm_map", "size")}


def sizes(batch: Batch) -> dict[str, Sequence[Any]]:
    """Pages: what is mapped, without the part of the stack that was not used yet, and what is in memory. A zombie has
    given its memory back."""
    page = batch.target.page_size
    dead = [stat == SZOMB for stat in batch["realstat"]]
    pages = [None if size is None else size // page for size in batch["map_size"]]
    rows = zip(pages, batch["issize"], batch["ssize"], strict=True)
    used = [None if None in row else row[0] - row[1] + row[2] for row in rows]
    found = {"vsize": pages, "msize": used, "rss": batch["resident"]}
    found |= {f"{name}_shown": batch[name] for name in ("tsize", "dsize", "ssize")}
    return {
        name: [0 if gone else value for gone, value in zip(dead, column, strict=True)] for name, column in found.items()
    }


def rssize(batch: Batch) -> dict[str, Sequence[Any]]:
    """Bytes."""
    page = batch.target.page_size
    return {"rssize": [None if pages is None else pages * page for pages in batch["rss"]]}


def times(batch: Batch) -> dict[str, Sequence[Any]]:
    """calcru() of sys/kern/kern_resource.c: the run time of a process and its LWPs, divided as the clock's ticks are;
    without ticks, half and half. What a CPU is about to add for who runs on it is not in memory."""
    read = batch.read
    every = [lwp for group in batch["lwps"] for lwp in group]
    own = _bintime(read, batch["proc"], "proc", "p_rtime")
    more = iter(_bintime(read, every, "lwp", "l_rtime"))
    ticks = zip(batch["uticks"], batch["sticks"], batch["iticks"], strict=True)
    run: list[int | None] = []
    user: list[int | None] = []
    system: list[int | None] = []
    for mine, group, (ut, st, it), stat in zip(own, batch["lwps"], ticks, batch["realstat"], strict=True):
        parts = [mine, *(next(more) for _ in group)]
        if stat == SZOMB:
            parts = [0]
        if None in parts or None in (ut, st, it):
            for column in (run, user, system):
                column.append(None)
            continue
        total = sum(parts) // 1000  # type: ignore[arg-type]
        all_ticks = ut + st + it
        run.append(total * 1000)
        user.append((total // 2 if not all_ticks else total * ut // all_ticks) * 1000)
        system.append((total // 2 if not all_ticks else total * st // all_ticks) * 1000)
    return {"rtime_ns": run, "utime_ns": user, "stime_ns": system}


def recent(batch: Batch) -> dict[str, Sequence[Any]]:
    """The share of the CPU, with that of LWPs that have ended; ticks and the estimate of the LWPs that there are."""
    every = [lwp for group in batch["lwps"] for lwp in group]

    def sums(name: str) -> list[int]:
        each = iter(batch.read.member(every, "lwp", name))
        return [sum(next(each) or 0 for _ in group) for group in batch["lwps"]]

    dead = [stat == SZOMB for stat in batch["realstat"]]
    return {
        "pctcpu": [(own or 0) + more for own, more in zip(batch["p_pctcpu"], sums("l_pctcpu"), strict=True)],
        "estcpu": [0 if gone else total for gone, total in zip(dead, sums("l_estcpu"), strict=True)],
        "cpticks": [0 if gone else total for gone, total in zip(dead, sums("l_cpticks"), strict=True)],
    }


def lwp_times(batch: Batch) -> dict[str, Sequence[Any]]:
    """Of the LWP alone."""
    return {"l_rtime_ns": _bintime(batch.read, batch["lwp"], "lwp", "l_rtime")}


def _bintime(read: Columns, addrs: Sequence[int | None], name: str, member: str) -> list[int | None]:
    seconds = read.member(addrs, name, f"{member}.sec", signed=True)
    fractions = read.member(addrs, name, f"{member}.frac")
    rows = zip(seconds, fractions, strict=True)
    return [None if s is None or f is None else s * NANO + (f * NANO >> 64) for s, f in rows]


def started(batch: Batch) -> dict[str, Sequence[Any]]:
    """When it began; a zombie's record does not say."""
    rows = zip(batch["start_sec"], batch["start_usec"], batch["realstat"], strict=True)
    found = [None if s is None or u is None or stat == SZOMB else s * NANO + u * 1000 for s, u, stat in rows]
    return {"start_ns": found, "start_time": [None if t is None else t / NANO for t in found]}


def seconds(batch: Batch) -> dict[str, Sequence[Any]]:
    """Processor time in seconds."""
    return {f"{name}": [None if t is None else t / NANO for t in batch[f"{name}_ns"]] for name in ("utime", "stime")}


def rusage(batch: Batch) -> dict[str, Sequence[Any]]:
    """The process's numbers and its LWPs', and what switches they count themselves; of children only the times."""
    read = batch.read
    every = [lwp for group in batch["lwps"] for lwp in group]
    at = _at(read, batch["stats"], "pstats", "p_ru")
    theirs = _at(read, every, "lwp", "l_ru")
    found: dict[str, Sequence[Any]] = {}
    switches = read.member(every, "lwp", "l_ncsw")
    forced = read.member(every, "lwp", "l_nivcsw")
    added = {
        "ru_nvcsw": [(all_ or 0) - (f or 0) for all_, f in zip(switches, forced, strict=True)],
        "ru_nivcsw": [f or 0 for f in forced],
    }
    dead = [stat == SZOMB for stat in batch["realstat"]]
    for name in kinfo2.RUSAGE:
        own = read.member(at, "rusage", name, signed=True)
        lwps = read.member(theirs, "rusage", name, signed=True)
        more = added.get(name, [0] * len(every))
        each = iter([(a or 0) + b for a, b in zip(lwps, more, strict=True)])
        join = max if name == "ru_maxrss" else sum
        sums = [join([mine or 0, *(next(each) for _ in group)]) for mine, group in zip(own, batch["lwps"], strict=True)]
        found[name] = [0 if gone else value for gone, value in zip(dead, sums, strict=True)]
    children = _at(read, batch["stats"], "pstats", "p_cru")
    found["ctime_ns"] = children_ns(read, children, dead)
    return found


def emulation(batch: Batch) -> dict[str, Sequence[Any]]:
    """The ABI's name."""
    raw = batch.read.texts(batch["e_name"], EMUL)
    return {"raw_ename": raw, "ename": [None if not name else text(name) for name in raw]}


MAKERS = {
    "pmap map_size": maps,
    "vsize msize rss tsize_shown dsize_shown ssize_shown": sizes,
    "rssize": rssize,
    "rtime_ns utime_ns stime_ns": times,
    "pctcpu estcpu cpticks": recent,
    "l_rtime_ns": lwp_times,
    "start_ns start_time": started,
    "utime stime": seconds,
    " ".join([*kinfo2.RUSAGE, "ctime_ns"]): rusage,
    "raw_ename ename": emulation,
}
