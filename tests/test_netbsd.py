"""NetBSD dumps from the fixture writer: memory of every machine, processes, LWPs, messages; what is refused."""

from __future__ import annotations

import gzip
import io
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bsd_truth import (
    check_identity,
    check_memory,
    check_messages,
    check_process,
    check_vectors,
    cut_vectors,
    layout_file,
    newest_first,
    nm_list,
)
from pykvm_fixtures.__main__ import main
from pykvm_fixtures.bsd import MACHINES, BsdDump

import pykvm

MACHINE = {"amd64": "x86_64"}  # by what is before the dash


@pytest.fixture(scope="module")
def kd(netbsd_dump: BsdDump) -> Iterator[Any]:
    with pykvm.Kvm(netbsd_dump.core, netbsd_dump.kernel) as found:
        yield found


def one(kd: Any, pid: int) -> Any:
    (p,) = kd.processes(pykvm.KERN_PROC_PID, pid)
    return p


def words(signals: Any) -> tuple[int, ...]:
    """A sigset_t."""
    return tuple(getattr(signals, "__bits"))


@pytest.mark.parametrize("machine", MACHINES["NetBSD"])
@pytest.mark.parametrize("layout", [0, 1])
def test_every_machine(bsd_written: Any, machine: str, layout: int) -> None:
    dump = bsd_written("NetBSD", machine, layout=layout, seed=1 + layout)
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        base = machine.partition("-")[0]
        assert kd.info.machine == MACHINE.get(base, base)
        check_identity(kd, dump)
        check_messages(kd, dump)
        check_memory(kd, dump)
        found = kd.processes()
        assert [p.pid for p in found] == newest_first(dump)
        for p in found:
            check_process(p, dump.process(p.pid), dump)
        check_vectors(kd, dump, found)


@pytest.mark.parametrize("machine", ["aarch64", "aarch64-16k", "aarch64-64k"])
def test_page_size(bsd_written: Any, machine: str) -> None:
    dump = bsd_written("NetBSD", machine, layout=0, seed=1)
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        assert kd.info.page_size == dump.page_size


def test_headers(netbsd_dump: BsdDump) -> None:
    """As the real ones are: sizes, positions, whole blocks."""
    raw = netbsd_dump.core.read_bytes()[:0x1000]
    assert raw[:4] == b"\x00\x9d\x8f\xca"
    assert struct.unpack_from("<HHI", raw, 4) == (16, 8, 2)
    assert raw[16:20] == b"\x04\x9d\x8f\xac"
    assert struct.unpack_from("<I", raw, 20) == (504,)
    assert raw[528:532] == b"\x08\x9d\x8f\xac"
    assert netbsd_dump.placed.memory == 536


def test_sparse(bsd_written: Any) -> None:
    """Hundreds of segments, a file that is longer than they are, no processes' memory."""
    dump = bsd_written("NetBSD", sparse=True)
    assert len(dump.placed.segments) > 500
    total = sum(size for _, size in dump.placed.segments)
    assert dump.core.stat().st_size > dump.placed.memory + total
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        check_identity(kd, dump)
        check_memory(kd, dump)
        check_messages(kd, dump)
        for i, va in enumerate(dump.buffers):
            assert kd.read_u64(va + 8 * i % dump.page_size) == va
        for p in kd.processes():
            said = dump.process(p.pid)
            check_process(p, said, dump)
            if said.kind != "user":
                assert kd.argv(p) == kd.environ(p) == []
                continue
            for what, ask in (("arguments", kd.argv), ("environment", kd.environ)):
                with pytest.raises(pykvm.AddressError) as caught:
                    ask(p)
                at = dump.addresses.strings[p.pid]
                assert str(caught.value) == (
                    f"process {p.pid}: {what}: user memory at {at:#x} is not in the dump (a sparse dump has none of "
                    "processes')"
                )
        assert pykvm.kvm_getargv(kd, one(kd, 700), 0) is None
        assert "a sparse dump has none" in pykvm.kvm_geterr(kd)


@pytest.mark.parametrize("machine", ["i386", "i386-pae", "aarch64-16k"])
def test_sparse_elsewhere(bsd_written: Any, machine: str) -> None:
    dump = bsd_written("NetBSD", machine, sparse=True)
    assert len(dump.placed.segments) > 300
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        check_memory(kd, dump)
        assert [p.pid for p in kd.processes()] == newest_first(dump)
        with pytest.raises(pykvm.AddressError, match="is not in the dump"):
            kd.argv(one(kd, 701))


def test_vectors(kd: Any, netbsd_dump: BsdDump) -> None:
    check_vectors(kd, netbsd_dump, kd.processes())
    cut_vectors(kd, netbsd_dump)


