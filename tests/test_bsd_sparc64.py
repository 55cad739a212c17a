"""sparc64 of NetBSD and OpenBSD: what each generation of the header may say, the hole in addresses, TTEs."""

from __future__ import annotations

import struct

import pytest
from bsd_header import Victims, header, kept, lying, one
from pykvm_fixtures.bsd import MACHINES

import pykvm
from pykvm.images.kcore_cpu import sparc64

SPARC64 = [(system, machine) for system in MACHINES for machine in MACHINES[system] if machine.startswith("sparc64")]
KERNBASE, CPU_SIZE, MB4 = 0x1000000, 64 << 10, 4 << 20
INTSTACK = 0xE0010000


@pytest.fixture(scope="module")
def victims(tmp_path_factory: pytest.TempPathFactory) -> Victims:
    return kept(tmp_path_factory)


def big(value: int) -> bytes:
    return struct.pack(">Q", value & (1 << 64) - 1)


def test_sparc64_headers(victims: Victims) -> None:
    """As the real ones are: ids, sizes, positions, whole blocks."""
    for system, machine, mid, start, kind in (
        ("NetBSD", "sparc64", 156, 192, 3), ("NetBSD", "sparc64-sun4v", 156, 192, 5),
        ("NetBSD", "sparc64-2007", 156, 160, 3), ("NetBSD", "sparc64-2000", 156, 96, 3),
        ("OpenBSD", "sparc64", 151, 96, 3), ("OpenBSD", "sparc64-sun4v", 151, 96, 3),
    ):  # fmt: skip
        victim = victims(system, machine)
        raw = victim.dump.core.read_bytes()[:0x1000]
        assert raw[:4] == bytes((0, mid, 0x8F, 0xCA))
        assert struct.unpack_from(">HHI", raw, 4) == (16, 16, 2)
        assert raw[16:20] == bytes((4, mid, 0x8F, 0xAC))
        assert (struct.unpack_from(">I", raw, 20)[0] + 16) % 512 == 0
        cputype, nmemseg, memsegoffset, nsegmap, table, kernbase = struct.unpack_from(">iiQi4xQQ", header(victim))
        assert (cputype, nmemseg, memsegoffset, nsegmap, kernbase) == (kind, 4, start, 1024, KERNBASE)
        assert table == victim.dump.roots[0]


def test_sparc64_generations(victims: Victims) -> None:
    """What each tells of, to the byte."""
    for machine, locked, cpus in (("sparc64", 2, 1), ("sparc64-2007", 2, 0), ("sparc64-2000", 2, 0)):
        victim = victims("NetBSD", machine)
        told = sparc64.sparc64("core", header(victim), "big")
        assert len(told.locked) == locked + cpus
        with pykvm.Kvm(victim.dump.core, victim.dump.kernel) as kd:
            for va, pa, size in told.locked:
                assert (kd.translate(va), kd.translate(va + size - 1)) == (pa, pa + size - 1)
                assert size == (CPU_SIZE if va == INTSTACK else MB4)
            assert (INTSTACK in [m.va for m in told.locked]) == bool(cpus)
            for va in (INTSTACK - 1, INTSTACK + CPU_SIZE, *(() if cpus else (INTSTACK, INTSTACK + 0x8000))):
                with pytest.raises(pykvm.AddressError):
                    kd.translate(va)


def test_own_mapping(victims: Victims) -> None:
    """That of the CPU that wrote the dump, not that of the first."""
    victim = victims("NetBSD", "sparc64")
    cpus, size, this, first = struct.unpack_from(">4Q", header(victim), 120)
    assert (cpus, size, this) == (3, CPU_SIZE, 1)
    for number in (0, 2):
        with lying(victim, 136, big(number)), pykvm.Kvm(victim.dump.core, victim.dump.kernel) as kd:
            assert kd.translate(INTSTACK + 0x8000) == first + number * size + 0x8000
            assert kd.read(INTSTACK, size) == kd.read_phys(first + number * size, size)
    with (
        lying(victim, 120, big(0)),
        pykvm.Kvm(victim.dump.core, victim.dump.kernel) as kd,
        pytest.raises(pykvm.AddressError),
    ):
        kd.translate(INTSTACK + 0x8000)


