"""The log and `pykvm info` of real Linux dumps, against what the guests said: their /proc, dmesg(1), the console."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import pykvm
from pykvm.cli import main
from pykvm.cli.common import day
from pykvm.types.layout import Types

# dump: the truth's name, and what the container's header says (version, codec, dump_level)
DUMPS: dict[str, tuple[str, tuple[int, str | None, int] | None]] = {
    "x86_64-6.12-kaslr.qemu-elf": ("x86_64-6.12-kaslr", None),
    "x86_64-6.12-kaslr.zstd-d23.kdump": ("x86_64-6.12-kaslr", (6, "zstd", 23)),
    "x86_64-6.12-kaslr.zlib-d31.kdump": ("x86_64-6.12-kaslr", (6, "zlib", 31)),
    "x86_64-6.12-kaslr.lzo-d23.kdump": ("x86_64-6.12-kaslr", (6, "lzo", 23)),
    "x86_64-6.12-la57-pti.none-d23.kdump": ("x86_64-6.12-la57-pti", (6, None, 23)),
    "aarch64-6.12-kaslr.qemu-elf": ("aarch64-6.12-kaslr", None),
    "x86_64-6.1-kaslr.qemu-kdump-zlib": ("x86_64-6.1-kaslr", (6, "zlib", 1)),
    "x86_64-6.1-kaslr.zlib-d31.kdump": ("x86_64-6.1-kaslr", (6, "zlib", 31)),
    "aarch64-6.12-max.qemu-kdump-zlib": ("aarch64-6.12-max", (6, "zlib", 1)),
    "aarch64-6.12-16k.qemu-elf": ("aarch64-6.12-16k", None),
    "aarch64-6.1-a57.qemu-elf": ("aarch64-6.1-a57", None),
    "i386-6.1-686.qemu-elf": ("i386-6.1-686", None),
    "i386-6.1-686-pae.qemu-kdump-zlib": ("i386-6.1-686-pae", (6, "zlib", 1)),
    "x86_64-6.12-panic.qemu-elf": ("x86_64-6.12-panic", None),
    "x86_64-6.12-panic.qemu-kdump-zlib": ("x86_64-6.12-panic", (6, "zlib", 1)),
    "x86_64-6.12-panic.zlib-d31.kdump": ("x86_64-6.12-panic", (6, "zlib", 31)),
}
LEVELS = {"x86_64-6.12-la57-pti": 5, "aarch64-6.12-max": 5, "i386-6.1-686-pae": 3, "i386-6.1-686": 2}
KINDS = ["zero", "cache", "private cache", "user", "free"]


@pytest.fixture(scope="module", params=DUMPS)
def dump(request: pytest.FixtureRequest, real: Any) -> Any:
    name, container = DUMPS[request.param]
    path = real(f"linux/{request.param}")
    truth = json.loads(real(f"linux/{name}.truth.json").read_text())
    return path, truth, container, name


def info(path: Path, capfd: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main(["info", "--json", "-M", str(path)]) == 0
    found: dict[str, Any] = json.loads(capfd.readouterr().out)
    return found


def test_info(dump: Any, capfd: pytest.CaptureFixture[str]) -> None:
    path, truth, container, name = dump
    found = info(path, capfd)
    assert found["hostname"] == "pykvm-guest"
    assert found["command line"] == truth["cmdline"].strip()
    with pykvm.Kvm(path) as kd:
        if "init_task" in kd.symbols:  # else there is VMCOREINFO alone
            running(kd, found, truth, name)
    vmcoreinfo = path.parent / f"{name}.vmcoreinfo.txt"
    if vmcoreinfo.exists():
        lines = dict(line.split("=", 1) for line in vmcoreinfo.read_text().splitlines())
        assert found["build id"] == lines["BUILD-ID"]
        assert found["KASLR offset"] == int(lines["KERNELOFFSET"], 16)
    assert found["page table levels"] == LEVELS.get(name, 4)
    if container is None:
        assert not {"container version", "compression", "dump level", "memory left out"} & set(found)
        return
    version, codec, level = container
    assert (found["container version"], found.get("compression"), found["dump level"]) == (version, codec, level)
    assert found["kinds left out"] == [kind for i, kind in enumerate(KINDS) if level >> i & 1]
    assert (found["memory left out"] > 0) == (level > 1)


def running(kd: pykvm.Kvm, found: dict[str, Any], truth: Any, name: str) -> None:
    """What the guest said of itself while it ran."""
    told = float(truth["uptime"][0])
    assert told - 0.05 < found["uptime"] < told + (0.5 if "panic" not in name else 5)
    assert abs(found["dump time"] - found["boot time"] - found["uptime"]) < 1e-3
    if "btime" in truth:
        assert int(found["boot time"]) == truth["btime"]
    assert [f"{x:.2f}" for x in found["load averages"]] == truth["loadavg"][:3]
    assert (found["cpus"], found["cpus possible"]) == (2, 2)
    assert found["cpus online"] == (1 if "panic" in name else 2)  # the other one was stopped
    threads = sum(len(p["tids"]) for p in truth["processes"].values())
    assert threads <= found["threads"] <= threads + 2
    if "processes" in found:  # in one dump makedumpfile left out memory that the list goes through
        assert found["processes"] in (len(truth["processes"]), len(truth["processes"]) + 1)
    else:
        with pytest.raises(pykvm.KvmError) as caught:
            kd.processes()
        assert "leaves out" in str(caught.value.__cause__)
    assert found["tainted"] == 0
    assert "taint flags" not in found


def test_panic(dump: Any, capfd: pytest.CaptureFixture[str]) -> None:
    path, _, _, name = dump
    found = info(path, capfd)
    told = {key: value for key, value in found.items() if key.startswith(("panic", "oops"))}
    if "panic" in name:
        assert told == {
            "panic": "sysrq triggered crash", "panic cpu": 1, "panic pid": 1, "panic command": "init",
        }  # fmt: skip
    else:
        assert told == {}


def test_dmesg(dump: Any) -> None:
    path, truth, _, name = dump
    with pykvm.Kvm(path) as kd:
        shown = kd.dmesg()
        lines = shown.decode("utf-8", "surrogateescape").splitlines()
    said = truth.get("dmesg")
    if said:  # what dmesg(1) showed when the truth was printed; more came later
        assert lines[: len(said)] == said
    whole = path.parent / f"{name}.dmesg.txt"
    if whole.exists():
        assert shown == whole.read_bytes()
    assert lines[0].startswith("[    0.000000] ")
    assert any("Linux version " + truth["version"].split()[2] in line for line in lines)


def test_by_vmcoreinfo_alone(dump: Any) -> None:
    """As with a kernel that was built without BTF."""
    path, _, _, _ = dump
    with pykvm.Kvm(path) as kd:
        shown = kd.dmesg()
        symbols = "init_task" in kd.symbols
        kd.target.types = Types()
        assert kd.dmesg() == shown
        facts = kd.facts()
        assert {"hostname", "command line", "build id"} <= set(facts)
        assert ({"cpus", "load averages", "threads"} <= set(facts)) == symbols
        assert not {"boot time", "uptime", "processes"} & set(facts)


def test_flags(dump: Any, capfd: pytest.CaptureFixture[str]) -> None:
    path, _, _, _ = dump
    with pykvm.Kvm(path) as kd:
        plain = kd.dmesg().decode("utf-8", "surrogateescape").splitlines()
        boot = kd.facts().get("boot time")

    def run(*flags: str) -> list[str]:
        assert main(["dmesg", "-M", str(path), *flags]) == 0
        return capfd.readouterr().out.splitlines()

    assert run() == plain
    raw = run("-r")
    assert raw[0].startswith("<5>[    0.000000] Linux version ") or raw[0].startswith("<6>[    0.000000] Booting Linux")
    assert [line.partition(">")[2] for line in raw] == plain
    words = run("-x")
    assert [line[15:] for line in words] == plain
    levels = ["emerg ", "alert ", "crit  ", "err   ", "warn  ", "notice", "info  ", "debug "]
    prefixes = [f"kern  :{levels[int(line[1])]}: " if line[2] == ">" else line for line in raw]
    assert all(w.startswith(p) for w, p, r in zip(words, prefixes, raw, strict=True) if r[2] == ">")
    if boot is None:
        assert main(["dmesg", "-M", str(path), "-T"]) == 1
        assert "does not tell when the system was booted" in capfd.readouterr().err
        return
    clock = run("-T")
    assert [line.partition("] ")[2] for line in clock] == [line.partition("] ")[2] for line in plain]
    assert clock[0].startswith("[20")
    assert clock[0][1:24] == day(boot)
