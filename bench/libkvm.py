"""libkvm.so: a program in C (bench/c/libkvm.c) on a FreeBSD dump, beside memcpy."""

from __future__ import annotations

import subprocess
import sys
from array import array
from collections import Counter
from pathlib import Path

from bench.figures import line
from bench.freebsd import Sample
from bench.samples import ROOM, freebsd, small_freebsd

SOURCE = Path(__file__).resolve().parent / "c" / "libkvm.c"
NAMES = 20


def compiled(source: Path) -> Path:
    """The program."""
    command = [sys.executable, "-m", "pykvm", "config", "--cflags", "--libs"]
    flags = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    found = Path(ROOM.name) / source.stem
    subprocess.run(["cc", "-O2", "-Wall", source, "-o", found, *flags], check=True)
    return found


def measure(kind: str, core: Path, kernel: Path) -> None:
    """All figures of one dump."""
    addresses, pieces = Path(ROOM.name) / "addresses", Path(ROOM.name) / "pieces"
    with Sample(kind, core, kernel, None) as s:
        addresses.write_bytes(array("Q", s.addresses()).tobytes())
        pieces.write_bytes(array("Q", [number for piece in s.pieces() for number in piece]).tobytes())
        names = [name for name, times in Counter(iter(s.kd.symbols)).items() if times == 1]
    chosen = names[:: max(1, len(names) // NAMES)][:NAMES]
    out = subprocess.run(
        [compiled(SOURCE), core, kernel, addresses, pieces, *chosen], capture_output=True, text=True, check=True
    ).stdout
    took = {words[0]: (float(words[1]), int(words[2])) for words in map(str.split, out.splitlines())}

    def rate(name: str) -> float:
        return took[name][1] / took[name][0] / 1e6

    where = f"libkvm.so, {kind}"
    line(f"first kvm_openfiles, with Python's start, {where}", took["first"][0] * 1e3, "ms", 100)
    line(f"  a second one, {where}", took["open"][0] * 1e3, "ms")
    line(f"  kvm_close, {where}", took["close"][0] * 1e3, "ms")
    line(f"kvm_nlist of {NAMES} names, {where}", took["names"][0] * 1e3, "ms", 1)
    line(f"  the first time, {where}", took["names-first"][0] * 1e3, "ms")
    line(f"kvm_read of 8 bytes at random, {where}", rate("random"), "M/s", 15, at_least=True)
    line("  plain loads at random from the mapped file", rate("plain"), "M/s")
    line(f"  at one address, {where}", rate("same"), "M/s", 40, at_least=True)
    copied = rate("memcpy") / 1e3
    megabytes = took["bulk"][1] >> 20
    line(
        f"kvm_read of {megabytes} MB in pieces of up to 1 MB, {where}",
        rate("bulk") / 1e3,
        "GB/s",
        0.9 * copied,
        at_least=True,
    )
    line("  memcpy out of the mapped file", copied, "GB/s")
    line(f"kvm_getprocinfo of {took['processes'][1]} processes, {where}", took["processes"][0] * 1e3, "ms")


def run() -> None:
    """The figures."""
    for kind in ("minidump", "full"):
        real = freebsd(kind)
        small = small_freebsd(container=kind)
        measure(kind, *(real or (small.core, small.kernel)))
