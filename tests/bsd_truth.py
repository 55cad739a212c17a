"""What the tests of NetBSD's and OpenBSD's dumps share: the truth of the fixture writer, compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pykvm_fixtures.bsd import BsdDump, Process

import pykvm

# ps(1)'s letter of each user process of the default system.
LETTERS = {1: "I", 700: "S", 701: "R", 702: "T", 703: "Z", 704: "Z", 800: "S", 801: "D", 802: "I"}
SLEEPERS = {1, 700, 800, 801, 802}


def newest_first(dump: BsdDump) -> list[int]:
    """Numbers as the kernel lists them: zombies last."""
    living = [p.pid for p in reversed(dump.processes) if p.kind != "zombie"]
    return living + [p.pid for p in dump.processes if p.kind == "zombie"]


def check_identity(kd: Any, dump: BsdDump, format: str = "savecore") -> None:
    info = kd.info
    assert (info.system, info.release, info.format) == (dump.name, dump.facts.osrelease, format)
    assert info.version == dump.facts.version
    assert (info.pointer_size, info.byteorder) == (dump.word, dump.order)
    assert kd.loadavg() == [0.5, 0.25, 0.125]
    assert pykvm.kvm_getloadavg(kd, 2) == [0.5, 0.25]
    facts = kd.facts()
    assert (facts["hostname"], facts["panic"]) == ("fixture.example", "fixture")
    assert int(facts["boot time"]) == dump.system.boot
    assert facts["dump time"] == dump.system.now
    assert facts["physical memory"] == dump.system.physmem * info.page_size


def check_messages(kd: Any, dump: BsdDump) -> None:
    """The buffer has wrapped: the oldest line is cut."""
    found = kd.dmesg()
    assert len(dump.system.messages) > len(found) == 5000
    assert found == dump.facts.messages
    assert found.endswith(b"\nline 599 of the messages\npanic: fixture\ndumping to dev 4,1\n")


def check_memory(kd: Any, dump: BsdDump) -> None:
    """Kernel addresses where mappings meet, addresses that are none, physical memory."""
    assert len(dump.probes) >= 4
    for probe in dump.probes:
        assert kd.read(probe.va, len(probe.data)) == probe.data, probe.name
    for va in dump.holes:
        with pytest.raises(pykvm.AddressError):
            kd.read(va, 8)
    size = dump.page_size
    for n in sorted(dump.memory)[::5]:
        inside = any(start <= n * size < start + length for start, length in dump.placed.segments)
        if inside:
            assert kd.read_phys(n * size, size) == dump.memory[n]
    for name, value in dump.symbols.items():
        assert kd.symbol(name) == value
    assert kd.read_i32(kd.symbol("nprocs" if dump.name == "NetBSD" else "nprocesses")) == len(dump.processes)


def check_process(p: Any, said: Process, dump: BsdDump) -> None:
    """What means the same everywhere."""
    a = dump.addresses
    owner = a.procs[said.pid] if dump.name == "NetBSD" else a.threads[said.threads[0].tid]
    assert (p.pid, p.ppid, p.pgid, p.paddr) == (said.pid, said.ppid, said.group, owner)
    assert p.sid == (said.session if said.session in a.procs else 0 if dump.name == "OpenBSD" else said.session)
    assert (p.uid, p.ruid, p.svuid) == (said.uid, said.ruid, said.svuid)
    assert (p.gid, p.rgid, p.svgid) == (said.gid, said.rgid, said.svgid)
    assert tuple(p.groups) == said.groups
    assert (p.comm, p.nice) == (said.comm, said.nice)
    assert p.login == ("alice" if said.session == 700 else said.login)
    assert (p.tdev, p.tpgid) == ((0x500, 702) if said.tty else (None, None))
    if said.pid in LETTERS:
        assert p.stat == LETTERS[said.pid]
    if said.pid in SLEEPERS or said.pid >= 1000:
        (thread,) = said.threads
        assert (p.wmesg, p.wchan) == (thread.wmesg, a.wchans[thread.tid])
    elif said.kind == "user":
        assert (p.wmesg, p.wchan) == (None, None)
    assert p.rssize == said.resident * dump.page_size
    assert p.threads == len(said.threads)


def check_vectors(kd: Any, dump: BsdDump, processes: Any) -> None:
    """Arguments and environment."""
    some = 0
    for p in processes:
        said = dump.process(p.pid)
        assert kd.argv(p) == list(said.args)
        assert kd.environ(p) == list(said.environ)
        some += len(said.args) + len(said.environ)
    assert some > 550


def cut_vectors(kd: Any, dump: BsdDump) -> None:
    """nchr: bytes with NULs, all strings together; the C function gives None for none."""

    def one(pid: int) -> Any:
        (p,) = kd.processes(pykvm.KERN_PROC_PID, pid)
        return p

    assert pykvm.kvm_getargv(kd, one(702), 5) == [b"vi", b"tw"]
    assert pykvm.kvm_getargv(kd, one(702), 0) == [b"vi", b"two words", b"", b"last"]
    assert pykvm.kvm_getenvv(kd, one(700), 11) == [b"HOME=/home/"]
    assert pykvm.kvm_getargv(kd, one(802), 0) is None
    assert pykvm.kvm_getargv(kd, one(703), 0) is None


def nm_list(dump: BsdDump, path: Path) -> Path:
    """The names of a kernel as nm(1) prints them."""
    width = 2 * dump.word
    path.write_text("".join(f"{value:0{width}x} D {name}\n" for name, value in sorted(dump.symbols.items())))
    return path


def layout_file(dump: BsdDump, path: Path) -> Path:
    """The structures as a layout file, members of members by paths."""
    integers = {"char": 1, "u_char": 1, "short": 2, "u_short": 2, "int": 4, "u_int": 4, "long": dump.word}
    integers |= {"u_long": dump.word, "int64_t": 8, "uint64_t": 8, "uint32_t": 4, "int32_t": 4, "uint16_t": 2}

    def size(kind: str) -> int:
        if kind.endswith("]"):
            base, _, count = kind[:-1].rpartition(" [")
            return size(base) * int(count)
        if kind.endswith("*"):
            return dump.word
        return dump.layouts[kind][0] if kind in dump.layouts else integers[kind]

    def members(kind: str, at: int, prefix: str) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {}
        for name, (offset, inner) in dump.layouts[kind][1].items():
            found[prefix + name] = [at + offset, size(inner), inner]
            if inner in dump.layouts:
                found |= members(inner, at + offset, f"{prefix}{name}.")
        return found

    table = {name: {"size": whole, "fields": members(name, 0, "")} for name, (whole, _) in dump.layouts.items()}
    path.write_text(json.dumps(table))
    return path
