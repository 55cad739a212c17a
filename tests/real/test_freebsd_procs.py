"""Processes of real FreeBSD dumps, against what the running kernel said of them just before it dumped."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pykvm
from pykvm import constants as k
from pykvm.cli import main
from pykvm.errors import KvmError
from pykvm.types.view import StructView

KINDS = ("minidump", "full")
SPARSE = {"amd64-full": "amd64", "amd64-minidump": "amd64", "arm64-minidump": "arm64"}
Find = Callable[[str], Path]
# What the README of the samples says moves between the question and the dump, and the priorities that decay with time.
MOVES = frozenset(
    "ki_runtime ki_pctcpu ki_slptime ki_swtime ki_rusage ki_lastcpu ki_oncpu ki_lastcpu_old ki_oncpu_old ki_estcpu "
    "ki_pri".split()
)
# These sleep and wake all the time (interrupts and the kernel's own housekeepers), or ran when it panicked.
RESTLESS = frozenset(("racctd", "pagedaemon", "init", "intr", "syncer", "idle"))
UNSTEADY = frozenset(("ki_wchan", "ki_wmesg", "ki_stat", "ki_tdflags"))


@pytest.fixture(scope="module", params=KINDS)
def dump(request: pytest.FixtureRequest, real: Find) -> Iterator[tuple[pykvm.Kvm, dict[str, Any], str]]:
    """The 12.1 dump, its truth, and its kind."""
    truth = json.loads(real(f"freebsd-full/truth-12.1-amd64-{request.param}.json").read_text())
    core = real(f"freebsd-full/vmcore-12.1-amd64-{request.param}")
    with pykvm.Kvm(core, real("freebsd-full/kernel-12.1-amd64")) as kd:
        yield kd, truth, request.param


def plain(value: Any) -> Any:
    """A member as the truth files spell it."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, StructView):
        inner = {name: plain(getattr(value, name)) for name in dir(value)}
        return [f"{word:08x}" for word in inner["__bits"]] if "__bits" in inner else inner
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize(
    ("op", "key"),
    [(k.KERN_PROC_KTHREAD, "kern_proc_proc"),
     (k.KERN_PROC_KTHREAD | k.KERN_PROC_INC_THREAD, "kern_proc_all_with_threads")],
)  # fmt: skip
def test_every_field(dump: Any, op: int, key: str) -> None:
    """Every member of every record, in the kernel's order, but for what moves."""
    kd, truth, _ = dump
    records = pykvm.kvm_getprocs(kd, op, 0)
    assert [(r.ki_pid, r.ki_tid) for r in records] == [(p["ki_pid"], p["ki_tid"]) for p in truth[key]]
    checked = 0
    for record, said in zip(records, truth[key], strict=True):
        for name, value in said.items():
            if name in MOVES or (name in UNSTEADY and said["ki_comm"] in RESTLESS):
                continue
            found = plain(getattr(record, name))
            if name == "ki_groups":
                found = found[: record.ki_ngroups]
            if isinstance(value, str) and value.startswith("0x"):
                value = int(value, 16)
            if (name == "ki_rssize" and truth["environ"].get(str(said["ki_pid"]))) or said["ki_pid"] == 1:
                # The kernel was asked for the environment after this, and so touched the page that it is in.
                assert found in (value, value + 1) if name == "ki_rssize" else found == value, (name, said["ki_comm"])
            else:
                assert found == value, (name, said["ki_comm"], said["ki_tid"])
            checked += 1
        assert bytes(record)[:4] == (1088).to_bytes(4, "little")
        assert len(bytes(record)) == 1088
    assert checked > 55 * len(truth[key])


