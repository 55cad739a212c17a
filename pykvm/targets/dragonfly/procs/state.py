"""State, flags, priorities, CPUs, signals, and where threads wait.

Source: fill_kinfo_proc(), fill_kinfo_lwp(), fill_kinfo_proc_kthread() of sys/kern/kern_kinfo.c; state() of
bin/ps/print.c.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pykvm.records import text
from pykvm.targets.common.columns import Column, Member
from pykvm.targets.dragonfly.procs.numbers import (
    LSRUN,
    LSSLEEP,
    LSSTOP,
    LWP_MP_ONRUNQ,
    LWP_SINTR,
    P_SYSTEM,
    SACTIVE,
    SCORE,
    SIDL,
    SSTOP,
    SZOMB,
    TDF_RUNQ,
    TDF_SINTR,
)

if TYPE_CHECKING:
    from pykvm.targets.dragonfly.procs.batch import Batch

# ps(1)'s letters, of processes and of active ones' lwps.
LETTERS = {SIDL: "I", SSTOP: "T", SCORE: "T", SZOMB: "Z"}
LWP_LETTERS = {LSRUN: "R", LSSTOP: "T"}
MAXSLP = 20  # seconds after which ps(1) calls a sleeper idle
MESSAGE = 64  # bytes of a wait message, of which kinfo_lwp has room for 8
WORDS = 4  # of 32 bits in a sigset_t

MEMBERS = {
    "p_stat": Member("proc", "proc", ("p_stat",)),
    "lock": Member("proc", "proc", ("p_lock",)),
    "acflag": Member("proc", "proc", ("p_acflag",)),
    "traceflag": Member("proc", "proc", ("p_traceflag",), signed=True),
    "fd": Member("proc", "proc", ("p_fd",)),
    "xstat": Member("proc", "proc", ("p_xstat",)),
    "nthreads": Member("proc", "proc", ("p_nthreads",), signed=True),
    "nice": Member("proc", "proc", ("p_nice",), signed=True),
    "swtime": Member("proc", "proc", ("p_swtime",)),
    "sigacts": Member("proc", "proc", ("p_sigacts",)),
    "sigflag": Member("sigacts", "sigacts", ("ps_flag",), signed=True),
    "lwp_tid": Member("lwp", "lwp", ("lwp_tid",), signed=True),
    "lwp_flags": Member("lwp", "lwp", ("lwp_flags", "lwp_flag")),
    "mpflags": Member("lwp", "lwp", ("lwp_mpflags",)),
    "lwp_stat": Member("lwp", "lwp", ("lwp_stat",)),
    "lwp_lock": Member("lwp", "lwp", ("lwp_lock",), signed=True),
    "lwp_slptime": Member("lwp", "lwp", ("lwp_slptime",)),
    "priority": Member("lwp", "lwp", ("lwp_usdata.bsd4.priority",), signed=True),
    "origcpu": Member("lwp", "lwp", ("lwp_usdata.bsd4.batch", "lwp_usdata.bsd4.origcpu"), signed=True),
    "rt_type": Member("lwp", "lwp", ("lwp_rtprio.type",)),
    "rt_prio": Member("lwp", "lwp", ("lwp_rtprio.prio",)),
    "tdflags": Member("td", "thread", ("td_flags",)),
    "tdprio": Member("td", "thread", ("td_pri",), signed=True),
    "td_gd": Member("td", "thread", ("td_gd",)),
    "cpuid": Member("td_gd", "globaldata", ("gd_cpuid",)),
    "wchan": Member("td", "thread", ("td_wchan",)),
    "wmesg_at": Member("td", "thread", ("td_wmesg",)),
}


def idle(batch: Batch) -> list[bool]:
    """Whether it is a CPU's idle thread, which is part of struct globaldata."""
    field = batch.read.field("globaldata", "gd_idlethread")
    if field is None:
        return [False] * len(batch)
    rows = zip(batch["td"], batch["td_gd"], strict=True)
    return [gd is not None and td == gd + field.offset for td, gd in rows]


