"""kvm_getprocs."""

from __future__ import annotations

import pykvm
from bench.figures import best, line
from bench.samples import mirbsd


def run() -> None:
    """The figures."""
    seconds = {}
    for count in (1_000, 10_000):
        dump = mirbsd(count)
        with pykvm.Kvm(dump.core, dump.kernel) as kd:
            found = kd.processes()
            assert len(found) == count, len(found)
            seconds[count] = best(kd.processes)
    line("kvm_getprocs, 10,000 processes", seconds[10_000] * 1e3, "ms", 150, at_least=False)
    growth = seconds[10_000] / seconds[1_000]
    line("  time for 10 times the processes", growth, "ratio", 13, at_least=False)
