"""Long reads of the C core: pages that lie anywhere in the file, faults among them, and runs of a minidump's bitmap."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pykvm._native.ffi import ffi, lib
from pykvm.machines import i386, mmu
from pykvm.machines.mmu import Root

pytestmark = pytest.mark.core
PAGE = 4096
PAGES = 96
CORE_SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def image(path: Path, data: bytes, *, mapped: bool = True) -> object:
    """An image without a kind yet."""
    path.write_bytes(data)
    made = ffi.gc(lib.pk_image_new(), lib.pk_image_unref)
    with open(path, "rb") as file:  # the image keeps its own descriptor
        assert lib.pk_image_add_file(made, file.fileno(), len(data), mapped) == 0
    return made


@pytest.mark.parametrize("mapped", [True, False])
@CORE_SETTINGS
@given(seed=st.integers(0, 2**32), hole=st.booleans())
def test_pages_anywhere(tmp_path: Path, mapped: bool, seed: int, hole: bool) -> None:
    """Some follow one another in the file, most do not; one may be missing; the target's addresses wrap."""
    rng = random.Random(seed)
    places = [rng.randrange(2, PAGES) for _ in range(PAGES)]
    for at in range(1, PAGES):
        if rng.random() < 0.4 and places[at - 1] < PAGES - 1:
            places[at] = places[at - 1] + 1
    missing = rng.randrange(PAGES) if hole else None
    mem = bytearray(rng.randbytes(PAGES * PAGE))
    mem[:PAGE] = struct.pack("<I", PAGE | 3) * 1024  # all 4 MB have the same table
    # The first half at the top of the address space, the second at its bottom.
    table = [0] * 1024
    for at, place in enumerate(places):
        table[(1024 - PAGES // 2 + at) % 1024] = 0 if at == missing else place * PAGE | 3
    mem[PAGE : 2 * PAGE] = struct.pack("<1024I", *table)
    memory = image(tmp_path / "mem", bytes(mem), mapped=mapped)
    extents = ffi.new("pk_extent[]", [(0, len(mem), 0, 0, 0)])
    assert lib.pk_image_set_extents(memory, extents, 1) == -1
    walker = mmu.radix([Root(0, 0xFFFFFFFF, 0)], i386.LEVELS, "little")
    space = ffi.gc(lib.pk_space_new(memory, walker, 0xFFFFFFFF, False, 1 << 14), lib.pk_space_free)
    whole = b"".join(bytes(mem[place * PAGE : (place + 1) * PAGE]) for place in places)
    base = 2**32 - PAGES // 2 * PAGE
    for _ in range(8):
        start = rng.randrange(len(whole) // 2)
        size = rng.choice([len(whole) - start, rng.randrange(1, len(whole) - start)])
        end = start + size
        if missing is not None and start < (missing + 1) * PAGE and end > missing * PAGE:
            end = max(start, missing * PAGE)
        buf, fault = bytearray(size), ffi.new("pk_fault *")
        got = lib.pk_space_read(space, base + start, ffi.from_buffer(buf), size, fault)
        assert got == end - start
        assert buf[:got] == whole[start:end]
        assert (fault.status == lib.PK_OK) == (got == size)
        if got < size:
            assert (fault.status, fault.addr) == (lib.PK_EADDR, (base + end) % 2**32)


@CORE_SETTINGS
@given(seed=st.integers(0, 2**32), bits=st.integers(1, 700), swap=st.sampled_from([0, 4, 8]))
def test_runs_of_a_bitmap(tmp_path: Path, seed: int, bits: int, swap: int) -> None:
    """Every page, by where it is said to lie and by what is read."""
    rng = random.Random(seed)
    likely = rng.choice([0.02, 0.5, 0.98, 1.0])
    present = [rng.random() < likely for _ in range(bits)]
    size = -(-bits // 64) * 8
    bitmap = sum(1 << bit for bit, there in enumerate(present) if there).to_bytes(size, "little")
    if swap:
        bitmap = b"".join(bitmap[at : at + swap][::-1] for at in range(0, size, swap))
    pages = [bytes([number % 251]) * PAGE for number in range(sum(present))]
    memory = image(tmp_path / "mem", bytes(PAGE) + bitmap + b"".join(pages))
    shape = ffi.new("pk_minidump_shape *", (bits, PAGE, PAGE + size, PAGE, swap))
    assert lib.pk_image_set_minidump(memory, shape, ffi.NULL, 0) == 0
    order = iter(range(bits))
    numbers = [next(order) if there else None for there in present]
    offset, view = ffi.new("uint64_t *"), bytearray(PAGE * (bits + 1))
    for first in range(bits):
        here = present[first]
        last = first
        while last < bits and present[last] == here:
            last += 1
        most = rng.choice([bits + 64, rng.randrange(1, bits + 1)])
        got = lib.pk_image_minidump_where(memory, first * PAGE, most, offset)
        number = numbers[first]
        if number is not None:
            assert got == min(most, last - first)
            assert offset[0] == PAGE + size + number * PAGE
            if rng.random() < 0.1:
                n = (last - first) * PAGE
                assert lib.pk_image_read(memory, first * PAGE, ffi.from_buffer(view), n, ffi.NULL) == n
                assert view[:n] == b"".join(pages[number : number + last - first])
        else:
            assert got == (min(most, last - first) if last < bits else most)
            assert offset[0] == lib.PK_NO_OFFSET
