"""What a process does: its flags, the LWP that stands for it, state, priorities, what it waits for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pykvm.records import text
from pykvm.targets.common.columns import Columns, Member
from pykvm.targets.netbsd.procs import numbers as n

if TYPE_CHECKING:
    from pykvm.targets.netbsd.procs.batch import Batch

MAXSLP = 20  # seconds after which ps(1) calls a sleeper idle
WMESG, NAME = 64, 20  # bytes of a wait message, and of an LWP's name
# The LWP that stands for its process: in the first of these states, with the most ticks of those (proc_active_lwp() of
# sys/kern/kern_proc.c), the first of the list.
BEST = (n.LSONPROC, n.LSRUN, n.LSSLEEP, n.LSSTOP, n.LSSUSPENDED, n.LSIDL, n.LSDEAD)

MEMBERS = {
    "realstat": Member("proc", "proc", ("p_stat",)),
    "nlwps": Member("proc", "proc", ("p_nlwps",), signed=True),
    "nrlwps": Member("proc", "proc", ("p_nrlwps",), signed=True),
    "l_stat": Member("lwp", "lwp", ("l_stat",), signed=True),
    "l_flag": Member("lwp", "lwp", ("l_flag",)),
    "l_prflag": Member("lwp", "lwp", ("l_prflag",)),
    "l_priority": Member("lwp", "lwp", ("l_priority",), signed=True),
    "l_kpriority": Member("lwp", "lwp", ("l_kpriority",), signed=True),
    "l_kpribase": Member("lwp", "lwp", ("l_kpribase",), signed=True),
    "l_inheritedprio": Member("lwp", "lwp", ("l_inheritedprio", "l_auxprio"), signed=True),
    "l_addr": Member("lwp", "lwp", ("l_addr",)),
    "swtime": Member("lwp", "lwp", ("l_swtime",)),
    "slptime": Member("lwp", "lwp", ("l_slptime",)),
    "l_pctcpu": Member("lwp", "lwp", ("l_pctcpu",)),
    "wchan_raw": Member("lwp", "lwp", ("l_wchan",)),
    "l_wmesg": Member("lwp", "lwp", ("l_wmesg",)),
    "l_cpu": Member("lwp", "lwp", ("l_cpu",)),
    "lid": Member("lwp", "lwp", ("l_lid",), signed=True),
    "l_name": Member("lwp", "lwp", ("l_name",)),
    "spc_flags": Member("l_cpu", "cpu_info", ("ci_data.cpu_schedstate.spc_flags", "ci_schedstate.spc_flags")),
}


def representatives(read: Columns, groups: Sequence[Sequence[int]], alive: Sequence[bool]) -> list[int | None]:
    """The LWP that stands for each process; None for one that is dead."""
    every = [lwp for group in groups for lwp in group]
    states = read.member(every, "lwp", "l_stat", signed=True)
    ticks = read.member(every, "lwp", "l_cpticks")
    rank = {state: len(BEST) - i for i, state in enumerate(BEST)}
    known = dict(zip(every, ((rank.get(s or 0, 0), t or 0) for s, t in zip(states, ticks, strict=True)), strict=True))
    return [
        max(group, key=lambda lwp: known[lwp]) if living and group else None
        for group, living in zip(groups, alive, strict=True)
    ]


def chosen(batch: Batch) -> dict[str, Sequence[Any]]:
    """The LWP of each."""
    alive = [stat != n.SZOMB for stat in batch["realstat"]]
    return {"lwp": representatives(batch.read, batch["lwps"], alive)}


def flags(batch: Batch) -> dict[str, Sequence[Any]]:
    """As sysctl(3) puts them together: `flags` with the LWP's, `real_flags` without."""
    read, proc = batch.read, batch["proc"]
    words = {name: read.member(proc, "proc", name) for name in n.SHOWN}
    real = [
        n.L_INMEM | sum((word or 0) & mask for word, mask in zip(row, n.SHOWN.values(), strict=True))
        for row in zip(*words.values(), strict=True)
    ]
    own = zip(real, batch["l_flag"], strict=True)
    return {
        "flags": [flag | ((more or 0) & n.LWP_SHOWN["l_flag"]) for flag, more in own],
        "real_flags": real,
        "p_flag": words["p_flag"],
    }


