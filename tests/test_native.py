"""The C core by itself: images, walkers, the TLB, lists, symbol index. Run under valgrind and the sanitizers too."""

from __future__ import annotations

import random
import struct
import threading
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pykvm._native.ffi import ffi, lib
from pykvm.machines import i386, mmu, sparc
from pykvm.machines.mmu import Level, Root

pytestmark = pytest.mark.core
PAGE = 4096
CORE_SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Memory:
    """A file of physical memory, its image, and spaces over it."""

    def __init__(self, path: Path, data: bytes, mapped: bool = True) -> None:
        path.write_bytes(data)
        self.image = ffi.gc(lib.pk_image_new(), lib.pk_image_unref)
        with open(path, "r+b") as file:  # the image keeps its own descriptor
            assert lib.pk_image_add_file(self.image, file.fileno(), len(data), mapped) == 0
        self.extents([(0, len(data), 0)] if data else [])

    def extents(self, extents: list[tuple[int, int, int]]) -> int:
        table = ffi.new("pk_extent[]", [(*e, 0, 0) for e in extents])
        got: int = lib.pk_image_set_extents(self.image, table, len(extents))
        return got

    def space(self, walker: Any, mask: int = 0xFFFFFFFF, big: bool = False) -> Any:
        return ffi.gc(lib.pk_space_new(self.image, walker, mask, big, 1 << 14), lib.pk_space_free)


def read(space: Any, va: int, n: int) -> tuple[bytes, int, int]:
    """What could be read, the status and the address that failed."""
    buf, fault = bytearray(n), ffi.new("pk_fault *")
    got = lib.pk_space_read(space, va, ffi.from_buffer(buf), n, fault)
    return bytes(buf[:got]), fault.status, fault.addr


def linear(start: int, size: int, pa: int = 0) -> Any:
    return mmu.radix([Root(start, start + size - 1, pa)], (), "little")


@pytest.fixture
def memory(tmp_path: Path) -> Callable[..., Memory]:
    numbers = iter(range(1000))
    return lambda data, mapped=True: Memory(tmp_path / f"mem{next(numbers)}", data, mapped)


@pytest.mark.parametrize("mapped", [True, False])
def test_extents(memory: Callable[..., Memory], mapped: bool) -> None:
    data = random.Random(1).randbytes(3 * PAGE)
    m = memory(data, mapped)
    assert m.extents([(0x10000, PAGE, PAGE), (0x5000, 100, 0), (0x20000, PAGE * 9, 2 * PAGE)]) == -1
    fault, buf = ffi.new("pk_fault *"), bytearray(8192)

    def phys(addr: int, n: int) -> tuple[bytes, int, int]:
        got = lib.pk_image_read(m.image, addr, ffi.from_buffer(buf), n, fault)
        return bytes(buf[:got]), fault.status, fault.addr

    assert phys(0x10010, 64) == (data[PAGE + 16 : PAGE + 80], lib.PK_OK, 0)
    assert phys(0x5060, 10) == (data[96:100], lib.PK_EPHYS, 0x5064)
    assert phys(0x4FFF, 4) == (b"", lib.PK_EPHYS, 0x4FFF)
    assert phys(0x20FF0, 32) == (data[-16:], lib.PK_EEOF, 0x21000)
    assert phys(2**64 - 1, 1) == (b"", lib.PK_EPHYS, 2**64 - 1)
    assert m.extents([(0, 10, 0), (9, 10, 0)]) == 1
    assert m.extents([(0, 0, 0)]) == 0
    assert m.extents([(2**64 - 1, 2, 0)]) == 0
    assert m.extents([(0, 2, 2**64 - 1)]) == 0
    assert phys(0x5000, 1)[0] == data[:1]  # what was refused changed nothing


