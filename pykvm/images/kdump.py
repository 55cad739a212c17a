"""kdump-compressed dumps (makedumpfile(8), QEMU's dump-guest-memory -z/-l/-s), header versions 1 to 6.

Source: makedumpfile's diskdump_mod.h. A header, a sub header, bitmaps, page descriptors, pages; all in the dumped
machine's byte order, word size and alignment.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

from pykvm.errors import FormatError
from pykvm.images import notes
from pykvm.images.base import Image
from pykvm.images.held import PagePart, Pages
from pykvm.images.hostfile import HostFile
from pykvm.images.vmcoreinfo import MAX_SIZE, VmcoreInfo

SIGNATURE = b"KDUMP   "
SUB_HEADER = 104  # bytes of the widest
MAX_PAGES = (1 << 32) - 1  # 16 TB of 4 KB pages: what the C core counts with
# Of disk_dump_header: how pages are compressed (DUMP_DH_COMPRESSED_*), and that writing did not end.
STATUS = {1: "zlib", 2: "lzo", 4: "snappy", 0x20: "zstd"}
INCOMPLETE = 8
# The bits of dump_level: which pages were not written.
LEVELS = ("zero", "cache", "private cache", "user", "free")


class Layout(NamedTuple):
    """Where the fields lie in one ABI: {name: (offset, size)} of both headers."""

    name: str
    header: dict[str, tuple[int, int]]
    sub: dict[str, tuple[int, int]]


# The first version of the header that has a field.
SINCE = {
    "dump_level": 1,
    "split": 2,
    "start_pfn": 2,
    "end_pfn": 2,
    "offset_vmcoreinfo": 3,
    "size_vmcoreinfo": 3,
    "offset_note": 4,
    "size_note": 4,
    "start_pfn_64": 6,
    "end_pfn_64": 6,
    "max_mapnr_64": 6,
}
HEADER = ("status", "block_size", "sub_hdr_size", "bitmap_blocks", "max_mapnr")
# Fields of kdump_sub_header: with 64-bit longs; with 32-bit longs and 64-bit integers aligned to 4 bytes; to 8 bytes.
LP64 = {
    "phys_base": (0, 8),
    "dump_level": (8, 4),
    "split": (12, 4),
    "start_pfn": (16, 8),
    "end_pfn": (24, 8),
    "offset_vmcoreinfo": (32, 8),
    "size_vmcoreinfo": (40, 8),
    "offset_note": (48, 8),
    "size_note": (56, 8),
    "start_pfn_64": (80, 8),
    "end_pfn_64": (88, 8),
    "max_mapnr_64": (96, 8),
}
PACKED = {
    "phys_base": (0, 4),
    "dump_level": (4, 4),
    "split": (8, 4),
    "start_pfn": (12, 4),
    "end_pfn": (16, 4),
    "offset_vmcoreinfo": (20, 8),
    "size_vmcoreinfo": (28, 4),
    "offset_note": (32, 8),
    "size_note": (40, 4),
    "start_pfn_64": (56, 8),
    "end_pfn_64": (64, 8),
    "max_mapnr_64": (72, 8),
}
PADDED = {
    **PACKED,
    "offset_vmcoreinfo": (24, 8),
    "size_vmcoreinfo": (32, 4),
    "offset_note": (40, 8),
    "size_note": (48, 4),
    "start_pfn_64": (72, 8),
    "end_pfn_64": (80, 8),
    "max_mapnr_64": (88, 8),
}


def _layout(name: str, status: int, sub: dict[str, tuple[int, int]]) -> Layout:
    return Layout(name, {field: (status + 4 * i, 4) for i, field in enumerate(HEADER)}, sub)


# By what wrote the file: struct timeval precedes `status`, and time_t may be wider than a long. QEMU packs the headers
# of all 32-bit machines.
LAYOUTS = (
    _layout("LP64", 424, LP64),
    _layout("i386", 412, PACKED),
    _layout("i386, 64-bit time_t", 420, PACKED),
    _layout("arm", 412, PADDED),
    _layout("arm, 64-bit time_t", 424, PADDED),
)
# By the start of utsname.machine: kd.info's word, and the start of the names of the likely layouts.
MACHINES = {
    "x86_64": ("x86_64", "LP64"),
    "aarch64": ("aarch64", "LP64"),
    "riscv64": ("riscv64", "LP64"),
    "ppc64": ("powerpc64", "LP64"),
    "s390x": ("s390x", "LP64"),
    "S390X": ("s390x", "LP64"),
    "i386": ("i386", "i386"),
    "i486": ("i386", "i386"),
    "i586": ("i386", "i386"),
    "i686": ("i386", "i386"),
    "armv": ("arm", "arm"),
}


class Header(NamedTuple):
    """What a file's headers say; sizes in bytes."""

    order: str
    version: int
    machine: str | None
    wide: bool  # longs are of 64 bits
    block_size: int
    sub_hdr_size: int
    bitmap_blocks: int
    pages: int
    dump_level: int
    first_pfn: int
    last_pfn: int
    vmcoreinfo: tuple[int, int]
    note: tuple[int, int]
    status: int

    def facts(self) -> dict[str, Any]:
        """What `pykvm info` says of the file; LEVELS and STATUS are makedumpfile's."""
        found: dict[str, Any] = {"container version": self.version}
        codecs = [name for bit, name in STATUS.items() if self.status & bit]
        if codecs:
            found["compression"] = ", ".join(codecs)
        found["dump level"] = self.dump_level
        found["kinds left out"] = [name for bit, name in enumerate(LEVELS) if self.dump_level >> bit & 1]
        if self.status & INCOMPLETE:
            found["incomplete"] = True
        return found


