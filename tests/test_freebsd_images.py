"""Minidumps of every machine, full dumps and dump headers of FreeBSD and DragonFly, made by hand from the formats."""

from __future__ import annotations

import gzip
import random
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from freebsd_maker import PAGE, VERSION, dump_header, full, kernel, minidump
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pykvm
from pykvm.errors import AddressError, FormatError, KvmError

KERNBASE = 0xFFFFFFFF80000000
KVA, DMAP = 0xFFFFFE0000000000, 0xFFFFF80000000000


def amd64(version: int = 3, magic: bytes = b"minidump FreeBSD/amd64", base: int = KVA) -> Callable[..., bytes]:
    return lambda msg, bits, size, avail: struct.pack(
        "<24sIIIIQQQI", magic, version, msg, bits, size, base, DMAP, DMAP + (1 << 42), avail
    )


def arm64(version: int = 2, flags: int = 0, magic: bytes = b"minidump FreeBSD/arm64") -> Callable[..., bytes]:
    return lambda msg, bits, size, avail: struct.pack(
        "<24sIIIIQQQQII", magic, version, msg, bits, size, 0xFFFF000000000000, 0x40000000, 0xFFFFA00000000000,
        0xFFFFA00100000000, avail, flags,
    )  # fmt: skip


def i386(pae: int, version: int = 2) -> Callable[..., bytes]:
    return lambda msg, bits, size, avail: struct.pack(
        "<24sIIIIIII", b"minidump FreeBSD/i386", version, msg, bits, size, 0xC0000000, pae, avail
    )


def arm(mmuformat: int) -> Callable[..., bytes]:
    return lambda msg, bits, size, avail: struct.pack(
        "<24sIIIIIIII", b"minidump FreeBSD/arm", 2, msg, bits, size, 0xC0000000, 0, mmuformat, avail
    )


def mips(base: int, order: str = "<") -> Callable[..., bytes]:
    return lambda msg, bits, size, avail: struct.pack(
        order + "24sIIIIQQQI", b"minidump FreeBSD/mips", 2, msg, bits, size, base, 0, 0, avail
    )


def dragonfly(msg: int, bits: int, size: int, avail: int) -> bytes:
    return struct.pack("<24sI4xQQQQQQ", b"minidump DFlyBSD/x86-64", 2, msg, bits, size, KVA, DMAP, DMAP + (1 << 40))


