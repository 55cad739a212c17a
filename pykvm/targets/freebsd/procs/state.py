"""State, flags, priorities, CPUs, and where threads wait.

Source: fill_kinfo_proc_only() and fill_kinfo_thread() of sys/kern/kern_proc.c; sys/proc.h.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pykvm.records import text
from pykvm.targets.common.columns import Column, Member
from pykvm.targets.freebsd.procs.numbers import (
    P_JAILED,
    P_STOPPED,
    PRS_NEW,
    PRS_NORMAL,
    PRS_ZOMBIE,
    SIDL,
    SLOCK,
    SRUN,
    SSLEEP,
    SSTOP,
    SWAIT,
    SZOMB,
    TDF_SINTR,
    TDI_LOCK,
    TDI_SLEEPING,
    TDS_CAN_RUN,
    TDS_RUNNING,
    TDS_RUNQ,
)

if TYPE_CHECKING:
    from pykvm.targets.freebsd.procs.batch import Batch

# ps(1)'s letters. An interrupt's thread that waits for one is idle; what waits for a lock cannot be interrupted.
LETTERS = {SIDL: "I", SRUN: "R", SSTOP: "T", SZOMB: "Z", SWAIT: "I", SLOCK: "D"}
BORN = {PRS_NEW: SIDL, PRS_ZOMBIE: SZOMB}
MAXSLP = 20  # seconds after which ps(1) calls a sleeper idle
NOCPU_OLD = 0xFF  # of a CPU number that is a u_char
MESSAGE = 64  # bytes of a wait message, of which kinfo_proc has room for 8

MEMBERS = {
    "flags": Member("proc", "proc", ("p_flag",)),
    "flag2": Member("proc", "proc", ("p_flag2",)),
    "state": Member("proc", "proc", ("p_state",)),
    "nice": Member("proc", "proc", ("p_nice",), signed=True),
    "traceflag": Member("proc", "proc", ("p_traceflag",), signed=True),
    "fibnum": Member("proc", "proc", ("p_fibnum",), signed=True),
    "acflag": Member("proc", "proc", ("p_acflag",)),
    "lock": Member("proc", "proc", ("p_lock",)),
    "threads": Member("proc", "proc", ("p_numthreads",), signed=True),
    "xexit": Member("proc", "proc", ("p_xexit",)),
    "xsig": Member("proc", "proc", ("p_xsig",)),
    "old_xstat": Member("proc", "proc", ("p_xstat",)),  # up to 10
    "tid": Member("td", "thread", ("td_tid",), signed=True),
    "td_state": Member("td", "thread", ("td_state",)),
    "inhibitors": Member("td", "thread", ("td_inhibitors",)),
    "tdflags": Member("td", "thread", ("td_flags",)),
    "lockname_at": Member("td", "thread", ("td_lockname",)),
    "wmesg_at": Member("td", "thread", ("td_wmesg",)),
    "wchan": Member("td", "thread", ("td_wchan",)),
    "priority": Member("td", "thread", ("td_priority",)),
    "base_pri": Member("td", "thread", ("td_base_pri",)),
    "user_pri": Member("td", "thread", ("td_user_pri",)),
    "pri_class": Member("td", "thread", ("td_pri_class",)),
    "pcb": Member("td", "thread", ("td_pcb",)),
    "kstack": Member("td", "thread", ("td_kstack",)),
}


def ki_stat(batch: Batch) -> dict[str, Sequence[Any]]:
    """SRUN and so on."""
    found: list[int | None] = []
    rows = zip(batch["state"], batch["flags"], batch["td_state"], batch["inhibitors"], strict=True)
    for state, flags, td_state, inhibitors in rows:
        if state is None:
            found.append(None)
        elif state in BORN:
            found.append(BORN[state])
        elif state != PRS_NORMAL or td_state is None or flags is None or inhibitors is None:
            found.append(None)
        elif td_state in (TDS_CAN_RUN, TDS_RUNQ, TDS_RUNNING):
            found.append(SRUN)
        elif flags & P_STOPPED:
            found.append(SSTOP)
        elif inhibitors & TDI_SLEEPING:
            found.append(SSLEEP)
        else:
            found.append(SLOCK if inhibitors & TDI_LOCK else SWAIT)
    return {"ki_stat": found}


def ki_flag(batch: Batch) -> dict[str, Sequence[Any]]:
    """p_flag, with P_JAILED, which the kernel itself does not keep any more."""
    rows = zip(batch["flags"], batch["jid"], strict=True)
    return {"ki_flag": [None if flags is None else flags | (P_JAILED if jid else 0) for flags, jid in rows]}


def letters(batch: Batch) -> dict[str, Sequence[Any]]:
    """ps(1)'s letter."""
    return {"stat": letters_of(batch["ki_stat"], batch["tdflags"], batch["slptime"])}


