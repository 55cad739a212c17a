"""The real NetBSD/amd64 dumps against what the running kernel said of itself some seconds before."""

from __future__ import annotations

import json
import lzma
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pykvm

# What goes on between the question and the dump: for who runs, or waits for a clock.
MOVES = {
    "p_swtime", "p_slptime", "p_estcpu", "p_cpticks", "p_pctcpu", "p_rtime_sec", "p_rtime_usec", "p_uticks", "p_sticks",
    "p_iticks", "p_uutime_sec", "p_uutime_usec", "p_ustime_sec", "p_ustime_usec", "p_uru_nvcsw", "p_uru_nivcsw",
    "p_uru_minflt", "p_vm_rssize", "p_priority", "p_usrpri", "p_schedflags",
}  # fmt: skip
# The process that spins, and the one that asked: all that depends on where they were.
BUSY = {1, 4}
STATE = {"p_stat", "p_flag", "p_wmesg", "p_wchan"}
# reboot(2) suspends the processes of users before it dumps.
SUSPENDED = STATE | {"p_realstat"}


def told(path: Path) -> Any:
    raw = path.read_bytes()
    return json.loads(lzma.decompress(raw) if raw[:2] == b"\xfd7" else raw)


class Case:
    """A dump, and the truth of its boot."""

    def __init__(self, real: Any, core: str, boot: str) -> None:
        self.name = core
        self.kd = pykvm.Kvm(real(f"netbsd/netbsd-amd64-{core}"), real("netbsd/netbsd-amd64.kernel"))
        self.truth = told(real(f"netbsd/netbsd-amd64-{boot}.truth.json"))
        self.processes = {p["pid"]: p for p in self.truth["processes"]}
        self.suspended = core.endswith(".core")
        self.user_pages = core != "sparse.core"


@pytest.fixture(scope="module", params=["sparse.core", "full.core", "sparse.qemu-elf"])
def case(request: pytest.FixtureRequest, real: Any) -> Iterator[Case]:
    found = Case(real, request.param, request.param.partition(".")[0])
    yield found
    found.kd.close()


def value(p: Any, name: str) -> Any:
    """A member as the truth spells it."""
    found = getattr(p, name)
    if isinstance(found, bytes):
        return found.split(b"\0", 1)[0].decode()
    if isinstance(found, (tuple, list)):
        return b"".join(word.to_bytes(4, "little") for word in found).hex()
    return found if isinstance(found, int) else bytes(found).hex()


def test_the_list(case: Case) -> None:
    assert [p.pid for p in case.kd.processes(pykvm.KERN_PROC_ALL)] == [p["pid"] for p in case.truth["processes"]]


def test_every_member(case: Case) -> None:
    compared = 0
    for p in case.kd.processes():
        record = case.processes[p.pid]["record"]
        moved = MOVES | (SUSPENDED if case.suspended else STATE if p.pid in BUSY else set())
        if p.pid == 0:  # of its LWPs another one is in front
            moved = moved | {"p_addr", "p_wmesg", "p_wchan"}
        for name, expected in record.items():
            if name not in moved:
                assert (p.pid, name, value(p, name)) == (p.pid, name, expected)
                compared += 1
    assert compared > 800


def test_bytes_of_a_record(case: Case) -> None:
    """The zombie does not change any more."""
    (p,) = case.kd.processes(pykvm.KERN_PROC_PID, 10)
    assert bytes(p).hex() == case.processes[10]["raw"]


def test_suspended(case: Case) -> None:
    p = next(p for p in case.kd.processes() if p.pid == 2)
    assert (p.p_realstat, p.p_stat, p.stat) == ((4, 2, "T") if case.suspended else (2, 3, "S"))


def test_lwps(case: Case) -> None:
    for p in case.kd.processes():
        lwps = case.processes[p.pid].get("lwps")
        if lwps is None:  # a zombie's are not told
            continue
        found = case.kd.threads(p)
        assert [(t.tid, t.addr) for t in found] == [(lwp["l_lid"], lwp["l_laddr"]) for lwp in lwps]
        # The first one's name is a constant of the kernel, which these files have zeros in place of.
        assert [t.name for t in found if p.pid or t.tid != 1] == [
            lwp["l_name"] or p.comm for lwp in lwps if p.pid or lwp["l_lid"] != 1
        ]
        if p.pid not in BUSY and not case.suspended:
            for t, lwp in zip(found, lwps, strict=True):
                if t.wmesg is not None and p.pid:  # of the kernel's own some have gone on to wait for something else
                    assert (t.wmesg[:8], t.wchan) == (lwp["l_wmesg"], lwp["l_wchan"])


