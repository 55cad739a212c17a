"""MirBSD's struct kinfo_proc2 for kernels that have no such structure of their own: it is nobody's in particular, as
all its members have the same widths everywhere. What a kernel does not have is 0.

A kernel's own table says by which columns it fills the members that SHARED does not name, and makes those of TIMES and
"eflag". Flags and priorities are the kernel's own; p_stat, p_nice and p_eflag are MirBSD's (<sys/proc.h>,
<sys/sysctl.h>).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pykvm.targets.base import Target
from pykvm.targets.common import pack as packing
from pykvm.targets.common.batch import Batch
from pykvm.types import layout
from pykvm.types.decode import element
from pykvm.types.layout import Struct

NODEV = NO_PGID = -1
EPROC_CTTY, EPROC_SLEADER = 1, 2
# p_stat for each letter.
STATES = {"R": 2, "S": 3, "D": 3, "I": 3, "T": 4, "Z": 5}
NZERO = 20
MAX_PRIORITY = 255
USEC = 1000
NSEC = 10**9

# The member of each column: what has one name in all kernels' batches.
SHARED = {
    "p_paddr": "paddr",
    "p_sess": "session",
    "p_tsess": "tty_session",
    "p_eflag": "eflag",
    "p_exitsig": "exit_signal",
    "p_limit": "limit",
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
    "p_xstat": "xstat",
    "p_acflag": "acflag",
    "p_comm": "raw_comm",
    "p_vm_tsize": "tsize",
    "p_vm_dsize": "dsize",
    "p_vm_ssize": "ssize",
    "p_rlim_rss_cur": "rlim_rss",
}
# Times: the members of the seconds and the microseconds of each column of nanoseconds.
TIMES = {
    "start_ns": ("p_ustart_sec", "p_ustart_usec"),
    "utime_ns": ("p_uutime_sec", "p_uutime_usec"),
    "stime_ns": ("p_ustime_sec", "p_ustime_usec"),
    "ctime_ns": ("p_uctime_sec", "p_uctime_usec"),
    "rtime_ns": ("p_rtime_sec", "p_rtime_usec"),
}
# struct rusage's numbers, by the names that they have in <sys/resource.h>.
RUSAGE = {
    f"ru_{name}": f"p_uru_{name}"
    for name in (
        "maxrss", "ixrss", "idrss", "isrss", "minflt", "majflt", "nswap", "inblock", "oublock", "msgsnd", "msgrcv",
        "nsignals", "nvcsw", "nivcsw",
    )
}  # fmt: skip

# What a copy of a record tells (Target.copies).
COPIES: Mapping[str, Callable[[Any], Any]] = {"pid": lambda p: p.p_pid, "paddr": lambda p: p.p_paddr}


def structure(target: Target) -> Struct:
    """struct kinfo_proc2: as a layout file has it, else as MirBSD has it where integers of 64 bits are aligned."""
    types = target.types
    return (types if "kinfo_proc2" in types else layout.builtin("kinfo_proc2")).struct("kinfo_proc2")


def columns(
    batch: Batch[Any], layout: Struct, own: Mapping[str, str], priorities: tuple[str, str]
) -> dict[str, Sequence[Any]]:
    """The members' columns. own: the kernel's column of members that SHARED does not name; priorities: of p_priority
    and p_usrpri."""
    found: dict[str, Sequence[Any]] = {
        member: batch[name] for member, name in {**SHARED, **own}.items() if member in layout
    }
    for name, (seconds, microseconds) in TIMES.items():
        column = [t or 0 for t in batch[name]]
        found[seconds] = [t // NSEC for t in column]
        found[microseconds] = [t % NSEC // USEC for t in column]
    found["p_tdev"] = [NODEV if d is None else d for d in batch["tdev"]]
    found["p_tpgid"] = [NO_PGID if g is None else g for g in batch["tpgid"]]
    found["p_stat"] = [STATES.get(letter, 0) for letter in batch["stat"]]
    found["p_nice"] = [0 if n is None else n + NZERO for n in batch["nice"]]
    for member, name in zip(("p_priority", "p_usrpri"), priorities, strict=True):
        found[member] = [min(max(0, p or 0), MAX_PRIORITY) for p in batch[name]]
    # A record has room for some groups only; the attribute has them all.
    room = element(layout.field("p_groups").type)[1] or 1 if "p_groups" in layout else 0
    found["p_ngroups"] = [min(len(g or ()), room) for g in batch["groups"]]
    found["p_uvalid"] = [int(t is not None) for t in batch["start_ns"]]
    return found


def eflag(terminals: Sequence[Any], leaders: Sequence[Any]) -> list[int]:
    """p_eflag: whether the session has a terminal, and whether the process leads it."""
    return [
        (EPROC_CTTY if terminal else 0) | (EPROC_SLEADER if leader else 0)
        for terminal, leader in zip(terminals, leaders, strict=True)
    ]


def pack(batch: Batch[Any], found: Mapping[str, Sequence[Any]], layout: Struct) -> bytearray:
    """The records of all rows, one after another."""
    return packing.pack(found, layout, batch.read.order)