def test_swap(netbsd_dump_factory: Any) -> None:
    dump = netbsd_dump_factory(swap=True)
    with pykvm.Kvm(dump.core, dump.kernel, dump.swap) as kd:
        check_vectors(kd, dump, kd.processes())
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        with pytest.raises(pykvm.AddressError, match=r"process 803: arguments: user memory at 0x.* is not in memory"):
            kd.argv(one(kd, 803))
        assert len(kd.environ(one(kd, 800))) == 150  # by anons, in memory


def test_kinfo_proc2(kd: Any, netbsd_dump: BsdDump) -> None:
    """The record's own members."""
    a = netbsd_dump.addresses
    p = one(kd, 700)
    assert (p.p_realstat, p.p_stat, p.p_nlwps, p.p_nrlwps) == (2, 3, 1, 0)
    assert (p.p_vmspace, p.p_sess, p.p_tsess, p.p_paddr) == (
        a.vmspaces[700], a.sessions[700], a.sessions[700], a.procs[700],
    )  # fmt: skip
    assert (p.p_tdev, p.p_tpgid, p.p_jobc, p.p_acflag, p.p_exitsig) == (0x500, 702, 0, 1, 20)
    assert (p.p_vm_rssize, p.p_vm_tsize, p.p_vm_dsize, p.p_vm_ssize) == (70, 40, 12, 3)
    assert (p.p_vm_vsize, p.p_vm_msize) == (500, 500 - 8 + 3)
    assert (p.p_ustart_sec, p.p_ustart_usec) == (1700000012, 7)
    assert (p.p_uctime_sec, p.p_uctime_usec) == (6, 249999)
    assert (p.p_rtime_sec, p.p_rtime_usec) == (3, 0)
    assert (p.p_uutime_sec, p.p_uutime_usec, p.p_ustime_sec, p.p_ustime_usec) == (2, 250000, 0, 750000)
    assert (p.p_uticks, p.p_sticks, p.p_iticks) == (300, 100, 0)
    assert words(p.p_siglist) == (0, 0, 0, 0)
    assert words(p.p_sigignore) == (0x100000, 0, 0, 0)
    assert words(p.p_sigcatch) == (0x2, 0, 0, 0x800000)
    assert (p.p_ngroups, tuple(p.p_groups)[:4]) == (3, (100, 0, 5, 0))
    assert (p.p_uru_minflt, p.p_uru_oublock, p.p_uru_nvcsw, p.p_uru_nivcsw) == (77, 3, 20, 10)
    for name, text in (("p_comm", b"sh"), ("p_login", b"alice"), ("p_wmesg", b"ttyin"), ("p_ename", b"netbsd")):
        assert bytes(getattr(p, name)).split(b"\0")[0] == text
    assert (p.p_eflag, p.p_nice, p.p_flag) == (1 | 2, 20, 0x4 | 0x2 | 0x4000 | 0x80)
    assert len(bytes(p)) == 680


def test_a_process_of_many(kd: Any, netbsd_dump: BsdDump) -> None:
    """The LWP that runs stands for it; usage is of all."""
    a, p = netbsd_dump.addresses, one(kd, 701)
    assert (p.p_nlwps, p.p_nrlwps, p.p_stat, p.p_realstat) == (3, 2, 7, 2)
    assert (p.p_cpuid, p.p_schedflags, p.p_swtime, p.p_slptime, p.p_cpticks) == (1, 0x11, 30, 0, 3)
    assert (p.p_priority, p.p_usrpri, p.p_nice, p.nice) == (44, 44, 30, 10)
    assert (p.p_uru_minflt, p.p_uru_maxrss, p.p_uru_nvcsw, p.p_uru_nivcsw) == (345, 6789, 60, 30)
    assert (words(p.p_siglist), words(p.p_sigmask)) == ((0x204, 0, 0, 0), (0x10000, 0, 0, 0))
    assert (p.p_pctcpu, p.p_estcpu, p.p_jobc) == (512, 9, 1)
    assert (p.utime, p.stime) == (7 * 50 / 128, 7 * 50 / 128)
    found = kd.threads(p)
    assert [(t.tid, t.addr, t.name, t.stat, t.wmesg, t.wchan) for t in found] == [
        (305, a.threads[305], "pool-2", "R", None, None),
        (304, a.threads[304], "pool-1", "I", "parked", a.wchans[304]),
        (303, a.threads[303], "worker", "R", None, None),
    ]


