"""Real FreeBSD dumps: what the running kernel said of itself before it panicked, and what LLDB's sparse dumps hold."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

import pytest

import pykvm

ROOM = "freebsd-full"
SPARSE = {
    "amd64-minidump": "freebsd/vmcore-amd64-minidump",
    "amd64-full": "freebsd/vmcore-amd64-full",
    "arm64-minidump": "freebsd/vmcore-arm64-minidump",
}


@pytest.fixture(scope="module", params=["minidump", "full"])
def both(request: pytest.FixtureRequest, real: Any) -> Any:
    kind = request.param
    truth = json.loads(real(f"{ROOM}/truth-12.1-amd64-{kind}.json").read_text())
    with pykvm.Kvm(real(f"{ROOM}/vmcore-12.1-amd64-{kind}"), real(f"{ROOM}/kernel-12.1-amd64")) as kd:
        yield kd, truth, kind


def test_info(both: Any) -> None:
    kd, truth, kind = both
    info = kd.info
    assert (info.system, info.release, info.machine) == ("FreeBSD", truth["kern.osrelease"], "x86_64")
    assert (info.version or "").strip() == truth["kern.version"].strip()
    assert info.format == ("minidump" if kind == "minidump" else "elf")
    facts = kd.target.facts(kd.parts)
    assert facts["physical memory"] == truth["hw.physmem"]
    assert facts["cpus"] == truth["hw.ncpu"]
    assert abs(facts["boot time"] - truth["kern.boottime"][0]) <= 1


def test_memory(both: Any) -> None:
    kd, truth, _ = both
    assert kd.read_i32(kd.symbol("nprocs")) == len({p["ki_pid"] for p in truth["kern_proc_proc"]})
    assert kd.read_cstr(kd.symbol("version")).decode() == truth["kern.version"]
    proc = kd.types.struct("proc")
    pids, at = [], kd.read_ptr(kd.symbol("allproc"))
    for addr in kd.walk_list(at, proc.offset("p_list.le_next")):
        pids.append(kd.read_i32(addr + proc.offset("p_pid")))
    told = {p["ki_pid"] for p in truth["kern_proc_proc"] if p["ki_stat"] != 5}  # zombies are on a list of their own
    assert set(pids) == told


def test_load_and_log(both: Any) -> None:
    kd, truth, _ = both
    told = truth["vm.loadavg"]
    values = told.get("ldavg") or next(v for v in told.values() if isinstance(v, list))
    assert kd.loadavg() == pytest.approx([v / truth["kern.fscale"] if v > 16 else v for v in values], abs=0.1)
    assert b"FreeBSD 12.1-RELEASE" in kd.dmesg()


def test_another_machine(real: Any) -> None:
    dump, kernel = real("freebsd/vmcore-arm64-minidump.bz2"), real(f"{ROOM}/kernel-12.1-amd64")
    with pytest.raises(pykvm.KvmError, match="x86_64") as caught:
        pykvm.Kvm(dump, kernel)
    assert "aarch64" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", SPARSE)
def test_sparse(real: Any, name: str) -> None:
    """Every value, process and thread of the facts file."""
    lines = real(f"freebsd/facts-{name}.txt").read_text().splitlines()
    facts = ast.literal_eval(lines[0])
    machine = name.partition("-")[0]
    with pykvm.Kvm(real(SPARSE[name] + ".bz2"), real(f"freebsd/kernel-{machine}.bz2")) as kd:
        for symbol, told in facts.items():
            if isinstance(told, int):
                assert kd.read_i32(kd.symbol(symbol)) == told, symbol
            else:
                assert kd.symbol(symbol) == int(told, 16), symbol
        offsets = {k: v for k, v in facts.items() if "_off_" in k}
        proc = kd.read_ptr(kd.symbol("allproc"))
        thread = 0
        for line in lines[1:]:
            found = re.match(r"(proc) (0x\w+) pid (\d+) comm b'(.*)'", line.strip())
            if found:
                assert proc == int(found[2], 16)
                assert kd.read_i32(proc + offsets["proc_off_p_pid"]) == int(found[3])
                assert kd.read_cstr(proc + offsets["proc_off_p_comm"], 20).decode() == found[4]
                thread = kd.read_ptr(proc + offsets["proc_off_p_threads"])
                proc = kd.read_ptr(proc + offsets["proc_off_p_list"])
            found = re.match(r"td (0x\w+) tid (\d+) name b'(.*)' oncpu (-?\d+) pcb (0x\w+)", line.strip())
            if found:
                assert thread == int(found[1], 16)
                assert kd.read_i32(thread + offsets["thread_off_td_tid"]) == int(found[2])
                assert kd.read_cstr(thread + offsets["thread_off_td_name"], 20).decode() == found[3]
                assert kd.read_ptr(thread + offsets["thread_off_td_pcb"]) == int(found[5], 16)
                thread = kd.read_ptr(thread + offsets["thread_off_td_plist"])
