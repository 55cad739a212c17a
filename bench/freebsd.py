"""FreeBSD dumps: pykvm from Python, beside libfbsdvmcore in C where it is at hand, both in one run, in turns."""

from __future__ import annotations

import random
import sys
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import pykvm
from bench.children import OURS, PEERS, commands, race
from bench.fbsdvmcore import NAME, Fbsdvmcore, get
from bench.figures import best, line
from bench.mapped import Range, ranges
from bench.peers.serve import answer, clock, clocks
from bench.samples import ROOM, freebsd, small_freebsd
from bench.sparse import grow

WORDS = 200_000
PIECE, LONG = 1 << 20, 64 << 10
BITS = (1 << 64) - 1
LARGE = 64 << 30
PROCESSES = 2000
WALKS = 5


class Sample:
    """A dump, what there is to read in it, and both who read it."""

    def __init__(self, name: str, dump: Path, kernel: Path, peer: Fbsdvmcore | None) -> None:
        self.name, self.dump, self.kernel, self.peer = name, dump, kernel, peer
        self.kd = pykvm.Kvm(dump, kernel)
        self.ranges = ranges(self.kd)
        self.at = self.kd.symbol("allproc")

    def addresses(self) -> list[int]:
        """Of 8-byte words at random, each of all that are mapped as likely as any other."""
        rng = random.Random(1)
        chosen = rng.choices(self.ranges, [size for _, size in self.ranges], k=WORDS)
        return [addr + rng.randrange(0, size, 8) for addr, size in chosen]

    def pieces(self) -> list[Range]:
        """What is mapped in one piece and not too short, in pieces of a buffer's size."""
        whole = [(addr, size) for addr, size in self.ranges if size >= LONG]
        return [
            (addr + at, min(PIECE, size - at)) for addr, size in whole for at in range(0, size - size % LONG, PIECE)
        ]

    def show(
        self,
        what: str,
        seconds: dict[str, float],
        unit: str,
        goal: float | None,
        *,
        amount: float | None = None,
        scale: float = 1e3,
    ) -> None:
        """A figure, and under it the peer's: the rate of an amount of work, or else the time that it took."""

        def figure(took: float) -> float:
            return took * scale if amount is None else amount / took

        line(f"{what}, {self.name}", figure(seconds[OURS]), unit, goal, at_least=amount is not None)
        if NAME in seconds:
            times = seconds[NAME] / seconds[OURS]
            print(f"  ({NAME} in C: {figure(seconds[NAME]):.3g} {unit}; pykvm is {times:.2f} times as fast)")

    def race(
        self, ours: Callable[[], dict[str, Any]], job: str, values: Iterable[int] | None = None
    ) -> dict[str, float]:
        """pykvm's work and libfbsdvmcore's job."""
        runs = {OURS: ours}
        if self.peer is not None:
            peer, numbers = self.peer, None
            if values is not None:
                numbers = Path(ROOM.name) / "numbers"
                numbers.write_bytes(array("Q", values).tobytes())
            runs[NAME] = lambda: peer.ask(job, self.kernel, self.dump, numbers)
        return race(runs)

    def __enter__(self) -> Sample:
        return self

    def __exit__(self, *_: object) -> None:
        self.kd.close()


def opening(s: Sample, goal: float = 5) -> None:
    """Opening, and names."""

    def ours() -> dict[str, Any]:
        return answer([best(lambda: pykvm.Kvm(s.dump, s.kernel).close(), 20)], 0)

    def first() -> None:
        with pykvm.Kvm(s.dump, s.kernel) as kd:
            kd.symbol("allproc")

    s.show("open and close, with the kernel's symbols", s.race(ours, "open"), "ms", goal)
    s.show("  the same and a first symbol", {OURS: best(first, 20)}, "ms", goal)


def names(s: Sample) -> None:
    """kd.symbol."""
    known = [name for name, times in Counter(iter(s.kd.symbols)).items() if times == 1]

    def all_names() -> None:
        symbol = s.kd.symbol
        for name in known:
            symbol(name)

    s.show(f"kd.symbol, {len(known)} distinct names", {OURS: best(all_names)}, "M/s", 1, amount=len(known) / 1e6)


