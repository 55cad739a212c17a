"""alpha of NetBSD and OpenBSD: what both generations of the header may say, segments of addresses, tables."""

from __future__ import annotations

import struct

import pytest
from bsd_header import Victims, header, kept, lying, one
from pykvm_fixtures.bsd import MACHINES

import pykvm
from pykvm.images.kcore_cpu import alpha
from pykvm.machines import alpha as alpha_mmu
from pykvm.machines.leaves import Tree
from pykvm.machines.mmu import Root

ALPHA = [(system, machine) for system in MACHINES for machine in MACHINES[system] if machine.startswith("alpha")]
K0SEG, K1SEG = 0xFFFFFC0000000000, 0xFFFFFE0000000000


@pytest.fixture(scope="module")
def victims(tmp_path_factory: pytest.TempPathFactory) -> Victims:
    return kept(tmp_path_factory)


def little(value: int) -> bytes:
    return struct.pack("<Q", value & (1 << 64) - 1)


def test_alpha_headers(victims: Victims) -> None:
    for system, machine, count in (("NetBSD", "alpha", 4), ("OpenBSD", "alpha", 4), ("NetBSD", "alpha-one", 2 << 20)):
        victim = victims(system, machine)
        raw = victim.dump.core.read_bytes()[:0x1000]
        assert raw[:4] == b"\x00\x8d\x8f\xca"
        assert struct.unpack_from("<HHI", raw, 4) == (16, 8, 2)
        assert victim.dump.placed.cpu_size == 504
        assert struct.unpack_from("<3Q", header(victim)) == (victim.dump.roots[0], 8192, count)


def test_alpha_segments(victims: Victims) -> None:
    """K0SEG is memory; K1SEG has tables, as have processes, below; the rest is nothing."""
    for system, machine in ALPHA:
        victim = victims(system, machine)
        strings = victim.a.strings[701]
        with pykvm.Kvm(victim.dump.core, victim.dump.kernel) as kd:
            for start, size in victim.dump.placed.segments:
                assert kd.translate(K0SEG + start + size - 1) == start + size - 1
            for va in (0, strings, K0SEG - 1, K1SEG, (1 << 64) - 1, K1SEG - 1 << 43 & (1 << 64) - 1):
                with pytest.raises(pykvm.AddressError):
                    kd.read(va, 1)
            memory = kd.target.space(kd.parts, victim.a.vmspaces[701])
            memory.read(strings, 32)
            for va in (strings + (1 << 43), strings + (1 << 42), strings | K1SEG):
                with pytest.raises(pykvm.AddressError):
                    memory.read(va, 1)
            memory.detach()


@pytest.mark.parametrize(
    ("machine", "offset", "data", "why"),
    [
        ("alpha", 0, little(0), "lev1map_pa is 0x0, which makes no sense"),
        ("alpha", 0, little(0x1000), "lev1map_pa is 0x1000, which makes no sense"),
        ("alpha", 0, little(1 << 48), "lev1map_pa is 0x1000000000000, which makes no sense"),
        ("alpha", 8, little(4096), "page_size is 4096, must be 8192"),
        ("alpha", 16, little(31), "nmemsegs: 31 segments do not fit the cpu data of 504 bytes"),
        ("alpha", 16, little(-1), "nmemsegs: 18446744073709551615 segments do not fit"),
        ("alpha", 16, little(0), "nmemsegs is 0"),
        ("alpha", 32, little(1 << 62), "memory segment 1 overlaps another, wraps around, or is too large"),
        ("alpha-one", 24, little(-1), "memory segment 0 overlaps another, wraps around, or is too large"),
    ],
)
def test_alpha_header(victims: Victims, machine: str, offset: int, data: bytes, why: str) -> None:
    victim = victims("NetBSD", machine)
    with lying(victim, offset, data), pytest.raises(pykvm.FormatError, match=why) as caught:
        pykvm.Kvm(victim.dump.core, victim.dump.kernel)
    assert str(victim.dump.core) in str(caught.value)


def test_alpha_cut() -> None:
    with pytest.raises(pykvm.FormatError, match="core: cpu_kcore_hdr: only 23 of 24 bytes are there"):
        alpha.alpha("core", bytes(23), "little")
    with pytest.raises(pykvm.FormatError, match="core: cpu_kcore_hdr: only 31 of 32 bytes are there"):
        alpha.alpha("core", struct.pack("<3Q", 0x2000, 8192, 8192) + bytes(7), "little")


def test_alpha_tables(victims: Victims) -> None:
    """A table that is not there does not keep K0SEG from being read; an entry without its valid bit is none."""
    victim = victims("OpenBSD", "alpha")
    probe = next(p for p in victim.dump.probes if p.name == "kva: page 1")
    with lying(victim, 0, little(1 << 45)), pykvm.Kvm(victim.dump.core, victim.dump.kernel) as kd:
        image = victim.dump.probes[0]
        assert kd.read(image.va, 128) == image.data
        with pytest.raises(pykvm.AddressError):
            kd.read(probe.va, 1)
    va, table = probe.va + 64, victim.dump.roots[0]
    for shift in (33, 23, 13):
        at = table + 8 * (va >> shift & 1023)
        entry = int.from_bytes(victim.dump.memory[at // 8192][at % 8192 :][:8], "little")
        for value in (entry & -2, entry | 0xFFFFFFFF << 32):
            with victim.lying(victim.offset(at), little(value)) as kd, pytest.raises(pykvm.AddressError):
                kd.read(va, 8)
        table = (entry >> 32) * 8192


@pytest.mark.parametrize(("machine", "kind", "member"), [("alpha", "pmap", "pm_lev1map"), ("alpha-percpu", "", "")])
def test_alpha_pmap(victims: Victims, machine: str, kind: str, member: str) -> None:
    """A level-1 table that is not in K0SEG."""
    victim = victims("NetBSD", machine)
    with pykvm.Kvm(victim.dump.core, victim.dump.kernel) as kd:
        at = kd.read_ptr(victim.a.vmspaces[700] + victim.member("vmspace", "vm_map", "pmap"))
    name = member or "pmc_lev1map"
    at += (
        victim.member(kind, member) if kind else victim.member("pmap", "pm_percpu") + victim.member("pmap_percpu", name)
    )
    for value in (0, K1SEG, 1 << 40):
        with victim.lying(victim.where(at), little(value)) as kd:
            why = f"process 700: arguments: struct pmap: {name} is {value:#x}, which is not in K0SEG"
            with pytest.raises(pykvm.FormatError, match=why):
                kd.argv(one(kd, 700))
            assert kd.argv(one(kd, 701)) == list(victim.dump.process(701).args)


def test_leaves() -> None:
    """The page's number is the upper half of an entry, for those who list pages, too."""
    level, entry = alpha_mmu.LEVELS[2], 0x12345 << 32 | 0xFFFF
    table = struct.pack("<1024Q", *(0, 0, entry, entry - 1), *(0 for _ in range(1020)))
    tree = Tree([level], "little", lambda address, size: iter([(0, table[address : address + size])]), "core")
    (leaf,) = tree.leaves(Root(0, (1 << 23) - 1, 0))
    assert leaf == (2 << 13, 0x12345 << 13, 8192, entry)


def test_physical() -> None:
    assert alpha_mmu.physical(K0SEG + 0x12345678) == 0x12345678
    assert alpha_mmu.physical(K1SEG - 1) == (1 << 41) - 1
