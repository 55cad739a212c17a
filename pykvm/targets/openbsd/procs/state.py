"""What a process does: its threads' states, flags and priorities, what they wait for, signals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pykvm.records import text
from pykvm.targets.common.columns import Member
from pykvm.targets.openbsd.procs import numbers as n
from pykvm.targets.openbsd.procs import usage
from pykvm.targets.openbsd.procs.ids import texts

if TYPE_CHECKING:
    from pykvm.targets.openbsd.procs.batch import Batch

MAXSLP = 20  # seconds after which ps(1) calls a sleeper idle
WMESG = 64  # bytes of a wait message
# The state of a process is the first of these that one of its threads is in (fill_kproc() of kern_sysctl.c).
BEST = (n.SONPROC, n.SRUN, n.SSTOP, n.SSLEEP)

MEMBERS = {
    "flags": Member("proc", "proc", ("p_flag",)),
    "p_stat": Member("proc", "proc", ("p_stat",)),
    "runpri": Member("proc", "proc", ("p_runpri", "p_priority")),
    "slppri": Member("proc", "proc", ("p_slppri", "p_priority")),
    "usrpri": Member("proc", "proc", ("p_usrpri",)),
    "addr": Member("proc", "proc", ("p_addr",)),
    "slptime": Member("proc", "proc", ("p_slptime",)),
    "cpticks": Member("proc", "proc", ("p_cpticks",)),
    "p_pctcpu": Member("proc", "proc", ("p_pctcpu",)),
    "estcpu": Member("proc", "proc", ("p_estcpu",)),
    "wchan_raw": Member("proc", "proc", ("p_wchan",)),
    "p_wmesg": Member("proc", "proc", ("p_wmesg",)),
    "p_siglist": Member("proc", "proc", ("p_siglist",)),
    "sigmask": Member("proc", "proc", ("p_sigmask",)),
    "p_tid": Member("proc", "proc", ("p_tid",), signed=True),
    "ps_siglist": Member("process", "process", ("ps_siglist",)),
    "sigacts": Member("process", "process", ("ps_sigacts",)),
    "sigignore": Member("sigacts", "sigacts", ("ps_sigignore",)),
    "sigcatch": Member("sigacts", "sigacts", ("ps_sigcatch",)),
}


def states(batch: Batch) -> dict[str, Sequence[Any]]:
    """`state` is p_stat of a record, `stat` ps(1)'s letter."""
    every = [thread for group in batch["tds"] for thread in group]
    each = iter(batch.read.member(every, "proc", "p_stat"))
    found: list[int | None] = []
    for group, flags in zip(batch["tds"], batch["psflags"], strict=True):
        of_threads = [next(each) for _ in group]
        best = next((state for state in BEST if state in of_threads), n.SIDL if of_threads else None)
        found.append(n.SDEAD if (flags or 0) & n.PS_ZOMBIE else best)
    return {"state": found, "stat": letters(batch, found)}


def letters(batch: Batch, found: Sequence[int | None]) -> list[str | None]:
    """ps(1)'s letters for states."""
    return [letter(*row) for row in zip(found, batch["flags"], batch["slptime"], strict=True)]


def letter(state: int | None, flags: int | None, slept: int | None) -> str | None:
    """ps(1)'s letter."""
    if state is None:
        return None
    if state in (n.SZOMB, n.SDEAD):
        return "Z"
    if state == n.SSTOP:
        return "T"
    if state == n.SSLEEP:
        if not (flags or 0) & n.P_SINTR:
            return "D"
        return "I" if (slept or 0) >= MAXSLP else "S"
    return "R"


def priorities(batch: Batch) -> dict[str, Sequence[Any]]:
    """Of who sleeps that which it will be woken with, of who waits for a CPU that of its queue."""
    rows = zip(batch["p_stat"], batch["slppri"], batch["runpri"], batch["usrpri"], strict=True)
    return {"priority": [{n.SSLEEP: slp, n.SRUN: run}.get(stat or 0, usr) for stat, slp, run, usr in rows]}


def share(batch: Batch) -> dict[str, Sequence[Any]]:
    """The share of the CPU of all threads."""
    each = iter(batch.read.member([thread for group in batch["tds"] for thread in group], "proc", "p_pctcpu"))
    return {"pctcpu": [sum(next(each) or 0 for _ in group) for group in batch["tds"]]}


def waits(batch: Batch) -> dict[str, Sequence[Any]]:
    """Of who sleeps: its channel and message."""
    channels = batch["wchan_raw"]
    where = [at if channel else None for at, channel in zip(batch["p_wmesg"], channels, strict=True)]
    raw = batch.read.texts(where, WMESG)
    return {
        "wchan": [channel or None for channel in channels],
        "raw_wmesg": raw,
        "wmesg": [None if not name else text(name) for name in raw],
    }


def signals(batch: Batch) -> dict[str, Sequence[Any]]:
    """What waits for the process or its thread."""
    rows = zip(batch["ps_siglist"], batch["p_siglist"], strict=True)
    return {"siglist": [(own or 0) | (thread or 0) for own, thread in rows]}


def thread_names(batch: Batch) -> dict[str, Sequence[Any]]:
    """A thread's own name, which most have none of, and its number."""
    tids = [None if tid is None else tid + n.THREAD_PID_OFFSET for tid in batch["p_tid"]]
    return {"raw_name": texts(batch.read, batch["proc"], "proc", "p_name"), "tid": tids}


def cpus(batch: Batch) -> dict[str, Sequence[Any]]:
    """The number of the CPU that a thread runs on, or ran on last: kernels for one CPU do not tell (MULTIPROCESSOR,
    which alone have a kernel_lock), nor did those before 7.6 or so of processes."""
    read, gone = batch.read, batch["dead"]
    if batch.parts.symbols.loose("kernel_lock") is None or (batch.of_processes and not usage.lockless(read)):
        return {"cpuid": [n.NO_CPU] * len(batch)}
    cpu = read.member(batch["proc"], "proc", "p_cpu")
    device = read.field("cpu_info", "ci_dev")
    if device is None:
        found = read.member(cpu, "cpu_info", "ci_cpuid")
    else:
        units = read.member(read.member(cpu, "cpu_info", "ci_dev"), "device", "dv_unit")
        found = [0 if at and unit is None else unit for at, unit in zip(cpu, units, strict=True)]
    rows = zip(cpu, found, gone, strict=True)
    return {"cpuid": [unit if at and unit is not None and not dead else n.NO_CPU for at, unit, dead in rows]}


MAKERS = {
    "state stat": states,
    "priority": priorities,
    "pctcpu": share,
    "wchan raw_wmesg wmesg": waits,
    "siglist": signals,
    "raw_name tid": thread_names,
    "cpuid": cpus,
}
