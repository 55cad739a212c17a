"""NetBSD's mips and arm, OpenBSD's arm and sh: what their headers may say, who reads which, and what is refused."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from bsd_truth import check_identity, check_memory, check_messages, check_vectors, newest_first, nm_list
from bsd_victim import Victim, made
from triage import poke, triage

import pykvm
from pykvm.images.kcore_cpu import arm, mips, sh
from pykvm.machines.mips import physical

ALL = [
    ("NetBSD", "mips"), ("NetBSD", "mips-el16k"), ("NetBSD", "mips64"), ("NetBSD", "mips-r3k"), ("NetBSD", "arm"),
    ("NetBSD", "arm-eb"), ("OpenBSD", "arm"), ("OpenBSD", "sh"),
]  # fmt: skip


@pytest.fixture(scope="module")
def victims(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Victim]:
    """A function: the dump of a system and a machine, written once."""
    known: dict[tuple[str, str], Victim] = {}

    def find(system: str, machine: str) -> Victim:
        key = system, machine
        if key not in known:
            known[key] = made(tmp_path_factory.mktemp(machine), system, machine)
        return known[key]

    return find


@contextmanager
def lying(victim: Victim, offset: int, data: bytes) -> Iterator[None]:
    """Other bytes in the cpu data for a while."""
    at = victim.dump.placed.cpu + offset
    with open(victim.dump.core, "rb") as f:
        f.seek(at)
        was = f.read(len(data))
    assert was != data
    poke(victim.dump.core, at, data)
    try:
        yield
    finally:
        poke(victim.dump.core, at, was)


def one(kd: Any, pid: int) -> Any:
    (p,) = kd.processes(pykvm.KERN_PROC_PID, pid)
    return p


@pytest.mark.parametrize(
    ("machine", "name", "order", "pointer", "page"),
    [
        ("mips", "mips", "big", 4, 4096),
        ("mips-r3k", "mips", "little", 4, 4096),
        ("mips-el16k", "mips", "little", 4, 16384),  # with the id of big-endian machines, as cobalt
        ("mips64", "mips64", "big", 8, 4096),
        ("mips64-el16k", "mips64", "little", 8, 16384),
        ("arm", "arm", "little", 4, 4096),
        ("arm-eb", "arm", "big", 4, 4096),
    ],
)
def test_order_and_width(
    victims: Callable[[str, str], Victim], tmp_path: Path, machine: str, name: str, order: str, pointer: int, page: int
) -> None:
    """By the header and the kernel's file; of a list of names by how long the addresses are."""
    dump = victims("NetBSD", machine).dump
    for names in (dump.kernel, nm_list(dump, tmp_path / "netbsd.nm")):
        with pykvm.Kvm(dump.core, names) as kd:
            info = kd.info
            assert (info.machine, info.byteorder, info.pointer_size, info.page_size) == (name, order, pointer, page)
            check_memory(kd, dump)
            check_messages(kd, dump)


def test_other_kernels(victims: Callable[[str, str], Victim]) -> None:
    """Of the other width, the other byte order, another machine."""
    core = victims("NetBSD", "mips").dump.core
    for machine, why in (("mips-el16k", "is of mips"), ("arm", "is of arm"), ("mips-r3k", "is of mips")):
        with pytest.raises(pykvm.FormatError, match=f"bad namelist: .* {why}, the dump .* of mips"):
            pykvm.Kvm(core, victims("NetBSD", machine).dump.kernel)
    # Both widths have the same id: it is not the header that tells, but the kernel is not there.
    with pytest.raises(pykvm.FormatError, match=r"bad namelist: .* is not the kernel of"):
        pykvm.Kvm(core, victims("NetBSD", "mips64").dump.kernel)