def build_i386(rng: random.Random, pages: int = 64) -> tuple[bytearray, dict[int, int]]:
    """Random page tables: physical memory, and virtual page -> physical address as the manual reads them."""
    mem = bytearray(rng.randbytes(pages * PAGE))
    directory = bytearray(PAGE)
    mapped: dict[int, int] = {}
    for index in rng.sample(range(1024), 6):
        if rng.random() < 0.3:
            struct.pack_into("<I", directory, index * 4, rng.randrange(2**32) & ~1)
            continue
        if rng.random() < 0.3:
            struct.pack_into("<I", directory, index * 4, 0x81)
            for i in range(pages):
                mapped[index << 22 | i * PAGE] = i * PAGE
            continue
        table = rng.randrange(1, pages) * PAGE
        struct.pack_into("<I", directory, index * 4, table | 0x63)
    mem[0:PAGE] = directory
    for index in range(1024):
        (entry,) = struct.unpack_from("<I", directory, index * 4)
        if entry & 0x81 == 1:
            table = entry & ~0xFFF
            for i in range(1024):
                if rng.random() < 0.97:
                    struct.pack_into("<I", mem, table + i * 4, rng.randrange(2**32) & ~1)
                else:
                    struct.pack_into("<I", mem, table + i * 4, rng.randrange(pages + 4) * PAGE | 1)
    for index in range(1024):  # read back: tables may have been drawn twice, or over the directory's page
        (entry,) = struct.unpack_from("<I", mem, index * 4)
        if entry & 0x81 == 1 and (entry & ~0xFFF) + PAGE <= len(mem):
            for i in range(1024):
                (pte,) = struct.unpack_from("<I", mem, (entry & ~0xFFF) + i * 4)
                if pte & 1:
                    mapped[index << 22 | i << 12] = pte & ~0xFFF
    return mem, mapped


@pytest.mark.parametrize("mapped", [True, False])
@CORE_SETTINGS
@given(seed=st.integers(0, 2**32))
def test_i386_walk(memory: Callable[..., Memory], mapped: bool, seed: int) -> None:
    rng = random.Random(seed)
    mem, expected = build_i386(rng)
    m = memory(bytes(mem), mapped)
    space = m.space(mmu.radix([Root(0, 0xFFFFFFFF, 0)], i386.LEVELS, "little"))
    fault, left = ffi.new("pk_fault *"), ffi.new("uint64_t *")
    candidates = [*expected, *(rng.randrange(2**20) << 12 for _ in range(50))]
    for va in candidates:
        inside = rng.randrange(PAGE)
        pa = lib.pk_space_translate(space, va + inside, left, fault)
        if va in expected:
            assert fault.status == lib.PK_OK
            assert pa == expected[va] + inside
            there = bytes(mem[pa : min(pa + 8, (pa | 0xFFF) + 1)])
            for _ in range(2):  # the second time from the TLB
                got, _, _ = read(space, va + inside, len(there) or 1)
                assert got == there
        elif not any(v <= va < v + PAGE for v in expected):
            assert fault.status in (lib.PK_EADDR, lib.PK_OK)
            if fault.status == lib.PK_OK:  # within a 4 MB page, beyond memory
                assert mem[(va >> 22) * 4] & 0x81 == 0x81


def test_tables_that_point_at_themselves(memory: Callable[..., Memory]) -> None:
    m = memory(struct.pack("<I", 1) * 1024)
    space = m.space(mmu.radix([Root(0, 0xFFFFFFFF, 0)], i386.LEVELS, "little"))
    assert read(space, 0x12345678, 4) == (struct.pack("<I", 1), lib.PK_OK, 0)


def test_table_outside_memory(memory: Callable[..., Memory]) -> None:
    m = memory(struct.pack("<I", 0x7FFFF001) * 1024)
    space = m.space(mmu.radix([Root(0, 0xFFFFFFFF, 0)], i386.LEVELS, "little"))
    assert read(space, 0x1000, 4)[1:] == (lib.PK_EPTE, 0x1000)
    space = m.space(mmu.radix([Root(0, 0xFFFFFFFF, 2**64 - 8)], i386.LEVELS, "little"))
    assert read(space, 0x1000, 4)[1] == lib.PK_EPTE


