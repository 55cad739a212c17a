"""MirBSD's struct kinfo_proc2 (common/kinfo2.py), filled from Linux's columns as far as Linux has the thing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykvm.targets.common import kinfo2
from pykvm.targets.common import pack as packing
from pykvm.types.layout import Struct

if TYPE_CHECKING:
    from pykvm.targets.linux.procs.batch import Batch

PERSONALITIES = {0x00: b"linux", 0x08: b"linux32"}  # <linux/personality.h>
PER_MASK = 0xFF

# The member of each column that is Linux's own.
MEMBERS = {
    "p_addr": "stack",
    "p_fd": "files",
    "p_vmspace": "mm",
    "p_sigacts": "sighand",
    "p_siglist": "siglist",
    "p_sigmask": "sigmask",
    "p_sigignore": "sigignore",
    "p_sigcatch": "sigcatch",
    "p_vm_rssize": "pages",
    "p_uru_maxrss": "maxrss",
    "p_uru_minflt": "minflt",
    "p_uru_majflt": "majflt",
    "p_uru_inblock": "inblock",
    "p_uru_oublock": "oublock",
    "p_uru_nvcsw": "nvcsw",
    "p_uru_nivcsw": "nivcsw",
}
# Linux's own scale: 0 to 99 real-time, 120 for nice 0; deadlines are before all.
PRIORITIES = ("prio", "normal_prio")
# What is asked for alone: where a process waits takes longer to find than all else.
WAIT = ("p_wchan", "p_wmesg")


def pack(batch: Batch, layout: Struct) -> bytearray:
    """The records of all processes, one after another, but for WAIT's members."""
    columns = kinfo2.columns(batch, layout, MEMBERS, PRIORITIES)
    columns["p_emul"] = [PERSONALITIES.get(p & PER_MASK, b"") if p is not None else b"" for p in batch["personality"]]
    columns["p_uvalid"] = [int(s is not None) for s in batch["start_boot"]]
    return kinfo2.pack(batch, columns, layout)


def pack_wait(buf: bytearray, base: int, layout: Struct, order: str, wmesg: str | None, wchan: int | None) -> None:
    """Put WAIT's members into the record at `base`."""
    packing.put(buf, base, layout, order, {"p_wchan": wchan, "p_wmesg": wmesg})