@pytest.mark.parametrize(("system", "machine"), ALL)
def test_device(victims: Any, netbsd_dump_factory: Any, openbsd_dump_factory: Any, system: str, machine: str) -> None:
    """The order is told by the header on the device, too; what is written is the file's header."""
    dump = (netbsd_dump_factory if system == "NetBSD" else openbsd_dump_factory)(machine=machine, container="device")
    out = io.BytesIO()
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        assert pykvm.kvm_dump_mkheader(kd, dump.placed.device) == 8 + dump.placed.cpu_size
        check_identity(kd, dump, "dump device")
        check_memory(kd, dump)
        check_vectors(kd, dump, kd.processes())
        assert pykvm.kvm_dump_wrtheader(kd, out, 4096) == len(out.getvalue())
    copy = dump.core.with_name("again")
    copy.write_bytes(out.getvalue() + dump.core.read_bytes()[dump.placed.memory :])
    with pykvm.Kvm(copy, dump.kernel) as kd:
        check_identity(kd, dump)
        op = pykvm.KERN_PROC_ALL if system == "NetBSD" else pykvm.KERN_PROC_KTHREAD
        assert [p.pid for p in kd.processes(op)] == newest_first(dump)


@pytest.mark.parametrize(("system", "machine"), ALL)
def test_swap(netbsd_dump_factory: Any, openbsd_dump_factory: Any, system: str, machine: str) -> None:
    """By UVM: pages of the kernel's size."""
    dump = (netbsd_dump_factory if system == "NetBSD" else openbsd_dump_factory)(machine=machine, swap=True)
    with pykvm.Kvm(dump.core, dump.kernel, dump.swap) as kd:
        check_vectors(kd, dump, kd.processes())


# -- mips -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offset", "data", "why"),
    [
        (0, struct.pack(">Q", 0), "sysmappa is 0x0, which makes no sense"),
        (0, struct.pack(">Q", 1 << 63), "sysmappa is 0x8000000000000000, which makes no sense"),
        (0, struct.pack(">Q", 0x1002), "sysmappa is 0x1002, which makes no sense"),
        (0, struct.pack(">Q", 1 << 40), "there is nothing at 0xc"),
        (12, struct.pack(">I", 2), "archlevel is 0x2, which makes no sense"),
        (16, struct.pack(">I", 13), "pg_shift is 0xd, which makes no sense"),
        (20, bytes(4), "pg_frame is 0x0, which makes no sense"),
        (24, bytes(4), "pg_v is 0x0, which makes no sense"),
        (28, struct.pack(">I", 30), "nmemsegs: 30 segments do not fit the cpu data of 504 bytes"),
        (28, b"\xff" * 4, "nmemsegs: 4294967295 segments do not fit"),
        (28, bytes(4), "is not the kernel of .*there is nothing at 0x8"),
        (32, b"\xff" * 8, "memory segment 0 overlaps another"),
    ],
)
def test_mips_header(victims: Callable[[str, str], Victim], offset: int, data: bytes, why: str) -> None:
    """A table that is not there: the kernel opens, as its image needs none; what is mapped is not."""
    victim = victims("NetBSD", "mips")
    with lying(victim, offset, data):
        if why.startswith("there is nothing"):
            with pykvm.Kvm(victim.dump.core, victim.dump.kernel) as kd:
                check = [p for p in victim.dump.probes if p.va >= 0xC0000000]
                assert check
                for probe in check:
                    with pytest.raises(pykvm.AddressError):
                        kd.read(probe.va, 128)
            return
        with pytest.raises(pykvm.FormatError, match=why) as caught:
            pykvm.Kvm(victim.dump.core, victim.dump.kernel)
        assert str(victim.dump.core) in str(caught.value)


def test_mips_cut_header() -> None:
    with pytest.raises(pykvm.FormatError, match="core: cpu_kcore_hdr: only 31 of 32 bytes are there"):
        mips.mips("core", bytes(31), "big")


def test_mips_vr4100() -> None:
    """The kernel shifts the frame by what the header says, 4 on these; not so libkvm."""
    told = mips.mips("core", struct.pack("<Q6IQQ", 0x1000, 0, 3, 4, 0x3FFFFFC0, 2, 1, 0, 1 << 24), "little")
    assert (told.table, told.size, told.level, told.shift, list(told.memory)) == (0x1000, 0, 3, 4, [0, 1 << 24])


