"""Open files of FreeBSD on synthetic kernels: every descriptor, what it is open on, and damaged tables."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bounds import SLOW
from hypothesis import given, settings
from hypothesis import strategies as st
from pykvm_fixtures.freebsd import MACHINES, FreebsdDump, write_freebsd

import pykvm
from pykvm.targets.freebsd.files import paths
from pykvm.targets.freebsd.files.paths import Paths, path_of_vnode

VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in MACHINES if name != "dragonfly"),
    ("amd64", {"release": "10", "version": 1}),
    ("amd64", {"release": "12", "container": "full", "layout": 5}),
    ("amd64", {"release": "15", "layout": 2}),
    ("i386", {"release": "10", "descriptors": "files"}),
    ("amd64", {"release": "10", "descriptors": "pointers"}),
]
HOLE = (1 << 63) - 8


@pytest.mark.parametrize(("machine", "options"), VARIANTS, ids=str)
def test_every_descriptor(tmp_path: Path, machine: str, options: dict[str, Any]) -> None:
    dump = write_freebsd(tmp_path, machine, **options)
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        found = pykvm.kvm_getfiles(kd, 0, 0)
        assert found is not None
        assert {(f.pid, f.fd): (f.paddr, f.f_type, f.f_flag, f.f_count, f.f_offset, f.path) for f in found} == {
            (f.pid, f.fd): (f.address, f.kind, f.flag, f.count, f.offset, f.path) for f in dump.files
        }
        assert len(found) == len(dump.files) == 60
        # By process in the kernel's order, then by number.
        at, order = kd.read_ptr(kd.symbol("allproc")), []
        proc = kd.types.struct("proc")
        while at:
            order.append(kd.read_i32(at + proc.offset("p_pid")))
            at = kd.read_ptr(at + proc.offset("p_list.le_next"))
        assert [(f.pid, f.fd) for f in found] == sorted(((f.pid, f.fd) for f in found), key=lambda row: (
            order.index(row[0]), row[1],
        ))  # fmt: skip
        assert 707 in order  # a process that is being made is not looked at
        assert repr(next(f for f in found if f.pid == 700)) == "<file 700 0 /dev/pts/0>"
        assert [f.path for f in kd.files() if f.pid == 800] == ["/dev", "/dev/pts", "/home/alice"]
        text = kd.read_ptr(dump.addresses.procs[701] + proc.offset("p_textvp"))
        assert path_of_vnode(kd.target, kd.parts, text) == "/usr/local/bin/tool"  # type: ignore[arg-type]


def test_what_the_command_and_closed_handles_say(tmp_path: Path) -> None:
    dump = write_freebsd(tmp_path)
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        found = kd.files()
    assert (found[0].path, found[0].f_type) is not None
    with pytest.raises(pykvm.KvmError, match="handle is closed"):
        kd.files()


def test_kernels_without_types(tmp_path: Path) -> None:
    dump = write_freebsd(tmp_path, types=False)
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        assert pykvm.kvm_getfiles(kd, 0, 0) is None
        assert pykvm.kvm_geterr(kd).endswith(
            "carries no type information (CTF, DWARF): a kernel.debug has it, or --layout"
        )


def test_types_of_a_layout_file(tmp_path: Path) -> None:
    """What is needed is what is asked for, by name."""
    dump = write_freebsd(tmp_path / "a")
    bare = write_freebsd(tmp_path / "b", types=False)
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        layout = {name: body for name, body in kd.types.bodies() if name not in ("elf_file",)}
    file = tmp_path / "layout.json"
    file.write_text(json.dumps(layout))
    with pykvm.Kvm(bare.core, bare.kernel, layout=file) as kd:
        assert {(f.pid, f.fd, f.path) for f in kd.files()} == {(f.pid, f.fd, f.path) for f in bare.files}


# -- damage -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> tuple[FreebsdDump, Path]:
    """A dump that tests may write to, and a copy of it as it was."""
    dump = write_freebsd(tmp_path_factory.mktemp("room"), release="12")
    copy = dump.core.with_name("copy")
    shutil.copy(dump.core, copy)
    return dump, copy


class Damaged:
    """A dump in which members can be changed."""

    def __init__(self, room: tuple[FreebsdDump, Path]) -> None:
        self.dump = room[0]
        shutil.copy(room[1], self.dump.core)
        self.kd = pykvm.Kvm(self.dump.core, self.dump.kernel, writable=True)

    def follow(self, at: int, *path: str) -> int:
        """The address that leads through pointers: "struct.member" each."""
        for step in path:
            at = self.kd.read_ptr(self.at(at, step))
        return at

    def at(self, at: int, member: str) -> int:
        struct, _, name = member.partition(".")
        return at + self.kd.types.struct(struct).offset(name)

    def put(self, at: int, member: str, value: int, size: int = 8) -> None:
        self.kd.write(self.at(at, member), value.to_bytes(size, "little"))

    def proc(self, pid: int) -> int:
        return self.dump.addresses.procs[pid]

    def file(self, pid: int, fd: int) -> int:
        return next(f.address for f in self.dump.files if (f.pid, f.fd) == (pid, fd))

    def table(self, pid: int) -> int:
        return self.follow(self.proc(pid), "proc.p_fd")

    def paths(self) -> dict[tuple[int, int], str | None]:
        return {(f.pid, f.fd): f.path for f in self.kd.files()}  # type: ignore[misc]


DAMAGE: list[tuple[Callable[[Damaged], None], str]] = [
    (lambda d: d.put(d.proc(700), "proc.p_fd", HOLE), "process 700: can't read filedesc at 0x7ffffffffffffff8"),
    (lambda d: d.put(d.table(700), "filedesc.fd_files", 0), "process 700: can't read filedesc"),
    (lambda d: d.put(d.table(700), "filedesc.fd_map", HOLE), "process 700: can't read its fd_map: invalid address"),
    (lambda d: d.put(d.table(700), "filedesc.fd_map", 0), "process 700: can't read its fd_map: invalid address"),
    (
        lambda d: d.put(d.follow(d.table(700), "filedesc.fd_files"), "fdescenttbl.fdt_nfiles", 0xFFFFFFFF, 4),
        "process 700: a table of -1 open files",
    ),
    (
        lambda d: d.put(d.follow(d.table(700), "filedesc.fd_files"), "fdescenttbl.fdt_nfiles", 0x7FFFFFFF, 4),
        "process 700: a table of 2147483647 open files",
    ),
    (
        lambda d: d.put(d.follow(d.table(700), "filedesc.fd_files"), "fdescenttbl.fdt_ofiles.fde_file", HOLE),
        "process 700: descriptor 0: can't read file at 0x7ffffffffffffff8",
    ),
    (lambda d: d.put(d.proc(700), "proc.p_list.le_next", 8), "can't read proc at 0x8: invalid address"),
    (lambda d: d.put(d.proc(700), "proc.p_list.le_next", d.proc(700)), "allproc: list at"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), DAMAGE)
def test_damaged_tables(room: Any, change: Callable[[Damaged], None], message: str) -> None:
    damaged = Damaged(room)
    with damaged.kd as kd:
        # fdt_ofiles is an array of one: its first element.
        try:
            change(damaged)
        except pykvm.KvmError:
            table = damaged.follow(damaged.table(700), "filedesc.fd_files")
            slot = damaged.at(table, "fdescenttbl.fdt_ofiles") + kd.types.struct("filedescent").offset("fde_file")
            kd.write(slot, HOLE.to_bytes(8, "little"))
        with pytest.raises(pykvm.KvmError, match="^" + message):
            kd.files()
        assert pykvm.kvm_getfiles(kd, 0, 0) is None
        assert pykvm.kvm_geterr(kd).startswith(message)


def test_a_table_that_is_being_destroyed(room: Any) -> None:
    damaged = Damaged(room)
    with damaged.kd:
        damaged.put(damaged.table(700), "filedesc.fd_refcnt", 0, 4)
        damaged.put(damaged.table(700), "filedesc.fd_files", HOLE)
        assert {pid for pid, _ in damaged.paths()} == {1, 701, 702, 800}


@pytest.mark.parametrize(
    ("member", "value", "path"),
    [
        ("vnode.v_cache_dst.tqh_first", HOLE, None),
        ("vnode.v_cache_dst.tqh_first", 0, None),
        ("vnode.v_type", 9, "/home/alice/notes.txt"),
        ("vnode.v_vflag", 1, None),
        ("vnode.v_mount", HOLE, "/home/alice/notes.txt"),
    ],
)
def test_damaged_vnodes(room: Any, member: str, value: int, path: str | None) -> None:
    """Only the path is lost."""
    damaged = Damaged(room)
    with damaged.kd:
        vnode = damaged.follow(damaged.file(700, 10), "file.f_vnode")
        size = damaged.kd.types.struct("vnode").field(member[6:]).size
        damaged.put(vnode, member, value, size)
        found = damaged.paths()
        assert len(found) == 60
        assert found[700, 10] == path
        assert found[800, 2] == "/home/alice"


@pytest.mark.parametrize(
    ("size", "name", "path"),
    [
        (0, b"", "a-link"),  # the next name of it
        (2, b"..", "a-link"),
        (3, b"a\0b", "a"),
        (255, b"notes.txt\0", "notes.txt"),
        (3, b"\xff\n/", "\udcff\n/"),
    ],
)
def test_odd_names(room: Any, size: int, name: bytes, path: str) -> None:
    damaged = Damaged(room)
    with damaged.kd as kd:
        vnode = damaged.follow(damaged.file(700, 10), "file.f_vnode")
        entry = damaged.follow(vnode, "vnode.v_cache_dst.tqh_first")
        damaged.put(entry, "namecache.nc_nlen", size, 1)
        kd.write(damaged.at(entry, "namecache.nc_name"), name)
        assert damaged.paths()[700, 10] == f"/home/alice/{path}"


def test_loops(room: Any) -> None:
    """A directory that is within itself has no path, nor has what is in it."""
    damaged = Damaged(room)
    with damaged.kd:
        file = damaged.follow(damaged.file(700, 10), "file.f_vnode")
        alice = damaged.follow(file, "vnode.v_cache_dst.tqh_first", "namecache.nc_dvp")
        entry = damaged.follow(alice, "vnode.v_cache_dst.tqh_first", "namecache.nc_dst.tqe_next")
        damaged.put(entry, "namecache.nc_dvp", file)
        first = damaged.follow(alice, "vnode.v_cache_dst.tqh_first")
        damaged.put(first, "namecache.nc_dvp", file)
        found = damaged.paths()
        assert (found[700, 10], found[800, 2]) == (None, None)
        assert found[701, 200] == "/etc/motd"
        # Of names, too.
        damaged.put(entry, "namecache.nc_dst.tqe_next", first)
        damaged.put(entry, "namecache.nc_nlen", 0, 1)
        start = time.process_time()
        assert damaged.paths()[701, 200] is not None
        assert time.process_time() - start < 10 * SLOW


def test_a_long_way(room: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What leads further than any path can, or further than is looked, is not known."""
    damaged = Damaged(room)
    with damaged.kd as kd:
        vnode = damaged.follow(damaged.file(700, 10), "file.f_vnode")
        target: Any = kd.target
        monkeypatch.setattr(paths, "PATH_MAX", 10)
        assert path_of_vnode(target, kd.parts, vnode) is None
        monkeypatch.setattr(paths, "PATH_MAX", 1024)
        monkeypatch.setattr(paths, "MAX_STEPS", 3)
        monkeypatch.setattr(paths, "room", lambda parts: 0)
        few = Paths(target, kd.parts)
        assert few.of(vnode) is None
        monkeypatch.undo()
        many = Paths(target, kd.parts)
        assert many.of(vnode) == "/home/alice/notes.txt"
        assert many.of(kd.read_ptr(kd.symbol("rootvnode"))) == "/"
        assert [many.of(at) for at in (0x10, HOLE, (1 << 64) - 8)] == [None] * 3