def lwp_flags(batch: Batch) -> list[int]:
    """l_flag as sysctl(3) shows it."""
    words = [batch[name] for name in n.LWP_SHOWN]
    return [
        sum((word or 0) & mask for word, mask in zip(row, n.LWP_SHOWN.values(), strict=True))
        for row in zip(*words, strict=True)
    ]


def states(batch: Batch) -> dict[str, Sequence[Any]]:
    """`state` is p_stat of a record (that of the LWP), `stat` ps(1)'s letter."""
    rows = zip(batch["realstat"], batch["l_stat"], batch["l_flag"], batch["slptime"], strict=True)
    found = [(None, None) if real is None else state_of(real, *row) for real, *row in rows]
    return {"state": [state for state, _ in found], "stat": [letter for _, letter in found]}


def state_of(real: int, state: int | None, flags: int | None, slept: int | None) -> tuple[int | None, str | None]:
    """(p_stat, ps(1)'s letter)."""
    if real == n.SZOMB:
        return n.LSZOMB, "Z"
    if real == n.SSTOP or state == n.LSSTOP:
        return state, "T"
    return state, letter(state, flags, slept)


def letter(state: int | None, flags: int | None, slept: int | None) -> str | None:
    """Of an LWP."""
    if state is None:
        return None
    if state in (n.LSZOMB, n.LSDEAD):
        return "Z"
    if state in (n.LSSTOP, n.LSSUSPENDED):
        return "T"
    if state == n.LSSLEEP:
        if not (flags or 0) & n.LW_SINTR:
            return "D"
        return "I" if (slept or 0) >= MAXSLP else "S"
    return "R"


def priorities(batch: Batch) -> dict[str, Sequence[Any]]:
    """lwp_eprio() of <sys/lwp.h>, and the user's own."""
    columns = ("l_priority", "l_kpriority", "l_kpribase", "l_inheritedprio", "l_flag")
    rows = zip(*(batch[name] for name in columns), strict=True)
    found: list[int | None] = []
    for own, kernel, base, inherited, flags in rows:
        if own is None:
            found.append(None)
            continue
        boosted = kernel and own < n.PRI_KERNEL and not (flags or 0) & n.LW_SYSTEM
        priority = (own >> 1) + (base or 0) if boosted else own
        found.append(max(inherited or -1, priority))
    return {"priority": found, "usrpri": batch["l_priority"]}


def waits(batch: Batch) -> dict[str, Sequence[Any]]:
    """Of who sleeps: its channel, and the message; when it is woken the message is left behind in its LWP."""
    channels = batch["wchan_raw"]
    where = [at if channel else None for at, channel in zip(batch["l_wmesg"], channels, strict=True)]
    raw = batch.read.texts(where, WMESG)
    return {
        "wchan": [channel or None for channel in channels],
        "raw_wmesg": raw,
        "wmesg": [None if not name else text(name) for name in raw],
    }


def names(batch: Batch) -> dict[str, Sequence[Any]]:
    """An LWP's own name, which most have none of."""
    raw = batch.read.texts([at or None for at in batch["l_name"]], NAME - 1)
    return {"raw_lname": raw}


def cpus(batch: Batch) -> dict[str, Sequence[Any]]:
    """The number of each LWP's CPU, in the order of the kernel's list of them; None where that cannot be seen."""
    read, parts = batch.read, batch.parts
    first = parts.symbols.loose("cpu_info_primary")
    order: dict[int, int] = {}
    if first is not None and read.field("cpu_info", "ci_next") is not None:
        at: int | None = first.value
        while at and at not in order and len(order) < 1024:
            order[at] = len(order)
            (at,) = read.member([at], "cpu_info", "ci_next")
    return {"cpuid": [order.get(cpu) if cpu else None for cpu in batch["l_cpu"]]}


def schedflags(batch: Batch) -> dict[str, Sequence[Any]]:
    """Those of the CPU that it runs on."""
    rows = zip(batch["l_stat"], batch["spc_flags"], strict=True)
    return {"schedflags": [flags if state == n.LSONPROC else 0 for state, flags in rows]}


MAKERS = {
    "lwp": chosen,
    "flags real_flags p_flag": flags,
    "state stat": states,
    "priority usrpri": priorities,
    "wchan raw_wmesg wmesg": waits,
    "raw_lname": names,
    "cpuid": cpus,
    "schedflags": schedflags,
}