def test_four_levels_of_big_endian_entries(memory: Callable[..., Memory]) -> None:
    """The walker has no machine in it: 64-bit entries of the other byte order, and a root for half of the space."""
    levels = [Level(s, 9, 8, (1, 1), 0xFFFFFFFFF000, 0xFFFFFFFFF000, (0x80, 0x80)) for s in (39, 30, 21, 12)]
    va = 0xFFFF_8765_4321_0ABC
    mem = bytearray(6 * PAGE)
    for depth, level in enumerate(levels):
        index = va >> level.shift & 511
        struct.pack_into(">Q", mem, depth * PAGE + index * 8, (depth + 1) * PAGE | 1)
    mem[4 * PAGE + 0xABC : 4 * PAGE + 0xAC0] = b"here"
    m = memory(bytes(mem))
    walker = mmu.radix([Root(0xFFFF800000000000, 2**64 - 1, 0)], levels, "big")
    space = m.space(walker, 2**64 - 1, True)
    assert read(space, va, 4) == (b"here", lib.PK_OK, 0)
    assert lib.pk_word_u32(space, va) == int.from_bytes(b"here", "big")
    assert read(space, va & 0x7FFFFFFFFFFF, 4)[1] == lib.PK_EADDR
    assert (
        lib.pk_mmu_radix(ffi.new("pk_root[1]"), 1, ffi.new("pk_level[2]", [(12, 9, 8), (12, 9, 8)]), 2, 0) == ffi.NULL
    )
    assert lib.pk_mmu_radix(ffi.new("pk_root[1]"), 1, ffi.new("pk_level[1]", [(12, 9, 3)]), 1, 0) == ffi.NULL
    wide = ffi.new("pk_level[1]", [{"shift": 12, "bits": 9, "entry_size": 8, "rshift": 64}])
    assert lib.pk_mmu_radix(ffi.new("pk_root[1]"), 1, wide, 1, 0) == ffi.NULL


@CORE_SETTINGS
@given(seed=st.integers(0, 2**32), shift=st.sampled_from([12, 13]))
def test_pmeg(memory: Callable[..., Memory], seed: int, shift: int) -> None:
    rng = random.Random(seed)
    base, per, npmegs, page = 0xF8000000, 1 << (18 - shift), rng.randrange(1, 9), 1 << shift
    segments = [(rng.randrange(npmegs + 2), rng.choice([0, per])) for _ in range(512)]
    ptes = [rng.choice([0, 0x80000000]) | rng.randrange(0x7FFFF) for _ in range(npmegs * per)]
    m = memory(bytes(PAGE))
    space = m.space(mmu.pmeg(sparc.pmeg_shape(base, shift), segments, npmegs, ptes))
    fault, left = ffi.new("pk_fault *"), ffi.new("uint64_t *")
    for _ in range(200):
        va = rng.choice([base, 0]) + rng.randrange(0x8000000)
        expected = None
        if va >= base:
            group, count = segments[va - base >> 18]
            if count and group < npmegs - 1:
                pte = ptes[group * per + (va >> shift & per - 1)]
                if pte & 0x80000000:
                    expected = (pte & 0x7FFFF) << shift | va & page - 1
        pa = lib.pk_space_translate(space, va, left, fault)
        assert (pa if fault.status == lib.PK_OK else None) == expected
        if expected is not None:
            assert left[0] == page - (va & page - 1)


def test_reads_wrap_at_the_target_s_width(memory: Callable[..., Memory]) -> None:
    m = memory(bytes(range(256)) * 32)
    walker = mmu.radix([Root(0, PAGE - 1, 0), Root(0xFFFFF000, 0xFFFFFFFF, PAGE)], (), "little")
    space = m.space(walker)
    assert read(space, 0xFFFFFFFE, 4) == (b"\xfe\xff\x00\x01", lib.PK_OK, 0)
    assert read(space, 0x1_0000_0000, 4)[1:] == (lib.PK_EADDR, 0x1_0000_0000)


def test_linear_map_of_everything(memory: Callable[..., Memory]) -> None:
    m = memory(bytes(range(16)))
    space = m.space(mmu.radix([Root(0, 2**64 - 1, 0)], (), "little"), 2**64 - 1)
    assert read(space, 0, 16)[0] == bytes(range(16))
    assert read(space, 8, 16) == (bytes(range(8, 16)), lib.PK_EPHYS, 16)