def test_sysmap_ends(victims: Callable[[str, str], Victim]) -> None:
    """What is behind its last entry is not read, and no address below the kernel's comes to its table."""
    victim = victims("NetBSD", "mips-r3k")
    (probe, *_) = [p for p in victim.dump.probes if p.va >= 0xC0000000]
    number = (probe.va + 127 - 0xC0000000 >> 12) + 1  # of the page behind
    with pykvm.Kvm(victim.dump.core, victim.dump.kernel) as kd:
        assert kd.read(probe.va, 128) == probe.data
        for va in (0xC0000000 + (1 << 27), 0x40000000 | (probe.va & 0xFFFFFFF), 0xFFFFF000):
            with pytest.raises(pykvm.AddressError):
                kd.read(va, 4)
    with lying(victim, 8, struct.pack("<I", number)), pykvm.Kvm(victim.dump.core, victim.dump.kernel) as kd:
        assert kd.read(probe.va, 128) == probe.data
        with pytest.raises(pykvm.AddressError):
            kd.read(0xC0000000 + (number << 12), 4)


def test_segment_tables_do_not_wrap(victims: Callable[[str, str], Victim]) -> None:
    """Half of all addresses have an entry: the other half is not the kernel's, and not a process's."""
    for machine, base, other in (("mips", 0xC0000000, 0x40000000), ("mips64", 3 << 62, 3 << 62 | 1 << 40)):
        victim = victims("NetBSD", machine)
        (probe, *_) = [p for p in victim.dump.probes if base <= p.va < base + (1 << 40)]
        with pykvm.Kvm(victim.dump.core, victim.dump.kernel) as kd:
            assert kd.read(probe.va, 128) == probe.data
            with pytest.raises(pykvm.AddressError):
                kd.read(probe.va - base + other, 4)
            memory = kd.target.space(kd.parts, victim.a.vmspaces[700])
            at = victim.a.strings[700]
            memory.read(at, 4)
            top = 1 << (40 if machine == "mips64" else 31)
            with pytest.raises(pykvm.AddressError):
                memory.read(at + top, 4)
            memory.detach()


@pytest.mark.parametrize("machine", ["mips", "mips64"])
def test_page_sizes(victims: Callable[[str, str], Victim], machine: str) -> None:
    """uvmexp.pagesize, without which there is nothing to go by."""
    victim = victims("NetBSD", machine)
    at = victim.where(victim.symbols["uvmexp"])
    for size in (0, 4095, 65536, 0xFFFFFFFF):
        poke(victim.dump.core, at, struct.pack(">I", size))
        try:
            with pytest.raises(pykvm.FormatError, match=f"uvmexp: pagesize is {size}, which is none of"):
                pykvm.Kvm(victim.dump.core, victim.dump.kernel)
        finally:
            poke(victim.dump.core, at, struct.pack(">I", 4096))
    with victim.lying(at, struct.pack(">I", 8192)) as kd:
        assert kd.info.page_size == 8192
        with pytest.raises(pykvm.AddressError):
            kd.read(victim.dump.probes[1].va, 128)


def test_physical() -> None:
    assert physical(0x80123456) == physical(0xFFFFFFFF80123456) == physical(0xFFFFFFFFA0123456) == 0x123456
    assert physical(0x9800000123456789) == physical(0x8000000123456789) == 0x123456789


