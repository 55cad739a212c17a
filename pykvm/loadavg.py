"""kvm_getloadavg(3)."""

from __future__ import annotations

from pykvm.handle import Kvm
from pykvm.procs import attempt


def kvm_getloadavg(kd: Kvm, nelem: int = 3) -> list[float] | int:
    """The first nelem (at most 3) of the load averages of 1, 5 and 15 minutes; -1 on failure.

    A negative nelem gives all three, as in the original, where it is compared as unsigned.
    """
    samples = attempt(kd, "kvm_getloadavg", lambda: kd.target.loadavg(kd.parts))
    if samples is None:
        return -1
    return samples if nelem < 0 else samples[:nelem]
