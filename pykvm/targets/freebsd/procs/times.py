"""Times of processes, and what they have used.

Sources: rufetch(), calcru() of sys/kern/kern_resource.c; fill_kinfo_proc_only() of sys/kern/kern_proc.c; sched_pctcpu()
of sched_ule.c and sched_4bsd.c. Columns hold microseconds.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from pykvm.errors import FormatError, KvmError
from pykvm.targets.common.columns import Column, Columns, Member
from pykvm.targets.freebsd import clock
from pykvm.targets.freebsd.procs.numbers import TDS_RUNNING
from pykvm.types.decode import CODES

if TYPE_CHECKING:
    from pykvm.targets.freebsd.procs.batch import Batch

MICRO = 10**6
TICKS = ("uticks", "sticks", "iticks")
EXT = ("rux_runtime", *(f"rux_{name}" for name in TICKS), "rux_uu", "rux_su", "rux_tu")
# Of struct rusage, but for the times: ru_maxrss is the largest, the others are sums.
COUNTS = (
    "ru_maxrss", "ru_ixrss", "ru_idrss", "ru_isrss", "ru_minflt", "ru_majflt", "ru_nswap", "ru_inblock", "ru_oublock",
    "ru_msgsnd", "ru_msgrcv", "ru_nsignals", "ru_nvcsw", "ru_nivcsw",
)  # fmt: skip
SCHED_TICK_SHIFT = 10
SCHED_TICK_SECS = 10
FSHIFT = 11

MEMBERS = {
    "stats": Member("proc", "proc", ("p_stats",)),
    "swtick": Member("proc", "proc", ("p_swtick",)),
    "slptick": Member("td", "thread", ("td_slptick",), signed=True),
}

T = TypeVar("T")
Row = tuple[int, ...]


def integers(read: Columns, addrs: Column, name: str, paths: Sequence[str]) -> list[Row | None]:
    """Several numbers of the structure at each address; None where one of them is not there."""
    columns: list[Any] = [read.member(addrs, name, path) for path in paths]
    return [None if None in row else row for row in zip(*columns, strict=True)]


def sums(rows: Sequence[Row | None], groups: Sequence[Sequence[int]], own: Sequence[Row | None]) -> list[Row | None]:
    """Each process's own numbers and those of its threads, added up."""
    found: list[Row | None] = []
    at = 0
    for group, row in zip(groups, own, strict=True):
        parts: list[Any] = [row, *rows[at : at + len(group)]]
        at += len(group)
        found.append(None if None in parts else tuple(map(sum, zip(*parts, strict=True))))
    return found


def all_threads(batch: Batch) -> list[int]:
    """The threads of all processes, one process after another."""
    return [td for group in batch["tds"] for td in group]


def run_times(batch: Batch) -> dict[str, Sequence[Any]]:
    """struct rusage_ext of each process, with what its threads have not handed in yet."""
    read = batch.read
    own = integers(read, batch["proc"], "proc", [f"p_rux.{name}" for name in EXT])
    late = integers(read, all_threads(batch), "thread", ["td_incruntime", *(f"td_{name}" for name in TICKS)])
    rest = [None if row is None else (*row, 0, 0, 0) for row in late]
    return {"rux": sums(rest, batch["tds"], own)}


def told(batch: Batch, read: Callable[[], T]) -> T | None:
    """What the kernel's clocks say; None where they cannot be read."""
    try:
        return read()
    except KvmError:
        if batch.parts.memory.unreadable is not None:  # closed
            raise
        return None


def conversion(batch: Batch) -> clock.Usec | None:
    """From the units of run times to microseconds."""
    return told(batch, lambda: clock.ticks_to_usec(batch.target, batch.parts))


def divided(row: Row | None, usec: clock.Usec | None) -> tuple[int | None, int | None]:
    """(user, system) microseconds: the run time in the proportion of the statistics clock's ticks, never going back
    behind what was said before (calcru1())."""
    if row is None or usec is None:
        return None, None
    runtime, uticks, sticks, iticks, uu, su, tu = row
    total = uticks + sticks + iticks
    if total == 0:
        sticks = total = 1
    now = usec(runtime)
    user, system = uticks * now // total, sticks * now // total
    if now >= tu:
        return max(user, uu), max(system, su)
    if now + 3 > tu or 101 * now > 100 * tu:
        return uu, su
    return user, system


def used(batch: Batch) -> dict[str, Sequence[Any]]:
    """Run time, and its two parts."""
    usec = conversion(batch)
    rows = batch["rux"]
    pairs = [divided(row, usec) for row in rows]
    return {
        "runtime": [None if row is None or usec is None else usec(row[0]) for row in rows],
        "utime_us": [user for user, _ in pairs],
        "stime_us": [system for _, system in pairs],
    }


def children(batch: Batch) -> dict[str, Sequence[Any]]:
    """Times of the children that were waited for."""
    usec = conversion(batch)
    rows = integers(batch.read, batch["proc"], "proc", [f"p_crux.{name}" for name in EXT])
    pairs = [divided(row, usec) for row in rows]
    return {"cutime_us": [user for user, _ in pairs], "cstime_us": [system for _, system in pairs]}


def counts(batch: Batch) -> dict[str, Sequence[Any]]:
    """The counts of struct rusage, in COUNTS' order: the process's own and its threads'."""
    read, groups = batch.read, batch["tds"]
    own = integers(read, batch["proc"], "proc", [f"p_ru.{name}" for name in COUNTS])
    rows = integers(read, all_threads(batch), "thread", [f"td_ru.{name}" for name in COUNTS])
    added = sums(rows, groups, own)
    at = 0
    for i, (group, row) in enumerate(zip(groups, added, strict=True)):
        if row is not None:
            largest = max(r[0] for r in [own[i], *rows[at : at + len(group)]] if r is not None)
            added[i] = (largest, *row[1:])
        at += len(group)
    return {"counts": added}


