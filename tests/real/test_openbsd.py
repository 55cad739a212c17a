"""The real OpenBSD dumps against what their running kernels said of themselves, and the facts of 5.1/i386."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from real.test_netbsd import check_files, told, value

import pykvm

# What goes on between the question and the dump.
MOVES = {
    "p_slptime", "p_estcpu", "p_cpticks", "p_pctcpu", "p_rtime_sec", "p_rtime_usec", "p_uticks", "p_sticks", "p_iticks",
    "p_uutime_sec", "p_uutime_usec", "p_ustime_sec", "p_ustime_usec", "p_uru_nvcsw", "p_uru_nivcsw", "p_uru_minflt",
    "p_uru_majflt", "p_uru_maxrss", "p_vm_rssize", "p_priority", "p_usrpri", "raw",
}  # fmt: skip
STATE = {"p_stat", "p_flag", "p_wmesg", "p_wchan"}
SPINS = 37694


class Case:
    """A dump, and the truth."""

    def __init__(self, real: Any, kind: str) -> None:
        self.kd = pykvm.Kvm(real(f"openbsd-amd64/openbsd73-amd64.{kind}"), real("openbsd-amd64/openbsd73-amd64.kernel"))
        self.kind = kind
        self.truth = told(real("openbsd-amd64/openbsd73-amd64.truth.json"))


@pytest.fixture(scope="module", params=["core", "qemu-elf"])
def case(request: pytest.FixtureRequest, real: Any) -> Iterator[Case]:
    found = Case(real, request.param)
    yield found
    found.kd.close()


def compare(records: Any, expected: list[dict[str, Any]], kernel: bool = False) -> int:
    assert [(p.pid, p.p_tid) for p in records] == [(r["p_pid"], r["p_tid"]) for r in expected]
    compared = 0
    for p, told_of in zip(records, expected, strict=True):
        busy = p.pid in (1, SPINS)  # it asked, it spins
        for name, want in told_of.items():
            if name in MOVES or (name in STATE and (busy or kernel)):
                continue
            assert (p.pid, p.p_tid, name, value(p, name)) == (p.pid, p.p_tid, name, want)
            compared += 1
    return compared


def test_every_member(case: Case) -> None:
    found = case.kd.processes(pykvm.KERN_PROC_ALL)
    assert compare(found, [p["record"] for p in case.truth["processes"]]) > 700


def test_threads(case: Case) -> None:
    found = case.kd.processes(pykvm.KERN_PROC_ALL | pykvm.KERN_PROC_SHOW_THREADS)
    assert compare(found, case.truth["kinfo_thread"]) > 1500


def test_the_kernel_s_own(case: Case) -> None:
    found = case.kd.processes(pykvm.KERN_PROC_KTHREAD)
    assert compare(found, case.truth["kinfo_kthread"], kernel=True) > 1500
    assert found[-2].comm == "swapper"


def test_bytes_of_a_record(case: Case) -> None:
    """The zombie does not change any more."""
    (p,) = case.kd.processes(pykvm.KERN_PROC_PID, 13212)
    assert bytes(p).hex() == next(p["raw"] for p in case.truth["processes"] if p["pid"] == 13212)


def test_start_times(case: Case) -> None:
    """To the microsecond, by the kernel's own clock."""
    for p in case.kd.processes(pykvm.KERN_PROC_ALL):
        record = next(q["record"] for q in case.truth["processes"] if q["pid"] == p.pid)
        if record["p_uvalid"]:
            assert p.start_time == pytest.approx(record["p_ustart_sec"] + record["p_ustart_usec"] / 1e6, abs=2e-6)


def test_arguments(case: Case) -> None:
    said = {p["pid"]: p for p in case.truth["processes"]}
    for p in case.kd.processes(pykvm.KERN_PROC_ALL):
        for ask, key in ((case.kd.argv, "argv"), (case.kd.environ, "env")):
            assert ask(p) == [word.encode() for word in said[p.pid][key] or ()]


def test_threads_of_one(case: Case) -> None:
    (p,) = case.kd.processes(pykvm.KERN_PROC_PID, 1104)
    found = case.kd.threads(p)
    assert [t.tid for t in found] == [r["p_tid"] for r in case.truth["kinfo_thread"] if r["p_pid"] == 1104][1:]
    assert {(t.name, t.stat, t.wmesg) for t in found} == {("worker", "S", "nanoslp")}


def test_copied_records(case: Case) -> None:
    (p,) = case.kd.processes(pykvm.KERN_PROC_PID, 78261)
    copy = case.kd.target.record_of(bytes(p), case.kd.target.record_struct(case.kd.parts, False))
    assert case.kd.argv(copy) == [b"ttyproc", b"tty"]


def test_files(case: Case) -> None:
    check_files(case.kd, {20901: 6, 78261: 5, 1: 4}, held=1)


