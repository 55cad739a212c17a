"""Reading memory: single words, gather, bulk."""

from __future__ import annotations

import mmap
import random
import timeit
from array import array

import pykvm
from bench.figures import best, line
from bench.samples import mirbsd
from pykvm._native.ffi import lib

WORDS = 1_000_000
CALLS = 500_000


def mapped_pages(kd: pykvm.Kvm) -> list[int]:
    """Virtual addresses of all kernel pages that are there."""
    found = []
    for va in range(0xD0000000, 0x100000000, 4096):
        try:
            kd.translate(va)
        except pykvm.AddressError:
            continue
        found.append(va)
    return found


def runs(pages: list[int]) -> list[tuple[int, int]]:
    """Consecutive pages, as (address, bytes), longest first."""
    found: list[tuple[int, int]] = []
    for va in pages:
        if found and sum(found[-1]) == va:
            found[-1] = (found[-1][0], found[-1][1] + 4096)
        else:
            found.append((va, 4096))
    return sorted(found, key=lambda run: -run[1])


def run() -> None:
    """The figures."""
    dump = mirbsd(10_000)
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        at = kd.symbol("nprocs")
        names = {"kd": kd, "at": at, "bare": lib.pk_word_u32, "space": kd._space}
        word = CALLS / min(timeit.repeat("kd.read_u32(at)", globals=names, number=CALLS, repeat=7))
        bare = CALLS / min(timeit.repeat("bare(space, at)", globals=names, number=CALLS, repeat=7))
        line("kd.read_u32, hot page", word / 1e6, "M/s", 6, at_least=True)
        print(f"  ({word / bare:.2f} of the bare cffi call, {bare / 1e6:.1f} M/s)")

        pages = mapped_pages(kd)
        rng = random.Random(1)
        addrs = array("Q", [rng.choice(pages) + rng.randrange(512) * 8 for _ in range(WORDS)])
        kd.gather(addrs, 8)
        rate = WORDS / best(lambda: kd.gather(addrs, 8))
        line(f"kd.gather, 8-byte words at random in {len(pages)} pages", rate / 1e6, "M/s", 40, at_least=True)

        va, size = runs(pages)[0]
        buf = bytearray(size)
        ours = best(lambda: kd.readinto(va, buf), 50)
        with open(dump.core, "rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as m, memoryview(m) as view:
            start = dump.dump_offset

            def copy() -> None:
                buf[:] = view[start : start + size]

            theirs = best(copy, 50)
        line(
            f"kd.readinto of {size >> 10} KB, against copying out of an mmap",
            theirs / ours,
            "ratio",
            0.8,
            at_least=True,
        )
