"""Linux in every container that it is dumped into, and the containers by themselves: other layouts, byte orders and
versions than those of the machine at hand."""

from __future__ import annotations

import argparse
import contextlib
import random
import struct
from pathlib import Path
from typing import Any

import linux_truth as truth
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pykvm_fixtures.__main__ import main
from pykvm_fixtures.linux import write_linux
from pykvm_fixtures.linux.elf import Layout, write_elf
from pykvm_fixtures.linux.kdump import ABIS, CODECS, flatten, write_kdump

import pykvm
import pykvm.cli.common
from pykvm import images
from pykvm.images.hostfile import HostFile

FORMATS = {"lime": "lime", "raw": "raw", "kdump": "kdump", "kdump-flat": "kdump", "qemu-kdump": "kdump"}
LOW = {"high": False}
MACHINES: dict[str, tuple[str, dict[str, Any]]] = {
    "x86_64": ("x86_64", {}),
    "x86_64-la57": ("x86_64-la57", {"pti": True}),
    "i386": ("i386", {}),
    "i386-pae": ("i386-pae", {"page_offset": 0x80000000}),
    "arm": ("arm", {"memory_start": 0x60000000}),
    "arm-lpae": ("arm-lpae", {"memory_start": 0x80000000}),
    "aarch64": ("aarch64", {}),
    "aarch64-16k": ("aarch64-16k-47", {}),
    "aarch64-64k": ("aarch64-64k-48", {}),
    "riscv64": ("riscv64-sv39", {}),
}
EVERYWHERE = ("elf", "qemu-elf", "qemu-elf-paging", "proc-vmcore", "makedumpfile-elf", "kdump", "qemu-kdump", "lime")
CASES: list[tuple[str, str, dict[str, Any]]] = [
    *((machine, container, {}) for machine in MACHINES for container in EVERYWHERE),
    *((machine, "raw", LOW) for machine in ("x86_64", "i386", "i386-pae", "arm", "aarch64", "riscv64")),
    *((machine, "raw", {**LOW, "how": {"base": None}}) for machine in ("arm", "aarch64", "riscv64", "aarch64-16k")),
    *(("x86_64", "kdump", {"codec": codec}) for codec in (*CODECS, "mixed")),
    *(("aarch64-64k", "kdump", {"codec": codec}) for codec in (*CODECS, "mixed")),
    *(("arm", "qemu-kdump", {"codec": codec}) for codec in CODECS),
    ("x86_64", "kdump-flat", {"codec": "mixed"}),
    ("i386", "kdump-flat", {}),
    ("arm-lpae", "kdump-flat", {"split": 2}),
    ("x86_64", "kdump", {"split": 7}),
    ("aarch64-16k", "kdump", {"split": 3, "version": 5}),
    ("i386-pae", "kdump", {"split": 2}),
    ("arm", "kdump", {"split": 2, "version": 3}),
    ("x86_64", "kdump", {"how": {"padding": 3, "filler": b"\xee"}}),
    ("x86_64", "qemu-kdump", {"how": {"flat": False}}),
    ("i386-pae", "qemu-kdump", {"how": {"uname": "x86_64"}}),  # a 32-bit guest on qemu-system-x86_64
    ("i386", "qemu-kdump", {"how": {"uname": "x86_64"}}),
    ("i386", "qemu-kdump", {"how": {"uname": "x86_64", "wide": True}}),
    ("i386-pae", "qemu-kdump", {"how": {"wide": True}}),
    ("arm", "qemu-kdump", {"how": {"wide": True}}),
    ("x86_64", "elf", {"how": {"many": True}}),
    ("i386", "qemu-elf", {"how": {"many": True}}),
    ("i386", "elf", {"how": {"wide": True}}),
    ("arm", "proc-vmcore", {"how": {"wide": True}}),
    ("i386-pae", "proc-vmcore", LOW),
    ("arm", "qemu-elf-paging", {"how": {"wide": True}}),
]


def name_of(case: tuple[str, str, dict[str, Any]]) -> str:
    machine, container, options = case
    return "-".join([machine, container, *(f"{k}={v}" for k, v in options.items())])


