"""Minidumps: one reader for all machines' headers; pages in the order of a bitmap; dump_avail of either width."""

from __future__ import annotations

import contextlib
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pykvm
from pykvm import images
from pykvm.images.base import Image
from pykvm.images.hostfile import HostFile

# Of each machine: magic, the size of the header, offsets and widths of what the writer fills in, and the version from
# which there is dump_avail (FreeBSD's sys/*/include/minidump.h; DragonFly's).
Fields = dict[str, tuple[int, int]]


def fields(start: int, avail: int | None, size: int = 4) -> Fields:
    """The sizes of the sections follow one another; that of dump_avail came later."""
    found = {name: (start + i * size, size) for i, name in enumerate(("msgbuf", "bitmap", "map"))}
    return found | ({"avail": (avail, 4)} if avail is not None else {})


MACHINES: dict[str, tuple[bytes, str, int, Fields, int]] = {
    "x86_64": (b"minidump FreeBSD/amd64", "<", 24, fields(28, 64), 3),
    "aarch64": (b"minidump FreeBSD/arm64", "<", 24, fields(28, 72), 2),
    "riscv64": (b"minidump FreeBSD/riscv", "<", 24, fields(28, 72), 2),
    "i386": (b"minidump FreeBSD/i386", "<", 24, fields(28, 48), 2),
    "arm": (b"minidump FreeBSD/arm", "<", 24, fields(28, 52), 2),
    "mips": (b"minidump FreeBSD/mips", ">", 24, fields(28, 64), 2),
    "powerpc64": (b"minidump FreeBSD/powerpc64", ">", 64, fields(68, 136), 2),
    "dragonfly": (b"minidump DFlyBSD/x86-64", "<", 24, fields(32, None, 8), 99),
}
PAGE = 4096


class Dump:
    """A minidump of random pages: pfn -> contents."""

    def __init__(self, machine: str, version: int, width: int = 8, seed: int = 1) -> None:
        magic, order, version_at, places, avail_since = MACHINES[machine]
        rng = random.Random(seed)
        self.pages = {pfn: rng.randbytes(16) * 256 for pfn in sorted(rng.sample(range(0x100, 0x400), 300))}
        has_avail = version >= avail_since
        # Memory in two pieces, with a hole that has no bits.
        ranges = [(0x100, 0x200), (0x280, 0x400)] if has_avail else [(0, 0x400)]
        if has_avail:
            self.pages = {p: d for p, d in self.pages.items() if any(a <= p < b for a, b in ranges)}
        order_of = [p for a, b in ranges for p in range(a, b)]
        words = [0] * -(-len(order_of) // 64)
        for i, pfn in enumerate(order_of):
            if pfn in self.pages:
                words[i // 64] |= 1 << i % 64
        bitmap = b"".join(struct.pack(order + "Q", w) for w in words)
        code = "Q" if width == 8 else "I"
        avail = b"".join(struct.pack(order + 2 * code, a * PAGE, b * PAGE) for a, b in ranges) + bytes(2 * width)
        sections = {"msgbuf": b"log" * 100, "avail": avail if has_avail else b"", "bitmap": bitmap, "map": b"M" * 5000}
        header = bytearray(PAGE)
        header[: len(magic)] = magic
        values = {"version": version, **{name: len(data) for name, data in sections.items()}}
        for name, (at, size) in {"version": (version_at, 4), **places}.items():
            header[at : at + size] = values[name].to_bytes(size, "little" if order == "<" else "big")
        body = b"".join(data.ljust(-(-len(data) // PAGE) * PAGE, b"\0") for data in sections.values())
        self.raw = bytes(header) + body + b"".join(self.pages[p] for p in order_of if p in self.pages)

    def open(self, path: Path) -> Image:
        path.write_bytes(self.raw)
        with contextlib.closing(HostFile(path)) as file:
            return images.recognise([file])


VARIANTS = [
    ("x86_64", 1, 8), ("x86_64", 2, 8), ("x86_64", 3, 8), ("aarch64", 1, 8), ("aarch64", 2, 8), ("riscv64", 1, 8),
    ("riscv64", 2, 8), ("i386", 1, 8), ("i386", 2, 8), ("i386", 2, 4), ("arm", 1, 4), ("arm", 2, 4), ("mips", 2, 8),
    ("powerpc64", 1, 8), ("powerpc64", 2, 8), ("dragonfly", 2, 8),
]  # fmt: skip


@pytest.mark.parametrize(("machine", "version", "width"), VARIANTS)
def test_pages(tmp_path: Path, machine: str, version: int, width: int) -> None:
    dump = Dump(machine, version, width)
    image = dump.open(tmp_path / "vmcore")
    assert image.format == "minidump"
    assert image.machine == ("x86_64" if machine == "dragonfly" else machine)
    assert image.memory_size == len(dump.pages) * PAGE
    for pfn in range(0x3F0):
        if pfn in dump.pages:
            assert image.read(pfn * PAGE + 8, 100) == dump.pages[pfn][8:108]
        else:
            with pytest.raises(pykvm.AddressError):
                image.read(pfn * PAGE, 1)
    run = next(p for p in dump.pages if p + 1 in dump.pages and p + 2 in dump.pages)
    assert image.read(run * PAGE + 4000, 8000) == b"".join(dump.pages[run + i] for i in range(3))[4000:12000]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw[:60], "minidump header"),
        (lambda raw: raw[:24] + b"\x09" + raw[25:], "wrong minidump version. expected 3 got 9"),
        (lambda raw: raw[:32] + b"\xff\xff\xff\x7f" + raw[36:], "bitmapsize 2147483647 at offset"),
        (lambda raw: raw[:28] + b"\xff\xff\xff\xff" + raw[32:], "msgbufsize 4294967295 at offset 4096 goes beyond"),
        (lambda raw: raw[:64] + b"\x08\0\0\0" + raw[68:], "dump_avail of 8 bytes makes no sense"),
    ],
)
def test_damaged(tmp_path: Path, change: Callable[[bytes], bytes], message: str) -> None:
    path = tmp_path / "vmcore"
    path.write_bytes(change(Dump("x86_64", 3).raw))
    with pytest.raises(pykvm.FormatError, match=message):
        pykvm.Kvm(path)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_header(tmp_path: Path, data: Any) -> None:
    raw = bytearray(Dump("aarch64", 2).raw)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(20, 100))
        raw[at : at + 4] = data.draw(st.sampled_from([bytes(4), b"\xff" * 4, b"\1\0\0\0", b"\0\x10\0\0"]))
    path = tmp_path / "vmcore"
    path.write_bytes(raw)
    with contextlib.suppress(pykvm.KvmError), contextlib.closing(HostFile(path)) as file:
        image = images.recognise([file])
        for addr in (0x100000, 0x200000, 1 << 40):
            with contextlib.suppress(pykvm.AddressError):
                image.read(addr, 5000)


def test_real(real: Any) -> None:
    path = real("freebsd-full/vmcore-12.1-amd64-minidump")
    with contextlib.closing(HostFile(path)) as file:
        image = images.recognise([file])
        assert image.memory_size == 6705 * PAGE
        values = image.header.values
        assert (values["kernbase"], values["dmapbase"]) == (0xFFFFFE0000000000, 0xFFFFF80000000000)
        assert b"FreeBSD 12.1-RELEASE" in file.pread(image.header.msgbuf, values["msgbufsize"])