def test_signed_and_unsigned(memory: Callable[..., Memory]) -> None:
    value = lib.PK_MISS
    m = memory(b"\xff" * 8 + struct.pack("<Q", value) + struct.pack("<q", -5))
    space = m.space(linear(0, 24))
    assert [getattr(lib, f"pk_word_u{n}")(space, 0) for n in (8, 16, 32, 64)] == [255, 65535, 2**32 - 1, 2**64 - 1]
    assert [getattr(lib, f"pk_word_i{n}")(space, 0) for n in (8, 16, 32, 64)] == [-1] * 4
    assert lib.pk_word_i64(space, 16) == -5
    assert [getattr(lib, f"pk_word_{kind}")(space, 8) for kind in ("u32", "u64", "i32", "i64")] == [None] * 4
    assert read(space, 8, 8) == (struct.pack("<Q", value), lib.PK_OK, 0)
    assert lib.pk_word_u16(space, 8) == value & 0xFFFF
    assert lib.pk_word_u32(space, 24) is None
    assert lib.pk_word_u64(space, 17) is None
    with pytest.raises(OverflowError):
        lib.pk_word_u64(space, -1)
    with pytest.raises(OverflowError):
        lib.pk_word_u64(space, 1 << 64)
    with pytest.raises(TypeError):
        lib.pk_word_u64(space, "0")
    lib.pk_space_close(space)
    assert lib.pk_word_u8(space, 0) is None
    assert read(space, 0, 1)[1] == lib.PK_ECLOSED


@pytest.mark.parametrize("mapped", [True, False])
def test_gather(memory: Callable[..., Memory], mapped: bool) -> None:
    rng = random.Random(2)
    data = rng.randbytes(5 * PAGE)
    space = memory(data, mapped).space(linear(0x1000, len(data)))
    addrs = array("Q", [0x1000 + rng.randrange(len(data) - 24) for _ in range(500)])
    for size in (1, 4, 8, 24):
        out, fault = bytearray(len(addrs) * 30), ffi.new("pk_fault *")
        table = ffi.from_buffer("uint64_t[]", addrs)
        assert lib.pk_space_gather(space, table, len(addrs), size, ffi.from_buffer(out), 30, ffi.NULL, fault) == 500
        for i, a in enumerate(addrs):
            assert out[i * 30 : i * 30 + size] == data[a - 0x1000 :][:size]
            assert not any(out[i * 30 + size : i * 30 + 30])
    addrs[7] = 0
    out = bytearray(b"\xee" * 4000)
    table = ffi.from_buffer("uint64_t[]", addrs)
    assert lib.pk_space_gather(space, table, 500, 8, ffi.from_buffer(out), 8, ffi.NULL, fault) == 7
    assert (fault.status, fault.addr) == (lib.PK_EADDR, 0)
    ok = bytearray(500)
    got = lib.pk_space_gather(space, table, 500, 8, ffi.from_buffer(out), 8, ffi.from_buffer("uint8_t[]", ok), fault)
    assert (got, fault.status) == (500, lib.PK_OK)
    assert ok == b"\1" * 7 + b"\0" + b"\1" * 492
    assert out[56:64] == bytes(8)


def walk(space: Any, head: int, circular: bool, limit: int = 1000) -> tuple[list[int], int, int]:
    out, fault = ffi.new("uint64_t **"), ffi.new("pk_fault *")
    count = lib.pk_space_walk(space, head, 4, 4, circular, limit, out, fault)
    found = [out[0][i] for i in range(count)]
    lib.pk_free(out[0])
    return found, fault.status, fault.addr


