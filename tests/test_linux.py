"""Linux dumps from the fixture writer: containers, machines, names, types, processes; and what is damaged."""

from __future__ import annotations

import contextlib
import re
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pykvm
from pykvm import images
from pykvm.images.hostfile import HostFile
from pykvm.types.btf import BtfTypes

VARIANTS = [
    {"machine": "x86_64", "container": "elf"},
    {"machine": "x86_64", "container": "qemu-elf", "levels": 5},
    {"machine": "aarch64", "container": "elf"},
    *({"machine": "x86_64", "container": "kdump", "codec": c} for c in ("none", "zlib", "lzo", "snappy", "zstd")),
    {"machine": "aarch64", "container": "kdump", "codec": "lzo", "version": 5},
    {"machine": "x86_64", "container": "kdump", "split": 3},
]


@pytest.fixture(scope="module", params=VARIANTS, ids=lambda v: "-".join(str(x) for x in v.values()))
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    from pykvm_fixtures import write_linux

    dump = write_linux(tmp_path_factory.mktemp("linux"), seed=7, **request.param)
    with pykvm.Kvm(dump.paths) as kd:
        yield kd, dump, request.param


def test_info(both: Any) -> None:
    kd, dump, variant = both
    info = kd.info
    assert (info.system, info.release, info.machine) == ("Linux", dump.release, dump.machine)
    assert info.version == "#1 SMP synthetic"
    assert info.format == ("kdump" if variant["container"] == "kdump" else "elf")
    assert (info.pointer_size, info.page_size, info.byteorder) == (8, 4096, "little")
    assert kd.facts()["dump time"] == 1700000500


def test_names(both: Any) -> None:
    kd, dump, _ = both
    assert len(kd.symbols) >= 500
    for name, value in dump.symbols.items():
        if name in kd.symbols:
            assert kd.symbol(name) == value
    assert kd.symbol("init_function_149" + "x" * 149) == dump.symbols["init_function_149" + "x" * 149]
    assert "_stext" in kd.symbols
    found, offset = kd.symbol_at(dump.symbols["init_function_7" + "x" * 7] + 5)
    assert (found, offset) == ("init_function_7" + "x" * 7, 5)
    if dump.machine == "x86_64":
        assert kd.symbol("pcpu_hot_task") == 0x1000
    nl = [pykvm.Nlist("_avenrun"), pykvm.Nlist("nosuch")]
    assert pykvm.kvm_nlist(kd, nl) == 1
    assert nl[0].n_value == dump.symbols["avenrun"]


def test_processes(both: Any) -> None:
    kd, dump, _ = both
    records = kd.processes()
    assert [p.pid for p in records] == [t.pid for t in dump.tasks]
    for p, t in zip(records, dump.tasks, strict=True):
        assert (p.ppid, p.pgid, p.sid, p.nice, p.threads) == (t.ppid, t.pgid, t.sid, t.nice, t.threads)
        assert (p.ruid, p.uid, p.svuid, p.rgid, p.gid, p.svgid) == t.ids
        assert p.groups == list(t.groups)
        assert p.comm == t.comm.decode()
        assert p.tdev == (None if t.tty is None else t.tty[0] << 8 | t.tty[1])
        assert p.tpgid == (None if t.tty is None else t.pgid)
        assert p.stat == ("Z" if t.exit_state else {1: "S", 2: "D", 0x402: "I"}[t.state])
        assert (p.utime, p.stime) == (t.times[0] / 1e9, t.times[1] / 1e9)
        assert p.rssize == (t.rss * 4096 if t.argv is not None else 0)
        assert p.start_time == 1_700_000_000 + t.start / 1e9
        assert p.paddr == p.p_paddr == dump.task_addrs[t.pid]
        assert (p.wmesg, p.wchan, p.login) == (None, None, None)
        assert p.p_pid == t.pid
        assert p.p_comm == t.comm
        assert len(bytes(p)) == 608
        assert [x.tid for x in kd.threads(p)] == [t.pid + i * 1000 for i in range(t.threads)]
        assert kd.argv(p) == list(t.argv or [])
        assert kd.environ(p) == list(t.env)
        assert pykvm.kvm_getargv(kd, p, 3) == (None if t.argv is None else [t.argv[0][:3]])
    assert kd.loadavg() == list(dump.loadavg)
    assert [p.pid for p in kd.processes(pykvm.KERN_PROC_ALL)] == [1, 300, 301, 302]
    assert [p.pid for p in kd.processes(pykvm.KERN_PROC_UID, 1001)] == [300]
    assert [p.pid for p in kd.processes(pykvm.KERN_PROC_SESSION, 300)] == [300, 301, 302]
    assert [p.pid for p in kd.processes(pykvm.KERN_PROC_TTY, 136 << 8 | 3)] == [300, 301]


