"""NetBSD's struct kinfo_proc2 and kinfo_lwp (<sys/sysctl.h>), filled as sysctl(3)'s kern.proc2 and kern.lwp are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pykvm.targets.common import kinfo2
from pykvm.targets.netbsd.procs.state import lwp_flags

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pykvm.targets.netbsd.procs.batch import Batch
    from pykvm.types.layout import Struct

L_INMEM = 0x4
OWN = {
    "p_addr": "l_addr",
    "p_fd": "fd",
    "p_cwdi": "cwdi",
    "p_stats": "stats",
    "p_ru": "stats",  # as p_stats begins with it
    "p_vmspace": "vmspace",
    "p_sigacts": "sigacts",
    "p_realflag": "real_flags",
    "p_estcpu": "estcpu",
    "p_cpticks": "cpticks",
    "p_pctcpu": "pctcpu",
    "p_swtime": "swtime",
    "p_slptime": "slptime",
    "p_schedflags": "schedflags",
    "p_uticks": "uticks",
    "p_sticks": "sticks",
    "p_iticks": "iticks",
    "p_tracep": "tracep",
    "p_traceflag": "traceflag",
    "p_siglist.__bits": "siglist",
    "p_sigmask.__bits": "sigmask",
    "p_sigignore.__bits": "sigignore",
    "p_sigcatch.__bits": "sigcatch",
    "p_xstat": "raw_xstat",
    "p_wmesg": "raw_wmesg",
    "p_wchan": "wchan",
    "p_login": "raw_login",
    "p_vm_rssize": "rss",
    "p_vm_tsize": "tsize_shown",
    "p_vm_dsize": "dsize_shown",
    "p_vm_ssize": "ssize_shown",
    "p_cpuid": "cpuid",
    "p_nlwps": "nlwps",
    "p_nrlwps": "nrlwps",
    "p_realstat": "realstat",
    "p_ename": "raw_ename",
    "p_vm_vsize": "vsize",
    "p_vm_msize": "msize",
    **{member: name for name, member in kinfo2.RUSAGE.items()},
}
LWP = {
    "l_laddr": "lwp",
    "l_addr": "l_addr",
    "l_lid": "lid",
    "l_swtime": "swtime",
    "l_slptime": "slptime",
    "l_schedflags": "schedflags",
    "l_priority": "priority",
    "l_usrpri": "usrpri",
    "l_stat": "l_stat",
    "l_wmesg": "raw_wmesg",
    "l_wchan": "wchan",
    "l_cpuid": "cpuid",
    "l_cpticks": "l_cpticks",
    "l_pctcpu": "l_pctcpu",
    "l_pid": "pid",
    "l_name": "raw_lname",
}


def pack(batch: Batch, layout: Struct) -> bytearray:
    """The records of all rows, one after another."""
    found = kinfo2.columns(batch, layout, OWN, ("priority", "usrpri"))
    found["p_stat"] = batch["state"]
    found["p_nice"] = batch["nice_raw"]
    return _whole(kinfo2.pack(batch, found, layout), layout, "p_wmesg", batch["raw_wmesg"])


def pack_lwps(batch: Batch, layout: Struct) -> bytearray:
    """The same of LWPs."""
    found: dict[str, Sequence[Any]] = {member: batch[name] for member, name in LWP.items()}
    found["l_flag"] = [L_INMEM | flags for flags in lwp_flags(batch)]
    micro = [(t or 0) // 1000 for t in batch["l_rtime_ns"]]
    found["l_rtime_sec"] = [t // 10**6 for t in micro]
    found["l_rtime_usec"] = [t % 10**6 for t in micro]
    return _whole(kinfo2.pack(batch, found, layout), layout, "l_wmesg", batch["raw_wmesg"])


def _whole(buf: bytearray, layout: Struct, member: str, column: Sequence[Any]) -> bytearray:
    """Texts that strncpy(3) put there: without a NUL if they fill the member."""
    if member in layout:
        field = layout.field(member)
        for i, name in enumerate(column):
            at = i * layout.size + field.offset
            buf[at : at + field.size] = (name or b"")[: field.size].ljust(field.size, b"\0")
    return buf