def timevals(read: Columns, addrs: Column, name: str, path: str) -> list[tuple[int, int] | None]:
    """A struct timeval of each."""
    field = read.field(name, path)
    if field is None:
        return [None] * len(addrs)
    seconds = field.size // 2  # a time_t and a long, which are of one size or padded to it
    if seconds not in CODES or seconds < 4:
        raise FormatError(f"struct {name}: {path} has {field.size} bytes, which is no struct timeval")
    wide = seconds > read.pointer_size  # time_t of 64 bits with a long of 32: padding behind it
    one = struct.Struct(f"{read.order}{'qi4x' if wide else 'qq' if seconds == 8 else 'ii'}")
    return [None if raw is None else one.unpack(raw) for raw in read.blocks(addrs, field.offset, field.size)]


def start(batch: Batch) -> dict[str, Sequence[Any]]:
    """When the process began: (seconds, microseconds) since 1970."""
    boot = told(batch, lambda: clock.boot(batch.target, batch.parts))
    found: list[tuple[int, int] | None] = []
    for at in timevals(batch.read, batch["stats"], "pstats", "p_start"):
        if at is None or boot is None:
            found.append(None)
        else:
            carry, micro = divmod(at[1] + boot[1], MICRO)
            found.append((at[0] + boot[0] + carry, micro))
    return {"start": found}


def cow(batch: Batch) -> dict[str, Sequence[Any]]:
    """Copy-on-write faults."""
    own: list[Row | None] = [(0,)] * len(batch)
    rows = sums(integers(batch.read, all_threads(batch), "thread", ["td_cow"]), batch["tds"], own)
    return {"cow": [None if row is None else row[0] for row in rows]}


def pctcpu(batch: Batch) -> dict[str, Sequence[Any]]:
    """Share of a processor in the last ten seconds, as a fixpt_t."""
    shares: Sequence[int | None] = shares_of(batch, all_threads(batch))
    own: list[Row | None] = [(0,)] * len(batch)
    rows = sums([None if s is None else (s,) for s in shares], batch["tds"], own)
    return {"pctcpu": [None if row is None else row[0] for row in rows]}


def shares_of(batch: Batch, threads: Sequence[int]) -> Sequence[int | None]:
    """The same of threads: from struct td_sched, which is behind struct thread, or where td_sched points (up to 11)."""
    read = batch.read
    if read.layout("td_sched") is None or read.layout("thread") is None:
        return [None] * len(threads)
    if read.field("thread", "td_sched") is not None:
        places: Column = read.member(threads, "thread", "td_sched")
    else:
        size = read.types.struct("thread").size
        places = [td + size for td in threads]
    if read.field("td_sched", "ts_pctcpu") is not None:  # 4BSD
        return read.member(places, "td_sched", "ts_pctcpu")
    names = ("ts_ticks", "ts_ltick", "ts_ftick")
    columns = [read.member(places, "td_sched", name, signed=True) for name in names]
    now = told(batch, lambda: clock.counter(batch.parts))
    if now is None:
        return [None] * len(threads)
    states = read.member(threads, "thread", "td_state")
    return [_share(count, last, first, state, *now) for count, last, first, state in zip(*columns, states, strict=True)]


def _share(
    count: int | None, last: int | None, first: int | None, state: int | None, ticks: int, hz: int
) -> int | None:
    """sched_pctcpu() of ULE, brought up to the moment of the dump."""
    if count is None or last is None or first is None:
        return None
    window = SCHED_TICK_SECS * hz
    idle, length = distance(last, ticks), distance(first, last)
    if not 0 <= idle < window:
        count = 0
    elif distance(first, ticks) >= window + hz and length:
        count = int(count / length) * (window - idle)
    if state == TDS_RUNNING:
        count += idle << SCHED_TICK_SHIFT
    rate = max(0, min((count >> SCHED_TICK_SHIFT) // SCHED_TICK_SECS, hz))
    return ((1 << FSHIFT) * ((1 << FSHIFT) * rate // hz)) >> FSHIFT


def distance(start: int, end: int) -> int:
    """Ticks from one to the other: they wrap around, some minutes after the kernel started already."""
    return ((end - start + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)


def since(batch: Batch) -> dict[str, Sequence[Any]]:
    """Seconds that the thread has slept, and since the process was swapped in or out."""
    now = told(batch, lambda: clock.counter(batch.parts))
    if now is None:
        nothing = [None] * len(batch)
        return {"slptime": nothing, "swtime": nothing}
    ticks, hz = now
    return {
        "slptime": slept(batch["slptick"], ticks, hz),
        "swtime": [None if s is None else (ticks - s & 0xFFFFFFFF) // hz for s in batch["swtick"]],
    }


def slept(column: Column, ticks: int, hz: int) -> list[int | None]:
    """Whole seconds from a tick to now."""
    found: list[int | None] = []
    for tick in column:
        found.append(None if tick is None else int(distance(tick, ticks) / hz))
    return found


def seconds(column: Column) -> list[float | None]:
    """Microseconds as seconds."""
    return [None if t is None else t / MICRO for t in column]


MAKERS = {
    "rux": run_times,
    "runtime utime_us stime_us": used,
    "cutime_us cstime_us": children,
    "counts": counts,
    "start": start,
    "cow": cow,
    "pctcpu": pctcpu,
    "slptime swtime": since,
    "utime": lambda batch: {"utime": seconds(batch["utime_us"])},
    "stime": lambda batch: {"stime": seconds(batch["stime_us"])},
    "start_time": lambda batch: {"start_time": [None if t is None else t[0] + t[1] / MICRO for t in batch["start"]]},
}