def test_types(both: Any) -> None:
    kd, _, _ = both
    task = kd.types.struct("task_struct")
    assert (task.size, task.offset("comm"), task.offset("tasks.next")) == (1000, 490, 200)
    assert task.offset("mm.arg_start") == 304
    assert kd.types.struct("signal_struct").field("pids").type == "struct pid * [4]"
    assert {"task_struct", "cred", "pid"} <= set(kd.types)


def test_user_pages_left_out(linux_dump_factory: Any) -> None:
    dump = linux_dump_factory(container="kdump", leave_out_user=True)
    with pykvm.Kvm(dump.paths) as kd:
        p = next(p for p in kd.processes() if p.pid == 300)
        assert pykvm.kvm_getargv(kd, p, 0) is None
        assert pykvm.kvm_geterr(kd).startswith("process 300: user memory at 0x7ffc00001f00: ")
        assert "leaves out the memory" in pykvm.kvm_geterr(kd)
        assert kd.image.left_out == len(dump.user_pfns) * 4096


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"SYMBOL(swapper_pg_dir)": None, "SYMBOL(init_top_pgt)": None}, "swapper_pg_dir"),
        ({"SYMBOL(swapper_pg_dir)": "0", "SYMBOL(init_top_pgt)": "0"}, "swapper_pg_dir"),
        ({"SYMBOL(swapper_pg_dir)": "zzz", "SYMBOL(init_top_pgt)": None}, "swapper_pg_dir"),
        ({"NUMBER(phys_base)": "99999999999999999999"}, "phys_base"),
        ({"SYMBOL(kallsyms_names)": None, "SYMBOL(_stext)": None}, "carries no symbols"),
        ({"SYMBOL(kallsyms_names)": "ffffffff00000000"}, "invalid address"),
        ({"SYMBOL(kallsyms_num_syms)": "ffffffff913f8000"}, "kallsyms"),
        ({"OSRELEASE": None}, "carries no symbols"),
    ],
)
@pytest.mark.parametrize("container", ["elf", "kdump"])
def test_lies_in_vmcoreinfo(linux_dump_factory: Any, container: str, changes: Any, message: str) -> None:
    dump = linux_dump_factory(container=container, vmcoreinfo_changes=changes)
    with pytest.raises(pykvm.KvmError, match=message) as caught:
        pykvm.Kvm(dump.paths)
    assert "\n" not in str(caught.value)