def probe(files: Sequence[HostFile]) -> Image | None:
    """A kdump-compressed dump, in one file or split over several; None without its signature."""
    if any(file.pread(0, 8) != SIGNATURE for file in files):
        return None
    headers = [_read(file) for file in files]
    first = headers[0]
    parts = []
    for i, (file, h) in enumerate(zip(files, headers, strict=True)):
        if (h.order, h.block_size, h.pages) != (first.order, first.block_size, first.pages):
            raise FormatError(f"{file.path}: block_size or max_mapnr differ from those of {files[0].path}")
        bitmaps = (1 + h.sub_hdr_size) * h.block_size
        half = h.bitmap_blocks * h.block_size // 2
        one = half * 8 < h.pages
        descriptors = bitmaps + h.bitmap_blocks * h.block_size
        if h.first_pfn > h.last_pfn:
            continue  # makedumpfile --split writes parts without pages, too
        parts.append(PagePart(i, h.first_pfn, h.last_pfn, bitmaps if one else bitmaps + half, descriptors))
    parts.sort(key=lambda part: part.first_pfn)
    # The bitmap of memory that exists is the same in every part: the first one's is read.
    start = (1 + first.sub_hdr_size) * first.block_size
    valid = start if first.bitmap_blocks * first.block_size // 2 * 8 >= first.pages else 0
    told = [_notes(f, h) for f, h in zip(files, headers, strict=True)]
    best = next((n for n in told if n.vmcoreinfo), told[0])
    order = "little" if first.order == "<" else "big"
    return Image(
        "kdump",
        files,
        Pages(first.pages, valid, first.block_size, order, tuple(parts)),
        machine=_machine(first, best.vmcoreinfo),
        byteorder=order,
        header=first,
        notes=best,
        facts=first.facts() | _gaps(first, parts),
    )


def _gaps(header: Header, parts: Sequence[PagePart]) -> dict[str, Any]:
    """The pages that parts of a split dump have which are not here."""
    found, at = [], 0
    for part in parts:
        if part.first_pfn > at:
            found.append((at, part.first_pfn - 1))
        at = max(at, part.last_pfn + 1)
    if at < header.pages:
        found.append((at, header.pages - 1))
    pages = ", ".join(f"{first:#x} to {last:#x}" for first, last in found)
    return {"in parts not given": f"pages {pages}"} if found else {}


def _machine(header: Header, info: VmcoreInfo | None) -> str | None:
    """The header's, but for x86_64: QEMU says that of itself, whatever runs in it. Headers of 32 bits, and VMCOREINFO
    without what every x86-64 kernel has (since Linux 4.11), are i386's."""
    told = info is not None and info.text("OSRELEASE") is not None
    other = not header.wide or (told and info is not None and info.text("NUMBER(phys_base)") is None)
    return "i386" if header.machine == "x86_64" and other else header.machine