def test_what_moves_has_not_gone_back(dump: Any) -> None:
    """Times and counts grow, by not more than a few seconds."""
    kd, truth, _ = dump
    said = {p["ki_pid"]: p for p in truth["kern_proc_proc"]}
    for p in kd.processes():
        then = said[p.pid]
        assert then["ki_runtime"] <= p.ki_runtime <= then["ki_runtime"] + 3_000_000
        for name in ("ru_utime", "ru_stime"):
            value = then["ki_rusage"][name]
            seconds = value["tv_sec"] + value["tv_usec"] / 1e6
            assert seconds - 0.5 <= {"ru_utime": p.utime, "ru_stime": p.stime}[name] <= seconds + 3
        assert p.utime + p.stime <= p.ki_runtime / 1e6 + 0.001  # interrupts' time is neither
        assert p.ki_rusage.ru_nvcsw >= then["ki_rusage"]["ru_nvcsw"]
        assert p.ki_rusage.ru_maxrss >= then["ki_rusage"]["ru_maxrss"]
        assert then["ki_swtime"] <= p.ki_swtime <= then["ki_swtime"] + 3
    spinner = next(p for p in kd.processes() if p.comm == "spinner")
    assert abs(spinner.ki_pctcpu - said[spinner.pid]["ki_pctcpu"]) < 600  # of 2048
    assert spinner.ki_pctcpu > 100


def test_neutral_attributes(dump: Any) -> None:
    kd, truth, _ = dump
    said = {p["ki_pid"]: p for p in truth["kern_proc_proc"]}
    by_name = {p.comm: p for p in kd.processes()}
    assert {p.pid for p in kd.processes()} == set(said)
    assert {p.comm: p.stat for p in by_name.values() if p.comm in ("stopped", "traced", "spinner", "intr")} == {
        "stopped": "T", "traced": "T", "spinner": "R", "intr": "I"
    }  # fmt: skip
    assert [p.stat for p in kd.processes() if p.comm in ("init", "parent")].count("Z") == 3
    beta = by_name["beta"]
    assert (beta.uid, beta.ruid, beta.svuid) == (1002, 1001, 1002)
    assert (beta.gid, beta.rgid, beta.groups) == (202, 201, [202, 205, 230])
    onatty = by_name["onatty"]
    assert (onatty.tdev, onatty.tpgid, onatty.sid) == (63, onatty.pid, onatty.pid)
    assert by_name["beta"].tdev is None
    assert by_name["beta"].tpgid is None
    assert by_name["alpha"].login == "alphalogin"
    assert by_name["nice7"].nice == 7
    assert by_name["verylongcommandname"].nice == -5
    assert by_name["threads"].threads == 4
    assert by_name["memory"].rssize == by_name["memory"].ki_rssize * 4096 > 8 << 20
    assert by_name["onatty"].wmesg == "ttyin"
    assert by_name["traced"].ki_tracer == by_name["tracer"].pid
    start = said[beta.pid]["ki_start"]
    assert beta.start_time == pytest.approx(start["tv_sec"] + start["tv_usec"] / 1e6, abs=1e-6)
    threads = kd.threads(by_name["threads"])
    assert [t.name for t in threads] == ["threads", "worker1", "worker2", "worker3"]
    assert {t.tid for t in threads} == {
        t["ki_tid"] for t in truth["kern_proc_all_with_threads"] if t["ki_comm"] == "threads"
    }
    assert {t.wmesg for t in threads} == {"nanslp", "pause"}


def test_ops(dump: Any) -> None:
    """Each op selects as the running kernel's records say it should."""
    kd, truth, _ = dump
    said = truth["kern_proc_proc"]
    for op, member, arg in (
        (k.KERN_PROC_PID, "ki_pid", 17), (k.KERN_PROC_PGRP, "ki_pgid", 0), (k.KERN_PROC_SESSION, "ki_sid", 27),
        (k.KERN_PROC_UID, "ki_uid", 1002), (k.KERN_PROC_RUID, "ki_ruid", 1001), (k.KERN_PROC_RGID, "ki_rgid", 201),
        (k.KERN_PROC_TTY, "ki_tdev", 63),
    ):  # fmt: skip
        assert [p.pid for p in kd.processes(op, arg)] == [p["ki_pid"] for p in said if p[member] == arg] != []
    assert [p.comm for p in kd.processes(k.KERN_PROC_GID, 202)] == ["beta"]
    kernel = [p.comm for p in kd.processes() if p not in kd.processes(k.KERN_PROC_ALL)]
    assert "intr" in kernel
    assert "init" in {p.comm for p in kd.processes(k.KERN_PROC_ALL)}
    assert "intr" not in {p.comm for p in kd.processes(k.KERN_PROC_ALL)}
    assert kd.processes(k.KERN_PROC_PID, 4711) == []