def test_cut_anywhere(linux_dump_factory: Any) -> None:
    for container in ("elf", "kdump"):
        dump = linux_dump_factory(container=container)
        raw = dump.paths[0].read_bytes()
        for size in (0, 4, 8, 15, 63, 100, 463, 4095, 4200, 8191, 9000, 13000, len(raw) // 2, len(raw) - 1):
            dump.paths[0].write_bytes(raw[:size])
            with contextlib.suppress(pykvm.KvmError), pykvm.Kvm(dump.paths) as kd:
                kd.processes()


@pytest.mark.parametrize(
    ("offset", "value", "message"),
    [
        (428, 0, "block_size"),
        (428, 3000, "block_size"),
        (432, 0, "sub_hdr_size"),
        (436, 0, "bitmap_blocks"),
        (4096 + 96, 1 << 50, "max_mapnr"),
        (4096 + 40, 1 << 19, "vmcoreinfo"),
    ],
)
def test_kdump_header(linux_dump_factory: Any, offset: int, value: int, message: str) -> None:
    dump = linux_dump_factory(container="kdump")
    with open(dump.paths[0], "r+b") as f:
        f.seek(offset)
        f.write(struct.pack("<Q" if offset > 4096 else "<I", value))
    with pytest.raises(pykvm.KvmError, match=message) as caught:
        pykvm.Kvm(dump.paths)
    assert str(dump.paths[0]) in str(caught.value)


@pytest.mark.parametrize("container", ["elf", "kdump"])
def test_without_the_note(linux_dump_factory: Any, container: str) -> None:
    dump = linux_dump_factory(container=container, note=False)
    with pykvm.Kvm(dump.paths) as kd:
        assert kd.image.vmcoreinfo is None or not kd.image.vmcoreinfo.values
        assert [p.pid for p in kd.processes()] == [t.pid for t in dump.tasks]


def flat(raw: bytes) -> bytes:
    """makedumpfile -F: records in any order, the first one written twice, wrong at first."""
    records = [(at, raw[at : at + 50000]) for at in range(0, len(raw), 50000)]
    out = b"makedumpfile".ljust(16, b"\0") + struct.pack(">qq", 1, 1)
    out = out.ljust(4096, b"\0")
    for at, data in [(0, b"\xee" * 50000), *records[::-1]]:
        out += struct.pack(">qq", at, len(data)) + data
    return out + struct.pack(">qq", -1, -1)


def test_flattened(linux_dump_factory: Any) -> None:
    dump = linux_dump_factory(container="kdump")
    path = dump.paths[0]
    packed = flat(path.read_bytes())
    path.write_bytes(packed)
    with pykvm.Kvm(path) as kd:
        assert [p.pid for p in kd.processes()] == [t.pid for t in dump.tasks]
        assert kd.image.files[0].compressed == "makedumpfile -F"
    for damaged in (packed[:4100], packed[:-16], packed[:-8], packed[: len(packed) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(pykvm.FormatError, match="flattened record at offset"):
            pykvm.Kvm(path)


def test_split_parts_that_do_not_belong(linux_dump_factory: Any) -> None:
    one = linux_dump_factory(container="kdump", split=2)
    other = linux_dump_factory(container="kdump", split=1)
    with pytest.raises(pykvm.FormatError, match=r"pages are also in another part|differ"):
        pykvm.Kvm([one.paths[0], other.paths[0]])
    with pytest.raises(pykvm.KvmError):
        pykvm.Kvm([one.paths[0], one.paths[0]])
    with pykvm.Kvm(one.paths[::-1]) as kd:  # in any order
        assert len(kd.processes()) == len(one.tasks)


def test_info_says_what_is_not_there(linux_dump_factory: Any, tmp_path: Any) -> None:
    """Parts of a split dump that were not given; the end of a file that was cut."""
    dump = linux_dump_factory(container="kdump", split=3)
    with pykvm.Kvm(dump.paths) as kd:
        assert "in parts not given" not in kd.image.facts
        assert kd.image.missing == 0
    image = images.recognise([HostFile(path) for path in (dump.paths[0], dump.paths[2])])
    assert re.fullmatch(r"pages 0x\w+ to 0x\w+", image.facts["in parts not given"])
    whole = linux_dump_factory(container="kdump")
    raw = whole.paths[0].read_bytes()
    for lacking in (1, 5000, 20000):
        cut = tmp_path / "cut"
        cut.write_bytes(raw[: len(raw) - lacking])
        assert images.recognise([HostFile(cut)]).missing == lacking


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_fuzz(linux_room: tuple[Any, bytes, Path], data: Any) -> None:
    _, raw, path = linux_room
    out = bytearray(raw)
    for _ in range(data.draw(st.integers(1, 8))):
        near = data.draw(st.booleans())
        at = data.draw(st.integers(0, 12288 if near else len(out) - 9))
        out[at : at + 8] = data.draw(st.sampled_from([bytes(8), b"\xff" * 8, b"\1" + bytes(7), b"\0\x10" + bytes(6)]))
    path.write_bytes(out)
    with contextlib.suppress(pykvm.KvmError), pykvm.Kvm(path) as kd:
        for p in kd.processes():
            pykvm.kvm_getargv(kd, p, 0)
            kd.threads(p)
        kd.loadavg()
        pykvm.kvm_getfiles(kd, 0, 0)


@pytest.fixture(scope="module", params=["elf", "kdump"])
def linux_room(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    from pykvm_fixtures import write_linux

    room = tmp_path_factory.mktemp("fuzz")
    dump = write_linux(room, container=request.param, codec="zlib")
    return dump, dump.paths[0].read_bytes(), room / "damaged"


@pytest.mark.parametrize("size", [0, 1, 23, 24, 100])
def test_btf_cut(size: int) -> None:
    from pykvm_fixtures.linux.tables import btf

    raw = btf({"one": (12, {"a": (0, "int"), "b": (4, "one *")})})
    assert BtfTypes(raw, "x", 8).struct("one").offset("b") == 4
    if size < len(raw):
        with pytest.raises(pykvm.FormatError, match="BTF"):
            BtfTypes(raw[:size], "x", 8)


@settings(max_examples=300, deadline=None)
@given(at=st.integers(0, 400), value=st.binary(min_size=1, max_size=6))
def test_btf_damaged(at: int, value: bytes) -> None:
    from pykvm_fixtures.linux.tables import btf

    raw = bytearray(btf({"one": (8, {"a": (0, "int"), "b": (4, "one * [3]")}), "two": (9, {"x": (0, "one")})}))
    at %= len(raw)
    raw[at : at + len(value)] = value
    with contextlib.suppress(pykvm.KvmError):
        types = BtfTypes(bytes(raw), "x", 8)
        for name in list(types):
            types.struct(name)