def letters_of(stats: Column, flags: Column, slept: Column) -> list[str | None]:
    """The letters, by the state, td_flags and the seconds that a thread has slept."""
    found: list[str | None] = []
    for stat, tdflags, seconds in zip(stats, flags, slept, strict=True):
        if stat != SSLEEP:
            found.append(None if stat is None else LETTERS.get(stat))
        elif tdflags is None:
            found.append(None)
        elif not tdflags & TDF_SINTR:
            found.append("D")
        else:
            found.append("I" if seconds is not None and seconds >= MAXSLP else "S")
    return found


def status(batch: Batch) -> dict[str, Sequence[Any]]:
    """What wait(2) says: KW_EXITCODE() of sys/wait.h."""
    if batch.read.field("proc", "p_xexit") is None:
        return {"xstat": batch["old_xstat"]}
    rows = zip(batch["xexit"], batch["xsig"], strict=True)
    return {"xstat": [None if e is None or s is None else (e & 0xFF) << 8 | s for e, s in rows]}


def tracing(batch: Batch) -> dict[str, Sequence[Any]]:
    """The vnode that ktrace(2) writes to; since 13.1 in a structure of its own."""
    read = batch.read
    if read.field("proc", "p_ktrioparms") is None:
        return {"tracevp": read.member(batch["proc"], "proc", "p_tracevp")}
    return {"tracevp": read.member(read.member(batch["proc"], "proc", "p_ktrioparms"), "ktr_io_params", "vp")}


def waits(batch: Batch) -> dict[str, Sequence[Any]]:
    """What the thread sleeps on, in words."""
    raw = batch.read.texts(batch["wmesg_at"], MESSAGE)
    return {"raw_wmesg": raw, "wmesg": [None if name is None else text(name) for name in raw]}


def locks(batch: Batch) -> dict[str, Sequence[Any]]:
    """The lock that the thread waits for."""
    rows = zip(batch["inhibitors"], batch["lockname_at"], strict=True)
    return {"lockname": batch.read.texts([at if i and i & TDI_LOCK else 0 for i, at in rows], MESSAGE)}


def cpus(batch: Batch) -> dict[str, Sequence[Any]]:
    """Where the thread ran last, and runs: -1 for no CPU."""
    return {name: _cpu(batch, f"td_{name}") for name in ("lastcpu", "oncpu")}


def _cpu(batch: Batch, member: str) -> Column:
    field = batch.read.field("thread", member)
    if field is not None and field.size == 1:  # up to 10
        column = batch.read.member(batch["td"], "thread", member)
        return [-1 if v == NOCPU_OLD else v for v in column]
    return batch.read.member(batch["td"], "thread", member, signed=True)


MAKERS = {
    "ki_stat": ki_stat,
    "ki_flag": ki_flag,
    "stat": letters,
    "xstat": status,
    "tracevp": tracing,
    "raw_wmesg wmesg": waits,
    "lockname": locks,
    "lastcpu oncpu": cpus,
}