def test_load_and_info(case: Case, real: Any) -> None:
    lines = real("openbsd-amd64/openbsd73-amd64.libkvm-load-nlist.txt").read_text().splitlines()
    if case.kind == "core":
        assert case.kd.loadavg() == pytest.approx(list(map(float, lines[0].split()[1:])), abs=1e-8)
    for line in lines[1:]:
        words = line.split()
        entry = pykvm.Nlist(f"_{words[0]}")
        missing = pykvm.kvm_nlist(case.kd, [entry])
        assert (missing, entry.n_type, entry.n_value) == (int(words[2]), int(words[4]), int(words[6], 16))
    info = case.kd.info
    assert (info.system, info.release, info.machine) == ("OpenBSD", "7.3", "x86_64")
    assert info.version == case.truth["sysctl"]["version"]["text"]
    assert b"wd0" in case.kd.dmesg()


# -- 5.1/i386 ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["core", "qemu-elf"])
def old(request: pytest.FixtureRequest, real: Any) -> Iterator[pykvm.Kvm]:
    with pykvm.Kvm(real(f"openbsd/openbsd51-i386.{request.param}"), real("openbsd/openbsd51-i386.symbols.txt")) as kd:
        yield kd


@pytest.fixture(scope="module")
def facts(real: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(real("openbsd/openbsd51-i386.facts.json").read_text())
    return found


def test_old_processes(old: pykvm.Kvm, facts: dict[str, Any]) -> None:
    assert [[f"{p.paddr:#x}", p.pid, p.comm] for p in old.processes()] == facts["allproc"]
    assert [p.comm for p in old.processes(pykvm.KERN_PROC_PID, 11641)] == ["cat"]
    assert old.processes()[0].uid is None
    with pytest.raises(pykvm.KvmError, match=r"op 5: .* has no more than the number of a process"):
        old.processes(pykvm.KERN_PROC_UID, 0)


def test_old_facts(old: pykvm.Kvm, facts: dict[str, Any], real: Any) -> None:
    assert old.info.version == facts["version"]
    assert (old.info.system, old.info.release) == ("OpenBSD", "5.1")
    assert old.loadavg() == [value / facts["fscale"] for value in facts["loadavg_fixed"]]
    assert old.dmesg() == real("openbsd/openbsd51-i386.dmesg.txt").read_bytes()
    assert old.read_u32(old.symbol("hz")) == facts["hz"]
    assert old.read_u32(old.symbol("PTDpaddr")) == int(facts["PTDpaddr_value"], 16)


def test_old_text(old: pykvm.Kvm, facts: dict[str, Any], real: Any) -> None:
    """What the kernel file has is what memory has."""
    raw = real("openbsd/bsd-5.1-ramdisk.gz").read_bytes()
    kernel = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    for part in ("text", "rodata"):
        where = facts[part]
        start = where["file_offset"]
        assert old.read(int(where["va"], 16), where["size"]) == kernel[start : start + where["size"]]


def test_old_pages(old: pykvm.Kvm, facts: dict[str, Any]) -> None:
    """Every mapped page of the kernel, without the recursive slots."""
    digest, count, outside = hashlib.sha256(), 0, 0
    directory = old.read_u32(old.symbol("PTDpaddr"))
    for slot in range(0xD0000000 >> 22, 1024):
        entry = int.from_bytes(old.read_phys(directory + 4 * slot, 4), "little")
        if slot in (0x33F, 0x3FF) or not entry & 1:
            continue
        for page in range(1024):
            va = slot << 22 | page << 12
            try:
                old.translate(va)
            except pykvm.AddressError:
                continue
            count += 1
            try:
                data = old.read(va, 4096)
            except pykvm.AddressError:
                outside += 1
                continue
            digest.update(va.to_bytes(4, "little") + data)
    assert count == facts["mapped_kernel_pages_without_recursive_slots_0x33f_and_0x3ff"]
    if old.info.format == "savecore":
        assert outside == facts["pages_outside_memory"]
        assert digest.hexdigest() == facts["sha256_of_le32_va_and_page_in_va_order"]


def test_without_names(real: Any) -> None:
    """The release's kernel is stripped."""
    kernel: Path = real("openbsd/bsd-5.1-ramdisk.gz")
    with pytest.raises(pykvm.KvmError, match="PTDpaddr"):
        pykvm.Kvm(real("openbsd/openbsd51-i386.core"), kernel)


def test_old_raw_memory(real: Any, facts: dict[str, Any], tmp_path: Path) -> None:
    """As it is behind the header, with a list of few names; and with those that do not say whose kernel it is."""
    ram, few = tmp_path / "ram", tmp_path / "few"
    ram.write_bytes(real("openbsd/openbsd51-i386.core").read_bytes()[facts["dump_off"] :])
    names = real("openbsd/openbsd51-i386.symbols.txt")
    few.write_text("".join(line for line in names.read_text().splitlines(True) if not line.endswith(" version\n")))
    for kernel in (names, few):
        with pykvm.Kvm(ram, kernel) as kd:
            assert kd.info.system == "OpenBSD"
            assert [p.comm for p in kd.processes()] == [comm for _, _, comm in facts["allproc"]]
