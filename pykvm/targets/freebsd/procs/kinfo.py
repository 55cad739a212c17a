"""FreeBSD's struct kinfo_proc (<sys/user.h>), filled as sysctl(3)'s kern.proc fills it; what is not known is 0.

libkvm leaves out much of it on a dump: ki_structsize, ki_start, ki_tdev, ki_tracer, ki_loginclass, ki_rusage ...
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pykvm.targets.common import pack as packing
from pykvm.targets.freebsd.procs import times
from pykvm.targets.freebsd.procs.numbers import NO_PID, P_INMEM, TDI_LOCK
from pykvm.types.decode import element
from pykvm.types.layout import Struct

if TYPE_CHECKING:
    from pykvm.targets.freebsd.procs.batch import Batch

NODEV = -1
PS_INMEM = 1
KI_CTTY, KI_SLEADER, KI_LOCKBLOCK = 1, 2, 4
CRED_FLAG_CAPMODE = 1
KI_CRF_CAPABILITY_MODE, KI_CRF_GRP_OVERFLOW = 1, 0x80000000
NOCPU_OLD, MAXCPU_OLD = 255, 254

# The member of each column.
MEMBERS = {
    "ki_args": "args",
    "ki_paddr": "paddr",
    "ki_textvp": "textvp",
    "ki_tracep": "tracevp",
    "ki_fd": "fd",
    "ki_pd": "pd",
    "ki_vmspace": "vmspace",
    "ki_wchan": "wchan",
    "ki_pid": "pid",
    "ki_ppid": "ppid",
    "ki_pgid": "pgid",
    "ki_sid": "sid",
    "ki_tsid": "tsid",
    "ki_jobc": "jobc",
    "ki_siglist.__bits": "siglist",
    "ki_sigmask.__bits": "sigmask",
    "ki_sigignore.__bits": "sigignore",
    "ki_sigcatch.__bits": "sigcatch",
    "ki_uid": "uid",
    "ki_ruid": "ruid",
    "ki_svuid": "svuid",
    "ki_rgid": "rgid",
    "ki_svgid": "svgid",
    "ki_groups": "groups",
    "ki_size": "size",
    "ki_rssize": "pages",
    "ki_swrss": "swrss",
    "ki_tsize": "tsize",
    "ki_dsize": "dsize",
    "ki_ssize": "ssize",
    "ki_xstat": "xstat",
    "ki_acflag": "acflag",
    "ki_pctcpu": "pctcpu",
    "ki_slptime": "slptime",
    "ki_swtime": "swtime",
    "ki_cow": "cow",
    "ki_runtime": "runtime",
    "ki_traceflag": "traceflag",
    "ki_flag": "ki_flag",
    "ki_stat": "ki_stat",
    "ki_nice": "nice",
    "ki_lock": "lock",
    "ki_tdname": "tdname",
    "ki_wmesg": "raw_wmesg",
    "ki_login": "raw_login",
    "ki_lockname": "lockname",
    "ki_comm": "raw_comm",
    "ki_emul": "emul",
    "ki_loginclass": "loginclass",
    "ki_oncpu": "oncpu",
    "ki_lastcpu": "lastcpu",
    "ki_tracer": "tracer",
    "ki_flag2": "flag2",
    "ki_fibnum": "fibnum",
    "ki_jid": "jid",
    "ki_numthreads": "threads",
    "ki_tid": "tid",
    "ki_pri.pri_class": "pri_class",
    "ki_pri.pri_level": "priority",
    "ki_pri.pri_native": "base_pri",
    "ki_pri.pri_user": "user_pri",
    "ki_pcb": "pcb",
    "ki_kstack": "kstack",
    "ki_tdaddr": "td",
    "ki_tdflags": "tdflags",
}
# Times: the timeval of each column of microseconds.
TIMES = {
    "utime_us": "ki_rusage.ru_utime",
    "stime_us": "ki_rusage.ru_stime",
    "cutime_us": "ki_rusage_ch.ru_utime",  # ki_childutime
    "cstime_us": "ki_rusage_ch.ru_stime",  # ki_childstime
}


def pack(batch: Batch, layout: Struct) -> bytearray:
    """The records of all rows, one after another."""
    return packing.pack(_columns(batch, layout), layout, batch.read.order)


def _columns(batch: Batch, layout: Struct) -> dict[str, Sequence[Any]]:
    columns: dict[str, Sequence[Any]] = {member: batch[name] for member, name in MEMBERS.items()}
    columns["ki_structsize"] = [layout.size] * len(batch)
    _times(batch, columns)
    for i, name in enumerate(times.COUNTS):
        columns[f"ki_rusage.{name}"] = [None if row is None else row[i] for row in batch["counts"]]
    columns["ki_tdev"] = [NODEV if d is None else d for d in batch["tdev"]]
    columns["ki_tdev_freebsd11"] = columns["ki_tdev"]
    rows = zip(batch["tty"], batch["t_pgrp"], batch["tpgid"], strict=True)
    columns["ki_tpgid"] = [0 if not tty else group if pgrp else NO_PID for tty, pgrp, group in rows]
    _flags(batch, columns)
    _groups(batch, columns, layout)
    _clamped(columns, layout)
    room = _room(layout, "ki_tdname")
    columns["ki_moretdname"] = [(name or b"")[room - 1 :] for name in batch["tdname"]]
    return columns


def _times(batch: Batch, columns: dict[str, Sequence[Any]]) -> None:
    for name, member in TIMES.items():
        columns[f"{member}.tv_sec"] = [(t or 0) // times.MICRO for t in batch[name]]
        columns[f"{member}.tv_usec"] = [(t or 0) % times.MICRO for t in batch[name]]
    child = [(user or 0) + (system or 0) for user, system in zip(batch["cutime_us"], batch["cstime_us"], strict=True)]
    columns["ki_childtime.tv_sec"] = [t // times.MICRO for t in child]
    columns["ki_childtime.tv_usec"] = [t % times.MICRO for t in child]
    columns["ki_start.tv_sec"] = [None if t is None else t[0] for t in batch["start"]]
    columns["ki_start.tv_usec"] = [None if t is None else t[1] for t in batch["start"]]


def _flags(batch: Batch, columns: dict[str, Sequence[Any]]) -> None:
    columns["ki_sflag"] = [PS_INMEM if flags is not None and flags & P_INMEM else 0 for flags in batch["flags"]]
    kinds = zip(batch["ttyvp"], batch["leader"], batch["paddr"], batch["inhibitors"], strict=True)
    columns["ki_kiflag"] = [
        (KI_CTTY if tty else 0)
        | (KI_SLEADER if leader == proc else 0)
        | (KI_LOCKBLOCK if (inhibitors or 0) & TDI_LOCK else 0)
        for tty, leader, proc, inhibitors in kinds
    ]


def _groups(batch: Batch, columns: dict[str, Sequence[Any]], layout: Struct) -> None:
    """A record has room for 16 groups; the attribute has them all."""
    room = element(layout.field("ki_groups").type)[1] or 1
    counts = [len(g or ()) for g in batch["groups"]]
    columns["ki_ngroups"] = [min(n, room) for n in counts]
    columns["ki_cr_flags"] = [
        (KI_CRF_CAPABILITY_MODE if (flags or 0) & CRED_FLAG_CAPMODE else 0) | (KI_CRF_GRP_OVERFLOW if n > room else 0)
        for flags, n in zip(batch["cr_flags"], counts, strict=True)
    ]


def _clamped(columns: dict[str, Sequence[Any]], layout: Struct) -> None:
    """CPU numbers where they have but a byte."""
    for name in ("oncpu", "lastcpu"):
        column = columns[f"ki_{name}"]
        columns[f"ki_{name}_old"] = [NOCPU_OLD if n is None or n < 0 else min(n, MAXCPU_OLD) for n in column]
        if f"ki_{name}" in layout and layout.field(f"ki_{name}").size == 1:  # up to 10
            columns[f"ki_{name}"] = columns[f"ki_{name}_old"]


def _room(layout: Struct, member: str) -> int:
    return layout.field(member).size if member in layout else 1
