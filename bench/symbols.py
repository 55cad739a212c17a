"""Names."""

from __future__ import annotations

import time

import pykvm
from bench.figures import best, line
from bench.samples import big_kernel, mirbsd
from pykvm import symbols
from pykvm.images.hostfile import HostFile
from pykvm.symbols.base import Symbols


def load() -> Symbols:
    """Open a kernel and look up one name."""
    file = HostFile(big_kernel())
    found = symbols.recognise(file)
    assert found is not None
    found.loose("init_task")
    file.close()
    return found


def run() -> None:
    """The figures."""
    big_kernel()
    table = load()
    line(f"open a kernel of {len(table)} symbols and find a name", best(load) * 1e3, "ms", 60, at_least=False)
    names = list(dict.fromkeys(table))
    dump = mirbsd(100)
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        kd.symbol = table.getter(lambda name: 0)
        symbol = kd.symbol
        start = time.perf_counter()
        for name in names:
            symbol(name)
        rate = len(names) / (time.perf_counter() - start)
        line(f"kd.symbol, {len(names)} distinct names", rate / 1e6, "M/s", 1, at_least=True)
        kd._symbols = table
        nl = [pykvm.Nlist("_" + name) for name in names[:: len(names) // 1000][:1000]]
        line("kvm_nlist of 1,000 names", best(lambda: pykvm.kvm_nlist(kd, nl)) * 1e3, "ms", 2, at_least=False)