def test_lists(memory: Callable[..., Memory]) -> None:
    chain = [16 * i for i in range(1, 200)]

    def space(last: int, *, at: int = -1) -> Any:
        mem = bytearray(PAGE)
        for a, b in zip(chain, [*chain[1:], last], strict=True):
            struct.pack_into("<I", mem, a + 4, b if a != chain[at] or at == -1 else last)
        return memory(bytes(mem)).space(linear(0, PAGE))

    assert walk(space(0), 16, False) == (chain, lib.PK_OK, 0)
    assert walk(space(0), 0, False) == ([], lib.PK_OK, 0)
    assert walk(space(16), 16, True) == (chain, lib.PK_OK, 0)
    assert walk(space(16), 16, False)[1] == lib.PK_ELOOP
    for back in (32, 48, chain[77], chain[-1]):
        found, status, _ = walk(space(back), 16, True)
        assert status == lib.PK_ELOOP
        assert len(found) < 1000
    found, status, addr = walk(space(0x9000, at=50), 16, False)
    assert (found, status, addr) == ([*chain[:51], 0x9000], lib.PK_EADDR, 0x9004)
    assert walk(space(0), 16, False, 10)[1:] == (lib.PK_ELIMIT, chain[10])


def test_strings(memory: Callable[..., Memory]) -> None:
    data = bytearray(b"x" * (2 * PAGE))
    data[PAGE + 3] = 0
    space = memory(bytes(data)).space(linear(0, len(data)))
    buf, fault = bytearray(3 * PAGE), ffi.new("pk_fault *")

    def cstr(va: int, limit: int) -> tuple[int, int]:
        return lib.pk_space_cstr(space, va, ffi.from_buffer("char[]", buf), limit, fault), fault.status

    assert cstr(PAGE - 5, 100) == (8, lib.PK_OK)
    assert cstr(PAGE - 5, 8) == (8, lib.PK_OK)
    assert cstr(PAGE + 3, 8) == (0, lib.PK_OK)
    assert cstr(2 * PAGE - 4, 100) == (4, lib.PK_EADDR)


def test_write_and_stale_translations(memory: Callable[..., Memory], tmp_path: Path) -> None:
    mem = bytearray(4 * PAGE)
    struct.pack_into("<I", mem, 0, PAGE | 1)
    struct.pack_into("<II", mem, PAGE, 2 * PAGE | 1, PAGE | 1)
    mem[2 * PAGE : 2 * PAGE + 4] = b"old."
    mem[3 * PAGE : 3 * PAGE + 4] = b"new."
    m = memory(bytes(mem))
    space = m.space(mmu.radix([Root(0, 0xFFFFFFFF, 0)], i386.LEVELS, "little"))
    assert read(space, 0, 4)[0] == b"old."
    fault = ffi.new("pk_fault *")
    assert lib.pk_space_write(space, 0x1000, struct.pack("<I", 3 * PAGE | 1), 4, fault) == 4
    assert read(space, 0, 4)[0] == b"new."
    assert lib.pk_space_write(space, 0x1FFE, b"abcd", 4, fault) == 0
    assert (fault.status, fault.addr) == (lib.PK_EADDR, 0x2000)


def test_many_threads(memory: Callable[..., Memory]) -> None:
    rng = random.Random(3)
    data = rng.randbytes(64 * PAGE)
    # More pages than the TLB has entries, and others that share them.
    roots = [Root(i << 26, (i << 26) + len(data) - 1, 0) for i in range(16)]
    space = memory(data).space(mmu.radix(roots, (), "little"))
    wrong: list[int] = []

    def work(seed: int) -> None:
        mine = random.Random(seed)
        for _ in range(3000):
            offset = mine.randrange(len(data) - 64)
            got, _, _ = read(space, (mine.randrange(16) << 26) + offset, 64)
            if got != data[offset : offset + 64]:
                wrong.append(offset)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == []


SYMBOL = (16, 0, 4, 4, 8, 4, 12, 13, 14, 0, 0xF, 0xF0, 0, 0b111, 1, 0xFEFF)


def table(names: list[bytes], values: list[int], infos: list[int]) -> tuple[Any, bytes, bytes]:
    strings = b"\0" + b"".join(n + b"\0" for n in names)
    entries, at = b"", 1
    for name, value, info in zip(names, values, infos, strict=True):
        entries += struct.pack("<IIIBBH", at, value, 0, info, 0, 1)
        at += len(name) + 1
    return ffi.gc(lib.pk_symtab_new(7), lib.pk_symtab_free), entries, strings


