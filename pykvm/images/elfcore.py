"""ELF core files of kernels: /proc/vmcore, makedumpfile -E, QEMU's dump-guest-memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from pykvm.images import notes
from pykvm.images.base import Image
from pykvm.images.elf import ET_CORE, MAGIC, PT_LOAD, PT_NOTE, Elf, Phdr
from pykvm.images.held import LEFT_OUT, Extent, Extents
from pykvm.images.hostfile import HostFile
from pykvm.images.notes import MAX_NOTES

PT_DUMP_DELTA = 0x6FB5D000  # FreeBSD's: p_vaddr of the kernel lies at p_paddr (arm; proposed for amd64 since 13.1)
OSABI_STANDALONE = 255  # EI_OSABI: FreeBSD's full dumps have that


class ElfCore(NamedTuple):
    """What an ELF header says beside where memory lies: EI_OSABI, and (virtual, physical) of each PT_DUMP_DELTA."""

    osabi: int
    deltas: tuple[tuple[int, int], ...]


def probe(files: Sequence[HostFile]) -> Image | None:
    """An ELF core; None if the file is no ELF, or an ELF of another kind."""
    if len(files) != 1:
        return None
    file = files[0]
    ident = file.pread(0, 16)
    if len(ident) < 16 or ident[:4] != MAGIC or ident[4] not in (1, 2) or ident[5] not in (1, 2):
        return None
    elf = Elf(file)
    if elf.type != ET_CORE:
        return None
    phdrs = elf.segments()
    found = extents(phdrs)
    return Image(
        "elf",
        files,
        Extents(found),
        machine=elf.machine,
        byteorder=elf.byteorder,
        header=ElfCore(elf.osabi, tuple((p.vaddr, p.paddr) for p in phdrs if p.type == PT_DUMP_DELTA)),
        declared=sum(e.size for e in found if e.file != LEFT_OUT),
        notes=notes.read(note_segments(file, phdrs), elf.order),
    )


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
