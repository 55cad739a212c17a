"""Minidumps of FreeBSD and DragonFly: the kernel's pages, behind a bitmap that says which.

Sources: FreeBSD's sys/*/include/minidump.h and sys/*/*/minidump_machdep.c, DragonFly's likewise. Sections, each rounded
up to a page, in the dumped machine's byte order: header, message buffer, dump_avail, bitmap, page map, pages.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from pykvm.errors import FormatError
from pykvm.images.base import Image
from pykvm.images.held import Packed, PageRange
from pykvm.images.hostfile import HostFile

PAGE = 4096
MAX_BITS = 1 << 32  # what the C core counts
MAX_RANGES = 4096  # of dump_avail; kernels have some ten

Field = tuple[int, int]  # offset, size


class Shape(NamedTuple):
    """One machine's header. `avail_since`: the first version with a dump_avail section; `versions`: the last known."""

    machine: str
    system: str
    magic: bytes
    fields: Mapping[str, Field]
    versions: int
    avail_since: int = 1 << 30
    orders: str = "<"
    page_shift_flags: int = 0  # the first version whose flags give the page size


def _run(start: int, size: int, *names: str) -> dict[str, Field]:
    """Fields that follow one another."""
    return {name: (start + size * i, size) for i, name in enumerate(names)}


_HEAD = _run(24, 4, "version", "msgbufsize", "bitmapsize", "mapsize")
_DMAP = _run(40, 8, "kernbase", "dmapbase", "dmapend")
_PHYS = _run(40, 8, "kernbase", "dmapphys", "dmapbase", "dmapend")
SHAPES = (
    Shape("x86_64", "FreeBSD", b"minidump FreeBSD/amd64", {**_HEAD, **_DMAP, "availsize": (64, 4)}, 3, 3),
    Shape(
        "aarch64", "FreeBSD", b"minidump FreeBSD/arm64",
        {**_HEAD, **_PHYS, "availsize": (72, 4), "flags": (76, 4)}, 3, 2, page_shift_flags=3,
    ),
    Shape("riscv64", "FreeBSD", b"minidump FreeBSD/riscv", {**_HEAD, **_PHYS, "availsize": (72, 4)}, 2, 2),
    Shape(
        "i386", "FreeBSD", b"minidump FreeBSD/i386",
        {**_HEAD, **_run(40, 4, "kernbase", "paemode", "availsize")}, 2, 2,
    ),
    Shape(
        "arm", "FreeBSD", b"minidump FreeBSD/arm",
        {**_HEAD, **_run(40, 4, "kernbase", "arch", "mmuformat", "availsize")}, 2, 2,
    ),
    Shape(
        "mips", "FreeBSD", b"minidump FreeBSD/mips", {**_HEAD, **_DMAP, "availsize": (64, 4)}, 2, 2, orders="<>",
    ),
    Shape(
        "powerpc64", "FreeBSD", b"minidump FreeBSD/powerpc64",
        {
            **_run(64, 4, "version", "msgbufsize", "bitmapsize", "mapsize"),
            **_run(80, 8, "kernbase", "kernend", "dmapbase", "dmapend"),
            "hw_direct_map": (112, 4), "startkernel": (120, 8), "endkernel": (128, 8), "availsize": (136, 4),
        }, 2, 2, orders="<>",
    ),
    # DragonFly's version 1 has the header of FreeBSD's amd64, and its magic.
    Shape(
        "x86_64", "DragonFly", b"minidump DFlyBSD/x86-64",
        {
            "version": (24, 4),
            **_run(32, 8, "msgbufsize", "bitmapsize", "mapsize", "kernbase", "dmapbase", "dmapend"),
        }, 2,
    ),
)  # fmt: skip
MMU_NAME: Field = (32, 32)  # of powerpc64


class Minidump(NamedTuple):
    """What a header says; sizes in bytes, offsets from the start of the file."""

    shape: Shape
    order: str
    version: int
    page_size: int
    values: Mapping[str, int]
    msgbuf: int
    bitmap: int
    map: int
    pages: int
    mmu_name: str = ""