def test_sparc64_addresses(victims: Victims) -> None:
    """Below kernbase, in the hole and above it nothing is the kernel's, though tables have an index for it."""
    for system, machine in SPARC64:
        victim = victims(system, machine)
        probe = next(p for p in victim.dump.probes if p.name == "kva: page 1")
        strings = victim.a.strings[701]
        with pykvm.Kvm(victim.dump.core, victim.dump.kernel) as kd:
            assert kd.read(probe.va, 128) == probe.data
            memory = kd.target.space(kd.parts, victim.a.vmspaces[701])
            for va in (0, KERNBASE - 1, probe.va + (1 << 43), probe.va - (1 << 43) & (1 << 64) - 1, strings):
                with pytest.raises(pykvm.AddressError):
                    kd.translate(va)
            assert strings > 0xFFFFF80000000000
            assert memory.translate(strings) % 8192 == strings % 8192
            for va in (strings - (1 << 44), strings & (1 << 44) - 1, KERNBASE):
                with pytest.raises(pykvm.AddressError):
                    memory.translate(va)
            memory.detach()


def test_first_of_several(victims: Victims) -> None:
    """Where an address is in several mappings: the first; what none has is the tables'."""
    victim = victims("NetBSD", "sparc64")
    nameless = victim.dump.kernel.with_name("nameless")  # its version's place is moved here
    nameless.write_bytes(victim.dump.kernel.read_bytes().replace(b"\0version\0", b"\0ver51on\0"))
    (va, pa), (image, image_pa) = (struct.unpack_from(">2Q", header(victim), at) for at in (160, 176))
    probe = next(p for p in victim.dump.probes if p.name == "kva: page 2")
    half = MB4 // 2
    with lying(victim, 160, big(image - half) + big(pa)), pykvm.Kvm(victim.dump.core, nameless) as kd:
        assert kd.translate(image) == pa + half
        assert kd.translate(image + half) == image_pa + half
        with pytest.raises(pykvm.AddressError):
            kd.translate(image - 1)
        with pytest.raises(pykvm.AddressError):
            kd.translate(va)
    # In the midst of another one, and over what tables have.
    page = probe.va + 64
    with lying(victim, 160, big(page) + big(image_pa)), pykvm.Kvm(victim.dump.core, nameless) as kd:
        assert kd.translate(page) == image_pa
        assert kd.read(page - 64, 64) == probe.data[:64]
        assert kd.translate(page + MB4 - 1) == image_pa + MB4 - 1
    with lying(victim, 160, big(page - MB4) + big(image_pa)), pykvm.Kvm(victim.dump.core, nameless) as kd:
        assert kd.translate(page - 1) == image_pa + MB4 - 1
        assert kd.read(page, 64) == probe.data[64:]


@pytest.mark.parametrize(
    ("machine", "offset", "data", "why"),
    [
        ("sparc64", 0, b"\0\0\0\2", "cputype is 0x2, which makes no sense"),
        ("sparc64", 0, b"\xff" * 4, "cputype is -0x1, which makes no sense"),
        ("sparc64", 4, b"\xff" * 4, "nmemseg is -0x1, which makes no sense"),
        ("sparc64", 4, struct.pack(">i", 1000), r"nmemsegs: 1000 segments do not fit the cpu data of \d+ bytes"),
        ("sparc64", 4, bytes(4), "nmemseg is 0x0, which makes no sense"),
        ("sparc64", 8, big(88), "memsegoffset is 0x58, which makes no sense"),
        ("sparc64", 8, big(1 << 63), "memsegoffset is 0x8000000000000000, which makes no sense"),
        ("sparc64", 24, big(0), "segmapoffset is 0x0, which makes no sense"),
        ("sparc64", 24, big(0x1000), "segmapoffset is 0x1000, which makes no sense"),
        ("sparc64", 24, big(-8192), "segmapoffset is 0xffffffffffffe000, which makes no sense"),
        ("sparc64", 32, big(1 << 63), "kernbase is 0x8000000000000000, which makes no sense"),
        ("sparc64", 32, big(0), "kernbase is 0x0, which makes no sense"),
        ("sparc64", 32, big(1 << 42), "there is nothing at 0x1"),
        ("sparc64", 40, big(0x7FFF), "thiscpu is 1, numcpuinfos 3, cpubase 0x7fff, which make no sense"),
        ("sparc64", 96, big(0), "there is nothing at 0x1"),
        ("sparc64", 104, big(65), "num4mbsegs is 65, off4mbsegs 160, must be up to 64, from 120"),
        ("sparc64", 104, big(64), "num4mbsegs: 64 entries at offset 160 do not fit the cpu header of 496 bytes"),
        ("sparc64", 104, big(-1), "num4mbsegs is 18446744073709551615, off4mbsegs 160"),
        ("sparc64", 104, big(0), "there is nothing at 0x1"),
        ("sparc64", 112, big(112), "num4mbsegs is 2, off4mbsegs 112"),
        ("sparc64", 112, big(465), "num4mbsegs: 2 entries at offset 465 do not fit"),
        ("sparc64", 112, big(-1), "num4mbsegs: 2 entries at offset 18446744073709551615 do not fit"),
        ("sparc64", 128, big(1 << 60), "cpusp: 0x1000000000000000 bytes at 0xe0010000, physical 0x1"),
        ("sparc64", 136, big(3), "thiscpu is 3, numcpuinfos 3, cpubase 0xe0018000, which make no sense"),
        ("sparc64", 144, big(1 << 56), "cpusp: 0x10000 bytes at 0xe0010000, physical 0x100000000010000, which make no"),
        ("sparc64", 160, big(-1), "4 MB segment 0: 0x400000 bytes at 0xffffffffffffffff, physical 0x"),
        ("sparc64", 184, big(-1), "4 MB segment 1: 0x400000 bytes at 0x1000000, physical 0xffffffffffffffff, which"),
        ("sparc64", 200, big(1 << 62), "memory segment 1 overlaps another, wraps around, or is too large"),
        ("sparc64-2000", 64, big(-1), "ktextbase: 0xffffffffffffffff bytes at 0x1000000, physical 0x40800000, which"),
        ("sparc64-2000", 64, big(0), "there is nothing at 0x1"),
        ("sparc64-2000", 72, big(-5), "kdatabase: 0x400000 bytes at 0xfffffffffffffffb, physical 0x"),
    ],
)
def test_sparc64_header(victims: Victims, machine: str, offset: int, data: bytes, why: str) -> None:
    victim = victims("NetBSD", machine)
    with lying(victim, offset, data), pytest.raises(pykvm.FormatError, match=why) as caught:
        pykvm.Kvm(victim.dump.core, victim.dump.kernel)
    assert str(victim.dump.core) in str(caught.value)


