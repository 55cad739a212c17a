"""A real Linux dump, pykvm side by side with drgn and libkdumpfile in one run: ratios, not times, can be compared."""

from __future__ import annotations

import random
import sys
from array import array
from collections import Counter
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import pykvm
from bench.children import KNOWN, OURS, PEERS, Field, commands
from bench.figures import against, line
from bench.samples import ROOM, linux, vmlinux

PAGE = 4096
MEMORY = 128 << 20
WORDS = 200_000
HOT = 2048
PIECE = 1 << 20
CODECS = ("zlib", "LZO", "snappy", "zstd")
GATHER = {**{name: (name, "words") for name in KNOWN}, "gather": (OURS, "gather")}
WALK = {**{name: (name, "chase") for name in KNOWN}, "walk": (OURS, "walk")}


class Sample:
    """Addresses to read, found in the ELF dump, which has all pages; the others are of the same moment."""

    def __init__(self, elf: Path) -> None:
        self.rng = random.Random(1)
        with pykvm.Kvm(elf) as kd:
            self.release = kd.info.release or ""
            self.direct = kd.read_u64(kd.symbol("page_offset_base"))
            data = range(kd.symbol("_sdata"), kd.symbol("_edata") & -8, 8)
            task = kd.symbol("init_task")
            self.head = task + kd.types.struct("task_struct").offset("tasks")
            counted, end = Counter(iter(kd.symbols)), kd.symbol("_end")
            # Of names that stand for several addresses, each library finds another; of modules' (above the kernel,
            # on x86-64), drgn finds none without a vmlinux.
            self.names = [name for name, times in counted.items() if times == 1 and kd.symbol(name) < end]
        pages, choose = self.pages(elf), self.rng
        self.words = {
            "direct map": numbers(
                "direct", (self.direct + choose.choice(pages) + choose.randrange(0, PAGE, 8) for _ in range(WORDS))
            ),
            "kernel data": numbers("data", (choose.choice(data) for _ in range(WORDS))),
            "2 KiB": numbers("hot", (task // HOT * HOT + choose.randrange(0, HOT, 8) for _ in range(WORDS))),
        }

    def pages(self, dump: Path) -> list[int]:
        """Physical addresses of the dumped pages that the direct map has."""
        found = []
        with pykvm.Kvm(dump) as kd:
            for addr in range(0, MEMORY, PAGE):
                try:
                    kd.read(self.direct + addr, PAGE)
                except pykvm.AddressError:
                    continue
                found.append(addr)
        return found

    def shuffled(self, pages: list[int]) -> Path:
        """Each page once."""
        return numbers("pages", self.rng.sample(pages, len(pages)))

    def pieces(self, pages: list[int]) -> Path:
        """All pages in order, in pieces as large as holes allow: (physical, virtual, bytes)."""
        found: list[tuple[int, int]] = []
        for addr in pages:
            if found and sum(found[-1]) == addr and found[-1][1] < PIECE:
                found[-1] = (found[-1][0], found[-1][1] + PAGE)
            else:
                found.append((addr, PAGE))
        return numbers("pieces", chain.from_iterable((addr, self.direct + addr, size) for addr, size in found))


def numbers(name: str, values: Iterable[int]) -> Path:
    """Numbers, where the children find them."""
    path = Path(ROOM.name) / name
    path.write_bytes(array("Q", values).tobytes())
    return path


def show(what: str, amount: float, seconds: dict[str, float], unit: str, goal: float | None, ours: str = OURS) -> None:
    """The rate of the run `ours`, beside those of the peers."""
    peers = {name: amount / seconds[name] for name in KNOWN if name != OURS and name in seconds}
    against(what, amount / seconds[ours], peers, unit, goal)


def words(field: Field, sample: Sample) -> None:
    """Single reads, and the same with gather."""
    for where, kind, goal, many in (
        ("direct map", "ELF", 1.5, 10),
        ("kernel data", "ELF", 1.5, 10),
        ("2 KiB", "zlib", 0.7, 10),
        ("2 KiB", "zstd", 0.7, 10),
    ):
        if dump := linux(kind):
            took = field.race(GATHER, dump=dump, addrs=sample.words[where])
            show(f"8-byte reads, random in {where}, {kind}", WORDS / 1e6, took, "M/s", goal)
            show("  the same with kd.gather", WORDS / 1e6, took, "M/s", many, "gather")
    for kind in ("zlib", "zstd"):
        if dump := linux(kind):
            with pykvm.Kvm(dump) as kd:
                count = len(kd.walk_list(sample.head, 0))
            took = field.race(WALK, dump=dump, head=sample.head, times=200)
            show(f"the task list by single reads, {kind}", count * 200 / 1e6, took, "M/s", 1)
            show("  the same with kd.walk_list", count * 200 / 1e6, took, "M/s", 5, "walk")


def pages(field: Field, sample: Sample) -> None:
    """Single pages at random, and all of memory."""
    for kind in ("ELF", *CODECS):
        dump = linux(kind)
        if dump is None:
            continue
        there = sample.pages(dump)
        took = field.all("pages", dump=dump, addrs=sample.shuffled(there), size=PAGE)
        show(f"single pages at random, {kind}", len(there) / 1e3, took, "k/s", 2 if kind in CODECS else None)
        pieces, amount = sample.pieces(there), len(there) * PAGE / 1e9
        if kind in CODECS:
            took = field.all("bulk", dump=dump, pieces=pieces, times=1)
            show(f"all dumped memory in order, {kind}", amount, took, "GB/s", None if kind == "snappy" else 3)
            continue
        runs = {**{name: (name, "bulk") for name in KNOWN}, "bytes": (OURS, "bulk_bytes")}
        took = field.race(runs, dump=dump, pieces=pieces, times=3)
        show(f"all dumped memory in order, {kind}", amount, took, "GB/s", 1)
        show("  the same with kd.read_phys", amount, took, "GB/s", None, "bytes")


def symbols(field: Field, sample: Sample, kernel: Path | None) -> None:
    """Names, without a vmlinux for pykvm."""
    for kind in ("ELF", "zlib"):
        if dump := linux(kind):
            took = field.all("first_symbol", who=(OURS, "drgn"), fresh=True, dump=dump, name="init_task")
            line(f"open and a first symbol, {kind}, no vmlinux", took[OURS] * 1e3, "ms", 60, at_least=False)
            beside("drgn, kallsyms", took, 1e3, "ms")
    dump = linux("ELF")
    names = Path(ROOM.name) / "names"
    names.write_text("\n".join(sample.names))
    took = field.all("symbols", who=(OURS, "drgn"), dump=dump, names=names)
    count = len(sample.names)
    line(f"{count} distinct names, no vmlinux", count / took[OURS] / 1e6, "M/s", 1, at_least=True)
    beside("drgn, kallsyms", took, count / 1e6, "M/s", rate=True)
    if kernel is not None:
        names.write_text("\n".join(sample.names[:: count // 500][:500]))
        took = field.all("symbols", who=("drgn",), dump=dump, names=names, vmlinux=kernel)
        beside("drgn, 500 of them, vmlinux", took, 500 / 1e6, "M/s", rate=True)


def beside(what: str, seconds: dict[str, float], scale: float, unit: str, *, rate: bool = False) -> None:
    """drgn's figure, if there is one."""
    if "drgn" in seconds:
        print(f"  ({what}: {scale / seconds['drgn'] if rate else scale * seconds['drgn']:.3g} {unit})")


def processes(field: Field, sample: Sample, kernel: Path | None) -> None:
    """The list of processes, as objects and as a command."""
    if kernel is None:
        print(
            f"  drgn lists no processes without a vmlinux with DWARF; what gets it: sh tools/peers.sh {sample.release}"
        )
    lists = {OURS: (OURS, "tasks")}
    if kernel is not None:
        lists.update({"drgn": ("drgn", "tasks"), "threads": ("drgn", "threads")})
    for kind in ("zlib", "ELF"):
        if dump := linux(kind):
            took = field.race(lists, dump=dump, times=10, vmlinux=kernel)
            show(f"lists of pid, ppid, uid, comm of all processes, {kind}", 1, took, "/s", 1)
            if "threads" in took:
                print(f"  (drgn, for_each_task, with all threads: {1 / took['threads']:.3g} /s)")
    for kind in ("ELF", "zlib"):
        if dump := linux(kind):
            runs: dict[str, list[str | Path]] = {OURS: [sys.executable, PEERS / "ps_pykvm.py", "-M", dump]}
            if kernel is not None and "drgn" in field.names:
                runs["drgn"] = [KNOWN["drgn"][0], PEERS / "ps_drgn.py", dump, kernel]
            took, kilobytes = commands(runs)
            line(f"pykvm ps, the whole process, {kind}", took[OURS], "s", 0.25, at_least=False)
            beside("drgn, as a script", took, 1, "s")
            line("  its peak memory", kilobytes / 1024, "MB", 60, at_least=False)


def run() -> None:
    """The figures."""
    elf = linux("ELF")
    if elf is None:
        print("  no real Linux dumps: $PYKVM_REAL/linux has none")
        return
    sample = Sample(elf)
    kernel = vmlinux(sample.release)
    with Field() as field:
        words(field, sample)
        pages(field, sample)
        symbols(field, sample, kernel)
        processes(field, sample, kernel)
