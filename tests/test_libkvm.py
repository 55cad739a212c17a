"""libkvm.so: programs in C, against what the Python API says of the same dumps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from consumer_maker import Programs, files, procinfo, variables, words
from pykvm_fixtures import FreebsdDump, MirbsdDump, write_freebsd, write_linux, write_mirbsd

import pykvm

MIRBSD = {"mirbsd-i386": "i386", "mirbsd-sparc": "sun4m"}
FREEBSD = {"freebsd-minidump": {}, "freebsd-full": {"container": "full"}, "freebsd-i386": {"machine": "i386"}}
KINDS = [*MIRBSD, "linux", *FREEBSD]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    return Programs(tmp_path_factory.mktemp("programs"))


@pytest.fixture(scope="module")
def dumps(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """A function: the dump of a kind, written once."""
    written: dict[str, Any] = {}

    def find(kind: str) -> Any:
        if kind not in written:
            directory = tmp_path_factory.mktemp(kind)
            if kind in MIRBSD:
                written[kind] = write_mirbsd(directory, machine=MIRBSD[kind])
            elif kind == "linux":
                written[kind] = write_linux(directory)
            else:
                written[kind] = write_freebsd(directory, **FREEBSD[kind])  # type: ignore[arg-type]
        return written[kind]

    return find


def of(dump: Any) -> list[Any]:
    """Core, kernel and swap of a dump."""
    paths = getattr(dump, "paths", None)
    core = paths[0] if paths else dump.core
    return [core, getattr(dump, "kernel", None), getattr(dump, "swap", None)]


@pytest.fixture(params=KINDS)
def both(request: pytest.FixtureRequest, dumps: Callable[[str], Any]) -> Iterator[tuple[pykvm.Kvm, list[str]]]:
    """The handle in Python, and the flags of a program."""
    paths = of(dumps(request.param))
    with pykvm.Kvm(*paths) as kd:
        yield kd, files(*paths)


def test_processes(both: Any, programs: Programs) -> None:
    kd, flags = both
    expected = procinfo(kd)
    assert len(expected) > 4
    assert programs.lines("procinfo", *flags) == expected


def test_chosen_processes(both: Any, programs: Programs) -> None:
    kd, flags = both
    for op, arg in ((pykvm.KERN_PROC_ALL, 0), (pykvm.KERN_PROC_PID, 1), (pykvm.KERN_PROC_UID, 0)):
        assert programs.lines("procinfo", *flags, op, arg) == procinfo(kd, op, arg)


def test_figures(both: Any, programs: Programs) -> None:
    """vmstat(8): what the kernel does not have is an error that says so, as in Python."""
    kd, flags = both
    load, one, times, swap, cpus = programs.lines("vmstat", *flags)
    assert [float(word) for word in load.split()[1:]] == pykvm.kvm_getloadavg(kd)
    assert one == "load of one 1"
    found = pykvm.kvm_getcptime(kd)
    assert times == "times " + (pykvm.kvm_geterr(kd) if found == -1 else " ".join(map(str, found)))
    devices = pykvm.kvm_getswapinfo(kd, 16, pykvm.SWIF_DEV_PREFIX)
    if isinstance(devices, int):
        assert swap == f"swap -1 {pykvm.kvm_geterr(kd)}"
    else:
        rows = "".join(f" {d.ksw_devname} {d.ksw_used} {d.ksw_total} {d.ksw_flags}" for d in devices)
        assert swap == f"swap {len(devices) - 1}{rows}"
        assert len(devices) == 3
    numbers = pykvm.kvm_getncpus(kd), pykvm.kvm_getmaxcpu(kd), pykvm.kvm_native(kd)
    assert cpus == "cpus {} of {}, native {}".format(*numbers)


def test_names(both: Any, programs: Programs) -> None:
    kd, flags = both
    names = [*sorted(set(kd.symbols))[:20], "no_such_name", "_" + next(iter(kd.symbols))]
    one, two = [pykvm.Nlist(name) for name in names], [pykvm.KvmNlist(name) for name in names]
    head = f"{pykvm.kvm_nlist(kd, one)} {pykvm.kvm_nlist2(kd, two)}"
    rows = [
        f"{a.n_name} {_c_hex(a.n_type)} {a.n_other} {a.n_desc} {_c_hex(a.n_value)}"
        f" {_c_hex(b.n_type)} {_c_hex(b.n_value)}"
        for a, b in zip(one, two, strict=True)
    ]
    assert programs.lines("symbols", *flags, *names) == [head, *rows]
    assert head == "1 1"
    assert any(a.n_value for a in one)


def _c_hex(value: int) -> str:
    """printf's %#x."""
    return hex(value) if value else "0"


