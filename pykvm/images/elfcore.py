"""ELF core files of kernels: /proc/vmcore, makedumpfile -E, QEMU's dump-guest-memory.

Only headers that are needed are read, and at the places that the ELF header names: QEMU 7.2 writes an e_ehsize
of 8 and section headers before the program headers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from pykvm.errors import FormatError
from pykvm.images import notes
from pykvm.images.base import Image
from pykvm.images.held import LEFT_OUT, Extent, Extents
from pykvm.images.hostfile import HostFile
from pykvm.images.notes import MAX_NOTES

ET_CORE = 4
PT_LOAD, PT_NOTE = 1, 4
PT_DUMP_DELTA = 0x6FB5D000  # FreeBSD's: p_vaddr of the kernel lies at p_paddr (arm; proposed for amd64 since 13.1)
EI_OSABI, OSABI_STANDALONE = 7, 255  # FreeBSD's full dumps have that
PN_XNUM = 0xFFFF
MAX_PHDRS = 1 << 17
# e_machine (elf(5)) to kd.info's machine names.
MACHINES = {3: "i386", 8: "mips", 40: "arm", 62: "x86_64", 183: "aarch64", 243: "riscv64", 21: "powerpc64", 22: "s390x"}


class Phdr(NamedTuple):
    """A program header."""

    type: int
    offset: int
    vaddr: int
    paddr: int
    filesz: int
    memsz: int


class ElfCore(NamedTuple):
    """What an ELF header says beside where memory lies: EI_OSABI, and (virtual, physical) of each PT_DUMP_DELTA."""

    osabi: int
    deltas: tuple[tuple[int, int], ...]


class Shape(NamedTuple):
    """The struct formats of one ELF class and byte order."""

    order: str
    wide: bool

    @property
    def header(self) -> struct.Struct:
        """From e_type on."""
        return struct.Struct(self.order + ("HHIQQQIHHHHHH" if self.wide else "HHIIIIIHHHHHH"))

    def phdr(self, raw: bytes) -> Phdr:
        """One program header."""
        if self.wide:
            kind, _, offset, vaddr, paddr, filesz, memsz, _ = struct.unpack(self.order + "IIQQQQQQ", raw)
        else:
            kind, offset, vaddr, paddr, filesz, memsz, _, _ = struct.unpack(self.order + "8I", raw)
        return Phdr(kind, offset, vaddr, paddr, filesz, memsz)


def probe(files: Sequence[HostFile]) -> Image | None:
    """An ELF core; None if the file is no ELF, or an ELF of another kind."""
    if len(files) != 1:
        return None
    file = files[0]
    ident = file.pread(0, 16)
    if len(ident) < 16 or ident[:4] != b"\x7fELF" or ident[4] not in (1, 2) or ident[5] not in (1, 2):
        return None
    shape = Shape("<" if ident[5] == 1 else ">", ident[4] == 2)
    header = shape.header
    fields = header.unpack(file.exactly(16, header.size, "ELF header"))
    if fields[0] != ET_CORE:
        return None
    phdrs = _phdrs(file, shape, fields)
    found = extents(phdrs)
    return Image(
        "elf",
        files,
        Extents(found),
        machine=MACHINES.get(fields[1], f"ELF machine {fields[1]}"),
        byteorder="little" if shape.order == "<" else "big",
        header=ElfCore(ident[EI_OSABI], tuple((p.vaddr, p.paddr) for p in phdrs if p.type == PT_DUMP_DELTA)),
        declared=sum(e.size for e in found if e.file != LEFT_OUT),
        notes=notes.read(note_segments(file, phdrs), shape.order),
    )


def _phdrs(file: HostFile, shape: Shape, fields: tuple[int, ...]) -> list[Phdr]:
    phoff, shoff, phentsize, phnum = fields[4], fields[5], fields[8], fields[9]
    size = 56 if shape.wide else 32
    if phnum == PN_XNUM and shoff:  # more than a half-word holds: the number is in section header 0's sh_info
        at = shoff + (44 if shape.wide else 28)
        (phnum,) = struct.unpack(shape.order + "I", file.exactly(at, 4, "sh_info of section 0"))
    if phnum and phentsize != size:
        raise FormatError(f"{file.path}: e_phentsize is {phentsize}, must be {size}")
    if phnum > MAX_PHDRS:
        raise FormatError(f"{file.path}: {phnum} program headers (sh_info of section 0; at most {MAX_PHDRS} are read)")
    raw = file.exactly(phoff, phnum * size, f"{phnum} program headers (e_phnum)")
    return [shape.phdr(raw[i : i + size]) for i in range(0, len(raw), size)]


def extents(phdrs: Sequence[Phdr]) -> list[Extent]:
    """Where memory lies. /proc/vmcore has the kernel's text twice: what is there already is not taken again. What a
    segment has in memory but not in the file was left out (makedumpfile -E)."""
    found: list[Extent] = []
    loads = [p for p in phdrs if p.type == PT_LOAD and p.paddr + max(p.filesz, p.memsz) <= 1 << 64]
    top = 0
    for p in sorted((p for p in loads if p.filesz), key=lambda p: (p.paddr, -p.filesz)):
        skip = max(0, top - p.paddr)
        if skip < p.filesz and p.offset + p.filesz < 1 << 63:
            found.append(Extent(p.paddr + skip, p.filesz - skip, p.offset + skip))
            top = p.paddr + p.filesz
    gaps = ((p.paddr + p.filesz, p.memsz - p.filesz) for p in loads if p.memsz > p.filesz)
    return found + left_out(found, gaps)


def left_out(found: Sequence[Extent], gaps: Iterable[tuple[int, int]]) -> list[Extent]:
    """Of ranges (address, size), what is neither in an extent (which are sorted) nor in an earlier range."""
    holes: list[Extent] = []
    start = 0
    at = iter(found)
    extent = next(at, None)
    for addr, size in sorted(gaps):
        start, end = max(start, addr), addr + size
        while start < end:
            while extent is not None and extent.addr + extent.size <= start:
                extent = next(at, None)
            if extent is not None and extent.addr <= start:
                start = extent.addr + extent.size
                continue
            stop = end if extent is None else min(end, extent.addr)
            holes.append(Extent(start, stop - start, 0, LEFT_OUT))
            start = stop
    return holes


def note_segments(file: HostFile, phdrs: Sequence[Phdr]) -> Iterator[bytes]:
    """The contents of the PT_NOTE segments."""
    room = MAX_NOTES
    for p in phdrs:
        if p.type == PT_NOTE and room > 0:
            raw = file.pread(p.offset, min(p.filesz, room))
            room -= len(raw)
            yield raw