def test_kvm_getlwps(kd: Any, netbsd_dump: BsdDump) -> None:
    a = netbsd_dump.addresses
    lwps = pykvm.kvm_getlwps(kd, 0, a.procs[701], 128)
    assert lwps is not None
    assert [lwp.l_lid for lwp in lwps] == [305, 304, 303]
    assert [(lwp.l_pid, lwp.l_laddr, lwp.l_addr) for lwp in lwps] == [
        (701, a.threads[n], a.threads[n] ^ 0x100000) for n in (305, 304, 303)
    ]
    assert [(lwp.l_stat, lwp.l_flag, lwp.l_slptime, lwp.l_cpuid) for lwp in lwps] == [
        (2, 4, 0, 0), (3, 0x84, 25, 0), (7, 4, 0, 1),
    ]  # fmt: skip
    assert bytes(lwps[1].l_wmesg).rstrip(b"\0") == b"parked"
    assert bytes(lwps[2].l_name).rstrip(b"\0") == b"worker"
    assert (lwps[2].l_rtime_sec, lwps[2].l_pctcpu, lwps[2].l_cpticks) == (7, 512, 3)
    assert pykvm.kvm_getlwps(kd, 0, 0x1000, 128) is None
    assert "can't read proc at 0x1000" in pykvm.kvm_geterr(kd)


def test_the_kernel_and_the_dead(kd: Any) -> None:
    system = one(kd, 0)
    assert (system.comm, system.p_nlwps, system.start_time) == ("system", 5, 1700000000.0)
    assert [t.name for t in kd.threads(system)] == ["pgdaemon", "vmem_rehash", "softnet/0", "idle/0", "swapper"]
    assert system.p_tdev == 0xFFFFFFFF
    exited, crashed = one(kd, 703), one(kd, 704)
    assert (exited.p_stat, exited.p_realstat, exited.p_xstat, crashed.p_xstat) == (5, 5, 0x700, 11)
    assert (exited.start_time, exited.p_uvalid, exited.p_vm_vsize) == (None, 0, 0)
    stopped = one(kd, 702)
    assert (stopped.p_realstat, stopped.p_stat, stopped.p_xstat) == (4, 4, 18)


def test_selections(kd: Any) -> None:
    def pids(op: int, arg: int) -> list[int | None]:
        return [p.pid for p in kd.processes(op, arg)]

    assert pids(pykvm.KERN_PROC_UID, 1001) == [702, 701, 700, 703]
    assert pids(pykvm.KERN_PROC_RUID, 1001) == [800, 702, 701, 700, 703]
    assert pids(pykvm.KERN_PROC_PGRP, 702) == [702, 703]
    assert pids(pykvm.KERN_PROC_SESSION, 700) == [702, 701, 700, 703]
    assert pids(pykvm.KERN_PROC_TTY, 0x500) == [702, 701, 700, 703]
    assert pids(pykvm.KERN_PROC_GID, 25) == [800]
    assert pids(pykvm.KERN_PROC_PID, 12345) == []


def test_many(netbsd_dump_factory: Any) -> None:
    dump = netbsd_dump_factory(processes=300)
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        found = kd.processes()
        assert [p.pid for p in found] == newest_first(dump)
        for p in found[::17]:
            check_process(p, dump.process(p.pid), dump)
            assert kd.environ(p) == list(dump.process(p.pid).environ)


def test_boot_time(kd: Any) -> None:
    assert kd.facts()["boot time"] == 1700000000.25


@pytest.mark.parametrize("machine", ["amd64", "i386-pae", "aarch64"])
def test_device(netbsd_dump_factory: Any, tmp_path: Path, machine: str) -> None:
    """savecore(8)'s part: find the dump on its device, write the file."""
    dump = netbsd_dump_factory(machine=machine, container="device")
    out = io.BytesIO()
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        assert pykvm.kvm_dump_mkheader(kd, dump.placed.device - 512) == -1
        assert pykvm.kvm_geterr(kd) == "invalid magic in cpu_hdr"
        assert pykvm.kvm_dump_mkheader(kd, dump.placed.device) == 8 + dump.placed.cpu_size
        assert pykvm.kvm_dump_mkheader(kd, dump.placed.device) == -1
        assert pykvm.kvm_geterr(kd) == "already has a dump header"
        check_identity(kd, dump, "dump device")
        check_vectors(kd, dump, kd.processes())
        assert pykvm.kvm_dump_wrtheader(kd, out, 4096) == len(out.getvalue())
    copy = tmp_path / "again.core"
    copy.write_bytes(out.getvalue() + dump.core.read_bytes()[dump.placed.memory :])
    with pykvm.Kvm(copy, dump.kernel) as kd:
        check_identity(kd, dump)
        check_memory(kd, dump)
        assert [p.pid for p in kd.processes()] == newest_first(dump)


