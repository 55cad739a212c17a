"""Real Linux dumps without what leads to their kernel: VMCOREINFO, symbols of data."""

from __future__ import annotations

import hashlib
import json
import mmap
import shutil
from typing import Any

import pytest

import pykvm
from pykvm.symbols import kallsyms, ksymtab
from pykvm.symbols.base import Symbols
from pykvm.targets.linux import clock
from pykvm.targets.linux.places import Places
from pykvm.targets.linux.symbols import carried
from pykvm.targets.linux.symbols.looks import Looks
from pykvm.types import btf_scan

DUMPS = {
    "x86_64-elf": ("x86_64-6.12-kaslr.qemu-elf", "x86_64-6.12-kaslr"),
    "x86_64-la57-pti": ("x86_64-6.12-la57-pti.none-d23.kdump", "x86_64-6.12-la57-pti"),
    "aarch64-elf": ("aarch64-6.12-kaslr.qemu-elf", "aarch64-6.12-kaslr"),
}
VMLINUX = "linux/vmlinux-6.12.117-x86_64.nodwarf"
# A kernel whose kallsyms has functions only, with BTF.
FUNCTIONS_ONLY = "aarch64-6.1-a57"


def check(kd: pykvm.Kvm, told: Any) -> None:
    """Names, processes, their arguments, load."""
    release = kd.info.release
    assert release is not None
    assert f"Linux version {release} " in told["version"]
    lines = "".join(f"{s.value:016x} {chr(s.type)} {s.name}\n" for s in kd.symbols.all())
    assert told["kallsyms_sha256_without_modules"] == [hashlib.sha256(lines.encode()).hexdigest()]
    processes = {str(p.pid): p for p in kd.processes()}
    assert set(told["processes"]) <= set(processes)
    for pid, t in told["processes"].items():
        p = processes[pid]
        assert (p.ppid, p.pgid, p.sid) == tuple(int(t["stat"][name]) for name in ("ppid", "pgrp", "session"))
        assert [p.ruid, p.uid, p.svuid] == [int(x) for x in t["status"]["Uid"].split()[:3]]
        assert p.start_time is not None
        assert kd.argv(p) == [word.encode("latin-1") for word in t["argv"]]
    assert [int(x * 100) for x in kd.loadavg()] == pytest.approx([float(x) * 100 for x in told["loadavg"][:3]], abs=1)
    assert b"Linux version" in kd.dmesg()


@pytest.fixture(scope="module", params=["x86_64-elf", "x86_64-la57-pti"])
def untold(request: pytest.FixtureRequest, real: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A dump in which nothing begins as VMCOREINFO does."""
    dump, name = DUMPS[request.param]
    path = tmp_path_factory.mktemp("untold") / dump
    shutil.copy(real(f"linux/{dump}"), path)
    with open(path, "r+b") as f, mmap.mmap(f.fileno(), 0) as raw:
        at, count = raw.find(b"OSRELEASE="), 0
        while at >= 0:
            raw[at] = ord("X")
            at, count = raw.find(b"OSRELEASE=", at), count + 1
        assert count >= 2
    yield path, json.loads(real(f"linux/{name}.truth.json").read_text())
    path.unlink()


def test_registers(untold: Any) -> None:
    path, told = untold
    with pykvm.Kvm(path) as kd:
        check(kd, told)


def test_registers_and_a_kernel_file(untold: Any, real: Any) -> None:
    path, told = untold
    with pykvm.Kvm(path, real(VMLINUX)) as kd:
        assert kd.symbol("init_task") == int(told["kallsyms"]["init_task"]["addr"], 16)
        assert {str(p.pid) for p in kd.processes()} >= set(told["processes"])


def test_functions_only(real: Any) -> None:
    told = json.loads(real(f"linux/{FUNCTIONS_ONLY}.truth.json").read_text())
    with pykvm.Kvm(real(f"linux/{FUNCTIONS_ONLY}.qemu-elf")) as kd:
        assert kd.symbols.flaw is not None
        check(kd, told)
        assert {s.module for s in kd.symbols.all(modules=True) if s.module} == {m.split()[0] for m in told["modules"]}


@pytest.fixture(scope="module", params=DUMPS, ids=list(DUMPS))
def kd(request: pytest.FixtureRequest, real: Any) -> Any:
    """A dump whose symbols say what is to be found without them."""
    with pykvm.Kvm(real(f"linux/{DUMPS[request.param][0]}")) as found:
        yield found


def test_exported(kd: pykvm.Kvm) -> None:
    """All data that the kernel exports, by its functions alone."""
    target: Any = kd.target
    functions = Symbols("functions", target.machine, target.byteorder, kallsyms.n_type, kallsyms.letter)
    for s in kd.symbols.all():
        if chr(s.type) in "tT":
            functions.put(s.name.encode(), s.value, 0, s.type, True, b"")
    start = carried.code_end(functions)
    assert start is not None
    found = ksymtab.read(kd, carried.described(target, kd.image), functions, start)
    assert found is not None
    assert {"init_task", "avenrun", "init_uts_ns", "jiffies", "nr_cpu_ids"} <= set(found)
    assert len(found) > 500
    for s in found.all():
        assert s.value == kd.symbols[s.name], s.name
        assert (chr(s.type) == "A") == (target.machine == "x86_64" and s.value < 1 << 32)


def test_types(kd: pykvm.Kvm) -> None:
    target, start = kd.target, carried.code_end(kd.symbols)
    assert start is not None
    found = btf_scan.find(kd, start, target.byteorder, "scan", target.pointer_size, "task_struct")
    assert found is not None
    graph: Any = kd.target.types
    assert (found.end, found.strings_end) == (graph.carried.end, graph.carried.strings_end)


def test_variables(kd: pykvm.Kvm, monkeypatch: pytest.MonkeyPatch) -> None:
    target: Any = kd.target
    looks = Looks(target, kd.parts, target.types)
    assert looks.modules() is None  # its symbols have all there is
    monkeypatch.setattr(kd.symbols, "flaw", "functions only")
    assert looks.modules() == kd.symbol("modules")
    assert looks.btf_modules() == kd.symbol("btf_modules")
    places = Places(target, kd.parts)
    keeper = target.types.struct("timekeeper")
    at = looks.timekeeper(keeper, lambda at: clock._right(places, keeper, at))
    assert at is not None
    assert 0 <= at - kd.symbol("tk_core") <= 64 or at == kd.symbol("shadow_timekeeper")
    assert clock._boot(places, at) == clock.boot(places)
