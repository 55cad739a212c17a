"""DragonFly's processes in damaged memory: lists, trees, pointers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pykvm_fixtures.dragonfly import model as m
from pykvm_fixtures.dragonfly import write_dragonfly
from pykvm_fixtures.dragonfly.system import DragonflyDump

import pykvm
from pykvm import constants as k
from pykvm.errors import AddressError, FormatError, KvmError
from pykvm.records import PROCESS_NAMES


@pytest.fixture(params=["3", "6"])
def damaged(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[pykvm.Kvm, DragonflyDump]]:
    dump = write_dragonfly(tmp_path, release=request.param)
    with pykvm.Kvm(dump.core, dump.kernel, writable=True, layout=dump.layout) as kd:
        yield kd, dump


def word(value: int) -> bytes:
    return value.to_bytes(8, "little")


def place(dump: DragonflyDump, name: str, *path: str) -> int:
    offset = 0
    for part in path:
        at, name = dump.layouts[name][1][part]
        offset += at
    return offset


def node(dump: DragonflyDump, pid: int, tid: int, member: str) -> int:
    return dump.addresses.lwps[pid, tid] + place(dump, "lwp", "u", "lwp_rbnode", member)


def test_list_damaged(damaged: Any) -> None:
    kd, dump = damaged
    a, b = (dump.addresses.procs[dump.addresses.order[i]] for i in (2, 3))
    link = place(dump, "proc", "p_list", "le_next")
    kd.write(b + link, word(b))
    with pytest.raises(KvmError, match=r"loop|twice"):
        kd.processes()
    kd.write(b + link, word(0))
    kd.write(a + link, word(0x123456789000))
    with pytest.raises(AddressError, match="can't read proc at 0x123456789000"):
        kd.processes()


def test_table_damaged(tmp_path: Path) -> None:
    dump = write_dragonfly(tmp_path)
    with pykvm.Kvm(dump.core, dump.kernel, writable=True, layout=dump.layout) as kd:
        for size in (0, -1, 1 << 30):
            kd.write(dump.symbols["allproc_hsize"], (size & 0xFFFFFFFF).to_bytes(4, "little"))
            with pytest.raises(FormatError, match=f"allproc_hsize: procglob has {size} lists"):
                kd.processes()
        kd.write(dump.symbols["allproc_hsize"], (1 << 15).to_bytes(4, "little"))
        with pytest.raises(KvmError, match=r"procglob|proc at"):
            kd.processes()


def test_zombies_damaged(tmp_path: Path) -> None:
    """They cost only themselves."""
    dump = write_dragonfly(tmp_path, release="3")
    with pykvm.Kvm(dump.core, dump.kernel, writable=True, layout=dump.layout) as kd:
        kd.write(dump.symbols["zombproc"], word(0x123456789000))
        assert [r.pid for r in kd.processes(k.KERN_PROC_KTHREAD) if r.pid >= 0] == dump.addresses.order[:-1]
        assert "can't read proc at 0x123456789000" in pykvm.kvm_geterr(kd)
        kd.write(dump.symbols["zombproc"], word(dump.addresses.procs[700]))
        with pytest.raises(FormatError, match="on allproc and on zombproc"):
            kd.processes()


def test_tree_damaged(damaged: Any) -> None:
    kd, dump = damaged
    lwp = dump.addresses.lwps
    root = dump.addresses.procs[701] + place(dump, "proc", "p_lwp_tree", "rbh_root")
    for member in ("rbe_left", "rbe_right"):
        at = node(dump, 701, 1, member)
        kd.write(at, word(lwp[701, 6]))  # its own root
        with pytest.raises(FormatError, match="in the trees of lwps twice"):
            kd.processes()
        kd.write(at, word(0x123456789000))
        with pytest.raises(AddressError, match="can't read lwp at 0x123456789000"):
            kd.processes()
        kd.write(at, word(lwp[700, 1]))
        with pytest.raises(FormatError, match=r"wrong parent|twice"):
            kd.processes()
        kd.write(at, word(0))
    assert len(kd.threads(kd.processes(k.KERN_PROC_PID, 701)[0])) == 11
    kd.write(root, word(lwp[700, 1]))
    with pytest.raises(FormatError, match="two processes"):
        kd.processes()


def test_tree_degenerate(tmp_path: Path) -> None:
    """A chain is no red-black tree: it would take as long as it pleases."""
    chain = m.Process(5, "chain", lwps=tuple(m.Lwp(tid) for tid in range(60)))
    init = m.Process(1, "init", ppid=1)
    dump = write_dragonfly(tmp_path, system=m.System(processes=(init, chain)))
    with pykvm.Kvm(dump.core, dump.kernel, writable=True, layout=dump.layout) as kd:
        for tid in range(60):
            kd.write(node(dump, 5, tid, "rbe_left"), word(0))
            kd.write(node(dump, 5, tid, "rbe_right"), word(dump.addresses.lwps.get((5, tid + 1), 0)))
        root = dump.addresses.procs[5] + place(dump, "proc", "p_lwp_tree", "rbh_root")
        kd.write(root, word(dump.addresses.lwps[5, 0]))
        with pytest.raises(FormatError, match="deeper than a red-black tree can be"):
            kd.processes()


def test_kernel_threads_damaged(damaged: Any) -> None:
    """They cost only themselves."""
    kd, dump = damaged
    link = place(dump, "thread", "td_allq", "tqe_next")
    at = dump.addresses.kernel["netisr 1"]
    kd.write(at + link, word(at))
    assert [r.pid for r in kd.processes()] == dump.addresses.order
    assert "twice" in pykvm.kvm_geterr(kd)
    kd.write(dump.symbols["ncpus"], bytes(4))
    assert [r.pid for r in kd.processes()] == dump.addresses.order
    assert "ncpus is 0" in pykvm.kvm_geterr(kd)


def test_process_damaged(damaged: Any) -> None:
    """What a bad pointer leads to is not known, and not made up."""
    kd, dump = damaged
    proc = dump.addresses.procs[700]
    for member in ("p_ucred", "p_pgrp", "p_vmspace", "p_sigacts", "p_args"):
        kd.write(proc + place(dump, "proc", member), word(0x123456789000))
    (r,) = kd.processes(k.KERN_PROC_PID, 700)
    assert (r.comm, r.uid, r.groups, r.pgid, r.sid, r.login, r.tdev, r.rssize) == ("sh", *[None] * 7)
    assert (r.kp_uid, r.kp_pgid, r.kp_vm_map_size, tuple(r.kp_sigignore.__getattr__("__bits"))) == (0, 0, 0, (0,) * 4)
    with pytest.raises(AddressError, match="process 700: arguments: can't read struct pargs at 0x123456789000"):
        kd.argv(r)


@pytest.fixture(scope="module", params=["3", "6"])
def breakable(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[tuple[pykvm.Kvm, DragonflyDump]]:
    dump = write_dragonfly(tmp_path_factory.mktemp("broken"), release=request.param)
    with pykvm.Kvm(dump.core, dump.kernel, writable=True, layout=dump.layout) as kd:
        yield kd, dump


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    what=st.sampled_from(["proc", "lwp", "thread", "pgrp", "ucred", "globaldata"]),
    which=st.integers(0, 20),
    member=st.integers(0, 60),
    value=st.sampled_from([0, 1, 7, (1 << 64) - 1, 1 << 63, None]),
)
def test_broken_members(breakable: Any, what: str, which: int, member: int, value: int | None) -> None:
    """Any member overwritten: an error or an answer, never anything else."""
    kd, dump = breakable
    a = dump.addresses
    proc = list(a.procs.values())[which % len(a.procs)]
    through = {"pgrp": "p_pgrp", "ucred": "p_ucred"}
    lists = {"lwp": list(a.lwps.values()), "thread": [*a.threads.values(), *a.kernel.values()], "globaldata": a.cpus}
    if what in through:
        at = kd.read_ptr(proc + place(dump, "proc", through[what]))
    else:
        at = proc if what == "proc" else lists[what][which % len(lists[what])]
    offsets = sorted(at for at, _ in dump.layouts[what][1].values())
    at += offsets[member % len(offsets)]
    before = kd.read(at, 8)
    kd.write(at, word(proc if value is None else value))
    said = "nothing"
    try:
        for r in kd.processes():
            bytes(r)
            for name in PROCESS_NAMES:
                getattr(r, name)
            for call in (kd.threads, kd.argv):
                with contextlib.suppress(KvmError):
                    call(r)
    except KvmError as e:
        said = str(e)
    finally:
        kd.write(at, before)
    assert said.strip()
    assert "\n" not in said
    assert [r.pid for r in kd.processes() if r.paddr] == a.order