def probe(files: Sequence[HostFile]) -> Image | None:
    """A minidump; None without one of the magics."""
    if len(files) != 1:
        return None
    file = files[0]
    start = file.pread(0, 32)
    shape = next((s for s in SHAPES if start[: len(s.magic) + 1].rstrip(b"\0") == s.magic), None)
    if shape is None:
        return None
    header, availsize = _header(file, shape)
    bits = min(header.values["bitmapsize"] * 8, MAX_BITS - 1)
    ranges = _ranges(file, header, availsize, bits) if availsize else []
    order = "little" if header.order == "<" else "big"
    packed = Packed(bits, header.bitmap, header.pages, header.page_size, order, tuple(ranges), _word(header))
    return Image("minidump", files, packed, machine=shape.machine, byteorder=order, header=header)


def _word(header: Minidump) -> int:
    """Bytes of the bitmap's words: of 64 bits, but on MIPS of 32 up to FreeBSD 12, later longs; kernbase tells how
    long these are."""
    high = header.values["kernbase"] >> 31
    return 4 if header.shape.machine == "mips" and (header.version == 1 or high in (1, (1 << 33) - 1)) else 8


def _header(file: HostFile, shape: Shape) -> tuple[Minidump, int]:
    size = max(offset + n for offset, n in shape.fields.values())
    raw = file.exactly(0, size, "minidump header")
    for order in shape.orders:
        values = {name: _number(raw, field, order) for name, field in shape.fields.items()}
        if 1 <= values["version"] <= shape.versions:
            break
    else:
        version = _number(raw, shape.fields["version"], shape.orders[0])
        raise FormatError(
            f"{file.path}: wrong minidump version. expected {shape.versions} got {version} "
            f"({shape.system} {shape.machine})"
        )
    version = values["version"]
    page_size = PAGE
    if 0 < shape.page_shift_flags <= version:
        page_size = {0: 4096, 1: 16384}.get(values["flags"] & 3, 0)
        if not page_size:
            raise FormatError(f"{file.path}: minidump header: flags {values['flags']:#x}: unknown page size")
    availsize = values.get("availsize", 0) if version >= shape.avail_since else 0
    at = page_size
    places = []
    for name, length in (
        ("msgbufsize", values["msgbufsize"]),
        ("dumpavailsize", availsize),
        ("bitmapsize", values["bitmapsize"]),
        ("page map size", values["mapsize"]),
    ):
        if length > file.size - at:
            raise FormatError(
                f"{file.path}: minidump header: {name} {length} at offset {at} goes beyond the end of the file "
                f"({file.size})"
            )
        places.append(at)
        at += -(-length // page_size) * page_size
    mmu_name = ""
    if shape.machine == "powerpc64":
        mmu_name = raw[MMU_NAME[0] : sum(MMU_NAME)].split(b"\0")[0].decode("latin-1")
    msgbuf, _, bitmap, page_map = places
    return Minidump(shape, order, version, page_size, values, msgbuf, bitmap, page_map, at, mmu_name), availsize


def _number(raw: bytes, field: Field, order: str) -> int:
    offset, size = field
    return int.from_bytes(raw[offset : offset + size], "little" if order == "<" else "big")


def _ranges(file: HostFile, header: Minidump, availsize: int, bits: int) -> list[PageRange]:
    """dump_avail: pairs of physical addresses, whose pages have the bits in turn. Words are as wide as the kernel's
    vm_paddr_t, which the header does not say: the width is right whose pages are as many as the bitmap's."""
    at = header.msgbuf + -(-header.values["msgbufsize"] // header.page_size) * header.page_size
    raw = file.exactly(at, min(availsize, MAX_RANGES * 16), "dump_avail")
    for width in (8, 4):
        found = list(_pairs(raw, width, header))
        total = sum(r.pages for r in found)
        # The bitmap is rounded up: to words of 64 bits.
        if found and total <= bits <= -(-total // 64) * 64 + 8 * header.page_size and _sorted(found):
            return found
    raise FormatError(f"{file.path}: dump_avail of {availsize} bytes makes no sense: its pages are not bitmapsize * 8")


def _pairs(raw: bytes, width: int, header: Minidump) -> Iterator[PageRange]:
    words = struct.unpack(
        f"{header.order}{len(raw) // width}{'Q' if width == 8 else 'I'}", raw[: len(raw) // width * width]
    )
    bit = 0
    for start, end in zip(words[::2], words[1::2], strict=False):
        if end == 0:
            return
        first = start // header.page_size
        pages = max(0, -(-end // header.page_size) - first)
        yield PageRange(first, pages, bit)
        bit += pages


def _sorted(ranges: Sequence[PageRange]) -> bool:
    ends = [r.first_page + r.pages for r in ranges]
    return all(end <= r.first_page for end, r in zip(ends, ranges[1:], strict=False))
