"""Real FreeBSD dumps: what the running kernel said of itself, and what FreeBSD's own libkvm reads in them."""

from __future__ import annotations

import ast
import json
import random
import re
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

import pykvm
from pykvm.errors import FormatError, KvmError

KERNEL = "freebsd-full/kernel-12.1-amd64"
KINDS = ("minidump", "full")
SPARSE = {"amd64-full": "amd64", "amd64-minidump": "amd64", "arm64-minidump": "arm64"}
Find = Callable[[str], Path]


@pytest.fixture(scope="module", params=KINDS)
def whole(request: pytest.FixtureRequest, real: Find) -> Iterator[tuple[pykvm.Kvm, dict[str, Any], bytes]]:
    """The 12.1 dump, its truth, and the raw answers of the running kernel's sysctl."""
    kind = request.param
    truth = json.loads(real(f"freebsd-full/truth-12.1-amd64-{kind}.json").read_text())
    raw = real(f"freebsd-full/truth.sysctl-12.1-amd64-{kind}.bin").read_bytes()
    with pykvm.Kvm(real(f"freebsd-full/vmcore-12.1-amd64-{kind}"), real(KERNEL)) as kd:
        yield kd, truth, raw


def answer(raw: bytes, name: str) -> bytes:
    """One of the raw answers: records of name[64], u64 length, data padded to 8."""
    at = 0
    while at < len(raw):
        (length,) = struct.unpack_from("<Q", raw, at + 64)
        if raw[at : at + 64].split(b"\0")[0].decode() == name:
            return raw[at + 72 : at + 72 + length]
        at += 72 + (length + 7 & ~7)
    raise KeyError(name)


def test_what_the_kernel_said_of_itself(whole: Any) -> None:
    kd, truth, raw = whole
    assert kd.info.version + "\n" == truth["kern.version"]
    assert kd.info.release == truth["kern.osrelease"]
    assert (kd.info.system, kd.info.machine, kd.info.page_size) == (
        truth["kern.ostype"],
        "x86_64",
        truth["hw.pagesize"],
    )
    facts = kd.facts()
    assert facts["physical memory"] == truth["hw.physmem"]
    assert facts["cpus"] == truth["hw.ncpu"]
    assert facts["panic"] == "kdb_sysctl_panic"
    # `now` (seconds, nanoseconds) was asked just before the panic.
    assert truth["now"][0] <= facts["dump time"] <= truth["now"][0] + 5
    if "boot time" in facts:  # needs the kernel's types
        seconds, micro = truth["kern.boottime"]
        assert facts["boot time"] == pytest.approx(seconds + micro / 1e6, abs=2e-6)
    assert kd.loadavg() == [x / truth["vm.loadavg"]["fscale"] for x in truth["vm.loadavg"]["ldavg"]]
    message = answer(raw, "kern.msgbuf").replace(b"\0", b"")
    assert len(message) > 1000
    assert kd.dmesg().startswith(message.rstrip(b"\n"))
    assert b"panic: kdb_sysctl_panic" in kd.dmesg()


def test_the_process_list(whole: Any) -> None:
    """Every process is where a list of 12.1's offsets leads; so are their names and threads."""
    kd, truth, _ = whole
    found = {}
    for head in ("allproc", "zombproc"):
        for at in kd.walk_list(kd.read_ptr(kd.symbol(head)), 0, 1000, circular=False):
            threads = kd.walk_list(kd.read_ptr(at + 16), 16, 1000, circular=False)
            found[kd.read_i32(at + 188)] = (
                kd.read_cstr(at + 996, 20).decode(),
                [kd.read_i32(t + 160) for t in threads],
            )
    said = {p["ki_pid"]: p for p in truth["kern_proc_proc"]}
    assert set(found) == set(said)
    assert {pid: comm for pid, (comm, _) in found.items()} == {pid: p["ki_comm"] for pid, p in said.items()}
    tids = {t["ki_tid"] for t in truth["kern_proc_all_with_threads"]}
    assert tids <= {tid for _, threads in found.values() for tid in threads}


def test_static_data_is_the_kernel_files(whole: Any, real: Find) -> None:
    """Random words of what the file holds (not zeroed by who made the samples) are the dump's; the two agree on how
    the kernel's image is mapped."""
    kd, _, _ = whole
    symbols = kd.symbols
    for name in ("version", "ostype", "osrelease"):
        held = symbols.held(name, 16)
        assert held
        assert kd.read(symbols[name], len(held.split(b"\0")[0])) == held.split(b"\0")[0]
    chance = random.Random(4)
    start, end = symbols["btext"], symbols["_end"]
    for _ in range(500):
        at = chance.randrange(start, end) & -8
        assert kd.translate(at) == at - symbols["kernbase"]
    # The direct map, and the kernel's map of the same memory.
    dmap = 0xFFFFF80000000000
    for _ in range(100):
        at = chance.randrange(symbols["allproc"], end) & -8
        assert kd.read_u64(dmap + kd.translate(at)) == kd.read_u64(at)