def test_arguments(case: Case) -> None:
    for p in case.kd.processes():
        said = case.processes[p.pid]
        for ask, key in ((case.kd.argv, "argv"), (case.kd.environ, "env")):
            if said[key] is None:
                assert ask(p) == []
            elif case.user_pages:
                assert ask(p) == [word.encode() for word in said[key]]
            else:
                with pytest.raises(pykvm.AddressError, match=f"process {p.pid}: .*a sparse dump has none"):
                    ask(p)


def test_arguments_cut(case: Case) -> None:
    if case.user_pages:
        (p,) = case.kd.processes(pykvm.KERN_PROC_PID, 5)
        assert pykvm.kvm_getargv(case.kd, p, 14) == [b"longargs", b"sleep"]
        assert pykvm.kvm_getargv(case.kd, p, 12) == [b"longargs", b"sle"]


def test_selections(case: Case) -> None:
    def pids(op: int, arg: int) -> list[int | None]:
        return [p.pid for p in case.kd.processes(op, arg)]

    assert pids(pykvm.KERN_PROC_UID, 1000) == [3]
    assert pids(pykvm.KERN_PROC_TTY, 0x500) == [7, 6]
    assert pids(pykvm.KERN_PROC_SESSION, 6) == [7, 6]
    assert pids(pykvm.KERN_PROC_PGRP, 7) == [7]
    assert pids(pykvm.KERN_PROC_RGID, 100) == [3]


def test_load_and_names(case: Case, real: Any) -> None:
    lines = real(f"netbsd/netbsd-amd64-{case.name.partition('.')[0]}.libkvm-load-nlist.txt").read_text().splitlines()
    if case.suspended:
        assert case.kd.loadavg() == pytest.approx(list(map(float, lines[0].split()[1:])), abs=1e-8)
    for line in lines[1:]:
        words = line.split()
        entry = pykvm.Nlist(f"_{words[0]}")
        missing = pykvm.kvm_nlist(case.kd, [entry])
        assert (missing, entry.n_type, entry.n_value) == (int(words[2]), int(words[4]), int(words[6], 16))


def test_info(case: Case) -> None:
    info = case.kd.info
    assert (info.system, info.release, info.machine) == ("NetBSD", "7.99.10", "x86_64")
    assert info.version == case.truth["sysctl"]["version"]["text"]
    assert case.kd.image.missing == 0
    assert case.kd.dmesg().startswith(b"Copyright (c)")


def test_a_wrong_machine(real: Any) -> None:
    with pytest.raises(pykvm.FormatError, match="is of i386, the dump"):
        pykvm.Kvm(real("netbsd/netbsd-amd64-full.core"), real("mirbsd/i386-bsd.0"))


def test_another_system(real: Any) -> None:
    with pytest.raises(pykvm.KvmError, match="is not the kernel of"):
        pykvm.Kvm(real("netbsd/netbsd-amd64-full.core"), real("openbsd-amd64/openbsd73-amd64.kernel"))


def test_kvm_getlwps(case: Case) -> None:
    """Records of LWPs, as kern.lwp gives them; the zombie LWP byte for byte, but for l_swtime and l_slptime."""
    for p in case.kd.processes():
        lwps = case.processes[p.pid].get("lwps")
        if lwps is None:
            continue
        found = pykvm.kvm_getlwps(case.kd, 0, p.paddr, 128)
        assert found is not None
        assert [(r.l_lid, r.l_laddr, r.l_addr, r.l_pid) for r in found] == [
            (lwp["l_lid"], lwp["l_laddr"], lwp["l_addr"], lwp["l_pid"]) for lwp in lwps
        ]
        for r, lwp in zip(found, lwps, strict=True):
            if lwp["l_stat"] == 5:
                raw = bytes.fromhex(lwp["raw"])
                assert (bytes(r)[:40], bytes(r)[48:]) == (raw[:40], raw[48:])
            if p.pid not in (0, *BUSY) and not case.suspended:
                for name in ("l_flag", "l_priority", "l_usrpri", "l_stat", "l_cpuid", "l_rtime_sec", "l_rtime_usec"):
                    assert (r.l_lid, name, getattr(r, name)) == (r.l_lid, name, lwp[name])
                assert r.l_wmesg.split(b"\0")[0].decode() == lwp["l_wmesg"]
    assert pykvm.kvm_getlwps(case.kd, 0, 8, 128) is None
    assert "can't read proc at 0x8" in pykvm.kvm_geterr(case.kd)
    assert pykvm.kvm_getlwps(case.kd, 0, p.paddr, 0) is None