SOCKETS = {"socket.so_proto": "socket", "socket.so_pcb": "socket: tcp4", "protosw.pr_domain": "socket"}


@pytest.mark.parametrize("member", SOCKETS)
def test_damaged_sockets(room: Any, member: str) -> None:
    damaged = Damaged(room)
    with damaged.kd:
        at = damaged.follow(damaged.file(701, 6), "file.f_data")
        if member.startswith("protosw"):
            at = damaged.follow(at, "socket.so_proto")
        damaged.put(at, member, HOLE)
        assert damaged.paths()[701, 6] == SOCKETS[member]


MEMBERS = [
    (700, "proc", "p_fd"), (700, "proc", "p_state"), (701, "filedesc", "fd_map"), (701, "filedesc", "fd_files"),
    (701, "filedesc", "fd_refcnt"), (6, "file", "f_data"), (6, "file", "f_type"), (7, "file", "f_data"),
    (9, "file", "f_data"), (11, "file", "f_data"), (26, "file", "f_vnode"), (17, "file", "f_type"),
]  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from(MEMBERS), st.binary(min_size=1, max_size=8)), min_size=1, max_size=4))
@settings(max_examples=80, deadline=3000)
def test_fuzz(room: Any, changes: list[tuple[tuple[int, str, str], bytes]]) -> None:
    """Whatever is there: records, or one error."""
    damaged = Damaged(room)
    with damaged.kd as kd:
        places = []
        for (which, struct, member), data in changes:
            at = damaged.file(701, which) if struct == "file" else damaged.proc(which)
            at = damaged.table(which) if struct == "filedesc" else at
            places.append((damaged.at(at, f"{struct}.{member}"), data))
        for at, data in places:
            kd.write(at, data)
        found = pykvm.kvm_getfiles(kd, 0, 0)
        if found is None:
            assert "\n" not in pykvm.kvm_geterr(kd) != ""
        else:
            assert all(f.path is None or isinstance(f.path, str) for f in found)
            assert {f.path for f in found if f.pid == 1} == {"/dev/console", "/", "/usr"}
