"""kvm_getproc2(3) on kernels that have no kinfo_proc2: the same processes as kvm_getprocs(3) shows them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pykvm_fixtures.dragonfly import write_dragonfly
from pykvm_fixtures.freebsd import model as m
from pykvm_fixtures.freebsd import write_freebsd
from pykvm_fixtures.freebsd.system import FreebsdDump

import pykvm
from pykvm import constants as k
from pykvm.records import PROCESS_NAMES
from pykvm.types.layout import builtin

SIZE = 608
STATES = {"R": 2, "S": 3, "D": 3, "I": 3, "T": 4, "Z": 5}  # MirBSD's SRUN, SSLEEP, SSTOP, SZOMB
RUSAGE = "maxrss ixrss idrss isrss minflt majflt nswap inblock oublock msgsnd msgrcv nsignals nvcsw nivcsw".split()
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("amd64", {"layout": 3}), ("amd64", {"release": "10", "container": "full"}), ("i386", {"container": "full"}),
    ("arm-lpae", {"release": "15"}), ("powerpc64", {}), ("mips", {"release": "12"}),
]  # fmt: skip


@pytest.fixture(scope="module", params=VARIANTS, ids=lambda v: "-".join([v[0], *map(str, v[1].values())]))
def freebsd(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[tuple[pykvm.Kvm, FreebsdDump]]:
    machine, options = request.param
    dump = write_freebsd(tmp_path_factory.mktemp("fbsd"), machine=machine, **options)
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        yield kd, dump


@pytest.fixture(scope="module", params=["2", "4", "6"])
def dragonfly(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[tuple[pykvm.Kvm, Any]]:
    dump = write_dragonfly(tmp_path_factory.mktemp("dfly"), release=request.param)
    with pykvm.Kvm(dump.core, dump.kernel, layout=dump.layout) as kd:
        yield kd, dump


def seconds(p: Any, name: str) -> float:
    return float(getattr(p, f"p_{name}_sec") + getattr(p, f"p_{name}_usec") / 1e6)


def check(p: Any, q: Any) -> None:
    """What every kinfo_proc2 `q` says of what `p` has by names that mean the same everywhere."""
    for name in PROCESS_NAMES:
        assert getattr(p, name) == getattr(q, name), name
    assert q.structure == "kinfo_proc2"
    assert len(bytes(q)) == SIZE
    same = "pid ppid sid uid ruid svuid gid rgid svgid wchan paddr".split()
    assert [getattr(q, f"p_{name}") for name in same] == [
        (getattr(p, name) or 0) & (1 << 8 * q._struct.field(f"p_{name}").size) - 1 if name[-3:] != "pid"
        else getattr(p, name) or 0 for name in same
    ]  # fmt: skip
    assert (q.p__pgid, q.p_tpgid) == (p.pgid or 0, -1 if p.tpgid is None else p.tpgid)
    assert q.p_tdev == (0xFFFFFFFF if p.tdev is None else p.tdev)
    assert (q.p_stat, q.p_nice) == (STATES.get(p.stat, 0), 0 if p.nice is None else p.nice + 20)
    assert q.p_flag & 0xFFFFFFFF == q.p_realflag == p.flags
    groups = list(p.groups or ())[:16]
    assert (list(q.p_groups), q.p_ngroups) == (groups + [0] * (16 - len(groups)), len(groups))
    assert q.p_comm == p.comm.encode()
    assert q.p_login == (p.login or "").encode()[:31]
    assert q.p_wmesg == (p.wmesg or "").encode()[:7]
    assert q.p_uvalid == (p.start_time is not None)
    for name, value in (("ustart", p.start_time), ("uutime", p.utime), ("ustime", p.stime)):
        assert seconds(q, name) == pytest.approx(value or 0, abs=2e-6), name


def test_freebsd(freebsd: Any) -> None:
    kd, dump = freebsd
    for op in (k.KERN_PROC_KTHREAD, k.KERN_PROC_ALL, k.KERN_PROC_KTHREAD | k.KERN_PROC_INC_THREAD):
        one, two = pykvm.kvm_getprocs(kd, op, 0), pykvm.kvm_getproc2(kd, op, 0)
        assert len(one) == len(two) > 10
        for p, q in zip(one, two, strict=True):
            check(p, q)
            known = dump.process(p.pid)
            zombie = known.state == m.PRS_ZOMBIE
            assert q.p_rlim_rss_cur == (0 if zombie else known.rlim_rss)
            assert (q.p_exitsig, bool(q.p_limit)) == (known.sigparent, not zombie)
            assert q.p_eflag == p.ki_kiflag & 3
            assert (q.p_priority, q.p_usrpri) == (p.ki_pri.pri_level, p.ki_pri.pri_user)
            for name in ("siglist", "sigmask", "sigignore", "sigcatch"):
                word = getattr(p, f"ki_{name}").__getattr__("__bits")[0]
                assert getattr(q, f"p_{name}") & 0xFFFFFFFF == word, name
            assert [getattr(q, f"p_uru_{name}") for name in RUSAGE] == [
                getattr(p.ki_rusage, f"ru_{name}") for name in RUSAGE
            ]
            assert seconds(q, "rtime") == pytest.approx(p.ki_runtime / 1e6, abs=2e-6)
            child = p.ki_childtime.tv_sec + p.ki_childtime.tv_usec / 1e6
            assert seconds(q, "uctime") == pytest.approx(child, abs=2e-6)
            assert (q.p_vm_rssize, q.p_vm_tsize, q.p_vm_dsize, q.p_vm_ssize) == (
                p.ki_rssize, p.ki_tsize, p.ki_dsize, p.ki_ssize,
            )  # fmt: skip
            assert (q.p_xstat, q.p_acflag, q.p_jobc, q.p_traceflag) == (
                p.ki_xstat, p.ki_acflag, p.ki_jobc, p.ki_traceflag,
            )  # fmt: skip
            assert (q.p_fd, q.p_vmspace, q.p_addr) == (p.ki_fd, p.ki_vmspace, p.ki_kstack)
            assert q.p_emul == p.ki_emul[:7]
            assert (q.p_pctcpu, q.p_swtime, q.p_slptime) == (p.ki_pctcpu, p.ki_swtime, p.ki_slptime)
    assert {q.p_rlim_rss_cur for q in two} > {123 << 32}
    assert {q.p_emul for q in two} >= {b"null", b"FreeBSD"}


def test_dragonfly(dragonfly: Any) -> None:
    kd, dump = dragonfly
    for op in (k.KERN_PROC_KTHREAD, k.KERN_PROC_ALL, k.KERN_PROC_KTHREAD | k.KERN_PROC_SHOW_THREADS):
        one, two = pykvm.kvm_getprocs(kd, op, 0), pykvm.kvm_getproc2(kd, op, 0)
        assert len(one) == len(two) > 4
        for p, q in zip(one, two, strict=True):
            check(p, q)
            assert q.p_eflag == p.kp_auxflags & 3
            assert q.p_addr == p.td
            assert q.p_sigmask == p.kp_lwp.kl_sigmask.__getattr__("__bits")[0]
            child = p.kp_cru.ru_utime, p.kp_cru.ru_stime
            total = sum(t.tv_sec for t in child) + sum(t.tv_usec for t in child) / 1e6
            assert seconds(q, "uctime") == pytest.approx(total, abs=2e-6)
            assert seconds(q, "rtime") == pytest.approx((p.utime or 0) + (p.stime or 0), abs=4e-6)
            assert (q.p_vm_rssize, q.p_vm_tsize) == (p.kp_vm_rssize, p.kp_vm_tsize)
            assert q.p_priority == min(max(p.kp_lwp.kl_prio, 0), 255)
            assert (q.p_pctcpu, q.p_estcpu) == (p.kp_lwp.kl_pctcpu, p.kp_lwp.kl_estcpu & 0xFFFFFFFF)
            assert kd.threads(q) == kd.threads(p)
    known = {p.pid: p for p in dump.processes}
    for q in pykvm.kvm_getproc2(kd, k.KERN_PROC_ALL, 0):
        p = known[q.pid]
        for name in ("ru_minflt", "ru_nvcsw"):
            total = dict(p.ru).get(name, 0) + sum(dict(lwp.ru).get(name, 0) for lwp in p.lwps)
            assert getattr(q, f"p_u{name}") == total, (q.pid, name)


def test_vectors(freebsd: Any) -> None:
    """Of a record, and of a copy of its bytes, as libkvm.so has it."""
    kd, _ = freebsd
    layout = kd.target.record_struct(kd.parts, True)
    assert (layout.name, layout.size) == ("kinfo_proc2", builtin("kinfo_proc2").struct("kinfo_proc2").size)
    seen = 0
    for p, q in zip(kd.processes(), pykvm.kvm_getproc2(kd, k.KERN_PROC_KTHREAD, 0), strict=True):
        vector = pykvm.kvm_getargv(kd, p, 0)
        copy = kd.target.record_of(bytes(q), layout)
        assert pykvm.kvm_getargv2(kd, q, 0) == pykvm.kvm_getargv2(kd, copy, 0) == vector
        seen += vector is not None
    assert seen > 2


def test_freebsd_elemsize(freebsd: Any) -> None:
    sizes(freebsd[0])


def test_dragonfly_elemsize(dragonfly: Any) -> None:
    sizes(dragonfly[0])


def sizes(kd: pykvm.Kvm) -> None:
    whole = pykvm.kvm_getproc2(kd, k.KERN_PROC_ALL, 0)
    for size in (1, 100, SIZE, 700):
        cut = pykvm.kvm_getproc2(kd, k.KERN_PROC_ALL, 0, size)
        assert [bytes(q) for q in cut] == [bytes(q)[:size].ljust(size, b"\0") for q in whole]
        assert [q.pid for q in cut] == [q.pid for q in whole]
    for size in (0, -1, 1 << 40):
        assert pykvm.kvm_getproc2(kd, k.KERN_PROC_ALL, 0, size) is None
        assert pykvm.kvm_geterr(kd) == f"kvm_getproc2: elemsize {size}: Invalid argument"
    assert pykvm.kvm_getproc2(kd, 9, 0) is None
    assert pykvm.kvm_geterr(kd) == "kvm_getproc2: op 9: Invalid argument"