def states(batch: Batch) -> dict[str, Sequence[Any]]:
    """kp_stat and kl_stat: an lwp that may run but is on no queue sleeps in the kernel."""
    kp: list[int | None] = []
    kl: list[int | None] = []
    columns = [batch[name] for name in ("proc", "lwp", "p_stat", "lwp_stat", "mpflags", "tdflags")]
    for proc, lwp, p_stat, lwp_stat, mpflags, tdflags, is_idle in zip(*columns, idle(batch), strict=True):
        kp.append(p_stat if proc else SIDL if is_idle else SACTIVE)
        queued = None if tdflags is None else bool(tdflags & TDF_RUNQ)
        if proc and (not lwp or lwp_stat != LSRUN or mpflags is None or queued is None):
            kl.append(lwp_stat)
        elif queued is None:
            kl.append(None)
        else:
            kl.append(LSRUN if queued or (mpflags or 0) & LWP_MP_ONRUNQ else LSSLEEP)
    return {"kp_stat": kp, "kl_stat": kl}


def letters(batch: Batch) -> dict[str, Sequence[Any]]:
    """ps(1)'s letter; its B, of threads of the kernel that sleep, is D here."""
    columns = ("kp_stat", "kl_stat", "lwp_flags", "tdflags", "lwp_slptime")
    found: list[str | None] = []
    for kp_stat, kl_stat, flags, tdflags, seconds in zip(*(batch[name] for name in columns), strict=True):
        if kp_stat != SACTIVE:
            found.append(None if kp_stat is None else LETTERS.get(kp_stat))
        elif kl_stat != LSSLEEP:
            found.append(None if kl_stat is None else LWP_LETTERS.get(kl_stat))
        elif (flags or 0) & LWP_SINTR:
            found.append("I" if seconds is not None and seconds >= MAXSLP else "S")
        else:
            found.append("S" if (tdflags or 0) & TDF_SINTR else "D")
    return {"stat": found}


def process(batch: Batch) -> dict[str, Sequence[Any]]:
    """What is known of a thread of the kernel, too: flags, number of threads, tid."""
    procs = batch["proc"]
    return {
        "flags": [flags if proc else P_SYSTEM for proc, flags in zip(procs, batch["p_flags"], strict=True)],
        "threads": [n if proc else 1 for proc, n in zip(procs, batch["nthreads"], strict=True)],
        "tid": [tid if proc else -1 for proc, tid in zip(procs, batch["lwp_tid"], strict=True)],
    }


def waits(batch: Batch) -> dict[str, Sequence[Any]]:
    """What the thread sleeps on, in words."""
    raw = batch.read.texts(batch["wmesg_at"], MESSAGE)
    return {"raw_wmesg": raw, "wmesg": [None if name is None else text(name) for name in raw]}


def _signals(base: str, name: str, path: str) -> Callable[[Batch], list[tuple[int, ...] | None]]:
    def read(batch: Batch) -> list[tuple[int, ...] | None]:
        field = batch.read.field(name, path)
        if field is None or field.size != 4 * WORDS:
            return [None] * len(batch)
        one = struct.Struct(f"{batch.read.order}{WORDS}I")
        blocks = batch.read.blocks(batch[base], field.offset, field.size)
        return [None if raw is None else one.unpack(raw) for raw in blocks]

    return read


SIGNALS = {
    "siglist": _signals("proc", "proc", "p_siglist"),
    "sigignore": _signals("sigacts", "sigacts", "ps_sigignore"),
    "sigcatch": _signals("sigacts", "sigacts", "ps_sigcatch"),
    "lwp_siglist": _signals("lwp", "lwp", "lwp_siglist"),
    "lwp_sigmask": _signals("lwp", "lwp", "lwp_sigmask"),
}


def _of(column: str, read: Callable[[Batch], Column | Sequence[Any]]) -> Callable[[Batch], dict[str, Sequence[Any]]]:
    return lambda batch: {column: read(batch)}


MAKERS = {
    "kp_stat kl_stat": states,
    "stat": letters,
    "flags threads tid": process,
    "raw_wmesg wmesg": waits,
    **{name: _of(name, read) for name, read in SIGNALS.items()},
}
