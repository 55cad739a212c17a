"""State, flags and priorities of a process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pykvm.targets.common.columns import Member
from pykvm.targets.linux.procs import neutral

if TYPE_CHECKING:
    from pykvm.targets.linux.procs.batch import Batch

NICE_0 = 120  # static_prio of nice 0: MAX_RT_PRIO + 20
SIGNAL_STOP_STOPPED, SIGNAL_GROUP_EXIT = 0x1, 0x4  # <linux/sched/signal.h>
# <linux/sched.h>'s flags and <sys/acct.h>'s, as acct_collect() of kernel/acct.c has them.
ACCOUNTING = ((0x40, 0x1), (0x100, 0x2), (0x200, 0x8), (0x400, 0x10))  # fork without exec, superuser, core, killed

MEMBERS = {
    "flags": Member("task", "task_struct", ("flags",)),
    "task_state": Member("task", "task_struct", ("__state", "state")),  # renamed in Linux 5.14
    "exit_state": Member("task", "task_struct", ("exit_state",), signed=True),
    "exit_code": Member("task", "task_struct", ("exit_code",), signed=True),
    "exit_signal": Member("task", "task_struct", ("exit_signal",), signed=True),
    "signal_flags": Member("signal", "signal_struct", ("flags",)),
    "group_exit_code": Member("signal", "signal_struct", ("group_exit_code",), signed=True),
    "static_prio": Member("task", "task_struct", ("static_prio",), signed=True),
    "normal_prio": Member("task", "task_struct", ("normal_prio",), signed=True),
    "prio": Member("task", "task_struct", ("prio",), signed=True),
    "personality": Member("task", "task_struct", ("personality",)),
    "threads": Member("signal", "signal_struct", ("nr_threads",), signed=True),
    "stack": Member("task", "task_struct", ("stack",)),
    "files": Member("task", "task_struct", ("files",)),
}


def stat(batch: Batch) -> dict[str, Sequence[Any]]:
    """ps(1)'s letter."""
    rows = zip(batch["task_state"], batch["exit_state"], strict=True)
    return {"stat": [None if s is None or e is None else neutral.stat(s, e) for s, e in rows]}


def nice(batch: Batch) -> dict[str, Sequence[Any]]:
    """-20 to 19."""
    return {"nice": [None if p is None else p - NICE_0 for p in batch["static_prio"]]}


def wait_status(batch: Batch) -> dict[str, Sequence[Any]]:
    """What wait(2) says or will say: of the dead, and the signal that stopped the others."""
    rows = zip(batch["signal_flags"], batch["group_exit_code"], batch["exit_code"], strict=True)
    whole = SIGNAL_STOP_STOPPED | SIGNAL_GROUP_EXIT
    return {"xstat": [group if flags and flags & whole else own for flags, group, own in rows]}


def accounting(batch: Batch) -> dict[str, Sequence[Any]]:
    """BSD's p_acflag."""
    return {"acflag": [sum(ac for pf, ac in ACCOUNTING if f & pf) if f else f for f in batch["flags"]]}


MAKERS = {"stat": stat, "nice": nice, "xstat": wait_status, "acflag": accounting}
