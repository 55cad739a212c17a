"""OpenBSD's struct kinfo_proc (<sys/sysctl.h>), filled as sysctl(3)'s kern.proc fills it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykvm.targets.common import kinfo2
from pykvm.targets.openbsd.procs import numbers as n

if TYPE_CHECKING:
    from pykvm.targets.openbsd.procs.batch import Batch
    from pykvm.types.layout import Struct

OWN = {
    "p_addr": "addr",
    "p_fd": "fd",
    "p_vmspace": "vmspace",
    "p_sigacts": "sigacts",
    "p_ru": "ps_ru",
    "p_flag": "flags",
    "p_estcpu": "estcpu",
    "p_cpticks": "cpticks",
    "p_pctcpu": "pctcpu",
    "p_slptime": "slptime",
    "p_uticks": "uticks",
    "p_sticks": "sticks",
    "p_iticks": "iticks",
    "p_tracep": "tracevp",
    "p_traceflag": "traceflag",
    "p_siglist": "siglist",
    "p_sigmask": "sigmask",
    "p_sigignore": "sigignore",
    "p_sigcatch": "sigcatch",
    "p_wmesg": "raw_wmesg",
    "p_wchan": "wchan",
    "p_login": "raw_login",
    "p_vm_rssize": "rss",
    "p_psflags": "psflags",
    "p_rtableid": "rtableid",
    "p_pledge": "pledge",
    "p_name": "raw_name",
    **{member: name for name, member in kinfo2.RUSAGE.items()},
}
# What a record of a dead process has nothing of.
ALIVE = ("p_addr", "p_vm_rssize", "p_vm_tsize", "p_vm_dsize", "p_vm_ssize", "p_slptime", "p_priority", "p_usrpri",
         "p_cpticks", "p_pctcpu", "p_estcpu", "p_sigmask", "p_siglist", "p_pledge")  # fmt: skip


def pack(batch: Batch, layout: Struct, *, threads: bool) -> bytearray:
    """The records of all rows, one after another. threads: each is one, and tells its number."""
    found = kinfo2.columns(batch, layout, OWN, ("priority", "usrpri"))
    dead = batch["dead"]
    found["p_stat"] = batch["state"]
    found["p_nice"] = batch["nice_raw"]
    found["p_holdcnt"] = [0 if gone else 1 for gone in dead]
    found["p_emul"] = [n.EMULATION] * len(batch)
    found["p_cpuid"] = batch["cpuid"]
    found["p_tid"] = batch["tid"] if threads else [-1] * len(batch)
    if not threads:
        found["p_name"] = [b""] * len(batch)
    for member in ALIVE:
        if member in found:
            found[member] = [0 if gone else value for gone, value in zip(dead, found[member], strict=True)]
    found["p_ru"] = [ru if gone else 0 for gone, ru in zip(dead, batch["ps_ru"], strict=True)]
    return kinfo2.pack(batch, found, layout)