def test_the_kernel_s_name(case: Case) -> None:
    assert str(pykvm.kvm_getkernelname(case.kd)).endswith("netbsd-amd64.kernel")


def test_the_dump_s_header(case: Case) -> None:
    parts: list[bytes] = []
    if not case.suspended:
        assert pykvm.kvm_dump_header(case.kd, lambda cookie, data: True, None, 0) == -1
        return
    total = pykvm.kvm_dump_header(case.kd, lambda cookie, data: parts.append(data) is None, None, 0x1234)
    start = case.kd.image.files[0].pread(0, total)
    assert total == sum(map(len, parts)) == case.kd.image.header.dump_off
    assert b"".join(parts)[:-4] == start[:-4]  # the last word is the size of the memory


def test_files(case: Case) -> None:
    """Every struct file says how many refer to it: all descriptors are found, and nobody else holds one."""
    check_files(case.kd, {2: 4, 6: 5})


def check_files(kd: pykvm.Kvm, some: dict[int, int], held: int = 0) -> None:
    """held: by how many a file in use just then may be held beside."""
    found = pykvm.kvm_getfiles(kd, 0, 0)
    assert found is not None
    assert len({(f.pid, f.fd) for f in found}) == len(found)
    counts = Counter(bytes(f) for f in found)
    assert len(counts) >= 3
    assert all(0 <= f.f_count - counts[bytes(f)] <= held and f.f_type in range(1, 9) for f in found)
    of_each = Counter(f.pid for f in found)
    assert {pid: of_each[pid] for pid in some} == some


def test_over_another_library(real: Any) -> None:
    """The same functions by a libkvm in C: ours stands for NetBSD's."""
    core, kernel = real("netbsd/netbsd-amd64-full.core"), real("netbsd/netbsd-amd64.kernel")
    lib = pykvm.native_libkvm(Path(pykvm.__file__).parent / "libkvm" / "libkvm.so")
    native = lib.kvm_openfiles(str(kernel), str(core), None, os.O_RDONLY)
    parts: list[bytes] = []
    with pykvm.Kvm(core, kernel) as kd:
        (p,) = kd.processes(pykvm.KERN_PROC_PID, 11)
        ours, theirs = pykvm.kvm_getlwps(kd, 11, p.paddr, 128), lib.kvm_getlwps(native, 11, p.paddr, 128)
        assert [bytes(lwp) for lwp in ours or ()] == [bytes(lwp) for lwp in theirs or ()]
        assert [lwp.l_lid for lwp in theirs or ()] == [3, 2, 1]
        assert lib.kvm_getlwps(native, 0, 8, 128) is None
        assert lib.kvm_geterr(native) == "can't read proc at 0x8"
        assert lib.kvm_getkernelname(native) == pykvm.kvm_getkernelname(kd) == str(kernel)
        total = lib.kvm_dump_header(native, lambda cookie, data: parts.append(data) is None, None, 7)
        assert total == len(b"".join(parts)) == kd.image.header.dump_off
    lib.kvm_close(native)


def test_lists_of_few_names(real: Any, tmp_path: Path) -> None:
    """Memory says whose it is; where nothing does, that is the error."""
    core, kernel = real("netbsd/netbsd-amd64-full.core"), real("netbsd/netbsd-amd64.kernel")
    with pykvm.Kvm(core, kernel) as kd:
        chosen = {name: kd.symbol(name) for name in ("allproc", "averunnable", "version")}
    few = tmp_path / "few"
    few.write_text("".join(f"{value:016x} B {name}\n" for name, value in chosen.items()))
    with pykvm.Kvm(core, few) as kd:
        assert (kd.info.system, kd.info.release) == ("NetBSD", "7.99.10")
    few.write_text("".join(f"{value:016x} B {name}\n" for name, value in chosen.items() if name != "version"))
    with pytest.raises(pykvm.KvmError, match=f"{few}: of which system the dump is cannot be told"):
        pykvm.Kvm(core, few)


def test_a_list_that_was_cut(real: Any, tmp_path: Path) -> None:
    """The kernel counts its processes."""
    copy = tmp_path / "core"
    copy.write_bytes(real("netbsd/netbsd-amd64-full.core").read_bytes())
    with pykvm.Kvm(copy, real("netbsd/netbsd-amd64.kernel"), writable=True) as kd:
        second = kd.processes()[1].paddr
        kd.write(second, bytes(8))  # p_list.le_next
        with pytest.raises(pykvm.FormatError, match="3 processes on the kernel's lists, where nprocs is 13"):
            kd.processes()