# -- arm ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("system", "offset", "data", "why"),
    [
        (
            "NetBSD",
            0,
            struct.pack("<I", 0xC0000000),
            "kernelbase 0xc0000000, kerneloffs 0x0, staticsize .* are no range",
        ),
        ("NetBSD", 8, struct.pack("<I", 0x1000), "PAKernelL1Table is 0x1000, which is none"),
        ("NetBSD", 8, struct.pack("<I", 0x4000), "is not the kernel of"),
        ("NetBSD", 20, b"\xff" * 4, "nmemsegs: 4294967295 segments do not fit"),
        ("NetBSD", 24, struct.pack("<I", 27), "omemsegs is 27, of 504 bytes of cpu data"),
        ("NetBSD", 24, struct.pack("<I", 505), "omemsegs is 505, of 504 bytes of cpu data"),
        ("NetBSD", 24, struct.pack("<I", 504), "nmemsegs: 3 segments do not fit"),
        ("OpenBSD", 0, struct.pack("<I", 1), r"omemsegs is 0, of 504 bytes of cpu data"),
        (
            "OpenBSD",
            0,
            struct.pack("<I", 0xFFFFFFFF),
            "kernelbase 0xffffffff, kerneloffs 0x200000, staticsize .* range",
        ),
        ("OpenBSD", 4, struct.pack("<I", 0x1000), "is not the kernel of"),
        ("OpenBSD", 8, b"\xff" * 4, "staticsize 0xffffffff are no range"),
        ("OpenBSD", 72, bytes(8), "there are no ram_segs"),
        ("OpenBSD", 64, b"\xff" * 8, "memory segment 0 overlaps another"),
    ],
)
def test_arm_header(victims: Callable[[str, str], Victim], system: str, offset: int, data: bytes, why: str) -> None:
    victim = victims(system, "arm")
    with lying(victim, offset, data), pytest.raises(pykvm.FormatError, match=why) as caught:
        pykvm.Kvm(victim.dump.core, victim.dump.kernel)
    assert str(victim.dump.core) in str(caught.value)


def test_arm_of_the_other(victims: Callable[[str, str], Victim]) -> None:
    """A kernel of the other system."""
    netbsd, openbsd = victims("NetBSD", "arm").dump, victims("OpenBSD", "arm").dump
    with pytest.raises(pykvm.FormatError, match="version is 0xc0000000, must be 1: the header is OpenBSD's"):
        pykvm.Kvm(openbsd.core, netbsd.kernel)
    with pytest.raises(pykvm.FormatError, match="kernelbase is 1: the header is NetBSD's"):
        pykvm.Kvm(netbsd.core, openbsd.kernel)


def test_arm_of_both() -> None:
    """The first word says whose it is."""
    head = struct.pack("<16I", 0xC0000000, 0x200000, 0x1000, 0xC0201000, *(0 for _ in range(12)))
    told = arm.arm("core", head + struct.pack("<16Q", 0xA0000000, 1 << 20, *(0 for _ in range(14))), "little")
    assert isinstance(told, arm.OpenbsdArm)
    assert (told.base, told.l1, list(told.memory)) == (0xC0000000, 0xC0201000, [0xA0000000, 1 << 20])
    head = struct.pack(">4IHxxII", 1, 0, 0x4000, 0, 0, 1, 28) + struct.pack(">2Q", 0x1000, 0x2000)
    assert arm.arm("core", head, "big") == arm.NetbsdArm(0x4000, told.memory.__class__("Q", (0x1000, 0x2000)))
    for size in (0, 3, 27, 191):
        with pytest.raises(pykvm.FormatError, match=f"only {size} of"):
            arm.arm("core", (head if size < 28 else bytes(191))[:size], "big")


@pytest.mark.parametrize("value", [0, 0xC0200000 - 4, 0xC0200000, 0xFFFFFFFF])
def test_openbsd_arm_without_tables(victims: Callable[[str, str], Victim], value: int) -> None:
    """No structure there, or no table in it: the kernel's image is read, as the original does, and no more."""
    victim = victims("OpenBSD", "arm")
    with lying(victim, 12, struct.pack("<I", value)), pykvm.Kvm(victim.dump.core, victim.dump.kernel) as kd:
        assert kd.info.release == "7.4"
        image = victim.dump.probes[0]
        assert kd.read(image.va, 128) == image.data
        with pytest.raises(pykvm.AddressError):
            kd.read(victim.dump.probes[1].va, 128)


