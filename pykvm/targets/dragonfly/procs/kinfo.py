"""DragonFly's struct kinfo_proc with its kinfo_lwp (<sys/kinfo.h>), filled as sysctl(3)'s kern.proc fills it; what is
not known is 0, and so are kl_mpcount, which the kernel counts by its tokens, and kp_vm_prssize, which it does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pykvm.targets.common import pack as packing
from pykvm.targets.dragonfly.procs.numbers import KI_CTTY, KI_SLEADER, NOUDEV, RTP_PRIO_THREAD
from pykvm.targets.dragonfly.procs.usage import RUSAGE
from pykvm.types.layout import Struct

if TYPE_CHECKING:
    from pykvm.targets.dragonfly.procs.batch import Batch

# The member of each column.
MEMBERS = {
    "kp_paddr": "proc",
    "kp_flags": "flags",
    "kp_stat": "kp_stat",
    "kp_lock": "lock",
    "kp_acflag": "acflag",
    "kp_traceflag": "traceflag",
    "kp_fd": "fd",
    "kp_siglist.__bits": "siglist",
    "kp_sigignore.__bits": "sigignore",
    "kp_sigcatch.__bits": "sigcatch",
    "kp_sigflag": "sigflag",
    "kp_start.tv_sec": "start_sec",
    "kp_start.tv_usec": "start_usec",
    "kp_comm": "raw_comm",
    "kp_uid": "uid",
    "kp_ngroups": "ngroups",
    "kp_groups": "every_group",
    "kp_ruid": "ruid",
    "kp_svuid": "svuid",
    "kp_rgid": "rgid",
    "kp_svgid": "svgid",
    "kp_pid": "pid",
    "kp_ppid": "kp_ppid",
    "kp_pgid": "pgid",
    "kp_jobc": "jobc",
    "kp_sid": "sid",
    "kp_login": "raw_login",
    "kp_exitstat": "xstat",
    "kp_nthreads": "threads",
    "kp_nice": "nice",
    "kp_swtime": "swtime",
    "kp_vm_map_size": "size",
    "kp_vm_rssize": "resident",
    "kp_vm_swrss": "swrss",
    "kp_vm_tsize": "tsize",
    "kp_vm_dsize": "dsize",
    "kp_vm_ssize": "ssize",
    "kp_jailid": "jid",
    "kp_lwp.kl_tid": "tid",
    "kp_lwp.kl_flags": "lwp_flags",
    "kp_lwp.kl_stat": "kl_stat",
    "kp_lwp.kl_lock": "lwp_lock",
    "kp_lwp.kl_tdflags": "tdflags",
    "kp_lwp.kl_prio": "priority",
    "kp_lwp.kl_tdprio": "tdprio",
    "kp_lwp.kl_origcpu": "origcpu",
    "kp_lwp.kl_estcpu": "estcpu",
    "kp_lwp.kl_cpuid": "cpuid",
    "kp_lwp.kl_siglist.__bits": "lwp_siglist",
    "kp_lwp.kl_sigmask.__bits": "lwp_sigmask",
    "kp_lwp.kl_wchan": "wchan",
    "kp_lwp.kl_wmesg": "raw_wmesg",
    "kp_lwp.kl_comm": "td_comm",
}
# Columns of several numbers each, and their members.
ROWS = {
    "ru": tuple(f"kp_ru.{name}" for name in RUSAGE),
    "cru": tuple(f"kp_cru.{name}" for name in RUSAGE),
    "lwp_ru": tuple(f"kp_lwp.kl_ru.{name}" for name in RUSAGE),
    "ticks": tuple(f"kp_lwp.kl_{name}" for name in ("uticks", "sticks", "iticks")),
    "estimates": tuple(f"kp_lwp.kl_{name}" for name in ("cpticks", "pctcpu", "slptime")),
}


def pack(batch: Batch, layout: Struct) -> bytearray:
    """The records of all rows, one after another."""
    return packing.pack(_columns(batch, layout), layout, batch.read.order)


def _columns(batch: Batch, layout: Struct) -> dict[str, Sequence[Any]]:
    columns: dict[str, Sequence[Any]] = {member: batch[name] for member, name in MEMBERS.items() if member in layout}
    for name, members in ROWS.items():
        for i, member in enumerate(members):
            columns[member] = [None if row is None else row[i] for row in batch[name]]
    procs, lwps = batch["proc"], batch["lwp"]
    columns["kp_lwp.kl_pid"] = [
        pid if lwp or not proc else 0 for pid, lwp, proc in zip(batch["pid"], lwps, procs, strict=True)
    ]
    columns["kp_ktaddr"] = [0 if proc else td for proc, td in zip(procs, batch["td"], strict=True)]
    _terminal(batch, columns)
    _priorities(batch, columns)
    kinds = zip(batch["ttyvp"], batch["leader"], procs, strict=True)
    columns["kp_auxflags"] = [
        (KI_CTTY if tty else 0) | (KI_SLEADER if proc and leader == proc else 0) for tty, leader, proc in kinds
    ]
    return columns


def _terminal(batch: Batch, columns: dict[str, Sequence[Any]]) -> None:
    columns["kp_tdev"] = [NOUDEV if d is None else d for d in batch["tdev"]]
    for member, whose, column in (("kp_tpgid", "t_pgrp", "tty_pgid"), ("kp_tsid", "tty_session", "tsid")):
        rows = zip(batch["tty"], batch[whose], batch[column], strict=True)
        columns[member] = [0 if not tty else number if at else -1 for tty, at, number in rows]


def _priorities(batch: Batch, columns: dict[str, Sequence[Any]]) -> None:
    """struct rtprio; of a thread of the kernel its own priority."""
    rows = list(zip(batch["proc"], batch["rt_type"], batch["rt_prio"], batch["tdprio"], strict=True))
    columns["kp_lwp.kl_rtprio.type"] = [kind if proc else RTP_PRIO_THREAD for proc, kind, _, _ in rows]
    columns["kp_lwp.kl_rtprio.prio"] = [prio if proc else own for proc, _, prio, own in rows]