def _read(file: HostFile) -> Header:
    raw = file.exactly(0, 464, "disk_dump_header")
    fields = [part.split(b"\0", 1)[0].decode("latin-1") for part in struct.unpack("65s" * 6, raw[12:402])]
    machine, wanted = next((v for k, v in MACHINES.items() if fields[4].startswith(k)), (None, "LP64"))
    found = []
    for order in "<>":
        version = struct.unpack_from(order + "i", raw, 8)[0]
        if 1 <= version < 256:  # the machine's own layout first; QEMU writes LP64's for i386, too
            for layout in sorted(LAYOUTS, key=lambda v: not v.name.startswith(wanted)):
                values = {name: _number(raw, at, order) for name, at in layout.header.items()}
                if _plausible(values):
                    found.append((order, version, layout, values))
    if not found:
        raise FormatError(f"{file.path}: disk_dump_header: block_size, sub_hdr_size or bitmap_blocks make no sense")
    best = next((f for f in found if _fits(file, *f)), found[0])
    return _sub_header(file, machine, *best)


def _number(raw: bytes, at: tuple[int, int], order: str) -> int:
    offset, size = at
    return int.from_bytes(raw[offset : offset + size], "little" if order == "<" else "big")


def _plausible(values: dict[str, int]) -> bool:
    block = values["block_size"]
    return 512 <= block <= 1 << 20 and block & block - 1 == 0 and 0 < values["sub_hdr_size"] < 1 << 16


def _fits(file: HostFile, order: str, version: int, layout: Layout, values: dict[str, int]) -> bool:
    """Whether both headers agree in a layout: a file does not say which it has."""
    sub = _sub_values(file.pread(values["block_size"], SUB_HEADER), order, version, layout)
    pages = sub["max_mapnr_64"] if version >= 6 else values["max_mapnr"]
    if version >= 6 and values["max_mapnr"] != min(pages, 0xFFFFFFFF):
        return False
    if not 0 < pages <= values["bitmap_blocks"] * values["block_size"] * 8:
        return False
    return all(
        0 <= sub[f"offset_{what}"] <= file.size and sub[f"size_{what}"] <= file.size - sub[f"offset_{what}"]
        for what in ("vmcoreinfo", "note")
    )


def _sub_values(raw: bytes, order: str, version: int, layout: Layout) -> dict[str, int]:
    return {name: _number(raw, at, order) if version >= SINCE.get(name, 0) else 0 for name, at in layout.sub.items()}


def _sub_header(
    file: HostFile, machine: str | None, order: str, version: int, layout: Layout, values: dict[str, int]
) -> Header:
    block = values["block_size"]
    sub = _sub_values(file.exactly(block, SUB_HEADER, "kdump_sub_header"), order, version, layout)
    pages = sub["max_mapnr_64"] or values["max_mapnr"]
    room = values["bitmap_blocks"] * block * 8
    if not 0 < pages <= min(room, MAX_PAGES):
        raise FormatError(f"{file.path}: max_mapnr is {pages}, but bitmap_blocks has room for {room} pages")
    first, last = 0, pages - 1
    if sub["split"]:
        first = sub["start_pfn_64"] if version >= 6 else sub["start_pfn"]
        last = (sub["end_pfn_64"] if version >= 6 else sub["end_pfn"]) - 1
        if first > last + 1:
            raise FormatError(f"{file.path}: start_pfn is {first} and end_pfn {last + 1}")
        last = min(last, pages - 1)
    return Header(
        order,
        version,
        machine,
        layout.sub is LP64,
        block,
        values["sub_hdr_size"],
        values["bitmap_blocks"],
        pages,
        sub["dump_level"],
        first,
        last,
        (sub["offset_vmcoreinfo"], sub["size_vmcoreinfo"]),
        (sub["offset_note"], sub["size_note"]),
        values["status"],
    )


def _notes(file: HostFile, header: Header) -> notes.Notes:
    offset, size = header.note
    told = notes.read([file.pread(offset, size)] if offset and 0 < size <= notes.MAX_NOTES else [], header.order)
    offset, size = header.vmcoreinfo
    if offset and 0 < size <= MAX_SIZE:
        return told._replace(vmcoreinfo=VmcoreInfo(file.exactly(offset, size, "vmcoreinfo")))
    return told