def test_vectors(dump: Any) -> None:
    kd, truth, kind = dump
    kept = 0
    for p in kd.processes():
        for said, ask in (("argv", kd.argv), ("environ", kd.environ)):
            want = truth[said].get(str(p.pid))
            if want is None:
                continue
            if kind == "minidump" and (said == "environ" or p.comm in ("longargs", "psstrings")):
                with pytest.raises(KvmError, match=f"process {p.pid}: .*minidump does not hold the memory"):
                    ask(p)
                assert pykvm.kvm_getenvv(kd, p, 0) is None
                continue
            assert [word.decode() for word in ask(p)] == want, (p.pid, p.comm)
            kept += 1
    assert kept == (17 if kind == "minidump" else 2 * 19)
    assert kd.argv(next(p for p in kd.processes() if p.comm == "intr")) == []
    alpha = next(p for p in kd.processes() if p.comm == "alpha")
    assert pykvm.kvm_getargv(kd, alpha, 10) == [b"alpha", b"-x", b"h"]


def test_who_dumped(dump: Any) -> None:
    kd, _, _ = dump
    facts = kd.facts()
    assert (facts["panic pid"], facts["panic command"]) == (1, "init")
    registers = facts["panic registers"]
    stack = next(r for r in kd.processes(k.KERN_PROC_PID, 1)).ki_kstack
    assert stack <= registers["rsp"] < registers["rbp"] < stack + 4 * 4096
    name, _ = kd.symbol_at(registers["rip"])
    assert name in ("doadump", "dumpsys", "savectx", "minidumpsys", "dump_savectx")


@pytest.mark.parametrize("name", SPARSE)
def test_processes_without_types(name: str, real: Find) -> None:
    """By the kernel's constants for debuggers alone."""
    lines = real(f"freebsd/facts-{name}.txt").read_text().splitlines()
    symbols = ast.literal_eval(lines[0])
    said: list[tuple[Any, ...]] = []
    for line in lines[1:]:
        p = re.fullmatch(r"proc (\w+) pid (\d+) comm b'(.*)'", line)
        t = re.fullmatch(r" +td (\w+) tid (\d+) name b'(.*)' oncpu (-?\d+) pcb (\w+)", line)
        if p is not None:
            said.append((int(p[1], 16), int(p[2]), p[3], []))
        elif t is not None:
            said[-1][3].append((int(t[1], 16), int(t[2]), t[3], int(t[4]), int(t[5], 16)))
    with pykvm.Kvm(real(f"freebsd/vmcore-{name}"), real(f"freebsd/kernel-{SPARSE[name]}")) as kd:
        found = [(p.paddr, p.pid, p.comm, [(t.addr, t.tid, t.name) for t in kd.threads(p)]) for p in kd.processes()]
        assert found == [(at, pid, comm, [t[:3] for t in threads]) for at, pid, comm, threads in said]
        rows = kd.processes(k.KERN_PROC_KTHREAD | k.KERN_PROC_INC_THREAD)
        wanted = [(pid, *t[1:]) for _, pid, _, threads in said for t in threads]
        assert [(r.ki_pid, r.ki_tid, r.ki_tdname.decode(), r.ki_oncpu, r.ki_pcb) for r in rows] == wanted
        p = kd.processes()[0]
        assert (p.uid, p.stat, p.ppid, p.start_time, p.groups, p.rssize) == (None,) * 6
        assert len(bytes(p)) == 1088
        with pytest.raises(KvmError, match="needs the kernel's types"):
            kd.argv(p)
        facts = kd.facts()
        assert facts["panic tid"] == symbols["dumptid"]
        assert facts["panic command"] == "sysctl"