@CORE_SETTINGS
@given(
    names=st.lists(st.binary(min_size=1, max_size=40).filter(lambda b: 0 not in b), max_size=200),
    data=st.data(),
)
def test_symbol_index(names: list[bytes], data: Any) -> None:
    values = [data.draw(st.integers(0, 50)) for _ in names]
    tab, entries, strings = table(names, values, [0x11] * len(names))
    layout = ffi.new("pk_symlayout *", SYMBOL)
    assert lib.pk_symtab_add(tab, entries, len(names), strings, len(strings), layout) == 0
    out = ffi.new("pk_symbol *")
    last = {name: i for i, name in enumerate(names)}
    for name, i in last.items():
        assert lib.pk_symtab_find(tab, name, len(name), out) == 1
        assert (out.order, out.value) == (i, values[i])
        assert lib.pk_symtab_value(tab, name, len(name)) == values[i]
    assert lib.pk_symtab_find(tab, b"\xfe\xfe none", 7, out) == 0
    for addr in range(52):
        below = [(v, i) for i, v in enumerate(values) if v <= addr]
        last = below and max(below) == max((v, i) for i, v in enumerate(values))
        assert lib.pk_symtab_at(tab, addr, out) == (2 if last else 1 if below else 0)
        if below:
            assert (out.value, out.order) == max(below)


def test_symbol_names_out_of_the_string_table() -> None:
    tab, entries, strings = table([b"good", b"cut"], [1, 2], [0x11, 0x11])
    layout = ffi.new("pk_symlayout *", SYMBOL)
    entries += struct.pack("<IIIBBH", 0xFFFFFFFF, 3, 0, 0x11, 0, 1)
    assert lib.pk_symtab_add(tab, entries, 3, strings, len(strings) - 1, layout) == 2
    assert lib.pk_symtab_len(tab) == 1


def test_nlist_rule() -> None:
    tab, entries, strings = table([b"etext", b"_etext", b"x", b"_"], [1, 2, 3, 4], [0x11] * 4)
    lib.pk_symtab_add(tab, entries, 4, strings, len(strings), ffi.new("pk_symlayout *", SYMBOL))
    out = ffi.new("pk_symbol *")

    def find(name: bytes, aout: int = 0) -> int | None:
        return out.value if lib.pk_symtab_nlist(tab, name, len(name), aout, out) else None

    assert [find(n) for n in (b"_etext", b"etext", b"_x", b"x", b"__x", b"_", b"y")] == [2, 1, 3, 3, None, 4, None]
    assert [find(b"__etext", aout) for aout in (0, 1)] == [2, None]


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="no /proc")
def test_what_the_host_cannot_read_of_a_direct_range() -> None:
    """/proc/kcore gives EIO for some of what is mapped: that is the failure, and no reason to try for ever."""
    start, size = 0xFFFFC90000000000, 1 << 30
    with open("/proc/self/mem", "rb", buffering=0) as mem:  # of which nothing is mapped at offset 0: EIO
        image = ffi.gc(lib.pk_image_new(), lib.pk_image_unref)
        assert lib.pk_image_add_file(image, mem.fileno(), 1 << 62, 0) == 0
        extents = ffi.new("pk_extent[]", [(start, size, 0, 0, 0)])
        assert lib.pk_image_set_extents(image, extents, 1) == -1
        mapped = mmu.radix([Root(start, start + size - 1, start, linear=True)], [], "little")
        nothing = mmu.radix([], [], "little")
        for walker, status in ((mapped, lib.PK_EIO), (nothing, lib.PK_EADDR)):
            space = ffi.gc(lib.pk_space_new(image, walker, (1 << 64) - 1, 0, 64), lib.pk_space_free)
            assert lib.pk_space_direct(space, start, start + size - 1, 0, 0)
            fault, buf = ffi.new("pk_fault *"), ffi.new("char[8]")
            assert lib.pk_space_read(space, start + 64, buf, 8, fault) == 0
            assert fault.status == status
