"""The real MirBSD/i386 dump against what MirBSD's own library says of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import pykvm

RECORD, RECORD2 = 1020, 596
EPROC = 332
# Members of struct eproc that the original leaves uninitialised or wrong on a dump (offset, size in eproc).
WRONG_EPROC = {
    "e_pstats": (324, 264),
    "e_pstats_valid": (588, 4),
    "e_ppid": (592, 4),
    "e_login": (640, 32),
    "e_emul": (672, 8),
    "e_maxrss": (680, 8),
    "padding": (602, 2),
    "padding at the end": (634, 2),
}
# With no terminal the original also keeps the process before's.
STALE_EPROC = {"e_tpgid": (608, 4), "e_tsess": (612, 4)}
WRONG_PROC2 = {
    "p_ppid": (112, 4),
    "p_sid": (116, 4),
    "p_login": (352, 32),
    "p_rtime": (584, 12),
}
STALE_PROC2 = {"p_tsess": (80, 8), "p_tpgid": (124, 4)}


@pytest.fixture(scope="module", params=["i386-bsd.0", "i386-bsd.aout"])
def kd(request: pytest.FixtureRequest, real: Any) -> Any:
    with pykvm.Kvm(real("mirbsd/i386-bsd.0.core"), real(f"mirbsd/{request.param}"), real("mirbsd/i386-swap")) as handle:
        yield handle


def masked(record: bytes, holes: dict[str, tuple[int, int]], base: int = 0) -> bytes:
    out = bytearray(record)
    for offset, size in holes.values():
        out[base + offset : base + offset + size] = bytes(size)
    return bytes(out)


def truth(path: Path) -> list[dict[str, str]]:
    """The processes of i386-procs.txt: the words of each line, argv and env."""
    found: list[dict[str, str]] = []
    for line in path.read_text("latin-1").splitlines():
        start = re.match(r"\s*(\d+) (\S+)\s+(paddr .*)", line)
        if start:
            words = start[3].split()
            found.append({"pid": start[1], "comm": start[2], **dict(zip(words[::2], words[1::2], strict=False))})
        elif line.lstrip().startswith(("argv:", "env:")):
            key, _, rest = line.strip().partition(": ")
            found[-1][key] = rest
    return found


def test_info(kd: Any) -> None:
    info = kd.info
    assert (info.system, info.machine, info.byteorder, info.pointer_size) == ("MirBSD", "i386", "little", 4)
    assert (info.page_size, info.format, info.live) == (4096, "savecore", False)
    assert info.version.startswith("MirBSD#10semel (PYW) #0: Mon Nov 23 12:00:00 UTC 2026")


def test_kinfo_proc_bytes(kd: Any, real: Any) -> None:
    raw = real("mirbsd/i386-kinfo_proc.bin").read_bytes()
    records = pykvm.kvm_getprocs(kd, pykvm.KERN_PROC_KTHREAD, 0)
    assert len(records) == len(raw) // RECORD == 18
    for i, p in enumerate(records):
        theirs = raw[i * RECORD : (i + 1) * RECORD]
        holes = dict(WRONG_EPROC)
        if p.tdev is None:
            holes.update(STALE_EPROC)
        holes["e_wmesg"] = (616 + 7, 1) if p.kp_proc.p_wmesg else (616, 8)
        # The text that follows a short wait message: the original takes 7 bytes, NUL or not.
        end = len(p.wmesg)
        if end < 7:
            holes["behind wmesg"] = (616 + end, 8 - end)
        assert len(bytes(p)) == RECORD
        assert masked(bytes(p), holes, EPROC) == masked(theirs, holes, EPROC), p


def test_kinfo_proc2_bytes(kd: Any, real: Any) -> None:
    raw = real("mirbsd/i386-kinfo_proc2.bin").read_bytes()
    records = pykvm.kvm_getproc2(kd, pykvm.KERN_PROC_KTHREAD, 0)
    assert len(records) == len(raw) // RECORD2 == 18
    for i, p in enumerate(records):
        theirs = raw[i * RECORD2 : (i + 1) * RECORD2]
        holes = dict(WRONG_PROC2)
        if p.tdev is None:
            holes.update(STALE_PROC2)
        end = min(len(p.wmesg), 7)
        holes["wmesg"] = (336 + end, 8 - end)
        assert masked(bytes(p), holes) == masked(theirs, holes), p


def test_right_values_where_the_original_is_wrong(kd: Any) -> None:
    by_pid = {p.pid: p for p in kd.processes()}
    assert by_pid[18048].ppid == 21049
    assert by_pid[18048].kp_eproc.e_ppid == 21049
    assert by_pid[1].ppid == 0
    assert {p.login for p in by_pid.values()} == {"", "ttyuser", "kvmuser"}
    assert by_pid[23375].wmesg == "nanosleep"
    assert by_pid[23375].kp_eproc.e_wmesg == b"nanosle"
    assert by_pid[23375].kp_eproc.e_emul == b"native"
    assert by_pid[18048].sid == 21049
    assert by_pid[23375].start_time == 1795440171.33
    second = {p.pid: p for p in pykvm.kvm_getproc2(kd, pykvm.KERN_PROC_KTHREAD, 0)}
    assert second[18048].p_sid == 21049
    assert second[13538].p_rtime_sec == by_pid[13538].kp_proc.p_rtime.tv_sec > 0
    assert second[21049].svuid == 1001


def test_fields(kd: Any, real: Any) -> None:
    expected = truth(real("mirbsd/i386-procs.txt"))
    records = kd.processes()
    assert [(p.pid, p.comm) for p in records] == [(int(t["pid"]), t["comm"]) for t in expected]
    for p, t in zip(records, expected, strict=True):
        assert p.paddr == int(t["paddr"], 16)
        assert p.flags == int(t["flag"], 16)
        assert p.kp_proc.p_stat == int(t["stat"])
        assert (p.pgid, p.uid, p.ruid, p.svuid, p.gid, p.rgid) == tuple(
            int(t[x]) for x in ("pgid", "uid", "ruid", "svuid", "gid", "rgid")
        )
        assert p.nice == int(t["nice"]) - 20
        assert len(p.groups) == int(t["ng"])
        assert p.kp_eproc.e_tdev == int(t["tdev"], 16)
        if p.tdev is not None:
            assert p.tpgid == int(t["tpgid"])
        if t["wmesg"] != "-":
            assert p.wmesg[:7] == t["wmesg"][:7].rstrip("V")


def shown(vector: list[bytes] | None) -> str:
    if vector is None:
        return "NULL"
    words = []
    for raw in vector:
        word = raw.decode("latin-1")
        if len(word) > 100:
            word = f"len {len(word)} {word[:20]}...{word[-8:]}"
        words.append(f"{{{word}}}")
    return " ".join(words)


def test_argv_and_environment(kd: Any, real: Any) -> None:
    for p, t in zip(kd.processes(), truth(real("mirbsd/i386-procs.txt")), strict=True):
        assert shown(pykvm.kvm_getargv(kd, p, 0)) == t["argv"]
        assert shown(pykvm.kvm_getenvv(kd, p, 0)) == t["env"]
    for p, t in zip(
        pykvm.kvm_getproc2(kd, pykvm.KERN_PROC_KTHREAD, 0), truth(real("mirbsd/i386-procs.txt")), strict=True
    ):
        assert shown(pykvm.kvm_getargv2(kd, p, 0)) == t["argv"]
        assert shown(pykvm.kvm_getenvv2(kd, p, 0)) == t["env"]


def test_without_swap(real: Any) -> None:
    with pykvm.Kvm(real("mirbsd/i386-bsd.0.core"), real("mirbsd/i386-bsd.0")) as handle:
        found = {p.pid: pykvm.kvm_getargv(handle, p, 0) for p in handle.processes()}
        assert found[1] is not None or "invalid address" in pykvm.kvm_geterr(handle)
        assert any(v is None for v in found.values())
        assert len(handle.processes()) == 18


def test_loadavg(kd: Any, real: Any) -> None:
    expected = real("mirbsd/i386-loadavg.txt").read_text().splitlines()[0].split()
    samples = pykvm.kvm_getloadavg(kd, 3)
    assert [f"{s:.6f}" for s in samples] == expected[2:]
    assert pykvm.kvm_getloadavg(kd, 1) == samples[:1]


def test_selection(kd: Any) -> None:
    def pids(op: int, arg: int = 0) -> list[int]:
        return [p.pid for p in pykvm.kvm_getprocs(kd, op, arg)]

    everything = pids(pykvm.KERN_PROC_KTHREAD)
    assert len(pids(pykvm.KERN_PROC_ALL)) == 11
    assert 0 not in pids(pykvm.KERN_PROC_ALL)
    assert pids(pykvm.KERN_PROC_PID, 13978) == [13978]
    assert pids(pykvm.KERN_PROC_PID, 4711) == []
    assert pids(pykvm.KERN_PROC_UID, 1001) == [21049]
    assert pids(pykvm.KERN_PROC_RUID, 1000) == [13978]
    assert pids(pykvm.KERN_PROC_GID, 100) == [13978]
    assert pids(pykvm.KERN_PROC_PGRP, 18048) == [18048]
    assert pids(pykvm.KERN_PROC_SESSION, 21049) == [18048, 21049]
    assert pids(pykvm.KERN_PROC_TTY, 0x500) == [18048, 21049]
    assert set(pids(pykvm.KERN_PROC_SESSION, 0)) == set(everything) - {18048, 21049, 3761}
    assert pykvm.kvm_getprocs(kd, 99, 0) is None
    assert "Invalid argument" in pykvm.kvm_geterr(kd)


def test_nlist(kd: Any) -> None:
    nl = [pykvm.Nlist(n) for n in ("_allproc", "_main", "_start", "_PTDpaddr", "_nosuch", "", "_nprocs")]
    assert pykvm.kvm_nlist(kd, nl) == 1
    assert nl[0].n_value == 0xD021F4B8
    assert nl[3].n_value == 0xD01ECA84
    assert (nl[4].n_type, nl[4].n_value) == (0, 0)
    assert nl[6].n_type == 0  # behind the empty name
    expected = {"ELF": (6, 4, 0x13, 0x13), "a.out": (9, 5, 5, 7)}[kd.symbols.format]
    assert tuple(n.n_type for n in nl[:4])[:3] == expected[:3]
    plain = [pykvm.Nlist("allproc")]
    assert pykvm.kvm_nlist(kd, plain) == (0 if kd.symbols.format == "ELF" else 1)


def test_memory(kd: Any) -> None:
    address = kd.symbol("nprocs")
    assert kd.read_i32(address) == 18
    assert kd.read(address, 4) == kd.read_phys(kd.translate(address), 4)
    assert kd.symbol_at(address + 2) == (kd.symbol_at(address)[0], 2)
    buf = bytearray(8)
    assert pykvm.kvm_read(kd, 0xFFFFFFFF, buf, 8) == -1
    assert pykvm.kvm_geterr(kd) == "invalid address (ffffffff)"
    with pytest.raises(pykvm.AddressError, match=r"invalid address \(d0000000\)"):
        kd.read(0xD0000000, 4)  # a zero page table entry, which the original follows


def test_dump_header_again(kd: Any, real: Any, tmp_path: Path) -> None:
    core = real("mirbsd/i386-bsd.0.core")
    with open(core, "rb") as f:
        head = f.read(532)
    with open(tmp_path / "head", "wb") as f:
        assert pykvm.kvm_dump_wrtheader(kd, f, 0x01FE0000) == 532
    assert (tmp_path / "head").read_bytes() == head


def test_dmesg(kd: Any) -> None:
    text = kd.dmesg().decode()
    assert text.startswith("MirBSD#10semel (PYW)")
    assert "root on wd0a" in text