def test_memory(both: Any, programs: Programs) -> None:
    """A long piece at once and in small ones; what is not there ends it with Python's message."""
    kd, flags = both
    name = "allproc" if "allproc" in kd.symbols else "init_task"
    start = kd.symbol(name) & ~0xFFF
    whole = b"".join(_pages(kd, start))
    assert len(whole) >= 4096
    for chunk in (len(whole), 0x18):
        assert programs.run("reader", *flags, f"{start:x}", f"{len(whole):x}", f"{chunk:x}") == whole
    buf = bytearray(16)
    assert pykvm.kvm_read(kd, 0x10, buf, 16) == -1
    assert programs.run("reader", *flags, "10", "10", code=1) == b""


def _pages(kd: pykvm.Kvm, at: int) -> Iterator[bytes]:
    """Up to eight pages from an address on, as long as they are there."""
    for i in range(8):
        try:
            yield kd.read(at + i * 4096, 4096)
        except pykvm.KvmError:
            return


@pytest.mark.parametrize(
    ("kind", "define"),
    [("mirbsd-i386", "-DKVM_TARGET_I386"), ("mirbsd-sparc", "-DKVM_TARGET_SPARC"), ("linux", "-DKVM_TARGET_LP64")],
)
def test_ps(kind: str, define: str, dumps: Callable[[str], Any], programs: Programs) -> None:
    """Members of struct kinfo_proc2 by the header, and vectors of records that were copied."""
    paths = of(dumps(kind))
    with pykvm.Kvm(*paths) as kd:
        expected = [
            f"{p.p_pid} {p.p_ppid} {p.p_uid if p.p_uid < 1 << 31 else p.p_uid - (1 << 32)} {p.p_stat} {p.comm} "
            f"{_c_hex(p.paddr)}" + words(kd, p) + variables(kd, p)
            for p in pykvm.kvm_getproc2(kd, pykvm.KERN_PROC_KTHREAD, 0) or []
        ]
    assert len(expected) > 4
    assert any(" +" in line for line in expected)
    assert programs.lines("ps", *files(*paths), more=[define]) == expected


@pytest.mark.parametrize(
    ("kind", "more"),
    [("freebsd-minidump", []), ("freebsd-full", []), ("freebsd-i386", ["-DKVM_TARGET_I386"])],
)
def test_ps_of_freebsd(kind: str, more: list[str], dumps: Callable[[str], Any], programs: Programs) -> None:
    paths = of(dumps(kind))
    with pykvm.Kvm(*paths) as kd:
        expected = [
            f"{p.ki_pid} {p.ki_ppid} {p.ki_uid} {p.ki_stat} {p.comm} {p.ki_start.tv_sec}"
            + words(kd, p)
            + variables(kd, p)
            for p in kd.processes()
        ]
    assert len(expected) > 4
    assert programs.lines("ps_freebsd", *files(*paths), more=more) == expected


@pytest.mark.parametrize("kind", MIRBSD)
def test_dmesg(kind: str, dumps: Callable[[str], Any], programs: Programs) -> None:
    dump: MirbsdDump = dumps(kind)
    assert programs.run("dmesg", *files(*of(dump))) == dump.msgbuf


@pytest.mark.parametrize("kind", FREEBSD)
def test_functions_of_freebsd(kind: str, dumps: Callable[[str], Any], programs: Programs) -> None:
    """With a resolver, which is asked for what the kernel file does not have."""
    dump: FreebsdDump = dumps(kind)
    out = programs.lines("freebsd", dump.kernel, dump.core, "of_the_resolver", "0x1234", "example_counter")
    errbuf = bytearray(2048)
    kd = pykvm.kvm_open2(dump.kernel, dump.core, 0, errbuf, {"of_the_resolver": 0x1234}.get)
    assert kd is not None
    nl = [pykvm.KvmNlist(n) for n in ("of_the_resolver", "allproc", "no_such_name", "example_counter")]
    missing = pykvm.kvm_nlist2(kd, nl)
    assert (missing, nl[0].n_value) == (1, 0x1234)
    expected = [f"nlist2 {missing}" + "".join(f" {n.n_type} {_c_hex(n.n_value)}" for n in nl), "asked 1"]
    buf = bytearray(8)
    got = pykvm.kvm_read2(kd, nl[1].n_value, buf, 8)
    expected.append(f"read2 {got} {_c_hex(int.from_bytes(buf, 'little'))}")
    pages: list[pykvm.KvmPage] = []
    done = pykvm.kvm_walk_pages(kd, lambda page, _: pages.append(page) or 1)
    sums = [sum(getattr(p, f) for p in pages) & (1 << 64) - 1 for f in ("kp_len", *KP)]
    expected.append(
        f"walk {done} {len(pages)} {len(pages)} " + " ".join(map(_c_hex, sums)) + f" {sum(p.kp_prot for p in pages)}"
    )
    expected.append(f"walk 0 {min(3, len(pages))}")
    expected.append(f"cpus {pykvm.kvm_getmaxcpu(kd)} {pykvm.kvm_getncpus(kd)}")
    for cpu in range(-1, 4):
        found = pykvm.kvm_getpcpu(kd, cpu)
        what = "none" if found is None else pykvm.kvm_geterr(kd) if isinstance(found, int) else found[:16].hex(" ")
        expected.append(f"pcpu {cpu}: {what}")
    expected.append(f"setcpu {pykvm.kvm_dpcpu_setcpu(kd, 0)} {pykvm.kvm_dpcpu_setcpu(kd, 99)}")
    buf = bytearray(8)
    pykvm.kvm_read2(kd, nl[3].n_value, buf, 8)
    base = int.from_bytes(buf, "little")
    total, copy = pykvm.kvm_counter_u64_fetch(kd, base), bytearray(8)
    got = pykvm.kvm_read_zpcpu(kd, base, copy, 8, 0)
    expected.append(f"counter {_c_hex(base)} {total} {got} {int.from_bytes(copy, 'little')}")
    expected.append(f"kerndisp {pykvm.kvm_kerndisp(kd)}, native {pykvm.kvm_native(kd)}")
    assert out == expected
    if kind == "freebsd-minidump":
        assert (done, total) == (1, dump.facts.counters["example_counter"][1])
    kd.close()