def test_second_tables(victims: Callable[[str, str], Victim]) -> None:
    """A pointer to nowhere, a bucket without a table, types that are another's."""
    for system, machine in (("NetBSD", "arm"), ("NetBSD", "arm-eb"), ("OpenBSD", "arm")):
        victim = victims(system, machine)
        with pykvm.Kvm(victim.dump.core, victim.dump.kernel) as kd:
            pmap = kd.read_ptr(victim.a.vmspaces[700] + victim.member("vmspace", "vm_map", "pmap"))
            l2 = pmap + victim.member("pmap", "pm_l2")
            (at,) = [i for i in range(256) if kd.read_ptr(l2 + 4 * i)]
            assert at == 0x7FFF0000 >> 24
            table = kd.read_ptr(l2 + 4 * at)
            assert kd.argv(one(kd, 700)) == [b"-sh"]
        with victim.lying(victim.where(l2 + 4 * at), victim.word(0x123)) as kd:
            why = "process 700: arguments: .*can't read l2_dtable at 0x12"
            with pytest.raises(pykvm.AddressError, match=why):
                kd.argv(one(kd, 700))
            assert kd.argv(one(kd, 702)) == [b"vi", b"two words", b"", b"last"]
        where = victim.where(table + victim.member("l2_dtable", "l2_bucket"))
        why = "process 700: arguments: user memory at .* is not in memory"
        empty = bytes(16 * victim.dump.layouts["l2_bucket"][0])
        with victim.lying(where, empty) as kd, pytest.raises(pykvm.AddressError, match=why):
            kd.argv(one(kd, 700))


# -- sh -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offset", "data", "why"),
    [
        (4, struct.pack("<I", 9), "kcore_nsegs is 9, must be 1 to 8"),
        (4, b"\xff" * 4, "kcore_nsegs is 4294967295, must be"),
        (4, bytes(4), "kcore_nsegs is 0, must be"),
        (8, b"\xff" * 8, "memory segment 0 overlaps another"),
    ],
)
def test_sh_header(victims: Callable[[str, str], Victim], offset: int, data: bytes, why: str) -> None:
    victim = victims("OpenBSD", "sh")
    with lying(victim, offset, data), pytest.raises(pykvm.FormatError, match=why) as caught:
        pykvm.Kvm(victim.dump.core, victim.dump.kernel)
    assert str(victim.dump.core) in str(caught.value)


@pytest.mark.parametrize("table", [0, 0x3FF, 0x400, 0xFFFFFFFF])
def test_sh_table(victims: Callable[[str, str], Victim], table: int) -> None:
    """P1 and P2 need none."""
    victim = victims("OpenBSD", "sh")
    with lying(victim, 0, struct.pack("<I", table)), pykvm.Kvm(victim.dump.core, victim.dump.kernel) as kd:
        for probe in victim.dump.probes:
            if probe.va < 0xC0000000:
                assert kd.read(probe.va, 128) == probe.data
            else:
                with pytest.raises(pykvm.AddressError):
                    kd.read(probe.va, 128)
        for va in (0x1000, 0x7FFFF000, 0xE0000000, 0xFFFFFFFC):
            with pytest.raises(pykvm.AddressError):
                kd.read(va, 4)


def test_sh_cut() -> None:
    with pytest.raises(pykvm.FormatError, match="core: cpu_kcore_hdr: only 135 of 136 bytes are there"):
        sh.sh("core", bytes(135), "little")


@pytest.mark.parametrize(("system", "machine"), ALL)
@pytest.mark.parametrize("length", [12, 32, 200, 527, 540, 0x4000, 0x300000])
def test_cut(victims: Callable[[str, str], Victim], tmp_path: Path, system: str, machine: str, length: int) -> None:
    dump = victims(system, machine).dump
    core = tmp_path / "core"
    core.write_bytes(dump.core.read_bytes()[:length])
    messages = triage(core, dump.kernel, sizes=(0, 680, 648))
    assert messages
    assert not [m for m in messages if re.search(r"\n", str(m))]
