"""Compressed pages in the C core: codecs, bitmaps, descriptors, the cache, damaged input."""

from __future__ import annotations

import ctypes
import ctypes.util
import random
import struct
import threading
import zlib
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pykvm._native.ffi import ffi, lib

pytestmark = pytest.mark.core
PAGE = 4096


def expand(flags: int, data: bytes, size: int) -> bytes | None:
    out = bytearray(size)
    return bytes(out) if lib.pk_expand(flags, data, len(data), ffi.from_buffer(out), size) else None


def lzo_literals(data: bytes) -> bytes:
    """The plainest LZO1X stream: one run of literals, then the end mark (lzo.rst)."""
    if len(data) <= 238:
        head = bytes([17 + len(data)])
    else:
        rest = len(data) - 18
        head = b"\0" + b"\0" * ((rest - 1) // 255) + bytes([(rest - 1) % 255 + 1])
    return head + data + b"\x11\0\0"


def snappy_literals(data: bytes) -> bytes:
    length = bytearray()
    n = len(data)
    while n >= 0x80:
        length.append(n & 0x7F | 0x80)
        n >>= 7
    length.append(n)
    return bytes(length) + bytes([61 << 2]) + struct.pack("<H", len(data) - 1) + data


CODECS = {
    0: lambda data: data,
    lib.PK_PAGE_ZLIB: zlib.compress,
    lib.PK_PAGE_LZO: lzo_literals,
    lib.PK_PAGE_SNAPPY: snappy_literals,
    lib.PK_PAGE_ZSTD: zstandard.compress,
}


@pytest.mark.parametrize("flags", CODECS)
def test_codecs(flags: int) -> None:
    rng = random.Random(flags)
    for data in (bytes(PAGE), rng.randbytes(PAGE), (b"page " * PAGE)[:PAGE]):
        packed = CODECS[flags](data)
        assert expand(flags, packed, PAGE) == data
        for size in (PAGE - 1, PAGE + 1, 2 * PAGE):  # more or less than a page is an error
            assert expand(flags, packed, size) is None
        if flags:
            for cut in (0, 1, len(packed) // 2, len(packed) - 1):
                assert expand(flags, packed[:cut], PAGE) is None
    assert expand(3, b"x", PAGE) is None  # two codecs at once


@pytest.mark.parametrize("flags", [f for f in CODECS if f])
@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=300), size=st.integers(1, 5000))
def test_codecs_take_anything(flags: int, data: bytes, size: int) -> None:
    expand(flags, data, size)


@pytest.mark.skipif(ctypes.util.find_library("lzo2") is None, reason="needs liblzo2 to compare with")
def test_lzo_against_liblzo2() -> None:
    lzo = ctypes.CDLL(ctypes.util.find_library("lzo2"))
    work = ctypes.create_string_buffer(1 << 20)
    rng = random.Random(4)
    for i in range(600):
        size = rng.choice([1, 3, 17, 100, 512, PAGE])
        alphabet = [rng.randrange(256) for _ in range(rng.choice([1, 2, 20, 256]))]
        data = bytes(rng.choice(alphabet) for _ in range(size))
        if i % 3 == 0:
            data = (data[: rng.randrange(1, size + 1)] * size)[:size]
        out, n = ctypes.create_string_buffer(2 * size + 100), ctypes.c_size_t(2 * size + 100)
        assert lzo.lzo1x_1_compress(data, ctypes.c_size_t(size), out, ctypes.byref(n), work) == 0
        packed = out.raw[: n.value]
        assert expand(lib.PK_PAGE_LZO, packed, size) == data
        damaged = bytearray(packed)
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        expand(lib.PK_PAGE_LZO, bytes(damaged), size)
        expand(lib.PK_PAGE_LZO, packed[: rng.randrange(len(packed))], size)