KP = ("kp_paddr", "kp_kmap_vaddr", "kp_dmap_vaddr", "kp_offset")


def test_device(tmp_path: Path, programs: Programs) -> None:
    """savecore(8)'s way: a dump on its device, found, copied and marked as taken."""
    dump = write_mirbsd(tmp_path, container="device")
    saved = write_mirbsd(tmp_path / "saved")
    out = tmp_path / "head"
    lines = programs.lines("device", dump.core, dump.kernel, dump.device_offset, out)
    assert lines[:2] == ["0", "-1 no valid dump header"]
    assert lines[2] == "-1"
    assert lines[4:7] == ["mkheader 512", f"4 {dump.numbers['nprocs']}", "-1 already has a dump header"]
    assert lines[7:] == ["wrtheader 532", "inval 0", "4 0", "4 4 12345678", "-1 invalid address (4)"]
    assert len(out.read_bytes()) == 532
    assert out.read_bytes()[:24] == saved.core.read_bytes()[:24]  # the CPU's data is the dumper's stack
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        assert pykvm.kvm_dump_mkheader(kd, dump.device_offset) == 512
        assert kd.read_u32(kd.symbol("dumpmag")) == 0x12345678


@pytest.mark.parametrize(
    ("kind", "more"),
    [("mirbsd-i386", []), ("linux", ["-DKVM_TARGET_LP64"]), ("freebsd-minidump", ["-DKVM_TARGET_LP64"])],
)
def test_openbsds_programs(kind: str, more: list[str], programs: Programs, dumps: Callable[[str], Any]) -> None:
    """A kinfo_proc of -DKVM_OPENBSD is what kvm_getproc2 gives."""
    paths = of(dumps(kind))
    out = programs.lines("openbsd", *files(*paths), more=["-DKVM_OPENBSD", *more])
    at = out.index("2")
    assert out[:at] == out[at + 1 :]
    with pykvm.Kvm(*paths) as kd:
        records = pykvm.kvm_getproc2(kd, pykvm.KERN_PROC_ALL, 0)
        assert records
        assert [line.split()[0] for line in out[:at]] == [str(p.p_pid) for p in records]
        assert out[0].split()[1] == records[0].p_comm.decode()
        assert [line.split()[2:] for line in out[:at]] == [
            [
                word.decode("utf-8", "surrogateescape")
                for arg in pykvm.kvm_getargv2(kd, p, 0) or ()
                for word in arg.split()
            ]
            for p in records
        ]


def test_all_as_freebsd_means_it(programs: Programs, dumps: Callable[[str], Any]) -> None:
    """With -DKVM_FREEBSD KERN_PROC_ALL is every thread."""
    paths = of(dumps("freebsd-minidump"))
    out = programs.lines("freebsd_all", *files(*paths), more=["-DKVM_FREEBSD"])
    with pykvm.Kvm(*paths) as kd:
        every = kd.processes(pykvm.KERN_PROC_KTHREAD | pykvm.KERN_PROC_INC_THREAD)
        assert len(every) > len(kd.processes())
        assert out == [f"{p.ki_pid} {p.ki_tid}" for p in every]
    plain = programs.lines("freebsd_all", *files(*paths))
    assert 0 < len(plain) < len(out)
