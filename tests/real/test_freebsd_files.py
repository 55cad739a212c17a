"""Open files of a real FreeBSD, against what its kernel said: kern.proc.filedesc of each process, and kern.file."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from freebsd_sysctl import records

import pykvm
from pykvm.records import FileRecord
from pykvm.targets.freebsd.files.paths import Paths, path_of_vnode
from pykvm.types.view import StructView, view

KINDS = ("full", "minidump")
# KF_TYPE_* of <sys/user.h> by DTYPE_*; KF_FLAG_* by FREAD ... of <sys/fcntl.h>.
TYPES = {1: 1, 2: 2, 3: 3, 5: 5, 10: 10}
FLAGS = {1: 1, 2: 2, 8: 4, 0x40: 8, 0x80: 0x10, 4: 0x20, 0x10000: 0x40}
CONSOLE = "/dev/console"  # init has written to it since


class Truth:
    def __init__(self, path: Path, kd: pykvm.Kvm) -> None:
        self.kd = kd
        self.raw = records(path)

    def files(self, name: str) -> Iterator[StructView]:
        """The packed struct kinfo_file of a sysctl."""
        raw, at = self.raw[name], 0
        layout = self.kd.types.struct("kinfo_file")
        while at < len(raw):
            (size,) = struct.unpack_from("<i", raw, at)
            assert 368 < size <= layout.size
            yield StructView(layout, raw[at : at + size].ljust(layout.size, b"\0"), 0, "little")
            at += size

    def pids(self) -> list[int]:
        return [int(name.partition(".")[2]) for name in self.raw if name.startswith("filedesc.")]


def path_in(file: StructView) -> str:
    return bytes(file.kf_path).split(b"\0")[0].decode()


@pytest.fixture(scope="module", params=KINDS)
def whole(request: pytest.FixtureRequest, real: Callable[[str], Path]) -> Iterator[tuple[pykvm.Kvm, Truth]]:
    dump = real(f"freebsd-full/vmcore-12.1-amd64-{request.param}")
    with pykvm.Kvm(dump, real("freebsd-full/kernel-12.1-amd64")) as kd:
        yield kd, Truth(real(f"freebsd-full/truth.sysctl-12.1-amd64-{request.param}.bin"), kd)


def by_descriptor(kd: pykvm.Kvm) -> dict[tuple[int, int], FileRecord]:
    found = pykvm.kvm_getfiles(kd, 0, 0)
    assert found is not None
    return {(f.pid, f.fd): f for f in found}  # type: ignore[misc]


def test_every_descriptor(whole: tuple[pykvm.Kvm, Truth]) -> None:
    kd, truth = whole
    found = by_descriptor(kd)
    seen, words = set(), set()
    for pid in truth.pids():
        for told in truth.files(f"filedesc.{pid}"):
            if told.kf_fd < 0:
                continue
            seen.add((pid, told.kf_fd))
            file = found[pid, told.kf_fd]
            assert TYPES[file.f_type] == told.kf_type
            assert sum(kf for f, kf in FLAGS.items() if file.f_flag & f) == told.kf_flags
            assert file.f_count == told.kf_ref_count
            path = path_in(told)
            if path != CONSOLE and pid != 1:
                assert file.f_offset == told.kf_offset
            if told.kf_type == 2:
                family, kind = told.kf_sock_domain, told.kf_sock_type
                assert (path, family, kind) in (("local", 1, 1), ("internet", 2, 1))
                assert file.path == {"local": "socket: local stream", "internet": "socket: tcp4"}[path]
            elif path:
                assert file.path == path
            else:
                assert file.path == {3: "pipe", 5: "kqueue"}[told.kf_type]
            words.add(file.path)
    assert {(pid, fd) for pid, fd in found if pid in truth.pids() and pid != 1} <= seen
    assert len(seen) > 60
    assert {"/etc/motd", "/dev/pts/0", CONSOLE, "pts/0", "pipe", "kqueue", "socket: tcp4"} <= words


def test_the_table_of_all(whole: tuple[pykvm.Kvm, Truth]) -> None:
    """kern.file: also the structures' addresses."""
    kd, truth = whole
    layout, raw = kd.types.struct("xfile"), truth.raw["kern.file"]
    found, seen = by_descriptor(kd), dict[tuple[int, int], None]()
    for at in range(0, len(raw), layout.size):
        told = StructView(layout, raw, at, "little")
        assert told.xf_size == layout.size
        key = told.xf_pid, told.xf_fd
        seen[key] = None
        file = found[key]
        assert (file.paddr, file.f_data, file.f_vnode, file.f_type, file.f_count, file.f_flag) == (
            told.xf_file, told.xf_data, told.xf_vnode, told.xf_type, told.xf_count, told.xf_flag,
        )  # fmt: skip
    assert {key for key in found if key[0] != 1} <= seen.keys()
    assert [key for key in found if key in seen] == list(seen)


def test_paths_of_vnodes(whole: tuple[pykvm.Kvm, Truth]) -> None:
    """Texts, terminals, working, root and jail directories."""
    kd, truth = whole
    paths = Paths(kd.target, kd.parts)  # type: ignore[arg-type]
    procs = {}
    at = kd.read_ptr(kd.symbol("allproc"))
    while at:
        proc = view(kd, "proc", at)
        procs[proc.p_pid] = proc
        at = proc.p_list.le_next
    checked: set[int] = set()
    for pid in truth.pids():
        proc: Any = procs[pid]
        table = view(kd, "filedesc", proc.p_fd)
        group = view(kd, "pgrp", proc.p_pgrp)
        vnodes = {
            -1: table.fd_cdir, -2: table.fd_rdir, -3: table.fd_jdir, -5: proc.p_textvp,
            -6: view(kd, "session", group.pg_session).s_ttyvp,
        }  # fmt: skip
        for told in truth.files(f"filedesc.{pid}"):
            if told.kf_fd < 0:
                assert paths.of(vnodes[told.kf_fd]) == path_in(told)
                checked.add(told.kf_fd)
        (cwd,) = truth.files(f"cwd.{pid}")
        assert path_of_vnode(kd.target, kd.parts, table.fd_cdir) == path_in(cwd)  # type: ignore[arg-type]
    assert checked == {-1, -2, -3, -5, -6}
    assert paths.of(0x10) is None
