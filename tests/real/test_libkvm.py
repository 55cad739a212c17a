"""libkvm.so on real dumps: programs in C see what the Python API sees, and what the original libraries saw."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from consumer_maker import Programs, files, procinfo

import pykvm

Find = Callable[[str], Path]
DUMPS = {
    "mirbsd": ("mirbsd/i386-bsd.0.core", "mirbsd/i386-bsd.0", "mirbsd/i386-swap"),
    "linux": ("linux/x86_64-6.12-kaslr.zstd-d23.kdump",),
    "linux-aarch64": ("linux/aarch64-6.12-kaslr.qemu-elf",),
    "freebsd-minidump": ("freebsd-full/vmcore-12.1-amd64-minidump", "freebsd-full/kernel-12.1-amd64"),
    "netbsd": ("netbsd/netbsd-amd64-full.core", "netbsd/netbsd-amd64.kernel"),
    "openbsd": ("openbsd-amd64/openbsd73-amd64.core", "openbsd-amd64/openbsd73-amd64.kernel"),
    "freebsd-full": ("freebsd-full/vmcore-12.1-amd64-full", "freebsd-full/kernel-12.1-amd64"),
}


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    return Programs(tmp_path_factory.mktemp("programs"))


@pytest.fixture(scope="module", params=DUMPS)
def both(request: pytest.FixtureRequest, real: Find) -> Iterator[tuple[pykvm.Kvm, list[str]]]:
    """The handle in Python, and the flags of a program."""
    paths = [real(name) for name in DUMPS[request.param]]
    with pykvm.Kvm(*paths) as kd:
        yield kd, files(*paths)


def test_processes(both: Any, programs: Programs) -> None:
    kd, flags = both
    expected = procinfo(kd)
    assert len(expected) > 8
    assert "\n".join(programs.lines("procinfo", *flags)) == "\n".join(expected)  # a name has a newline in it


def test_figures(both: Any, programs: Programs) -> None:
    kd, flags = both
    lines = programs.lines("vmstat", *flags)
    assert [float(word) for word in lines[0].split()[1:]] == kd.loadavg()
    times = pykvm.kvm_getcptime(kd)
    assert isinstance(times, int) or lines[2] == "times " + " ".join(map(str, times))


def test_memory(both: Any, programs: Programs) -> None:
    kd, flags = both
    name = "version" if "version" in kd.symbols else "linux_banner"
    at = kd.symbol(name)
    assert programs.run("reader", *flags, f"{at:x}", "40", "7") == kd.read(at, 0x40)
    out = programs.lines("symbols", *flags, name, "no such name")
    assert out[0] == "1 1"
    assert f"{at:#x}" in out[1].split()


def test_records_of_mirbsd(real: Find, programs: Programs) -> None:
    """ps(1) by struct kinfo_proc2 of the header, against what MirBSD's own library listed."""
    paths = [real(name) for name in DUMPS["mirbsd"]]
    lines = programs.lines("ps", *files(*paths), more=["-DKVM_TARGET_I386"])
    raw = real("mirbsd/i386-kinfo_proc2.bin").read_bytes()
    theirs = [raw[at : at + 596] for at in range(0, len(raw), 596)]
    expected = [
        (str(int.from_bytes(r[108:112], "little")), r[312:336].split(b"\0")[0].decode(), str(r[304])) for r in theirs
    ]
    found = [line.split() for line in lines]
    assert [(words[0], words[4], words[3]) for words in found if len(words) > 4] == expected


@pytest.mark.parametrize("kind", ["minidump", "full"])
def test_freebsd(kind: str, real: Find, programs: Programs) -> None:
    """dmesg(8) and ps(1)."""
    paths = [real(name) for name in DUMPS[f"freebsd-{kind}"]]
    with pykvm.Kvm(*paths) as kd:
        assert programs.run("dmesg", *files(*paths), "64") == kd.dmesg()
        pids = [str(p.ki_pid) for p in kd.processes()]
    lines = programs.lines("ps_freebsd", *files(*paths))
    assert [line.split()[0] for line in lines] == pids


def test_netbsd(real: Find, programs: Programs) -> None:
    """NetBSD's own functions and structures."""
    core, kernel = (real(name) for name in DUMPS["netbsd"])
    *rows, none, name, header, refused = programs.lines("netbsd", *files(core, kernel))
    with pykvm.Kvm(core, kernel) as kd:
        expected = []
        for p in kd.processes(pykvm.KERN_PROC_ALL):
            wmesg = p.p_wmesg.split(b"\0")[0].decode()
            line = f"{p.pid} {p.ppid} {p.p_stat} {p.comm} {p.p_nlwps} {wmesg}"
            for lwp in pykvm.kvm_getlwps(kd, p.pid, p.paddr, 128) or ():
                line += f" {lwp.l_lid}:{lwp.l_stat}:{lwp.l_name.split(bytes(1))[0].decode()}:{p.pid}"
            expected.append(line)
        offset = kd.image.header.dump_off
    assert rows == expected
    assert none == "can't read proc at 0x8"
    assert name == str(kernel)
    assert header == f"{offset} {offset}"
    assert refused == "-1 kvm_dump_header: the header was not taken"
