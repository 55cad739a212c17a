"""kvm_getswapinfo(3)."""

from __future__ import annotations

from operator import index

from pykvm.constants import SWIF_DEV_PREFIX
from pykvm.errors import KvmError
from pykvm.handle import Kvm
from pykvm.procs import attempt
from pykvm.records import KvmSwap

DEVNAME = 32  # sizeof ksw_devname


def kvm_getswapinfo(kd: Kvm, swap_max: int, flags: int = 0) -> list[KvmSwap] | int:
    """Up to swap_max - 1 swap devices, and behind them the total of all, also of those left out; -1 on failure.

    Sizes are in pages. flags: SWIF_DEV_PREFIX puts "/dev/" in front of names. What swaps to a file or over NFS is
    called "[NFS swap]", as the original has it. A device's total leaves out the first dmmax pages, where the kernel
    has that variable (up to FreeBSD 11); without it the original fails on dumps. Device names are the dumped
    system's; the original asks the host for them.
    """
    room, prefix = index(swap_max), "/dev/" if index(flags) & SWIF_DEV_PREFIX else ""
    devices = attempt(kd, "kvm_getswapinfo", lambda: kd.target.swapinfo(kd.parts))
    if devices is None:
        return -1
    if room < 1:
        kd.note(KvmError(f"kvm_getswapinfo: swap_max {room}: no room even for the total"))
        return -1
    total = KvmSwap("", sum(d.ksw_used for d in devices), sum(d.ksw_total for d in devices), 0)
    return [*(d._replace(ksw_devname=_name(d.ksw_devname, prefix)) for d in devices[: room - 1]), total]


def _name(name: str, prefix: str) -> str:
    whole = (name if name.startswith("[") else prefix + name).encode("utf-8", "surrogateescape")
    return whole[: DEVNAME - 1].decode("utf-8", "surrogateescape")
