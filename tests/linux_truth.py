"""What pykvm must say of a dump of the Linux writer: all that the writer knows."""

from __future__ import annotations

from typing import Any

import pytest

import pykvm

STATES = {1: "S", 2: "D", 0x402: "I"}
BOOT = 1_700_000_000


def info(kd: pykvm.Kvm, dump: Any, format: str) -> None:
    """What the handle is looking at."""
    told = kd.info
    assert (told.system, told.release, told.machine) == ("Linux", dump.release, dump.machine)
    assert (told.version, told.format, told.byteorder) == ("#1 SMP synthetic", format, "little")
    assert (told.pointer_size, told.page_size) == (dump.pointer_size, dump.page_size)


def names(kd: pykvm.Kvm, dump: Any) -> None:
    """Every symbol, and the way back from an address."""
    assert {s.name: s.value for s in kd.symbols.all()} == dump.symbols
    for i in (0, 149, 499):
        name = f"init_function_{i}" + "x" * (i % 150)
        assert kd.symbol_at(dump.symbols[name] + 5) == (name, 5)


def processes(kd: pykvm.Kvm, dump: Any) -> None:
    """Every process with its attributes, threads, and load."""
    records = kd.processes()
    assert [p.pid for p in records] == [t.pid for t in dump.tasks]
    for p, t in zip(records, dump.tasks, strict=True):
        assert (p.ppid, p.pgid, p.sid, p.nice, p.threads) == (t.ppid, t.pgid, t.sid, t.nice, t.threads)
        assert (p.ruid, p.uid, p.svuid, p.rgid, p.gid, p.svgid) == t.ids
        assert p.groups == list(t.groups)
        assert p.comm == t.comm.decode()
        assert p.tdev == (None if t.tty is None else t.tty[0] << 8 | t.tty[1])
        assert p.tpgid == (None if t.tty is None else t.pgid)
        assert p.stat == ("Z" if t.exit_state else STATES[t.state])
        assert (p.utime, p.stime) == (t.times[0] / 1e9, t.times[1] / 1e9)
        assert p.rssize == (t.rss * dump.page_size if t.argv is not None else 0)
        assert p.start_time == BOOT + t.start / 1e9
        assert p.paddr == dump.task_addrs[t.pid]
        assert [x.tid for x in kd.threads(p)] == [t.pid + i * 1000 for i in range(t.threads)]
    assert kd.loadavg() == list(dump.loadavg)


def arguments(kd: pykvm.Kvm, dump: Any) -> None:
    """Arguments and environment: user memory through each process's own tables."""
    for p, t in zip(kd.processes(), dump.tasks, strict=True):
        assert kd.argv(p) == list(t.argv or [])
        assert kd.environ(p) == list(t.env)


def borders(kd: pykvm.Kvm, dump: Any) -> None:
    """Reads over borders between pages, large pages, and both; single integers there, too."""
    assert dump.probes
    assert any("large" in p.name for p in dump.probes)
    for probe in dump.probes:
        assert any(probe.data[:64]), probe.name
        assert any(probe.data[64:]), probe.name
        assert kd.read(probe.va, len(probe.data)) == probe.data, probe.name
        assert kd.read_u64(probe.va + 60) == int.from_bytes(probe.data[60:68], "little"), probe.name


def physical(kd: pykvm.Kvm, dump: Any, left_out: Any = ()) -> None:
    """Every page by its physical address, and through the direct map where it is mapped there."""
    size = dump.page_size
    va, pa = dump.direct
    seen = 0
    for pfn, page in dump.memory.items():
        if pfn in left_out:
            with pytest.raises(pykvm.AddressError):
                kd.read_phys(pfn * size, 1)
            continue
        assert kd.read_phys(pfn * size, size) == page
        try:
            found = kd.translate(va + pfn * size - pa)
        except pykvm.AddressError:
            assert pfn in dump.user_pfns  # highmem
            continue
        assert found == pfn * size
        seen += 1
    assert seen > 20


def tables(kd: pykvm.Kvm, dump: Any) -> None:
    """The kernel's top table is where it says; what no table maps is not there."""
    va, pa = dump.swapper
    assert kd.translate(va) == pa
    top = (1 << 8 * dump.pointer_size) - 1
    for nowhere in (0, 4096, dump.direct[0] - 0x2000, top):
        with pytest.raises(pykvm.AddressError):
            kd.read(nowhere, 1)
    if kd.info.format != "raw":  # elsewhere most of the image's memory is not in the dump
        with pytest.raises(pykvm.AddressError):
            kd.read(dump.symbols["_stext"], 8 << 20)


def everything(kd: pykvm.Kvm, dump: Any, format: str) -> None:
    """All of it."""
    info(kd, dump, format)
    names(kd, dump)
    processes(kd, dump)
    arguments(kd, dump)
    borders(kd, dump)
    physical(kd, dump)
    tables(kd, dump)