def test_header_written_again(kd: Any, netbsd_dump: BsdDump) -> None:
    """All but the machine's number in the segments' headers, which nobody reads."""
    out = io.BytesIO()
    size = sum(n for _, n in netbsd_dump.placed.segments)
    assert pykvm.kvm_dump_wrtheader(kd, out, size) == netbsd_dump.placed.memory
    raw = bytearray(netbsd_dump.core.read_bytes()[: netbsd_dump.placed.memory])
    raw[17] = raw[529] = 0
    assert out.getvalue() == bytes(raw)


@pytest.mark.parametrize(("compress", "kernel"), [("gz", "gz"), (None, "xz"), ("bz2", None)])
def test_compressed(netbsd_dump_factory: Any, compress: str | None, kernel: str | None) -> None:
    dump = netbsd_dump_factory(compress=compress, compress_kernel=kernel)
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        check_identity(kd, dump)
        assert [p.comm for p in kd.processes()] == [dump.process(pid).comm for pid in newest_first(dump)]
        assert kd.argv(one(kd, 702)) == [b"vi", b"two words", b"", b"last"]


def test_kernel_compressed_under_its_own_name(netbsd_dump: BsdDump, tmp_path: Path) -> None:
    """As boot loaders take it: /netbsd, gzip'd."""
    kernel = tmp_path / "netbsd"
    kernel.write_bytes(gzip.compress(netbsd_dump.kernel.read_bytes(), 1))
    with pykvm.Kvm(netbsd_dump.core, kernel) as kd:
        assert one(kd, 700).comm == "sh"


def test_wrong_kernels(netbsd_dump: BsdDump, bsd_written: Any, tmp_path: Path) -> None:
    def message(kernel: Path) -> str:
        with pytest.raises(pykvm.FormatError) as caught:
            pykvm.Kvm(netbsd_dump.core, kernel)
        assert str(caught.value).startswith("bad namelist: ") or "is of 'NetBSD" in str(caught.value)
        return str(caught.value)

    raw = netbsd_dump.kernel.read_bytes()
    other = tmp_path / "other"
    other.write_bytes(raw.replace(b"(FIXTURE) #0:", b"(FIXTURE) #1:"))
    assert message(other) == (
        f"bad namelist: {other} is not the kernel of {netbsd_dump.core}, whose version is "
        "'NetBSD 9.3 (FIXTURE) #0: Tue Nov 14 22:13:20 UTC 2023'"
    )
    i386 = bsd_written("NetBSD", "i386", layout=0, seed=1).kernel
    assert message(i386) == f"bad namelist: {i386} is of i386, the dump {netbsd_dump.core} of x86_64"
    message(bsd_written("NetBSD", "aarch64", layout=0, seed=1).kernel)


def test_nm_list(netbsd_dump: BsdDump, tmp_path: Path) -> None:
    """Names without types: processes need a layout file."""
    names = nm_list(netbsd_dump, tmp_path / "netbsd.nm")
    with pykvm.Kvm(netbsd_dump.core, names) as kd:
        check_identity(kd, netbsd_dump)
        check_memory(kd, netbsd_dump)
        check_messages(kd, netbsd_dump)
        with pytest.raises(pykvm.KvmError, match=r"no type information.*no table of NetBSD 9\.3 on x86_64"):
            kd.processes()
    layout = layout_file(netbsd_dump, tmp_path / "layout.json")
    with pykvm.Kvm(netbsd_dump.core, names, layout=layout) as kd:
        for p in kd.processes():
            check_process(p, netbsd_dump.process(p.pid), netbsd_dump)
        check_vectors(kd, netbsd_dump, kd.processes())


def test_nlist(kd: Any, netbsd_dump: BsdDump) -> None:
    wanted = [pykvm.Nlist("_allproc"), pykvm.Nlist("nosuch"), pykvm.Nlist("version")]
    assert pykvm.kvm_nlist(kd, wanted) == 1
    assert [n.n_value for n in wanted] == [netbsd_dump.symbols["allproc"], 0, netbsd_dump.symbols["version"]]


def test_no_types(netbsd_dump_factory: Any) -> None:
    dump = netbsd_dump_factory(types=False)
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        check_messages(kd, dump)
        for ask in (kd.processes, kd.files):
            with pytest.raises(pykvm.KvmError, match=r"pykvm layout"):
                ask()


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """python -m pykvm_fixtures netbsd."""
    assert main(["netbsd", str(tmp_path), "--machine", "i386-pae", "--sparse", "--processes", "3"]) == 0
    assert capsys.readouterr().out == f"core {tmp_path / 'core'}\nkernel {tmp_path / 'kernel'}\n"
    with pykvm.Kvm(tmp_path / "core", tmp_path / "kernel") as kd:
        assert len(kd.processes()) == 13
    with pytest.raises(SystemExit):
        main(["netbsd", str(tmp_path), "--machine", "riscv64"])