def fill(number: int, page: int = PAGE) -> bytes:
    return bytes((number * 7 + i // 256) & 0xFF for i in range(page))


def words(count: int, values: dict[int, int], size: int = 8, order: str = "<") -> bytes:
    out = bytearray(count * size)
    for i, value in values.items():
        out[i * size : i * size + size] = value.to_bytes(size, "little" if order == "<" else "big")
    return bytes(out)


class Case:
    """A dump and what must be read from it: virtual address -> contents, and addresses that are not there."""

    def __init__(self, machine: str, dump: bytes, there: dict[int, bytes], absent: tuple[int, ...], **elf: Any) -> None:
        self.machine, self.dump, self.there, self.absent, self.elf = machine, dump, there, absent, elf

    def open(self, room: Path, **more: Any) -> pykvm.Kvm:
        (room / "vmcore").write_bytes(self.dump)
        names = {"allproc": next(iter(self.there)), **more.pop("symbols", {})}
        return pykvm.Kvm(room / "vmcore", kernel(room / "kernel", names, machine=self.machine, **self.elf, **more))


AVAIL = ((0x1000, 0x9F000), (0x100000, 0x800000), (0x40000000, 0x40400000))


def flat(machine: str, header: Any, base: int, pte: Callable[[int], int], size: int, **how: Any) -> Case:
    """Pages 0x105000, 0x300000, 0x3000 at the base's entries 1, 2 and 5; entry 3 is empty, 4 of memory not dumped."""
    page, order, elf = how.get("page", PAGE), how.pop("order", "<"), how.pop("elf", {})
    frames = [n * page for n in (0x45, 0x80, 0x3)]
    pages = {pa: fill(i, page) for i, pa in enumerate(frames)}
    ptes = {1: pte(frames[0]), 2: pte(frames[1]), 4: pte(frames[0] + page), 5: pte(frames[2])}
    dump = minidump(header, pages, words(512, ptes, size, order), order=order, **how)
    there = {base + n * page: fill(i, page) for n, i in ((1, 0), (2, 1), (5, 2))}
    return Case(
        machine, dump, there, (base, base + 3 * page, base + 4 * page, base + 512 * page), order=order, **elf
    )  # fmt: skip


def cases() -> dict[str, Case]:
    found = {
        "amd64-1": flat("x86_64", amd64(1), KVA, lambda pa: pa | 0x8000000000000003, 8),
        "dragonfly-1": flat("x86_64", amd64(1), KVA, lambda pa: pa | 3, 8),
        "arm64-1": flat("aarch64", arm64(1), 0xFFFF000000000000, lambda pa: pa | 0x60000000000703, 8),
        "arm64-2": flat("aarch64", arm64(2), 0xFFFF000000000000, lambda pa: pa | 0x703, 8, avail=AVAIL),
        "arm64-16k": flat(
            "aarch64", arm64(3, 1), 0xFFFF000000000000, lambda pa: pa | 0x703, 8, page=16384,
            avail=((0x4000, 0x800000), (0x1000000, 0x2000000)),
        ),
        "riscv64": flat(
            "riscv64", arm64(2, magic=b"minidump FreeBSD/riscv"), 0xFFFF000000000000, lambda pa: pa >> 2 | 0xCF, 8,
            avail=AVAIL,
        ),
        "i386": flat("i386", i386(0), 0xC0000000, lambda pa: pa | 3, 4, avail=AVAIL, avail_word=4, elf=NARROW),
        "i386-pae": flat("i386", i386(1), 0xC0000000, lambda pa: pa | 1 << 63 | 3, 8, avail=AVAIL, elf=NARROW),
        "i386-1": flat("i386", i386(0, 1), 0xC0000000, lambda pa: pa | 3, 4, elf=NARROW),
        "arm": flat("arm", arm(0), 0xC0000000, lambda pa: pa | 0x13, 4, avail=AVAIL, avail_word=4, elf=NARROW),
        "arm-v4": flat("arm", arm(1), 0xC0000000, lambda pa: pa | 0x12, 4, elf=NARROW),
        "arm-lpae": flat("arm", arm(3), 0xC0000000, lambda pa: pa | 0x703, 8, avail=AVAIL, elf=NARROW),
        "mips64el": flat("mips", mips(0xC000000000000000), 0xC000000000000000, lambda pa: pa >> 6 | 1 << 55 | 7, 8),
        "mips32": flat(
            "mips", mips(0xFFFFFFFFC0000000, ">"), 0xC0000000, lambda pa: pa >> 6 | 0xE0000007, 4, word=4, order=">",
            elf=NARROW,
        ),
    }  # fmt: skip
    for version, avail in ((2, ()), (3, AVAIL)):
        pages = {0x105000: fill(1), 0x3000: fill(2), 0x201000: fill(3), 0x200000: fill(4)}
        pages[0x7000] = words(512, {0: 0x105003, 511: 0x3003})
        page_map = words(1024, {3: 0x7003, 4: 0x200083, 600: 0x8003})
        found[f"amd64-{version}"] = Case(
            "x86_64", minidump(amd64(version), pages, page_map, avail=avail),
            {
                KVA + (3 << 21): fill(1), KVA + (4 << 21) - PAGE: fill(2), KVA + (4 << 21): fill(4) + fill(3),
                DMAP + 0x200000: fill(4) + fill(3), DMAP + 0x105000: fill(1),
            },
            (KVA, KVA + (600 << 21), KVA + (1024 << 21), DMAP + 0x4000, DMAP - PAGE, KVA + (4 << 21) + 2 * PAGE),
        )  # fmt: skip
    pages = {0x105000: fill(1), 0x40000000: fill(5), 0x200000: fill(6), 0x7000: words(512, {0: 0x9003, 1: 0x200083})}
    pages[0x9000] = words(512, {2: 0x105003})
    index = KVA >> 30 & 0x3FFFF
    found["dragonfly-2"] = Case(
        "x86_64", minidump(dragonfly, pages, words(1 << 18, {index: 0x7003, index + 1: 0x40000083})),
        {KVA + 0x2000: fill(1), KVA + (1 << 30): fill(5), KVA + 0x200000: fill(6), DMAP + 0x105000: fill(1)},
        (KVA, KVA + (2 << 30), DMAP + (1 << 41)),
    )  # fmt: skip
    return found


NARROW = {"wide": False}
CASES = cases()


@pytest.mark.parametrize("name", CASES)
def test_every_machine_translates_its_minidump(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    with case.open(tmp_path) as kd:
        for addr, data in case.there.items():
            assert kd.read(addr, len(data)) == data
            assert kd.read(addr + 257, 1000) == data[257:1257]
        for addr in case.absent:
            with pytest.raises(AddressError):
                kd.read(addr, 1)
        assert kd.info.format == "minidump"
        assert kd.info.system == ("FreeBSD" if name != "dragonfly-2" else "DragonFly")
        assert kd.info.pointer_size == (4 if case.elf.get("wide") is False else 8)
        assert kd.info.byteorder == ("big" if case.elf.get("order") == ">" else "little")


def test_arm_has_large_pages(tmp_path: Path) -> None:
    """Each of a large page's 16 entries has the address of its beginning."""
    pages = {0x250000 + n * PAGE: fill(n) for n in range(16)}
    ptes = {16 + n: 0x250001 | 0x30 for n in range(16)} | {40: 0x250002, 41: 0x251003}
    for mmuformat in (0, 1, 2):
        case = Case("arm", minidump(arm(mmuformat), pages, words(64, ptes, 4)), {0xC0010000: fill(0)}, (), wide=False)
        with case.open(tmp_path) as kd:
            assert kd.read(0xC0010000, 65536) == b"".join(pages.values())
            assert kd.read(0xC001F004, 4) == fill(15)[4:8]
            assert kd.read(0xC0028000, PAGE) == fill(0)
            if mmuformat == 1:  # a tiny page
                with pytest.raises(AddressError):
                    kd.read(0xC0029000, 1)
            else:
                assert kd.read(0xC0029000, PAGE) == fill(1)


def test_arm_of_an_unknown_format_is_refused(tmp_path: Path) -> None:
    case = Case("arm", minidump(arm(4), {0: fill(0)}, bytes(PAGE)), {0xC0000000: b""}, (), wide=False)
    with pytest.raises(FormatError, match="mmuformat 4 is not known"):
        case.open(tmp_path)


def test_direct_maps_begin_at_dmapphys(tmp_path: Path) -> None:
    for name, machine, magic in (("arm64", "aarch64", b"arm64"), ("riscv", "riscv64", b"riscv")):
        header = arm64(2, magic=b"minidump FreeBSD/" + magic)
        dump = minidump(header, {0x40001000: fill(1)}, bytes(PAGE), avail=AVAIL)
        with Case(machine, dump, {0xFFFFA00000001000: fill(1)}, ()).open(tmp_path) as kd:
            assert kd.read(0xFFFFA00000001000, PAGE) == fill(1), name
            assert kd.translate(0xFFFFA00000001008) == 0x40001008
            with pytest.raises(AddressError):
                kd.read(0xFFFFA00100000000, 1)


def test_mips_segments(tmp_path: Path) -> None:
    pages = {0x3000: fill(3)}
    dump = minidump(mips(0xC000000000000000), pages, words(16, {}))
    with Case("mips", dump, {0xFFFFFFFF80003000: b""}, ()).open(tmp_path) as kd:
        assert kd.info.machine == "mips64"
        for base in (0xFFFFFFFF80000000, 0xFFFFFFFFA0000000, 0x9800000000000000, 0x9000000000000000):
            assert kd.read(base + 0x3000, PAGE) == fill(3)
    dump = minidump(mips(0xC0000000, ">"), pages, words(16, {}), order=">", word=4)
    with Case("mips", dump, {0x80003000: b""}, (), wide=False, order=">").open(tmp_path) as kd:
        assert kd.info.machine == "mips"
        assert kd.read(0x80003000, PAGE) == kd.read(0xA0003000, PAGE) == fill(3)


# -- powerpc64 ---------------------------------------------------------------------------------------------------

PPC_KVA, PPC_DMAP, PPC_MOVED = 0xE000000000000000, 0xC000000000000000, 0xC000000000000000


def powerpc(name: bytes, order: str) -> Callable[..., bytes]:
    return lambda msg, bits, size, avail: struct.pack(
        order + "32s32sIIIIQQQQI4xQQI", b"minidump FreeBSD/powerpc64", name, 2, msg, bits, size, PPC_KVA,
        PPC_KVA + 0x7FFFFFFFF, PPC_DMAP, 0xCFFFFFFFFFFFFFFF, 1, 0x100100 + PPC_MOVED, 0x900000 + PPC_MOVED, avail,
    )  # fmt: skip


def hashed_table(mapped: dict[int, tuple[int, bool]], groups: int = 2048) -> bytes:
    """The table of small kernel pages: address -> (physical address, in the secondary group?)."""
    out = bytearray(groups * 128)
    used = [0] * groups
    for va, (pa, secondary) in mapped.items():
        esid, page = va >> 28, va >> 12 & 0xFFFF
        vsid = ((esid << 8 | esid >> 28) * 0x13BB & (1 << 36) - 1) | 1 << 36
        value = vsid & (1 << 39) - 1 ^ page
        group = (~value if secondary else value) & groups - 1
        at = group * 128 + used[group] * 16
        used[group] += 1
        out[at : at + 16] = struct.pack(">QQ", vsid << 12 | page >> 11 << 7 | secondary << 1 | 1, pa | 0x192)
    return bytes(out)


PPC_PAGES = {0x105000: fill(1), 0x300000: fill(2), 0x202000: VERSION}
PPC_NAMES = {"version": 0x202000, "etext": 0x201000}


def check_powerpc(dump: bytes, order: str, there: dict[int, bytes], absent: tuple[int, ...], room: Path) -> None:
    case = Case("powerpc64", dump, {0x202000: VERSION}, (), order=order)
    with case.open(room, symbols=PPC_NAMES, held={0x202000: VERSION}) as kd:
        assert kd.target.kerndisp == PPC_MOVED  # type: ignore[attr-defined]
        assert kd.symbol("etext") == 0x201000 + PPC_MOVED
        assert kd.info.version == VERSION.rstrip(b"\0").decode().rstrip("\n")
        assert kd.read(PPC_DMAP + 0x300000, PAGE) == fill(2)
        for addr, data in there.items():
            assert kd.read(addr, len(data)) == data
        for addr in absent:
            with pytest.raises(AddressError):
                kd.read(addr, 1)
    other = VERSION.replace(b"14.2", b"14.3")
    with pytest.raises(FormatError, match=r"it is .*14\.3.*; the dump's is .*14\.2"):
        case.open(room, symbols=PPC_NAMES, held={0x202000: other})


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("name", [b"mmu_g5", b"mmu_phyp"])
def test_powerpc64_with_a_hashed_page_table(order: str, name: bytes, tmp_path: Path) -> None:
    high = PPC_KVA + 0x3F801000  # another segment, and the bits of the page that only the entry has
    table = hashed_table({
        PPC_KVA + 0x5000: (0x105000, False), PPC_KVA + 0x6000: (0x300000, True), high: (0x300000, False),
        PPC_KVA + 0x8000: (0x999000, False),
    })  # fmt: skip
    dump = minidump(powerpc(name, order), PPC_PAGES, table, avail=AVAIL, order=order)
    there = {PPC_KVA + 0x5000: fill(1) + fill(2), high: fill(2)}
    absent = (PPC_KVA, PPC_KVA + 0x8000, high - 0x800000, PPC_DMAP - PAGE, PPC_KVA + 0x10005000)
    check_powerpc(dump, order, there, absent, tmp_path)


@pytest.mark.parametrize("order", ["<", ">"])
def test_powerpc64_with_a_radix_tree(order: str, tmp_path: Path) -> None:
    valid, leaf = 1 << 63, 1 << 62
    pages = {
        **PPC_PAGES, 0x40000000: fill(7),
        0x10000: words(512, {0: valid | 0x11000 | 9, 1: valid | leaf | 0x40000000 | 0x186}, 8, ">"),
        0x11000: words(512, {0: valid | 0x12000 | 9, 1: valid | leaf | 0x200000 | 0x186}, 8, ">"),
        0x12000: words(512, {5: valid | leaf | 0x105000 | 0x186, 6: valid | 0x105000}, 8, ">"),
    }  # fmt: skip
    index = PPC_KVA >> 39 & 0x1FFF
    root = words(8192, {index: valid | 0x10000 | 9}, 8, ">")
    dump = minidump(powerpc(b"mmu_radix", order), pages, root, avail=AVAIL, order=order)
    there = {PPC_KVA + 0x5000: fill(1), PPC_KVA + 0x202000: VERSION, PPC_KVA + (1 << 30): fill(7)}
    check_powerpc(dump, order, there, (PPC_KVA, PPC_KVA + 0x6000, PPC_KVA + (1 << 39)), tmp_path)


@pytest.mark.parametrize(
    ("name", "size", "why"),
    [
        (b"mmu_radix", 4096, "page map size 4096 of mmu_radix, must be 65536"),
        (b"mmu_g5", 384, "page map size 384 is no hashed page table's"),
        (b"mmu_g5", 0, "page map size 0 is no hashed"),
        (b"mmu_g7", 4096, "mmu_name 'mmu_g7' is not known"),
    ],
)
def test_powerpc64_that_makes_no_sense(name: bytes, size: int, why: str, tmp_path: Path) -> None:
    dump = minidump(powerpc(name, ">"), PPC_PAGES, bytes(size), order=">")
    with pytest.raises(FormatError, match=why):
        Case("powerpc64", dump, {0x202000: VERSION}, (), order=">").open(tmp_path)


# -- full dumps ------------------------------------------------------------------------------------------------


def amd64_full(kernphys: int, *, five: bool = False, delta: bool = False, size: int = 12 << 20) -> bytes:
    """The kernel's image (linked 2 MB above KERNBASE) at kernphys, its tables at 0x3000 on; a 2 MB and a 4 KB page."""
    memory = bytearray(size)

    def put(pa: int, value: int) -> None:
        memory[pa : pa + 8] = value.to_bytes(8, "little")

    # KERNBASE + 2 MB -> kernphys, + 4 MB -> the page at 0x9000
    put(0x3000 + 511 * 8, 0x4003)
    put(0x4000 + 510 * 8, 0x5003)
    put(0x5000 + 1 * 8, kernphys | 0x83)
    put(0x5000 + 2 * 8, 0x6003)
    put(0x6000, 0x9003)
    memory[0x9000:0xA000] = fill(9)
    put(0x3000 + 496 * 8, 0x7003)  # the direct map
    put(0x7000, 0x83)
    put(kernphys + 0x1238, 0x3000)  # KPML4phys
    if five:
        put(0x8000 + 511 * 8, 0x3003)
        put(kernphys + 0x1240, 0x8000)
        put(kernphys + 0x1238, 0)
    memory[kernphys + 0x2000 : kernphys + 0x2000 + len(VERSION)] = VERSION
    return full({0: bytes(memory)}, delta=(KERNBASE + 0x200000, kernphys) if delta else None)


AMD64_NAMES = {
    "kernbase": KERNBASE, "KPML4phys": KERNBASE + 0x201238, "KPML5phys": KERNBASE + 0x201240,
    "version": KERNBASE + 0x202000,
}  # fmt: skip


@pytest.mark.parametrize("kernphys", [0x200000, 0x400000, 0xA00000])
@pytest.mark.parametrize("how", [{}, {"five": True}, {"delta": True}])
def test_full_dumps_wherever_the_kernel_was_loaded(kernphys: int, how: dict[str, bool], tmp_path: Path) -> None:
    (tmp_path / "vmcore").write_bytes(amd64_full(kernphys, **how))
    file = kernel(tmp_path / "kernel", AMD64_NAMES, held={KERNBASE + 0x202000: VERSION})
    with pykvm.Kvm(tmp_path / "vmcore", file) as kd:
        assert kd.info.version == VERSION.rstrip(b"\0").decode().rstrip("\n")
        assert kd.read(KERNBASE + 0x400000, PAGE) == fill(9)
        assert kd.read(KERNBASE + 0x5FFFFF & -PAGE & ~0x1FFFFF, 16) == fill(9)[:16]
        assert kd.translate(KERNBASE + 0x202000) == kernphys + 0x2000
        assert kd.target.kernphys == kernphys  # type: ignore[attr-defined]


def test_a_full_dump_of_another_kernel_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vmcore").write_bytes(amd64_full(0x400000))
    file = kernel(tmp_path / "kernel", {"kernbase": KERNBASE, "KPML4phys": KERNBASE + 0x209000})
    with pytest.raises(FormatError, match=r"no page tables of the kernel .*KPML4phys, at 0xffffffff80209000"):
        pykvm.Kvm(tmp_path / "vmcore", file)
    file = kernel(tmp_path / "kernel", {"kernbase": KERNBASE})
    with pytest.raises(FormatError, match="has no symbol KPML5phys or KPML4phys"):
        pykvm.Kvm(tmp_path / "vmcore", file)
    with pytest.raises(KvmError, match="name the kernel file"):
        pykvm.Kvm(tmp_path / "vmcore")


def test_full_dump_of_i386(tmp_path: Path) -> None:
    for pae in (False, True):
        memory = bytearray(8 << 20)
        size = 8 if pae else 4
        if pae:
            memory[0x3000 + 3 * 8 : 0x3000 + 4 * 8] = (0x4001).to_bytes(8, "little")
            memory[0x4000:0x4010] = struct.pack("<QQ", 0x83, 0x200083)
            memory[0x4000 + 3 * 8 : 0x4000 + 4 * 8] = (0x5003).to_bytes(8, "little")
        else:
            memory[0x3000 + 768 * 4 : 0x3000 + 768 * 4 + 8] = struct.pack("<II", 0x83, 0x5003)
        at = 0x600000 - 0x200000 * 3 if pae else 0
        memory[0x5000 + at : 0x5000 + at + size] = (0x9003).to_bytes(size, "little")
        memory[0x9000:0xA000] = fill(9)
        memory[0x101000:0x101004] = (0x3000).to_bytes(4, "little")
        (tmp_path / "vmcore").write_bytes(full({0: bytes(memory)}, machine="i386", wide=False))
        names = {"kernbase": 0xC0000000, "IdlePDPT" if pae else "IdlePTD": 0xC0101000}
        with pykvm.Kvm(tmp_path / "vmcore", kernel(tmp_path / "kernel", names, machine="i386", wide=False)) as kd:
            assert kd.read(0xC0600000 if pae else 0xC0400000, PAGE) == fill(9)
            assert kd.read_u32(0xC0101000) == 0x3000


def test_full_dump_of_arm(tmp_path: Path) -> None:
    """Sections, supersections, large and small pages; memory begins at 0x80000000."""
    start = 0x80000000
    memory = bytearray(20 << 20)
    put = lambda pa, value: memory.__setitem__(slice(pa, pa + 4), value.to_bytes(4, "little"))  # noqa: E731
    put(0x4000 + 0xC00 * 4, start | 0x402)
    put(0x4000 + 0xC01 * 4, start + 0x8000 | 1)
    for i in range(16):
        put(0x4000 + (0xD00 + i) * 4, start | 0x40402)
        put(0x8000 + (16 + i) * 4, start + 0x110000 | 1)
    put(0x8000, start + 0x9000 | 2)
    memory[0x9000:0xA000] = fill(9)
    memory[0x112000:0x113000] = fill(2)
    memory[0x900000:0x901000] = fill(5)
    put(0x2000, start + 0x4000)
    (tmp_path / "vmcore").write_bytes(
        full({start: bytes(memory)}, machine="arm", wide=False, delta=(0xC0000000, start))
    )
    names = {"kernel_l1pa": 0xC0002000}
    with pykvm.Kvm(tmp_path / "vmcore", kernel(tmp_path / "kernel", names, machine="arm", wide=False)) as kd:
        assert kd.read(0xC0100000, PAGE) == fill(9)
        assert kd.read(0xC0112000, PAGE) == fill(2)
        assert kd.read(0xD0900000, PAGE) == fill(5)
        assert kd.translate(0xC0002000) == start + 0x2000


# -- the kernel file, the message buffer -----------------------------------------------------------------------


def image(version: bytes = VERSION, **more: bytes) -> Case:
    """An amd64 minidump with a kernel's data at KERNBASE + 2 MB: version there, msgbuf and load average behind."""
    data = bytearray(PAGE)
    data[: len(version)] = version
    data[0x400:0x418] = struct.pack("<3I4xq", 2048, 512, 102, 2048)
    data[0x500:0x508] = (KERNBASE + 0x200600).to_bytes(8, "little")
    ring = b"<118>second line\nthird line\n" + bytes(10) + b"first line\n"
    data[0x600:0x61C] = struct.pack("<QIIIII", KERNBASE + 0x200700, 0x63062, len(ring), 16 * len(ring) + 28, 0, 0)
    data[0x700 : 0x700 + len(ring)] = ring
    index = (KERNBASE + 0x200000 - KVA) >> 21
    page_map = words(1 << 20, {index: 0x7003})
    pages = {0x300000: bytes(data), 0x7000: words(512, {0: 0x300003})}
    return Case("x86_64", minidump(amd64(), pages, page_map, avail=AVAIL, **more), {KERNBASE + 0x200000: version}, ())


NAMES = {
    "version": KERNBASE + 0x200000, "averunnable": KERNBASE + 0x200400, "msgbufp": KERNBASE + 0x200500,
    "osrelease": KERNBASE + 0x200008,
}  # fmt: skip


def test_messages_and_load(tmp_path: Path) -> None:
    with image().open(tmp_path, symbols=NAMES, held={KERNBASE + 0x200000: VERSION}) as kd:
        assert kd.dmesg() == b"first line\n<118>second line\nthird line\n"
        assert [(m.priority, m.text) for m in kd.messages()] == [
            (None, b"first line"), (118, b"second line"), (None, b"third line"),
        ]  # fmt: skip
        assert kd.loadavg() == pytest.approx([1.0, 0.25, 102 / 2048])
        assert kd.target.kerndisp == 0  # type: ignore[attr-defined]
    names = {k: v for k, v in NAMES.items() if k != "msgbufp"}
    with image(msgbuf=b"boot\0\0\nlater\n").open(tmp_path, symbols=names) as kd:
        assert kd.dmesg() == b"boot\nlater\n"


def test_a_kernel_file_that_is_not_the_dumps(tmp_path: Path) -> None:
    other = VERSION.replace(b"#7", b"#8")
    with pytest.raises(FormatError, match=r"kernel is not the kernel of .*#8 .*; the dump's is .*#7 "):
        image().open(tmp_path, symbols=NAMES, held={KERNBASE + 0x200000: other})
    said = b"---<<BOOT>>---\nFreeBSD 13.1-RELEASE r1 GENERIC amd64\n"
    with pytest.raises(FormatError, match=r"the dump's is 'FreeBSD 13.1-RELEASE r1 GENERIC amd64'"):
        image(bytes(64), msgbuf=said).open(tmp_path, symbols=NAMES, held={KERNBASE + 0x200000: other})
    with pytest.raises(FormatError, match="the dump has no version text at 0xffffffff80200000"):
        image(bytes(64)).open(tmp_path, symbols=NAMES, held={KERNBASE + 0x200000: other})


def test_a_kernel_that_ran_elsewhere_than_linked(tmp_path: Path) -> None:
    linked = {name: value - (6 << 20) for name, value in NAMES.items()}
    held = {KERNBASE + 0x200000 - (6 << 20): VERSION}
    with image().open(tmp_path, symbols=linked, held=held) as kd:
        assert kd.symbol("averunnable") == NAMES["averunnable"]
        assert kd.loadavg()[0] == 1.0
        assert kd.target.kerndisp == 6 << 20  # type: ignore[attr-defined]


def test_foreign_kernels_and_none(tmp_path: Path) -> None:
    case = image()
    (tmp_path / "vmcore").write_bytes(case.dump)
    with pytest.raises(FormatError, match=r"is of aarch64, the dump .* of x86_64"):
        pykvm.Kvm(tmp_path / "vmcore", kernel(tmp_path / "kernel", NAMES, machine="aarch64"))
    with pytest.raises(KvmError, match="name the kernel file"):
        pykvm.Kvm(tmp_path / "vmcore")


# -- dump headers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [1, 2, 3, 4])
@pytest.mark.parametrize("block", [512, 4096])
@pytest.mark.parametrize("place", ["front", "both", "device"])
def test_dumps_between_their_headers(version: int, block: int, place: str, tmp_path: Path) -> None:
    case = image()
    header = dump_header(case.dump, version=version, block=block)
    tail = case.dump + bytes(-len(case.dump) % block)
    dump = {"front": header + case.dump, "both": header + tail + header}.get(
        place, random.Random(1).randbytes(block * 9) + header + tail + header
    )
    with Case("x86_64", dump, case.there, ()).open(tmp_path, symbols=NAMES) as kd:
        assert kd.info.version == VERSION.rstrip(b"\0").decode().rstrip("\n")
        assert kd.loadavg()[0] == 1.0
        assert kd.image.facts["panic"] == "page fault"
        assert kd.image.facts["hostname"] == "crashed.example"
        assert kd.image.facts["dump time"] == 1700000000
        assert kd.image.files[0].size == len(case.dump)


def test_full_dumps_behind_a_header_too(tmp_path: Path) -> None:
    """An ELF core, whose offsets are from the dump's beginning; reads and searches without the map as well."""
    dump = amd64_full(0x600000)
    (tmp_path / "vmcore").write_bytes(dump_header(dump) + dump)
    with pykvm.Kvm(tmp_path / "vmcore", kernel(tmp_path / "kernel", AMD64_NAMES)) as kd:
        assert kd.read(KERNBASE + 0x400000, PAGE) == fill(9)
        assert list(kd.image.find(VERSION[:16], 0, PAGE, lambda _: None)) == [0x602000]


@pytest.mark.parametrize("scheme", ["gzip", "zstd"])
@pytest.mark.parametrize("rest", [b"", bytes(700), b"what lay on the device before" * 40])
def test_dumps_that_the_kernel_compressed(scheme: str, rest: bytes, tmp_path: Path) -> None:
    case = image()
    packed = gzip.compress(case.dump, 1) if scheme == "gzip" else zstandard.compress(case.dump, 1)
    header = dump_header(packed + rest, compression={"gzip": 1, "zstd": 2}[scheme])
    for dump in (header + packed + rest, packed):
        with Case("x86_64", dump, case.there, ()).open(tmp_path, symbols=NAMES) as kd:
            assert kd.loadavg()[0] == 1.0
            assert kd.image.files[0].compressed == scheme
            assert kd.image.files[0].size == len(case.dump)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    case = image()
    tar = b"ddb.txt".ljust(257, b"\0") + b"ustar\x0000".ljust(255, b"\0")
    damaged = bytearray(dump_header(case.dump))
    damaged[50] ^= 1
    refused = {
        dump_header(b"", magic=b"FreeBSD Text Dump") + tar: "a textdump",
        tar + bytes(1024): "a textdump",
        dump_header(case.dump, magic=b"Cleared Kernel Dump") + case.dump: "cleared kernel dump: savecore",
        dump_header(case.dump, key=256) + case.dump: r"encrypted kernel dump \(dumpkeysize 256\)",
        bytes(damaged) + case.dump: r"parity is 0x\w+, must be 0",
        dump_header(case.dump, compression=7) + case.dump: "compression 7 is not known",
        dump_header(case.dump, compression=2) + case.dump: "compression is zstd, the dump behind it is not",
        dump_header(case.dump, compression=1) + gzip.compress(case.dump)[:900]: "damaged gzip stream",
        bytes(4096) + dump_header(case.dump, extent=2048): "there is no such header in front of the dump, at 1536",
    }
    for dump, why in refused.items():
        with pytest.raises(FormatError, match=why):
            Case("x86_64", dump, case.there, ()).open(tmp_path, symbols=NAMES)
    (tmp_path / "vmcore_encrypted.3").write_bytes(random.Random(2).randbytes(5000))
    with pytest.raises(FormatError, match="encrypted kernel dump"):
        pykvm.Kvm(tmp_path / "vmcore_encrypted.3", kernel(tmp_path / "kernel", NAMES))


# -- damage ----------------------------------------------------------------------------------------------------


def said(opening: Callable[[], pykvm.Kvm], addrs: Iterable[int]) -> str:
    """The error of opening and reading, or nothing."""
    try:
        with opening() as kd:
            for addr in addrs:
                kd.read(addr, 8)
    except KvmError as e:
        return str(e)
    return ""


@pytest.mark.parametrize("name", ["amd64-3", "arm64-16k", "i386-pae", "dragonfly-2"])
def test_every_cut_of_the_headers_is_one_error(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    for size in (*range(0, 96, 5), 4000, len(case.dump) // 2, len(case.dump) - 1):
        (tmp_path / "vmcore").write_bytes(case.dump[:size])
        file = kernel(tmp_path / "kernel", {"allproc": 1}, machine=case.machine, **case.elf)
        assert "\n" not in said(lambda: pykvm.Kvm(tmp_path / "vmcore", file), case.there)  # noqa: B023


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(name=st.sampled_from(sorted(CASES)), at=st.integers(24, 90), bad=st.binary(min_size=1, max_size=8))
def test_damaged_headers(name: str, at: int, bad: bytes, tmp_path: Path) -> None:
    case = CASES[name]
    dump = case.dump[:at] + bad + case.dump[at + len(bad) :]
    damaged = Case(case.machine, dump, case.there, (), **case.elf)
    message = said(lambda: damaged.open(tmp_path), (*case.there, *case.absent))
    assert "\n" not in message
    assert len(message) < 600


def test_a_sparse_full_dump_is_not_searched_for_ever(tmp_path: Path) -> None:
    with open(tmp_path / "vmcore", "wb") as f:
        f.write(full({0: bytes(PAGE)}))
        f.seek(64 + 32)
        f.write(struct.pack("<QQ", 1 << 45, 1 << 45))
        f.truncate(1 << 43)
    with pytest.raises(FormatError, match="no page tables"):
        pykvm.Kvm(tmp_path / "vmcore", kernel(tmp_path / "kernel", AMD64_NAMES))
