"""kvm_getcptime(3)."""

from __future__ import annotations

from pykvm.handle import Kvm
from pykvm.procs import attempt


def kvm_getcptime(kd: Kvm) -> list[int] | int:
    """The time that all CPUs spent in each state since boot (CP_USER, CP_NICE, CP_SYS, CP_INTR, CP_IDLE), in ticks of
    the statistics clock, as sysctl kern.cp_time says; -1 on failure."""
    found = attempt(kd, "kvm_getcptime", lambda: kd.target.cptime(kd.parts))
    return -1 if found is None else found