def test_sparc64_without_a_size(victims: Victims) -> None:
    """Of a CPU's mapping, and of data: there are none."""
    for system, machine, offset in (("NetBSD", "sparc64", 128), ("OpenBSD", "sparc64", 88)):
        victim = victims(system, machine)
        told = len(sparc64.sparc64("core", header(victim), "big").locked)
        with lying(victim, offset, big(0)):
            assert len(sparc64.sparc64("core", header(victim), "big").locked) == told - 1
            with pykvm.Kvm(victim.dump.core, victim.dump.kernel) as kd:
                assert one(kd, 700).comm == "sh"


def test_sparc64_cut() -> None:
    with pytest.raises(pykvm.FormatError, match="core: cpu_kcore_hdr: only 95 of 96 bytes are there"):
        sparc64.sparc64("core", bytes(95), "big")


@pytest.mark.parametrize("value", [0x2000, 1 << 40, (1 << 55) + 0x2000])
def test_sparc64_table(victims: Victims, value: int) -> None:
    """That is not there: what is locked is read, the rest is not."""
    victim = victims("OpenBSD", "sparc64")
    with lying(victim, 24, big(value)), pykvm.Kvm(victim.dump.core, victim.dump.kernel) as kd:
        for probe in victim.dump.probes:
            if "large page" in probe.name:
                assert kd.read(probe.va, 128) == probe.data
            elif "kva: page" in probe.name:
                with pytest.raises(pykvm.AddressError):
                    kd.read(probe.va, 128)


def test_entries_of_a_table(victims: Victims) -> None:
    """Without the valid bit, of a table that is nowhere, of one that is above all memory."""
    for system, machine in (("NetBSD", "sparc64"), ("OpenBSD", "sparc64-sun4v")):
        victim = victims(system, machine)
        probe = next(p for p in victim.dump.probes if p.name == "kva: page 1")
        va, table = probe.va + 64, victim.dump.roots[0]
        for shift in (33, 23, 13):
            at = table + 8 * (va >> shift & 1023)
            raw = victim.dump.memory[at // 8192][at % 8192 :][:8]
            entry = int.from_bytes(raw, "big")
            assert entry
            bad = (entry & (1 << 63) - 1,) if shift == 13 else (0, 1 << 55, 1 << 63 | entry & 0xFFF)
            for value in bad:
                with victim.lying(victim.offset(at), big(value)) as kd, pytest.raises(pykvm.AddressError):
                    kd.read(va, 8)
            table = entry


def test_sun4v_is_told_by_memory(victims: Victims) -> None:
    """OpenBSD's header says sun4u on all: with memory that no sun4u has its entries are a sun4v's."""
    victim = victims("OpenBSD", "sparc64-sun4v")
    assert header(victim)[:4] == b"\0\0\0\3"
    with pykvm.Kvm(victim.dump.core, victim.dump.kernel) as kd:
        memory = kd.target.space(kd.parts, victim.a.vmspaces[701])
        assert memory.translate(victim.a.strings[701]) >> 44 == 1
        memory.detach()
