"""kvm_getlwps(3): the LWPs of a process, as NetBSD's libkvm gives them."""

from __future__ import annotations

from pykvm.handle import Kvm
from pykvm.procs import attempt
from pykvm.records import ProcessRecord


def kvm_getlwps(kd: Kvm, pid: int, paddr: int, elemsize: int) -> list[ProcessRecord] | None:
    """The LWPs of the process whose struct proc is at paddr (p_paddr of its record), as struct kinfo_lwp, `elemsize`
    bytes of each in bytes(lwp); None with a message if it fails. pid is what l_pid is to be, 0: the process's own.

    Source: NetBSD's kvm_getlwps(3) and <sys/sysctl.h>. Other kernels have kd.threads() only.
    """
    return attempt(kd, "kvm_getlwps", lambda: kd.lwps(pid, paddr, elemsize))