def write(room: Path, machine: str, container: str, **options: Any) -> Any:
    name, shape = MACHINES[machine]
    return write_linux(room, name, container=container, seed=5, **{**shape, **options})


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_everything(tmp_path: Path, case: tuple[str, str, dict[str, Any]]) -> None:
    machine, container, options = case
    dump = write(tmp_path, machine, container, **options)
    with pykvm.Kvm(dump.paths[::-1]) as kd:
        truth.everything(kd, dump, FORMATS.get(container, "elf"))
        assert kd.image.missing == 0
        if dump.machine in ("x86_64", "i386") and container.startswith("qemu"):
            assert [cpu.cr3 for cpu in kd.image.cpus] == [cpu.root for cpu in dump.cpus]
            assert {cpu.cr4 >> 12 & 1 for cpu in kd.image.cpus} == {int(machine == "x86_64-la57")}


VERSIONS = [
    *(("x86_64", "LP64", v) for v in range(1, 7)),
    *(("i386", layout, v) for layout in ("i386", "i386-time64") for v in range(1, 7)),
    *(("arm", layout, v) for layout in ("arm", "arm-time64", "i386") for v in range(1, 7)),
]


@pytest.mark.parametrize(("machine", "layout", "version"), VERSIONS)
def test_kdump_headers(tmp_path: Path, machine: str, layout: str, version: int) -> None:
    """Every version of the header, as each C compiler lays it out; what a version does not have is not looked at."""
    dump = write(tmp_path, machine, "kdump", version=version, how={"layout": layout, "filler": b"\xff\x01\xee\x10"})
    with pykvm.Kvm(dump.paths) as kd:
        truth.everything(kd, dump, "kdump")
        assert kd.image.header.version == version
        assert (kd.image.vmcoreinfo is not None) == (version >= 3)


@pytest.mark.parametrize("uname", ["armv5tel", "armv6l", "armv7l", "armv7ml", "armv8l", "Unknown", "", "x"])
def test_names_of_arm(tmp_path: Path, uname: str) -> None:
    for layout in ("arm", "arm-time64", "i386"):
        dump = write(tmp_path / layout, "arm", "kdump", how={"layout": layout, "uname": uname})
        with pykvm.Kvm(dump.paths) as kd:
            assert kd.info.machine == "arm"
            truth.arguments(kd, dump)


# -- what is left out, or not there ------------------------------------------------------------------------------


@pytest.mark.parametrize("machine", ["x86_64", "i386-pae", "arm", "aarch64-64k", "riscv64"])
@pytest.mark.parametrize("container", ["elf", "proc-vmcore", "kdump", "lime"])
def test_user_pages_left_out(tmp_path: Path, machine: str, container: str) -> None:
    dump = write(tmp_path, machine, container, leave_out_user=True)
    with pykvm.Kvm(dump.paths) as kd:
        truth.borders(kd, dump)
        truth.physical(kd, dump, dump.user_pfns)
        with pytest.raises(pykvm.AddressError, match="process 1: user memory"):
            kd.argv(kd.processes()[0])


