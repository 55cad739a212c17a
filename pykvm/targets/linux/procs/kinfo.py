"""MirBSD's struct kinfo_proc2, filled from Linux's columns as far as Linux has the thing; the rest is 0."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pykvm.targets.common import pack as packing
from pykvm.types.decode import element
from pykvm.types.layout import Struct

if TYPE_CHECKING:
    from pykvm.targets.linux.procs.batch import Batch

NODEV = NO_PGID = -1
EPROC_CTTY, EPROC_SLEADER = 1, 2
# MirBSD's p_stat (<sys/proc.h>) for each letter.
STATES = {"R": 2, "S": 3, "D": 3, "I": 3, "T": 4, "Z": 5}
NZERO = 20
PERSONALITIES = {0x00: b"linux", 0x08: b"linux32"}  # <linux/personality.h>
PER_MASK = 0xFF
USEC = 1000
NSEC = 10**9

# The member of each column.
MEMBERS = {
    "p_paddr": "paddr",
    "p_addr": "stack",
    "p_fd": "files",
    "p_limit": "limit",
    "p_vmspace": "mm",
    "p_sigacts": "sighand",
    "p_sess": "session",
    "p_tsess": "tty_session",
    "p_exitsig": "exit_signal",
    "p_flag": "flags",
    "p_realflag": "flags",
    "p_pid": "pid",
    "p_ppid": "ppid",
    "p_sid": "sid",
    "p__pgid": "pgid",
    "p_uid": "uid",
    "p_ruid": "ruid",
    "p_svuid": "svuid",
    "p_gid": "gid",
    "p_rgid": "rgid",
    "p_svgid": "svgid",
    "p_groups": "groups",
    "p_jobc": "jobc",
    "p_siglist": "siglist",
    "p_sigmask": "sigmask",
    "p_sigignore": "sigignore",
    "p_sigcatch": "sigcatch",
    "p_xstat": "xstat",
    "p_acflag": "acflag",
    "p_comm": "raw_comm",
    "p_vm_rssize": "pages",
    "p_vm_tsize": "tsize",
    "p_vm_dsize": "dsize",
    "p_vm_ssize": "ssize",
    "p_uru_maxrss": "maxrss",
    "p_uru_minflt": "minflt",
    "p_uru_majflt": "majflt",
    "p_uru_inblock": "inblock",
    "p_uru_oublock": "oublock",
    "p_uru_nvcsw": "nvcsw",
    "p_uru_nivcsw": "nivcsw",
    "p_rlim_rss_cur": "rlim_rss",
}
# Times: the members of the seconds and the microseconds of each column.
TIMES = {
    "start_ns": ("p_ustart_sec", "p_ustart_usec"),
    "utime_ns": ("p_uutime_sec", "p_uutime_usec"),
    "stime_ns": ("p_ustime_sec", "p_ustime_usec"),
    "ctime_ns": ("p_uctime_sec", "p_uctime_usec"),
    "rtime_ns": ("p_rtime_sec", "p_rtime_usec"),
}
# What is asked for alone: where a process waits takes longer to find than all else.
WAIT = ("p_wchan", "p_wmesg")


def pack(batch: Batch, layout: Struct) -> bytearray:
    """The records of all processes, one after another, but for WAIT's members."""
    return packing.pack(_columns(batch), layout, batch.read.order)


def pack_wait(buf: bytearray, base: int, layout: Struct, order: str, wmesg: str | None, wchan: int | None) -> None:
    """Put WAIT's members into the record at `base`."""
    raw = (wmesg or "").encode("utf-8", "surrogateescape")
    for member, value in zip(WAIT, (wchan or 0, raw), strict=True):
        if member in layout:
            field = layout.field(member)
            code, (packed,) = packing.fit(layout, member, field, [value], order)
            struct.pack_into(order + code, buf, base + field.offset, packed)


def _columns(batch: Batch) -> dict[str, Sequence[Any]]:
    columns: dict[str, Sequence[Any]] = {member: batch[name] for member, name in MEMBERS.items()}
    for name, (seconds, microseconds) in TIMES.items():
        column = [t or 0 for t in batch[name]]
        columns[seconds] = [t // NSEC for t in column]
        columns[microseconds] = [t % NSEC // USEC for t in column]
    columns["p_tdev"] = [NODEV if d is None else d for d in batch["tdev"]]
    columns["p_tpgid"] = [NO_PGID if g is None else g for g in batch["tpgid"]]
    columns["p_eflag"] = [
        (EPROC_CTTY if tty else 0) | (EPROC_SLEADER if leader else 0)
        for tty, leader in zip(batch["tty"], batch["leader"], strict=True)
    ]
    columns["p_stat"] = [STATES.get(letter, 0) for letter in batch["stat"]]
    columns["p_nice"] = [0 if n is None else n + NZERO for n in batch["nice"]]
    # Linux's own scale: 0 to 99 real-time, 120 for nice 0; deadlines are before all.
    columns["p_priority"] = [max(0, p or 0) for p in batch["prio"]]
    columns["p_usrpri"] = [max(0, p or 0) for p in batch["normal_prio"]]
    columns["p_ngroups"] = [len(g or ()) for g in batch["groups"]]
    columns["p_emul"] = [PERSONALITIES.get(p & PER_MASK, b"") if p is not None else b"" for p in batch["personality"]]
    columns["p_uvalid"] = [int(s is not None) for s in batch["start_boot"]]
    _bound_groups(columns, batch.target.types.struct("kinfo_proc2"))
    return columns


def _bound_groups(columns: dict[str, Sequence[Any]], layout: Struct) -> None:
    """A record has room for some groups only; the attribute has them all."""
    if "p_groups" in layout:
        room = element(layout.field("p_groups").type)[1] or 1
        columns["p_ngroups"] = [min(n, room) for n in columns["p_ngroups"]]
