"""NetBSD's dumps: one of two segments, and the same memory in 100,000, which no kernel of today has."""

from __future__ import annotations

import random
import struct
import tempfile
from pathlib import Path
from typing import Any

import pykvm
from bench.figures import best, line
from bench.samples import netbsd

SEGMENTS, PAGE = 100_000, 4096
WORDS = 100_000


def split(core: Path, kernel: Path, out: Path) -> None:
    """The same dump with a segment for each page, and pages of nothing behind them."""
    with pykvm.Kvm(core, kernel) as kd:
        header: Any = kd.image.header
        held: Any = kd.image.held
    pages = [(at, PAGE) for e in held.extents for at in range(e.addr, e.addr + e.size, PAGE)]
    pages += [(1 << 40 | i * 2 * PAGE, PAGE) for i in range(SEGMENTS - len(pages))]
    cpu = struct.pack("<QQ", header.cpu.root, len(pages)) + b"".join(struct.pack("<QQ", *page) for page in pages)
    cpu += bytes(-(8 + len(cpu)) % 512)
    raw = core.read_bytes()
    with open(out, "wb") as file:
        file.write(raw[:20] + struct.pack("<I", len(cpu)) + cpu)
        file.write(raw[header.dump_off - 8 :])
        file.truncate(header.dump_off - len(header.cpu_data) + len(cpu) + SEGMENTS * PAGE)


def run() -> None:
    """The figures."""
    found = netbsd()
    if found is None:
        print("netbsd: the real dumps are not here")
        return
    core, kernel = found
    with tempfile.TemporaryDirectory() as room:
        many = Path(room) / "many"
        split(core, kernel, many)
        rates = {}
        for name, path, goal in (("2 segments", core, None), (f"{SEGMENTS} segments", many, 50.0)):

            def opened(path: Path = path) -> None:
                with pykvm.Kvm(path, kernel) as kd:
                    kd.symbol("allproc")

            line(f"open and first symbol, {name}", best(opened) * 1e3, "ms", goal)
            with pykvm.Kvm(path, kernel) as kd:
                places = addresses(kd)
                rates[name] = len(places) / best(lambda: [kd.read_u64(at) for at in places]) / 1e6  # noqa: B023
                line(f"  kd.read_u64 at random, {name}", rates[name], "M/s")
                line(
                    f"  kd.processes() and their bytes, {name}",
                    best(lambda: list(map(bytes, kd.processes()))) * 1e3,
                    "ms",
                )
        two, more = rates.values()
        line("reads, times those of 2 segments", more / two, "", 0.8, at_least=True)


def addresses(kd: pykvm.Kvm) -> list[int]:
    """Words of the kernel's memory that are there."""
    source, found = random.Random(1), []
    base = 0xFFFFFFFF80000000
    while len(found) < WORDS // 10:
        at = base + source.randrange(0x100000, 0x500000) // 8 * 8
        try:
            kd.read_u64(at)
        except pykvm.AddressError:
            continue
        found.append(at)
    return found * 10