@pytest.mark.parametrize("machine", ["x86_64", "arm", "aarch64-64k"])
def test_pages_that_makedumpfile_leaves_out_of_an_elf_core(tmp_path: Path, machine: str) -> None:
    """Many in a row end a segment, few are zeros."""
    dump = write(tmp_path, machine, "makedumpfile-elf", leave_out_user=True)
    size = dump.page_size
    with pykvm.Kvm(dump.paths) as kd:
        truth.borders(kd, dump)
        gone = 0
        for pfn, page in dump.memory.items():
            if pfn not in dump.user_pfns:
                assert kd.read_phys(pfn * size, size) == page
                continue
            try:
                assert kd.read_phys(pfn * size, size) == bytes(size)
            except pykvm.AddressError:
                gone += 1
        assert kd.image.left_out > 256 * size
    if machine == "x86_64":  # its user pages are far from each other
        assert gone > 0
        with pykvm.Kvm(dump.paths, zero_excluded=True) as kd:
            low = [pfn for pfn in range(1, dump.direct[1] // size + 20000) if pfn not in dump.memory]
            assert all(kd.read_phys(pfn * size, 8) == bytes(8) for pfn in low[:5000])


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("container", ["elf", "qemu-kdump"])
def test_without_the_note(tmp_path: Path, machine: str, container: str) -> None:
    """VMCOREINFO is in memory only."""
    dump = write(tmp_path, machine, container, note=False)
    with pykvm.Kvm(dump.paths) as kd:
        assert kd.image.vmcoreinfo is None
        truth.everything(kd, dump, FORMATS.get(container, "elf"))


def test_the_kernel_twice(tmp_path: Path) -> None:
    """/proc/vmcore has the image under two addresses; what is read does not depend on which copy serves."""
    dump = write(tmp_path, "aarch64", "proc-vmcore")
    raw = dump.paths[0].read_bytes()
    phdrs = [struct.unpack_from("<IIQQQQQQ", raw, 64 + 56 * i) for i in range(struct.unpack_from("<H", raw, 56)[0])]
    text = [p for p in phdrs if p[0] == 1 and p[3] >= dump.symbols["_stext"]]
    assert text
    for _, _, _, vaddr, paddr, filesz, _, _ in text:
        same = [p for p in phdrs if p[4] <= paddr and paddr + filesz <= p[4] + p[5] and p[3] != vaddr]
        assert len(same) == 1
        assert same[0][3] - same[0][4] == dump.direct[0] - dump.direct[1]
    with pykvm.Kvm(dump.paths) as kd:
        assert kd.image.memory_size == len(dump.memory) * dump.page_size


def test_plugin(linux_dump: Any, linux_dump_factory: Any) -> None:
    other = linux_dump_factory(machine="arm-lpae", container="qemu-kdump")
    assert linux_dump.paths != other.paths
    for dump, format in ((linux_dump, "elf"), (other, "kdump")):
        with pykvm.Kvm(dump.paths) as kd:
            truth.everything(kd, dump, format)


@pytest.mark.parametrize(
    ("arguments", "files", "machine"),
    [
        ([], ["vmcore"], "x86_64"),
        (["--machine", "aarch64-16k-48", "--container", "kdump", "--codec", "lzo", "--split", "2"], 2, "aarch64"),
        (["--machine", "i386", "--option", "page_offset=0x80000000", "--container", "raw"], ["memory.raw"], "i386"),
        (["--container", "kdump", "--header-version", "3", "--leave-out-user"], ["vmcore"], "x86_64"),
        (["--machine", "riscv64", "--container", "lime", "--no-note"], ["memory.lime"], "riscv64"),
    ],
)
def test_command(tmp_path: Path, capsys: Any, arguments: list[str], files: Any, machine: str) -> None:
    assert main(["linux", str(tmp_path / "room"), *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = files if isinstance(files, list) else [f"vmcore.{i}" for i in range(files)]
    assert lines == [f"core {tmp_path / 'room' / name}" for name in names]
    with pykvm.Kvm([line.removeprefix("core ") for line in lines]) as kd:
        assert kd.info.machine == machine
        if "page_offset=0x80000000" in arguments:
            assert kd.symbol("_stext") < 0xA0000000
        assert [p.pid for p in kd.processes()] == [1, 2, 300, 301, 302]


@pytest.mark.parametrize(
    "arguments", [["--machine", "vax"], ["--option", "levels"], ["--option", "nonsense=1"], ["--container", "tape"]]
)
def test_command_that_is_wrong(tmp_path: Path, capsys: Any, arguments: list[str]) -> None:
    with pytest.raises(SystemExit):
        main(["linux", str(tmp_path), *arguments])
    assert arguments[1].partition("=")[0] in capsys.readouterr().err


# -- containers of nothing in particular -------------------------------------------------------------------------

ORDERS = {"<": "little", ">": "big"}


@contextlib.contextmanager
def opened(*paths: Path) -> Any:
    """The image that files are."""
    with contextlib.ExitStack() as stack:
        yield images.recognise([stack.enter_context(contextlib.closing(HostFile(path))) for path in paths])


def some_pages(seed: int, page_size: int, pfns: list[int]) -> dict[int, bytes]:
    """Pages of which some are zeros, some can be packed, and some can not."""
    rng = random.Random(seed)
    kinds = (lambda: bytes(page_size), lambda: rng.randbytes(16) * (page_size // 16), lambda: rng.randbytes(page_size))
    return {pfn: rng.choice(kinds)() for pfn in pfns}


def check_pages(image: Any, pages: dict[int, bytes], page_size: int, holes: Any) -> None:
    for pfn, page in pages.items():
        assert image.read(pfn * page_size, page_size) == page
    for pfn in holes:
        with pytest.raises(pykvm.AddressError):
            image.read(pfn * page_size, 1)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("layout", ABIS)
@pytest.mark.parametrize("version", range(1, 7))
def test_kdump_of_any_kind(tmp_path: Path, order: str, layout: str, version: int) -> None:
    """Of machines that pykvm knows no kernel of: physical memory."""
    pages = some_pages(version, 4096, [3, 4, 5, 40000, 40001, 99999])
    uname, machine = {
        "LP64": {"<": ("ppc64le", "powerpc64"), ">": ("s390x", "s390x")}[order],
    }.get(layout, ("armv7b" if "arm" in layout else "i686", "arm" if "arm" in layout else "i386"))
    write_kdump(tmp_path / "one", uname, pages, order=order, layout=layout, version=version, codec="mixed")
    with opened(tmp_path / "one") as image:
        assert (image.format, image.machine, image.byteorder) == ("kdump", machine, ORDERS[order])
        check_pages(image, pages, 4096, [0, 2, 6, 39999, 40002, 99998, 100000, 1 << 40])
        assert image.lowest == 3 * 4096
    if version >= 2:
        parts = [(0, 5), (5, 5), (5, 40001), (40001, 100000)]
        for i, part in enumerate(parts):
            write_kdump(
                tmp_path / f"{i}",
                uname,
                pages,
                order=order,
                layout=layout,
                version=version,
                part=part,
                left_out=[40000],
            )
        with opened(*(tmp_path / f"{i}" for i in (2, 0, 3, 1))) as image:
            left = {pfn: page for pfn, page in pages.items() if pfn != 40000}
            check_pages(image, left, 4096, [40000, 40002])


@pytest.mark.parametrize("uname", ["s390x", "S390X", "ppc64", "Unknown", ""])
@pytest.mark.parametrize("page_size", [4096, 16384, 65536])
def test_big_endian_kdump(tmp_path: Path, uname: str, page_size: int) -> None:
    pages = some_pages(page_size, page_size, [0, 1, 77, 1000])
    told = b"OSRELEASE=6.12\nPAGESIZE=%d\n" % page_size
    for version in (3, 6):
        write_kdump(
            tmp_path / "dump", uname, pages, order=">", page_size=page_size, version=version, vmcoreinfo=told,
            utsname=False,
        )  # fmt: skip
        (tmp_path / "flat").write_bytes(flatten((tmp_path / "dump").read_bytes(), 12345))
        for path in (tmp_path / "dump", tmp_path / "flat"):
            with opened(path) as image:
                assert image.byteorder == "big"
                assert image.vmcoreinfo.decimal("PAGESIZE") == page_size
                check_pages(image, pages, page_size, [2, 999, 1001])


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("how", [{}, {"qemu": True}, {"many": True}, {"qemu": True, "many": True}])
def test_elf_of_any_kind(tmp_path: Path, order: str, wide: bool, how: dict[str, bool]) -> None:
    pages = some_pages(1, 4096, [0, 1, 5, 70000])
    layout = Layout(pages, 4096)
    for pa, size in layout.present(0, 1 << 32):
        layout.add(pa + 0x1000, pa, size)
    machine = 22 if order == ">" else 243
    write_elf(tmp_path / "core", machine, layout.loads, layout.data, b"", wide=wide, order=order, **how)
    with opened(tmp_path / "core") as image:
        assert (image.format, image.machine, image.byteorder) == (
            "elf", {22: ("s390", "s390x"), 243: ("riscv32", "riscv64")}[machine][wide], ORDERS[order],
        )  # fmt: skip
        check_pages(image, pages, 4096, [2, 4, 6, 70001])


@pytest.mark.parametrize("order", ORDERS)
def test_more_program_headers_than_a_half_word_counts(tmp_path: Path, order: str) -> None:
    layout = Layout({pfn: struct.pack("<Q", pfn) for pfn in range(0, 2 * 65536, 2)}, 8)
    for pfn in layout.pages:
        layout.add(pfn * 8, pfn * 8, 8)
    write_elf(tmp_path / "core", 62, layout.loads, layout.data, b"", order=order)
    with opened(tmp_path / "core") as image:
        assert image.memory_size == 65536 * 8
        for pfn in (0, 2, 65534, 131070):
            assert image.read(pfn * 8, 8) == struct.pack("<Q", pfn)
        with pytest.raises(pykvm.AddressError):
            image.read(8, 8)


PFNS = st.lists(st.integers(0, 300), min_size=1, max_size=40, unique=True)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(pfns=PFNS, seed=st.integers(0, 1 << 30), overlap=st.booleans())
def test_any_elf(tmp_path: Path, pfns: list[int], seed: int, overlap: bool) -> None:
    """Whatever the runs are, in whatever order, some of them twice."""
    pages = some_pages(seed, 4096, pfns)
    rng = random.Random(seed)
    layout = Layout(pages, 4096)
    runs = layout.present(0, 1 << 32)
    rng.shuffle(runs)
    for pa, size in runs:
        layout.add(rng.randrange(1 << 40) * 4096, pa, size)
    for pa, size in runs if overlap else []:
        at = rng.randrange(size // 4096) * 4096
        layout.share(rng.randrange(1 << 40) * 4096, pa + at, size - at) if at == 0 else layout.add(
            0, pa + at, size - at
        )
    rng.shuffle(layout.loads)
    write_elf(tmp_path / "core", 62, layout.loads, layout.data, b"")
    with opened(tmp_path / "core") as image:
        check_pages(image, pages, 4096, set(range(301)) - set(pfns))
        assert image.memory_size == len(pages) * 4096


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(pfns=PFNS, seed=st.integers(0, 1 << 30), data=st.data())
def test_any_kdump(tmp_path: Path, pfns: list[int], seed: int, data: Any) -> None:
    pages = some_pages(seed, 4096, pfns)
    out = data.draw(st.sets(st.sampled_from(pfns)))
    write_kdump(
        tmp_path / "dump", data.draw(st.sampled_from(["x86_64", "s390x", "", "armv7l", "i686"])), pages,
        order=data.draw(st.sampled_from("<>")), layout=data.draw(st.sampled_from(list(ABIS))), version=6,
        codec=data.draw(st.sampled_from([*CODECS, "mixed"])), left_out=out, utsname=data.draw(st.booleans()),
    )  # fmt: skip
    with opened(tmp_path / "dump") as image:
        kept = {pfn: page for pfn, page in pages.items() if pfn not in out}
        check_pages(image, kept, 4096, set(range(302)) - set(kept))
        assert (image.memory_size, image.left_out) == (len(kept) * 4096, len(out) * 4096)


FUZZED = [
    ("arm", "elf"), ("i386-pae", "kdump"), ("arm", "kdump"), ("aarch64-64k", "kdump"), ("riscv64", "lime"),
    ("x86_64-la57", "qemu-kdump"), ("i386", "qemu-elf-paging"),
]  # fmt: skip


@pytest.fixture(scope="module", params=FUZZED, ids="-".join)
def room(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    room = tmp_path_factory.mktemp("fuzz")
    dump = write(room, *request.param)
    return dump.paths[0].read_bytes(), room / "damaged"


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_damaged(room: tuple[bytes, Path], data: Any) -> None:
    """Whatever is damaged, in headers or behind them: an error of ours, or an answer."""
    raw, path = room
    out = bytearray(raw)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, 1024) | st.integers(4096, 5200) | st.integers(0, len(out) - 9))
        out[at : at + 8] = data.draw(
            st.sampled_from([bytes(8), b"\xff" * 8, b"\1" + bytes(7), b"\0\x10" + bytes(6)]) | st.binary(max_size=8)
        )
    path.write_bytes(out)
    with contextlib.suppress(pykvm.KvmError), pykvm.Kvm(path) as kd:
        for p in kd.processes():
            pykvm.kvm_getargv(kd, p, 0)
            kd.threads(p)
        kd.loadavg()


def test_a_part_that_is_not_given(linux_dump_factory: Any) -> None:
    dump = linux_dump_factory(container="kdump", split=3)
    with pytest.raises(pykvm.KvmError, match="in a part of this split dump that was not given"):
        pykvm.Kvm(dump.paths[1:2])
    whole = pykvm.cli.common.core(argparse.Namespace(core=[str(p) for p in dump.paths]))
    with pykvm.Kvm(whole) as kd:
        assert [p.pid for p in kd.processes()] == [t.pid for t in dump.tasks]
    assert pykvm.cli.common.core(argparse.Namespace(core=["one"])) == "one"
    assert pykvm.cli.common.core(argparse.Namespace(core=None)) is None


def test_page_tables_that_are_not_there(linux_dump_factory: Any) -> None:
    """Why an address has no translation: the file ends before its page table, or the dump leaves it out."""
    dump = linux_dump_factory(container="kdump", codec="none")
    path = dump.paths[0]
    raw = path.read_bytes()
    cut = False
    for part in range(1, 12):
        path.write_bytes(raw[: len(raw) * part // 12])
        try:
            with pykvm.Kvm(path) as kd:
                kd.processes()
        except pykvm.KvmError as e:
            cut = cut or "is not there: the file ends" in str(e)
    assert cut


def test_compressed_pages_are_not_written_to(linux_dump_factory: Any) -> None:
    dump = linux_dump_factory(container="kdump")
    with (
        pykvm.Kvm(dump.paths, writable=True) as kd,
        pytest.raises(pykvm.KvmError, match="its pages are compressed or packed: cannot be written to"),
    ):
        kd.write(kd.symbol("init_uts_ns"), b"x")