REGISTERS = {
    "amd64-full": {
        "rbp": 0xFFFFFE0085CB2760, "rsp": 0xFFFFFE0085CB2748, "r12": 0xFFFFFE0045A6C300, "r13": 0xFFFFF800033693A8,
        "r15": 0xFFFFF80003369380, "rip": 0xFFFFFFFF80C09ADE,
    },
    "amd64-minidump": {
        "rbp": 0xFFFFFE00798C4760, "rsp": 0xFFFFFE00798C4748, "r12": 0xFFFFFE0045B11C00, "rip": 0xFFFFFFFF80C09ADE,
    },
    "arm64-minidump": {
        "x29": 0xFFFF0000D58F23B0, "sp": 0xFFFF0000D58F23B0, "x8": 0xFFFFA00001548700, "x18": 0xFFFF000000E6D380,
        "x28": 0x2019CA, "lr": 0xFFFF0000004B6E78,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", SPARSE)
def test_registers_of_the_thread_that_dumped(name: str, real: Find) -> None:
    """As LLVM's own test states them."""
    with pykvm.Kvm(real(f"freebsd/vmcore-{name}"), real(f"freebsd/kernel-{SPARSE[name]}")) as kd:
        found = kd.facts()["panic registers"]
        assert REGISTERS[name].items() <= found.items()


def test_ps_of_threads(real: Find, capfd: pytest.CaptureFixture[str]) -> None:
    flags = ["-M", str(real("freebsd/vmcore-amd64-minidump")), "-N", str(real("freebsd/kernel-amd64"))]
    assert main(["ps", "-H", *flags]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].split() == ["PID", "LWP", "TT", "STAT", "WCHAN", "TDNAME", "COMMAND"]
    assert len(lines) == 17
    assert [line.split()[1] for line in lines if "laundry: dom0" in line and line.startswith(" 28")] != []
    assert main(["ps", "-H", "-p", "800", "--json", *flags]) == 0
    (row,) = json.loads(capfd.readouterr().out)
    assert (row["pid"], row["thread"]["tid"], row["thread"]["name"]) == (800, 100670, "sysctl")


def test_kinfo_proc2(dump: Any) -> None:
    """The neutral record says what the running kernel said in its own."""
    kd, truth, _ = dump
    records = pykvm.kvm_getproc2(kd, k.KERN_PROC_KTHREAD, 0)
    assert len(records) == len(truth["kern_proc_proc"]) > 20
    for q, t in zip(records, truth["kern_proc_proc"], strict=True):
        same = "pid ppid sid uid ruid svuid rgid svgid jobc xstat acflag traceflag".split()
        assert [getattr(q, f"p_{name}") for name in same] == [t[f"ki_{name}"] for name in same]
        assert (q.p__pgid, hex(q.p_paddr), hex(q.p_vmspace)) == (t["ki_pgid"], t["ki_paddr"], t["ki_vmspace"])
        assert (q.p_comm.decode(), q.p_login.decode()) == (t["ki_comm"], t["ki_login"])
        assert (q.p_ustart_sec, q.p_ustart_usec) == (t["ki_start"]["tv_sec"], t["ki_start"]["tv_usec"])
        assert (q.p_vm_ssize, q.p_vm_tsize, q.p_vm_dsize) == (t["ki_ssize"], t["ki_tsize"], t["ki_dsize"])
        assert q.p_eflag == t["ki_kiflag"] & 3
        # What the truth cannot say: SIGCHLD, and the limit that nobody has lowered below the machine's memory.
        assert q.p_exitsig in (0, 20)
        assert q.p_rlim_rss_cur > 1 << 20 or t["ki_stat"] == 5
