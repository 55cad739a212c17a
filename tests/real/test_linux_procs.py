"""Real Linux dumps: records, where processes wait, open files, against what the guests' own /proc said."""

from __future__ import annotations

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
RUNNING = {"1"}  # went on between the print and the stop
LOW = 0xFFFFFFFF
PF_KTHREAD = 0x00200000


@pytest.fixture(scope="module", params=DUMPS, ids=list(DUMPS))
def both(request: pytest.FixtureRequest, real: Any) -> Any:
    dump, name = DUMPS[request.param]
    truth = json.loads(real(f"linux/{name}.truth.json").read_text())
    with pykvm.Kvm(real(f"linux/{dump}")) as kd:
        yield kd, truth["processes"], request.param


def pairs(kd: pykvm.Kvm, truth: Any) -> list[tuple[Any, Any]]:
    """Each process, and what was told of it."""
    found = [(p, truth[str(p.pid)]) for p in kd.processes() if str(p.pid) in truth]
    assert len(found) == len(truth)
    return found


def stopped(p: Any) -> bool:
    """Whether a process did nothing between the print and the stop."""
    return str(p.pid) not in RUNNING and not p.flags & PF_KTHREAD and p.stat != "R"


def kilobytes(status: dict[str, str], name: str) -> int:
    return int(status.get(name, "0 kB").split()[0])


def test_signals(both: Any) -> None:
    kd, truth, _ = both
    for p, t in pairs(kd, truth):
        sets = {name: int(t["status"][name], 16) & LOW for name in ("SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt")}
        assert p.p_siglist & LOW == sets["SigPnd"] | sets["ShdPnd"], p
        assert (p.p_sigmask, p.p_sigignore, p.p_sigcatch) == (sets["SigBlk"], sets["SigIgn"], sets["SigCgt"]), p
        assert p.p_exitsig == t["stat"]["exit_signal"]
        assert p.p_xstat == t["stat"]["exit_code"]
    assert any(p.p_siglist and p.p_sigmask for p in kd.processes())


def test_usage(both: Any) -> None:
    kd, truth, _ = both
    checked = 0
    for p, t in pairs(kd, truth):
        if not stopped(p):
            continue
        stat, status = t["stat"], t["status"]
        assert (p.p_uru_minflt, p.p_uru_majflt) == (stat["minflt"], stat["majflt"]), p
        ticks = (p.p_uctime_sec * 10**6 + p.p_uctime_usec) // 10**4
        assert ticks - 1 <= stat["cutime"] + stat["cstime"] <= ticks, p
        if p.threads == 1:
            assert p.p_uru_nvcsw == int(status["voluntary_ctxt_switches"]), p
            assert p.p_uru_nivcsw == int(status["nonvoluntary_ctxt_switches"]), p
            told = next((line for line in t["sched"] if "sum_exec_runtime" in line), None)
            if told is not None:
                milliseconds = float(told.split(":")[1])
                assert abs(p.p_rtime_sec * 10**3 + p.p_rtime_usec / 10**3 - milliseconds) < 0.0015
        checked += 1
    assert checked > 40
    assert any(p.p_uctime_sec for p in kd.processes())


def test_sizes(both: Any) -> None:
    kd, truth, _ = both
    page = kd.info.page_size // 1024
    for p, t in pairs(kd, truth):
        status = t["status"]
        found = (p.p_vm_tsize * page, p.p_vm_dsize * page, p.p_vm_ssize * page)
        assert found == tuple(kilobytes(status, name) for name in ("VmExe", "VmData", "VmStk")), p
        assert p.p_vm_rssize * page * 1024 == p.rssize
        assert p.p_rlim_rss_cur == t["stat"]["rsslim"]
        if "VmHWM" in status:
            assert p.p_uru_maxrss >= p.rssize // 1024 > 0


def test_ranks_and_terminals(both: Any) -> None:
    kd, truth, _ = both
    for p, t in pairs(kd, truth):
        stat = t["stat"]
        assert p.p_priority - 100 == stat["priority"], p
        assert p.p_nice - 20 == stat["nice"]
        assert p.p_eflag == (1 if stat["tty_nr"] else 0) | (2 if stat["session"] == p.pid else 0), p
        assert (p.p_tdev, p.p_tpgid) == (stat["tty_nr"] or LOW, stat["tpgid"])
        assert (p.p_sid, p.p__pgid, p.p_flag) == (stat["session"], stat["pgrp"], stat["flags"])
    groups = {p.pgid: p.p_sess for p in kd.processes()}
    assert len(set(groups.values())) < len(groups)


def test_where_they_wait(both: Any) -> None:
    kd, truth, _ = both
    told = 0
    for p, t in pairs(kd, truth):
        if p.stat == "R":
            assert (p.wmesg, p.wchan) == (None, None)
            continue
        assert p.wmesg == (None if t["wchan"] == "0" else t["wchan"]), p
        if p.wmesg is None:
            continue
        told += 1
        assert kd.symbol_at(p.wchan)[1] == 0
        name, _, rest = t["stack"][0].removeprefix("[<0>] ").partition("+")
        size = int(rest.split("/")[1], 16)
        assert name == p.wmesg
        assert kd.symbol_at(p.wchan + size - 1)[1] == size - 1
        assert p.p_wmesg.decode() == p.wmesg[:7]
        assert p.p_wchan == p.wchan
    assert told > 90


def test_where_threads_wait(both: Any) -> None:
    kd, _, name = both
    p = next(p for p in kd.processes() if p.threads == 6)
    sleep = "do_sys_poll" if name.startswith("aarch64") else "__do_sys_pause"
    assert {(t.wmesg, t.wchan) for t in kd.threads(p)} == {(sleep, p.wchan)}
    dead = next(p for p in kd.processes() if p.stat == "Z" and p.threads == 2)
    assert [t.wmesg for t in kd.threads(dead)] == [None, sleep]


def test_files(both: Any) -> None:
    kd, truth, _ = both
    found: dict[int, dict[int, str | None]] = {}
    for f in kd.files():
        found.setdefault(f.pid, {})[f.fd] = f.path
        assert f.f_path.dentry
    for pid, t in truth.items():
        if pid not in RUNNING:
            told = dict(line.split(" -> ", 1) for line in t["fds"])
            assert found.get(int(pid), {}) == {int(fd): path for fd, path in told.items()}, pid


def test_with_a_kernel_file(real: Any) -> None:
    """Of several names at one place a kernel file has another first: the kernel's own table counts."""
    dump = real("linux/x86_64-6.12-kaslr.zstd-d23.kdump")
    kernel = real("linux/vmlinux-6.12.117-x86_64.nodwarf")
    with pykvm.Kvm(dump) as own, pykvm.Kvm(dump, kernel) as named:
        assert [(p.wmesg, p.wchan) for p in own.processes()] == [(p.wmesg, p.wchan) for p in named.processes()]
        assert [f.path for f in own.files()] == [f.path for f in named.files()]
