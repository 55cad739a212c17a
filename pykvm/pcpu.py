"""kvm_getpcpu(3): kvm_getmaxcpu, kvm_getncpus, kvm_getpcpu, kvm_dpcpu_setcpu, kvm_read_zpcpu, kvm_counter_u64_fetch.

The originals remember what they found for all handles of a process, until they are called with a handle of NULL. Here
each handle has its own, and there is nothing to clear.
"""

from __future__ import annotations

from operator import index
from typing import Any

from pykvm.handle import Kvm
from pykvm.procs import attempt
from pykvm.read import check_buffer, kvm_read


def kvm_getmaxcpu(kd: Kvm) -> int:
    """The number of CPUs that the kernel is made for, or -1.

    As the manual has it, and as the original answers: mp_maxcpus, 256 or so on amd64 whatever the machine has. CPUs
    that are there have numbers below it; which they are, kvm_getpcpu says.
    """
    return _number(attempt(kd, "kvm_getmaxcpu", lambda: kd.target.maxcpu(kd.parts)))


def kvm_getncpus(kd: Kvm) -> int:
    """The number of CPUs that the kernel runs on, or -1."""
    return _number(attempt(kd, "kvm_getncpus", lambda: kd.target.ncpus(kd.parts)))


def kvm_getpcpu(kd: Kvm, cpu: int) -> bytes | int | None:
    """struct pcpu of a CPU, as it lies in memory; None if there is no such CPU; -1 on failure.

    It has the size that the kernel's types say. Of a kernel file without types, it ends at the next CPU's.
    """
    number = index(cpu)
    found = attempt(kd, "kvm_getpcpu", lambda: (kd.target.pcpu(kd.parts, number),))
    return -1 if found is None else found[0]


def kvm_dpcpu_setcpu(kd: Kvm, cpu: int) -> int:
    """Let kvm_nlist, kd.symbol and others find this CPU's copies of dynamic per-CPU variables (before: CPU 0's); 0,
    or -1 if there is no such CPU."""
    number = index(cpu)

    def choose() -> int:
        kd.target.set_cpu(kd.parts, number)
        return 0

    return _number(attempt(kd, "kvm_dpcpu_setcpu", choose))


def kvm_read_zpcpu(kd: Kvm, base: int, buf: Any, size: int, cpu: int) -> int:
    """Read size bytes of a CPU's copy of what was allocated at base, of a zone(9) with UMA_ZONE_PCPU: the bytes read,
    or -1, as kvm_read(3).

    Copies are as far apart as the kernel places them: a page since FreeBSD 12, the size of struct pcpu before. (The
    original takes that of its own struct pcpu.) base is what the kernel's variable holds: on amd64 that is not an
    address since 13, but a distance from the first CPU's struct pcpu; the address itself is taken, too.
    """
    check_buffer(buf, size)
    where, number = index(base), index(cpu)
    at = attempt(kd, "kvm_read_zpcpu", lambda: kd.target.cpu_copy(kd.parts, where, number))
    return -1 if at is None else kvm_read(kd, at, buf, size)


def kvm_counter_u64_fetch(kd: Kvm, base: int) -> int:
    """The value of a counter(9), given what the variable of type counter_u64_t holds: the sum of all CPUs' copies; 0
    on failure, as in the original (kvm_geterr(3) has the message then)."""
    where = index(base)
    return attempt(kd, "kvm_counter_u64_fetch", lambda: kd.target.counter(kd.parts, where)) or 0


def _number(found: int | None) -> int:
    return -1 if found is None else found