def words(s: Sample) -> None:
    """Single words, by three functions."""
    buf = bytearray(8)
    view = memoryview(buf).cast("Q")

    def single(addrs: list[int]) -> None:
        read = s.kd.read_u64
        for addr in addrs:
            read(addr)

    def into(addrs: list[int]) -> None:
        kd, read = s.kd, pykvm.kvm_read
        for addr in addrs:
            read(kd, addr, buf, 8)

    def sum_into(addrs: list[int]) -> int:
        found = 0
        for addr in addrs:
            pykvm.kvm_read(s.kd, addr, buf, 8)
            found += view[0]
        return found & BITS

    at_random, hot = s.addresses(), [s.at] * WORDS
    for where, addrs, goal in (("at random in what is mapped", at_random, 3), ("at one address", hot, 8)):
        check = sum(map(s.kd.read_u64, addrs)) & BITS
        took = s.race(lambda addrs=addrs, check=check: answer(clocks(single, addrs), check), "words", addrs)
        s.show(f"kd.read_u64 {where}", took, "M/s", goal, amount=WORDS / 1e6)
        check = sum_into(addrs)
        took = s.race(lambda addrs=addrs, check=check: answer(clocks(into, addrs), check), "words", addrs)
        s.show(f"kvm_read of 8 bytes {where}", took, "M/s", None, amount=WORDS / 1e6)
    table = array("Q", at_random)
    check = sum(s.kd.gather(table, 8).cast("Q")) & BITS
    took = s.race(lambda: answer(clocks(lambda part: s.kd.gather(part, 8), table), check), "words", table)
    s.show("kd.gather of 8 bytes at random", took, "M/s", 30, amount=WORDS / 1e6)


def bulk(s: Sample) -> None:
    """Long reads into one buffer."""
    pieces = s.pieces()
    buf = memoryview(bytearray(PIECE))

    def read_all(part: list[Range]) -> None:
        read = s.kd.readinto
        for addr, size in part:
            read(addr, buf[:size])

    def ours() -> dict[str, Any]:
        return answer(clocks(read_all, pieces), check)

    # The last piece of each part, as in C.
    step = -(-len(pieces) // 20)
    last = [pieces[min(i + step, len(pieces)) - 1] for i in range(0, len(pieces), step)]
    check = sum(sum(memoryview(s.kd.read(addr, size)).cast("Q")) for addr, size in last) & BITS
    took = s.race(ours, "bulk", chain.from_iterable(pieces))
    amount = sum(size for _, size in pieces)
    what = f"kd.readinto of {amount >> 20} MB in pieces of up to 1 MB"
    s.show(what, took, "GB/s", 8, amount=amount / 1e9)


def walk(s: Sample) -> None:
    """kvm_walk_pages, of minidumps."""
    found: list[int] = []

    def ours() -> dict[str, Any]:
        found.clear()
        seconds = clock(pykvm.kvm_walk_pages, s.kd, lambda page, _: found.append(page.kp_len) or 1)
        return answer([seconds], None)  # libfbsdvmcore shows some pages twice, and some not

    took = s.race(ours, "walk")
    s.show(f"kvm_walk_pages, {len(found)} pages", took, "M/s", None, amount=len(found) / 1e6)


def processes(s: Sample) -> None:
    """The list of processes: a few facts of each, and all."""
    kd = s.kd

    def short() -> list[tuple[int, str]]:
        return [(p.pid, p.comm) for p in kd.processes()]

    def long() -> list[bytes]:
        return [bytes(p) for p in kd.processes()]

    count = len(short())
    start = time.perf_counter()
    with pykvm.Kvm(s.dump, s.kernel) as again:
        found = len([bytes(p) for p in again.processes()])
    first = time.perf_counter() - start
    assert found == count, found
    s.show(f"pid and comm of {count} processes", {OURS: best(short)}, "ms", None)
    s.show(f"kinfo_proc of {count} processes, all of it", {OURS: best(long)}, "ms", None)
    s.show("  the same, and opening the dump first", {OURS: first}, "ms", None)
    runs: dict[str, list[str | Path]] = {
        OURS: [sys.executable, PEERS / "ps_pykvm.py", "-M", s.dump, "-N", s.kernel],
    }
    took, kilobytes = commands(runs)
    s.show("pykvm ps, the whole process", took, "s", None, scale=1)
    s.show("  its peak memory", {OURS: kilobytes / 1024}, "MB", None, scale=1)


def large(peer: Fbsdvmcore | None) -> None:
    """A minidump of a machine with much memory."""
    small, target = small_freebsd(), Path(ROOM.name) / "large"
    pages = grow(small, target, LARGE)
    with Sample(f"{LARGE >> 30} GB", target, small.kernel, peer) as s, pykvm.Kvm(small.core, small.kernel) as kd:
        some = [addr for addr, _ in ranges(kd)][:: max(1, WALKS)]
        assert kd.gather(some, 8) == s.kd.gather(some, 8)
        print(f"  (a sparse file of {pages} pages)")
        opening(s, 50)
    target.unlink()


def run() -> None:
    """The figures."""
    peer = get()
    for kind in ("minidump", "full"):
        real = freebsd(kind)
        if real is None:
            print("  no real FreeBSD dumps: $PYKVM_REAL/freebsd-full has none; synthetic ones instead")
            small = small_freebsd(container=kind)
            real = small.core, small.kernel
        with Sample(kind, *real, peer) as s:
            opening(s)
            names(s)
            words(s)
            bulk(s)
            if kind == "minidump":
                walk(s)
            processes(s)
    many = small_freebsd(PROCESSES)
    with Sample("synthetic", many.core, many.kernel, peer) as s:
        processes(s)
    large(peer)