class Dump:
    """A file of bitmaps, descriptors and pages, made by hand, and its image."""

    def __init__(self, path: Path, total: int, present: dict[int, bytes], *, order: str = "<", **shape: Any) -> None:
        bitmap, valid = bytearray(-(-total // 8)), bytearray(-(-total // 8))
        for pfn in range(total):
            if pfn % 7 != 3 or pfn in present:
                valid[pfn // 8] |= 1 << pfn % 8
        for pfn in present:
            bitmap[pfn // 8] |= 1 << pfn % 8
        at_valid, at_bitmap = 64, 64 + len(valid)
        at_desc = at_bitmap + len(bitmap)
        at_data = at_desc + 24 * len(present)
        descriptors, data = b"", b""
        flags = list(CODECS)
        for i, (_, page) in enumerate(sorted(present.items())):
            flag = flags[i % len(flags)]
            packed = CODECS[flag](page)
            descriptors += struct.pack(order + "qIIQ", at_data + len(data), len(packed), flag, 0)
            data += packed
        self.path = path
        self.at_desc = at_desc
        self.valid = valid
        path.write_bytes(bytes(64) + valid + bitmap + descriptors + data)
        self.total, self.shape = total, shape
        self.at_valid, self.at_bitmap, self.big = at_valid, at_bitmap, order == ">"
        self.image = self.open()

    def open(self) -> Any:
        image = ffi.gc(lib.pk_image_new(), lib.pk_image_unref)
        with open(self.path, "rb") as f:
            lib.pk_image_add_file(image, f.fileno(), self.path.stat().st_size, self.shape.get("mapped", True))
        shape = ffi.new(
            "pk_page_shape *",
            (
                self.total,
                self.at_valid,
                PAGE,
                self.big,
                self.shape.get("cache", 1 << 20),
            ),
        )
        part = ffi.new("pk_page_part[1]", [(0, 0, 0, self.total - 1, self.at_bitmap, self.at_desc)])
        assert lib.pk_image_set_pages(image, shape, part, 1) == 0
        lib.pk_image_zero_excluded(image, self.shape.get("zero", False))
        return image

    def read(self, addr: int, n: int) -> tuple[bytes, int]:
        buf, fault = bytearray(n), ffi.new("pk_fault *")
        got = lib.pk_image_read(self.image, addr, ffi.from_buffer(buf), n, fault)
        return bytes(buf[:got]), fault.status


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("mapped", [True, False])
@pytest.mark.parametrize("cache", [0, 1 << 14, 1 << 20])
def test_pages(tmp_path: Path, order: str, mapped: bool, cache: int) -> None:
    rng = random.Random(8)
    total = 3000
    pages = {pfn: rng.randbytes(64) * 64 for pfn in rng.sample(range(total), 900)}
    dump = Dump(tmp_path / "dump", total, pages, order=order, mapped=mapped, cache=cache)
    assert lib.pk_image_pages_present(dump.image) == 900
    there = sum(bin(b).count("1") for b in dump.valid)
    assert lib.pk_image_pages_excluded(dump.image) == there - 900
    for pfn in rng.sample(range(total), 700):
        at = rng.randrange(PAGE - 8)
        data, status = dump.read(pfn * PAGE + at, 8)
        if pfn in pages:
            assert (data, status) == (pages[pfn][at : at + 8], lib.PK_OK)
        else:
            assert (data, status) == (b"", lib.PK_EPHYS if pfn % 7 == 3 else lib.PK_ELEFTOUT)
    pair = next(p for p in pages if p + 1 in pages)
    assert dump.read(pair * PAGE + 4000, 200) == ((pages[pair] + pages[pair + 1])[4000:4200], lib.PK_OK)
    assert dump.read(total * PAGE, 1)[1] == lib.PK_EPHYS
    fault = ffi.new("pk_fault *")
    assert lib.pk_image_write(dump.image, pair * PAGE, b"x", 1, fault) == 0


def test_left_out_pages_as_zeros(tmp_path: Path) -> None:
    dump = Dump(tmp_path / "dump", 100, {5: b"5" * PAGE}, zero=True)
    assert dump.read(4 * PAGE, 8) == (bytes(8), lib.PK_OK)
    assert dump.read(3 * PAGE, 8)[1] == lib.PK_EPHYS  # page 3 never was


@pytest.mark.parametrize(
    ("offset", "size", "flags", "status"),
    [
        (0, PAGE, 0, "PK_OK"),
        (1 << 40, PAGE, 0, "PK_EEOF"),
        (-1, PAGE, 0, "PK_EEOF"),
        (0, 0, 0, "PK_EDAMAGED"),
        (0, 0xFFFFFFFF, 0, "PK_EDAMAGED"),
        (0, PAGE - 1, 0, "PK_EDAMAGED"),
        (0, PAGE, 1, "PK_EDAMAGED"),
        (0, PAGE, 0x40, "PK_OK"),
        (0, PAGE, 7, "PK_EDAMAGED"),
    ],
)
def test_descriptors(tmp_path: Path, offset: int, size: int, flags: int, status: str) -> None:
    dump = Dump(tmp_path / "dump", 8, {2: bytes(PAGE)})
    with open(dump.path, "r+b") as f:
        f.seek(dump.at_desc)
        f.write(struct.pack("<qIIQ", offset, size, flags, 0))
    assert dump.read(2 * PAGE, 8)[1] == getattr(lib, status)


def test_cut_before_the_pages(tmp_path: Path) -> None:
    dump = Dump(tmp_path / "dump", 8, {1: bytes(PAGE), 2: bytes(PAGE)})
    with open(dump.path, "r+b") as f:
        f.truncate(dump.at_desc + 30)
    dump.image = dump.open()
    assert dump.read(1 * PAGE, 8)[1] == lib.PK_EEOF
    assert dump.read(2 * PAGE, 8)[1] == lib.PK_EEOF


def test_threads_share_the_cache(tmp_path: Path) -> None:
    rng = random.Random(9)
    pages = {pfn: rng.randbytes(16) * 256 for pfn in range(200)}
    dump = Dump(tmp_path / "dump", 200, pages, cache=4 * PAGE)
    wrong: list[int] = []

    def work(seed: int) -> None:
        mine = random.Random(seed)
        for _ in range(3000):
            pfn, at = mine.randrange(200), mine.randrange(PAGE - 64)
            if dump.read(pfn * PAGE + at, 64) != (pages[pfn][at : at + 64], lib.PK_OK):
                wrong.append(pfn)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(5)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == []


@pytest.mark.parametrize("mapped", [True, False])
def test_bulk(tmp_path: Path, mapped: bool) -> None:
    """Reads of many pages are expanded by several threads; what stops them is where it was before."""
    rng = random.Random(10)
    pages = {pfn: rng.randbytes(32) * 128 for pfn in range(1000) if pfn not in (700, 901)}
    dump = Dump(tmp_path / "dump", 1000, pages, mapped=mapped, cache=8 * PAGE)
    whole = b"".join(pages.get(pfn, b"") for pfn in range(1000))
    assert dump.read(0, 700 * PAGE) == (whole[: 700 * PAGE], lib.PK_OK)
    assert dump.read(0, 1000 * PAGE) == (whole[: 700 * PAGE], lib.PK_ELEFTOUT)
    assert dump.read(100, 600 * PAGE) == (whole[100 : 100 + 600 * PAGE], lib.PK_OK)
    assert dump.read(701 * PAGE, 250 * PAGE) == (whole[700 * PAGE : 900 * PAGE], lib.PK_ELEFTOUT)
    dump.shape["zero"] = True
    dump.image = dump.open()
    zeros = whole[: 700 * PAGE] + bytes(PAGE) + whole[700 * PAGE : 900 * PAGE]
    assert dump.read(0, 901 * PAGE) == (zeros, lib.PK_OK)
    with open(dump.path, "r+b") as f:  # a damaged page in the middle
        f.seek(dump.at_desc + 24 * 500 + 8)
        f.write(struct.pack("<I", 0))
    dump.image = dump.open()
    assert dump.read(0, 700 * PAGE) == (whole[: 500 * PAGE], lib.PK_EDAMAGED)


def test_space_over_a_small_cache(tmp_path: Path) -> None:
    """What the TLB remembers of a cached page does not outlive the page there; stored pages are read in place."""
    rng = random.Random(11)
    pages = {pfn: rng.randbytes(16) * 256 for pfn in range(64)}
    dump = Dump(tmp_path / "dump", 64, pages, cache=4 * PAGE)
    roots, levels = ffi.new("pk_root[1]", [(0, 64 * PAGE - 1, 0)]), ffi.new("pk_level[1]")
    mmu = ffi.gc(lib.pk_mmu_radix(roots, 1, levels, 0, False), lib.pk_mmu_unref)
    space = ffi.gc(lib.pk_space_new(dump.image, mmu, 2**64 - 1, False, 16), lib.pk_space_free)
    for _ in range(4000):
        pfn = rng.randrange(rng.choice([2, 64]))
        at = rng.randrange(512) * 8
        assert lib.pk_word_u64(space, pfn * PAGE + at) == int.from_bytes(pages[pfn][at : at + 8], "little")
    stored = [pfn for i, pfn in enumerate(sorted(pages)) if list(CODECS)[i % len(CODECS)] == 0]
    for pfn in range(64):
        window = lib.pk_space_window(space, pfn * PAGE + 8, PAGE - 8)
        assert (window != ffi.NULL) == (pfn in stored)
        if window != ffi.NULL:
            assert ffi.unpack(window, PAGE - 8) == pages[pfn][8:]
    assert lib.pk_space_window(space, stored[0] * PAGE, PAGE + 1) == ffi.NULL
    assert lib.pk_space_window(space, 2**64 - 1, 2) == ffi.NULL
    lib.pk_space_close(space)
    assert lib.pk_space_window(space, stored[0] * PAGE, 8) == ffi.NULL


@pytest.mark.parametrize("shift", [9, 10])
def test_small_pages(tmp_path: Path, shift: int) -> None:
    """Pages smaller than what the TLB remembers, and ranges that begin inside of it, are never mixed up."""
    size, count = 1 << shift, 64
    data = b"".join(bytes([i]) * size for i in range(count))
    (tmp_path / "mem").write_bytes(bytes(PAGE) + data)
    image = ffi.gc(lib.pk_image_new(), lib.pk_image_unref)
    with open(tmp_path / "mem", "rb") as f:
        lib.pk_image_add_file(image, f.fileno(), PAGE + len(data), True)
    extent = ffi.new("pk_extent[1]", [(0, PAGE + len(data), 0, 0, 0)])
    assert lib.pk_image_set_extents(image, extent, 1) == -1
    rng = random.Random(shift)
    frames = rng.sample(range(count), count)
    table = b"".join(struct.pack("<I", PAGE + frame * size | 1) for frame in frames)
    (tmp_path / "mem").write_bytes(table.ljust(PAGE, b"\0") + data)
    row = {"shift": shift, "bits": 6, "entry_size": 4, "present_mask": 1, "present_value": 1}
    level = ffi.new("pk_level[1]", [{**row, "page_mask": 0xFFFFFFFF & -size}])
    roots = ffi.new("pk_root[1]", [(0, count * size - 1, 0)])
    mmu = ffi.gc(lib.pk_mmu_radix(roots, 1, level, 1, False), lib.pk_mmu_unref)
    space = ffi.gc(lib.pk_space_new(image, mmu, 2**64 - 1, False, 16), lib.pk_space_free)
    for _ in range(500):
        page = rng.randrange(count)
        assert lib.pk_word_u8(space, page * size + rng.randrange(size)) == frames[page]


def test_a_range_that_begins_in_a_page(tmp_path: Path) -> None:
    (tmp_path / "mem").write_bytes(bytes(range(256)) * 64)
    image = ffi.gc(lib.pk_image_new(), lib.pk_image_unref)
    with open(tmp_path / "mem", "rb") as f:
        lib.pk_image_add_file(image, f.fileno(), 4 * PAGE, True)
    assert lib.pk_image_set_extents(image, ffi.new("pk_extent[1]", [(0, 4 * PAGE, 0, 0, 0)]), 1) == -1
    roots, levels = ffi.new("pk_root[1]", [(PAGE + 0x800, 3 * PAGE, 0x800)]), ffi.new("pk_level[1]")
    mmu = ffi.gc(lib.pk_mmu_radix(roots, 1, levels, 0, False), lib.pk_mmu_unref)
    space = ffi.gc(lib.pk_space_new(image, mmu, 2**64 - 1, False, 16), lib.pk_space_free)
    assert lib.pk_word_u8(space, PAGE + 0x901) == 1
    assert lib.pk_word_u8(space, PAGE + 0x100) is None
    fault = ffi.new("pk_fault *")
    assert lib.pk_image_write(image, 0, b"x", 1, fault) in (0, 1)