@pytest.mark.parametrize("name", SPARSE)
def test_every_fact_of_the_sparse_dumps(name: str, real: Find) -> None:
    lines = real(f"freebsd/facts-{name}.txt").read_text().splitlines()
    facts: dict[str, Any] = ast.literal_eval(lines[0])
    with pykvm.Kvm(real(f"freebsd/vmcore-{name}"), real(f"freebsd/kernel-{SPARSE[name]}")) as kd:
        for symbol, value in facts.items():
            at = kd.symbol(symbol)
            assert (at if isinstance(value, str) else kd.read_i32(at)) == int(str(value), 0)
        offset = {n.split("_", 2)[2]: kd.read_i32(kd.symbol(n)) for n in facts if "_off_" in n}
        checked = 0
        process = kd.read_ptr(kd.symbol("allproc"))
        thread = 0
        for line in lines[1:]:
            p = re.fullmatch(r"proc (\w+) pid (\d+) comm b'(.*)'", line)
            if p is not None:
                assert process == int(p[1], 16)
                assert kd.read_i32(process + offset["p_pid"]) == int(p[2])
                assert kd.read_cstr(process + offset["p_comm"]) == p[3].encode()
                thread = kd.read_ptr(process + offset["p_threads"])
                process = kd.read_ptr(process + offset["p_list"])
            else:
                t = re.fullmatch(r" +td (\w+) tid (\d+) name b'(.*)' oncpu (-?\d+) pcb (\w+)", line)
                assert t is not None
                assert thread == int(t[1], 16)
                assert kd.read_i32(thread + offset["td_tid"]) == int(t[2])
                assert kd.read_cstr(thread + offset["td_name"]) == t[3].encode()
                assert kd.read_i32(thread + offset["td_oncpu"]) == int(t[4])
                assert kd.read_ptr(thread + offset["td_pcb"]) == int(t[5], 16)
                thread = kd.read_ptr(thread + offset["td_plist"])
            checked += 1
        assert process == 0
        assert checked == len(lines) - 1 > 10


def test_registers_of_the_crashed_thread(real: Find) -> None:
    """As LLVM's own test states them; amd64's struct pcb begins r15, r14, r13, r12, rbp, rsp, rbx, rip."""
    with pykvm.Kvm(real("freebsd/vmcore-amd64-full"), real("freebsd/kernel-amd64")) as kd:
        words = struct.unpack("<8Q", kd.read(kd.symbol("dumppcb"), 64))
        assert words[0] == 0xFFFFF80003369380
        assert words[2:6] == (0xFFFFF800033693A8, 0xFFFFFE0045A6C300, 0xFFFFFE0085CB2760, 0xFFFFFE0085CB2748)
        assert words[7] == 0xFFFFFFFF80C09ADE
    with pykvm.Kvm(real("freebsd/vmcore-arm64-minidump"), real("freebsd/kernel-arm64")) as kd:
        words = struct.unpack("<172Q", kd.read(kd.symbol("dumppcb"), 1376))
        assert {0xFFFF0000D58F23B0, 0xFFFF0000004B6E78} <= set(words)


@pytest.mark.parametrize("kind", KINDS)
def test_with_the_header_that_was_in_front_of_it(kind: str, real: Find, tmp_path: Path) -> None:
    header = real(f"freebsd-full/kdh-12.1-amd64-{kind}.bin").read_bytes()
    dump = real(f"freebsd-full/vmcore-12.1-amd64-{kind}").read_bytes()
    (tmp_path / "device").write_bytes(bytes(1 << 20) + header + dump + header)
    with pykvm.Kvm(tmp_path / "device", real(KERNEL)) as kd:
        assert kd.image.facts["panic"] == "kdb_sysctl_panic"
        assert kd.image.facts["dump time"] == {"minidump": 1795443981, "full": 1795444012}[kind]
        assert kd.image.facts["dump header"] == "version 4, amd64: FreeBSD 12.1-RELEASE KVM"
        assert kd.info.release == "12.1-RELEASE"
        assert len(kd.walk_list(kd.read_ptr(kd.symbol("allproc")), 0, 1000, circular=False)) > 30


def test_zstd_from_savecore(real: Find, tmp_path: Path) -> None:
    dump = real("freebsd-full/vmcore-12.1-amd64-minidump").read_bytes()
    (tmp_path / "vmcore.0.zst").write_bytes(zstandard.compress(dump, 1))
    with pykvm.Kvm(tmp_path / "vmcore.0.zst", real(KERNEL)) as kd:
        assert kd.info.release == "12.1-RELEASE"


def test_other_kernels_are_refused(real: Find, tmp_path: Path) -> None:
    other = tmp_path / "kernel"
    other.write_bytes(real(KERNEL).read_bytes().replace(b"FreeBSD 12.1-RELEASE KVM", b"FreeBSD 12.1-RELEASE-p1 "))
    for kind in KINDS:
        core = real(f"freebsd-full/vmcore-12.1-amd64-{kind}")
        with pytest.raises(FormatError, match=r"'FreeBSD 12.1-RELEASE-p1 '; the dump's is 'FreeBSD 12.1-RELEASE KVM'"):
            pykvm.Kvm(core, other)
        said = r"name the kernel file" + (r" .*: FreeBSD 12\.1-RELEASE KVM amd64$" if kind == "minidump" else "")
        with pytest.raises(KvmError, match=said):
            pykvm.Kvm(core)


def test_info(whole: Any, real: Find) -> None:
    kd, truth, _ = whole
    command = [sys.executable, "-m", "pykvm", "info", "--json", "-M", kd.image.path, "-N", str(real(KERNEL))]
    said = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert (said["system"], said["release"]) == ("FreeBSD", "12.1-RELEASE")
    assert said["load averages"][0] == truth["vm.loadavg"]["ldavg"][0] / 2048


@pytest.mark.parametrize("kind", KINDS)
def test_it_opens_at_once(kind: str, real: Find) -> None:
    core, kernel = real(f"freebsd-full/vmcore-12.1-amd64-{kind}"), real(KERNEL)
    best = 1.0
    for _ in range(10):
        start = time.perf_counter()
        pykvm.Kvm(core, kernel).close()
        best = min(best, time.perf_counter() - start)
    assert best < 0.05  # 4 ms on an idle machine
