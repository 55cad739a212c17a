"""What a process has used: times, struct rusage, memory; and what it points at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pykvm.targets.bsd.usage import children_ns
from pykvm.targets.bsd.variables import number
from pykvm.targets.common import kinfo2
from pykvm.targets.common.columns import Columns, Member
from pykvm.targets.openbsd.procs.numbers import PS_ZOMBIE, RLIMIT_RSS

if TYPE_CHECKING:
    from pykvm.targets.openbsd.procs.batch import Batch

NANO = 10**9
EPOCH = 10**9  # seconds: no system has been up for so long, and none of these ran before 2001

MEMBERS = {
    "fd": Member("process", "process", ("ps_fd",)),
    "limit": Member("process", "process", ("ps_limit",)),
    "vmspace_raw": Member("process", "process", ("ps_vmspace",)),
    "tracevp": Member("process", "process", ("ps_tracevp",)),
    "traceflag": Member("process", "process", ("ps_traceflag",)),
    "ps_ru": Member("process", "process", ("ps_ru",)),
    "start_sec": Member("process", "process", ("ps_start.tv_sec",), signed=True),
    "start_nsec": Member("process", "process", ("ps_start.tv_nsec",), signed=True),
    "tsize": Member("vmspace", "vmspace", ("vm_tsize",), signed=True),
    "dsize": Member("vmspace", "vmspace", ("vm_dused", "vm_dsize"), signed=True),
    "ssize": Member("vmspace", "vmspace", ("vm_ssize",), signed=True),
    "rss": Member("pmap", "pmap", ("pm_stats.resident_count",), signed=True),
}


def _at(read: Columns, addrs: Sequence[int | None], name: str, member: str) -> list[int | None]:
    """The addresses of a structure within others."""
    field = read.field(name, member)
    return [None if not at or field is None else at + field.offset & read.pointer_mask for at in addrs]


def dead(batch: Batch) -> dict[str, Sequence[Any]]:
    """Zombies; they have given their memory back."""
    gone = [bool((flags or 0) & PS_ZOMBIE) for flags in batch["psflags"]]
    return {"dead": gone, "vmspace": [0 if d else at for d, at in zip(gone, batch["vmspace_raw"], strict=True)]}


def maps(batch: Batch) -> dict[str, Sequence[Any]]:
    """The pmap of each map."""
    at = _at(batch.read, batch["vmspace"], "vmspace", "vm_map")
    return {"pmap": batch.read.member(at, "vm_map", "pmap")}


def rssize(batch: Batch) -> dict[str, Sequence[Any]]:
    """Bytes."""
    page = batch.target.page_size
    rows = zip(batch["rss"], batch["dead"], strict=True)
    return {"rssize": [0 if gone else None if pages is None else pages * page for pages, gone in rows]}


def lockless(read: Columns) -> bool:
    """Whether threads count for themselves and a process has what those counted that are gone (7.6 or so, when struct
    tusage got a generation, and later a lock); before, it was added up at each switch."""
    return read.field("tusage", "tu_gen", "tu_pcl") is not None


def used(batch: Batch, *paths: str, signed: bool = False) -> list[int | None]:
    """A member of struct tusage, as tuagg_get_process() adds it up."""
    read = batch.read
    own = list(read.member(_at(read, *batch.used_by), "tusage", *paths, signed=signed))
    if not batch.of_processes or not lockless(read):
        return own
    threads = _at(read, [thread for group in batch["tds"] for thread in group], "proc", "p_tu")
    each = iter(read.member(threads, "tusage", *paths, signed=signed))
    sums = [sum(next(each) or 0 for _ in group) for group in batch["tds"]]
    return [None if value is None else value + more for value, more in zip(own, sums, strict=True)]


def times(batch: Batch) -> dict[str, Sequence[Any]]:
    """The run time, and the ticks of the statistics clock as time: so the running kernel tells user and system time."""
    seconds = used(batch, "tu_runtime.tv_sec", signed=True)
    nano = used(batch, "tu_runtime.tv_nsec", signed=True)
    names = ("uticks", "sticks", "iticks")  # since 7.8 or so, in an array
    ticks = {name: used(batch, f"tu_{name}", f"tu_ticks[{i}]") for i, name in enumerate(names)}
    rate = number(batch.parts, "stathz", 4) or number(batch.parts, "hz", 4) or 100
    gone = batch["dead"]

    def shown(column: Sequence[Any]) -> list[Any]:
        return [0 if d else value for d, value in zip(gone, column, strict=True)]

    run = [None if s is None or n is None else s * NANO + n for s, n in zip(seconds, nano, strict=True)]
    found: dict[str, Sequence[Any]] = {name: shown(column) for name, column in ticks.items()}
    found["rtime_ns"] = shown(run)
    for name, column in (("utime", ticks["uticks"]), ("stime", ticks["sticks"])):
        found[f"{name}_ns"] = shown([None if t is None else t * NANO // rate for t in column])
        found[name] = [None if t is None else t / NANO for t in found[f"{name}_ns"]]
    return found


def started(batch: Batch) -> dict[str, Sequence[Any]]:
    """When it began: the kernel keeps the uptime then."""
    boot = batch.target.boot_ns(batch.parts)
    rows = zip(batch["start_sec"], batch["start_nsec"], batch["dead"], strict=True)
    # Up to 6.1 or so it is the time of day already.
    found = [
        None if boot is None or s is None or n is None or d else (boot if s < EPOCH else 0) + s * NANO + n
        for s, n, d in rows
    ]
    return {"start_ns": found, "start_time": [None if t is None else t / NANO for t in found]}


def rusage(batch: Batch) -> dict[str, Sequence[Any]]:
    """The thread's numbers; of children only the times."""
    read, gone = batch.read, batch["dead"]
    at = _at(read, batch["proc"], "proc", "p_ru")
    found: dict[str, Sequence[Any]] = {}
    for name in kinfo2.RUSAGE:
        column = read.member(at, "rusage", name, signed=True)
        found[name] = [0 if d else value for d, value in zip(gone, column, strict=True)]
    children = _at(read, batch["process"], "process", "ps_cru")
    found["ctime_ns"] = children_ns(read, children, gone)
    return found


def limits(batch: Batch) -> dict[str, Sequence[Any]]:
    """How much memory it may have: rlim_cur of a struct rlimit, two words of 64 bits."""
    read = batch.read
    field = read.field("plimit", "pl_rlimit")
    offset = 0 if field is None else field.offset + 16 * RLIMIT_RSS
    return {"rlim_rss": [None] * len(batch) if field is None else read.ints(batch["limit"], offset, 8)}


MAKERS = {
    "dead vmspace": dead,
    "pmap": maps,
    "rssize": rssize,
    "uticks sticks iticks rtime_ns utime_ns stime_ns utime stime": times,
    "start_ns start_time": started,
    " ".join([*kinfo2.RUSAGE, "ctime_ns"]): rusage,
    "rlim_rss": limits,
}
