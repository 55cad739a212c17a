"""Real Linux dumps, with nothing but the dump, against what the guests' own /proc said."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

import pykvm

DUMPS = {
    "x86_64-elf": ("x86_64-6.12-kaslr.qemu-elf", "x86_64-6.12-kaslr"),
    "x86_64-zstd": ("x86_64-6.12-kaslr.zstd-d23.kdump", "x86_64-6.12-kaslr"),
    "x86_64-zlib": ("x86_64-6.12-kaslr.zlib-d31.kdump", "x86_64-6.12-kaslr"),
    "x86_64-la57": ("x86_64-6.12-la57-pti.none-d23.kdump", "x86_64-6.12-la57-pti"),
    "aarch64-elf": ("aarch64-6.12-kaslr.qemu-elf", "aarch64-6.12-kaslr"),
}
# Between the print and the stop these went on: init, what it started, and kernel threads.
RUNNING = {"1"}


@pytest.fixture(scope="module", params=DUMPS, ids=list(DUMPS))
def both(request: pytest.FixtureRequest, real: Any) -> Any:
    dump, name = DUMPS[request.param]
    truth = json.loads(real(f"linux/{name}.truth.json").read_text())
    with pykvm.Kvm(real(f"linux/{dump}")) as kd:
        yield kd, truth, request.param


def latin(words: list[str]) -> list[bytes]:
    return [word.encode("latin-1") for word in words]


def test_info(both: Any) -> None:
    kd, truth, name = both
    info = kd.info
    assert (info.system, info.live) == ("Linux", False)
    assert info.machine == name.split("-")[0]
    assert info.release in truth["version"]
    assert info.version in truth["version"]
    assert info.format == ("elf" if name.endswith("elf") else "kdump")
    assert kd.facts()["hostname"] == "pykvm-guest"


def test_every_symbol(both: Any) -> None:
    kd, truth, _ = both
    for name, told in truth["kallsyms"].items():
        if not told["module"]:
            found = kd.symbols.find(name)
            assert found is not None
    lines = "".join(f"{s.value:016x} {chr(s.type)} {s.name}\n" for s in kd.symbols.all())
    digest = hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()
    assert [digest] == truth["kallsyms_sha256_without_modules"]


def test_load(both: Any) -> None:
    kd, truth, _ = both
    assert [f"{x:.2f}" for x in kd.loadavg()] == truth["loadavg"][:3]


def test_processes(both: Any) -> None:
    kd, truth, _ = both
    found = {p.pid: p for p in kd.processes()}
    told = truth["processes"]
    assert {int(pid) for pid in told} <= set(found)
    assert len(found) == len(told) + 1  # init started one more
    for pid, t in told.items():
        p, stat, status = found[int(pid)], t["stat"], t["status"]
        kernel_thread = p.flags & 0x00200000
        assert p.stat == {"t": "T", "X": "Z", "P": "I"}.get(stat["state"], stat["state"])
        for ours, theirs in (("ppid", "ppid"), ("pgid", "pgrp"), ("sid", "session"), ("nice", "nice")):
            assert getattr(p, ours) == int(stat[theirs]), (pid, ours)
        assert (p.tdev or 0) == int(stat["tty_nr"])
        assert (-1 if p.tpgid is None else p.tpgid) == int(stat["tpgid"])
        assert p.threads == int(stat["num_threads"])
        assert [p.ruid, p.uid, p.svuid] == [int(x) for x in status["Uid"].split()[:3]]
        assert [p.rgid, p.gid, p.svgid] == [int(x) for x in status["Gid"].split()[:3]]
        assert p.groups == [int(x) for x in status.get("Groups", "").split()]
        assert p.rssize == int(stat["rss"]) * kd.info.page_size
        comm = p.comm.encode("utf-8", "surrogateescape")
        if not t["comm"].startswith("kworker/") or "/R-" in t["comm"]:  # what a worker does changes
            assert comm == t["comm"].encode("latin-1")
        if pid not in RUNNING and not kernel_thread and p.comm != "pk" and p.stat != "R":
            assert (int(p.utime * 100), int(p.stime * 100)) == (int(stat["utime"]), int(stat["stime"]))
        boot = p.start_time - int(stat["starttime"]) / 100
        assert abs(boot - (found[2].start_time - int(told["2"]["stat"]["starttime"]) / 100)) < 0.02


def test_vectors(both: Any) -> None:
    kd, truth, name = both
    for p in kd.processes():
        t = truth["processes"].get(str(p.pid))
        if t is None:
            continue
        if name == "x86_64-zlib" and (t["argv"] or t["environ"]):
            # User pages were left out: an error that says so, never wrong text.
            assert pykvm.kvm_getargv(kd, p, 0) is None
            assert "leaves out the memory" in pykvm.kvm_geterr(kd)
            continue
        assert kd.argv(p) == latin(t["argv"]), p
        assert kd.environ(p) == latin(t["environ"]), p
        assert pykvm.kvm_getargv2(kd, p, 0) == (latin(t["argv"]) or None)


def test_threads(both: Any) -> None:
    kd, truth, _ = both
    for p in kd.processes():
        t = truth["processes"].get(str(p.pid))
        if t is not None:
            assert sorted(thread.tid for thread in kd.threads(p)) == t["tids"]


def test_types(both: Any) -> None:
    kd, _, _ = both
    task = kd.types.struct("task_struct")
    init = kd.symbol("init_task")
    assert kd.read_cstr(init + task.offset("comm"), 16) == b"swapper/0"
    assert task.offset("mm.arg_start") == kd.types.struct("mm_struct").offset("arg_start")
    assert kd.types.struct("list_head").size == 16
    assert "no_such_struct" not in kd.types


def test_selection(both: Any) -> None:
    kd, truth, _ = both
    told = truth["processes"]

    def pids(op: int, arg: int) -> set[int]:
        return {p.pid for p in pykvm.kvm_getproc2(kd, op, arg)}

    marked = next(int(pid) for pid, t in told.items() if t["argv"][1:2] == ["uids"])
    assert pids(pykvm.KERN_PROC_UID, 1002) == pids(pykvm.KERN_PROC_RUID, 1001) == {marked}
    assert pids(pykvm.KERN_PROC_PID, marked) == {marked}
    assert pids(pykvm.KERN_PROC_SESSION, int(told[str(marked)]["stat"]["session"])) >= {marked}
    assert not any(p.flags & 0x00200000 for p in kd.processes(pykvm.KERN_PROC_ALL))
    on_tty = {int(pid) for pid, t in told.items() if t["stat"]["tty_nr"] == 34816}
    assert pids(pykvm.KERN_PROC_TTY, 34816) == on_tty


def test_dmesg(both: Any) -> None:
    kd, truth, _ = both
    lines = kd.dmesg().decode("utf-8", "surrogateescape").splitlines()
    assert lines[0].startswith("[    0.000000] ")
    assert any("Linux version " + kd.info.release in line for line in lines)
    assert any(truth["cmdline"].strip() in line for line in lines)


def test_vmlinux(real: Any) -> None:
    dump = real("linux/x86_64-6.12-kaslr.zstd-d23.kdump")
    kernel = real("linux/vmlinux-6.12.117-x86_64.nodwarf")
    with pykvm.Kvm(dump) as own, pykvm.Kvm(dump, kernel) as named:
        for name in ("init_task", "avenrun", "_stext", "schedule"):
            assert own.symbol(name) == named.symbol(name)
        assert [p.pid for p in own.processes()] == [p.pid for p in named.processes()]
    with pytest.raises(pykvm.FormatError, match=r"bad namelist: .* is of x86_64, the dump .* of aarch64"):
        pykvm.Kvm(real("linux/aarch64-6.12-kaslr.qemu-elf"), kernel)
