"""What every image format hands on: where physical memory lies."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from pykvm._native.ffi import ffi, lib
from pykvm.errors import AddressError, FormatError, KvmError
from pykvm.images.hostfile import HostFile
from pykvm.images.notes import Notes

window, read, unpack = lib.pk_image_window, lib.pk_image_read, ffi.unpack
NEAR = 1 << 20  # bytes that are copied without letting go of the GIL
# Room that C fills at once.
unset = ffi.new_allocator(should_clear_after_alloc=False)
# Bytes of expanded pages that are kept for an image.
PAGE_CACHE = 16 << 20
BITMAP_STEP = 1 << 20
FIND_CHUNK = 64 << 20


LEFT_OUT = -1
NO_OFFSET = int(lib.PK_NO_OFFSET)
NO_NOTES = Notes(None, ())


class Extent(NamedTuple):
    """`size` bytes of physical memory from `addr`, at `offset` of file number `file`; LEFT_OUT: in none."""

    addr: int
    size: int
    offset: int
    file: int = 0


class PagePart(NamedTuple):
    """One file of an image of pages (pk_page_part in decl/pages.h)."""

    file: int
    first_pfn: int
    last_pfn: int
    bitmap_offset: int
    descriptor_offset: int


class Pages(NamedTuple):
    """Pages found by bitmap and descriptor (pk_page_shape in decl/pages.h)."""

    total: int
    valid_offset: int
    page_size: int
    byteorder: str
    parts: tuple[PagePart, ...]


class PageRange(NamedTuple):
    """Pages first_page ... have the bits first_bit ... (pk_minidump_range in decl/minidump.h)."""

    first_page: int
    pages: int
    first_bit: int


class Packed(NamedTuple):
    """Whole pages one behind another, in the order of a bitmap's set bits (pk_minidump_shape in decl/minidump.h)."""

    bits: int
    bitmap_offset: int
    data_offset: int
    page_size: int
    byteorder: str
    ranges: tuple[PageRange, ...]
    word: int = 8  # bytes of one of the bitmap's


class Image:
    """A memory image over open files.

    `format` is kd.info's word for it; `machine` and `byteorder` are what its header says, None where it says
    nothing; `flaw` is why a header that seemed to be there is none (None: there is no trace of one); `declared` is
    how many bytes of memory the header promises; `facts` is what `pykvm info` says of the container.
    """

    def __init__(
        self,
        format: str,
        files: Sequence[HostFile],
        extents: Iterable[Extent] | Pages | Packed,
        *,
        machine: str | None = None,
        byteorder: str | None = None,
        header: Any = None,
        flaw: str | None = None,
        declared: int | None = None,
        notes: Notes = NO_NOTES,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self.format = format
        self.files = tuple(files)
        self.pages = extents if isinstance(extents, Pages) else None
        self.packed = extents if isinstance(extents, Packed) else None
        self.extents = () if isinstance(extents, (Pages, Packed)) else tuple(extents)
        self.machine = machine
        self.byteorder = byteorder
        self.header = header
        self.flaw = flaw
        self.declared = declared
        self.vmcoreinfo = notes.vmcoreinfo
        self.cpus = notes.cpus
        self.facts = facts or {}
        self.core = _build(self.files, self.pages or self.packed or self.extents)

    @property
    def path(self) -> str:
        """The name of the (first) file."""
        return self.files[0].path

    @cached_property
    def memory_size(self) -> int:
        """Bytes of physical memory that the files hold."""
        if self.pages is not None:
            return int(lib.pk_image_pages_present(self.core)) * self.pages.page_size
        if self.packed is not None:
            room = max(0, self.files[0].size - self.packed.data_offset) & -self.packed.page_size
            return min(self.pages_present * self.packed.page_size, room)
        return sum(max(0, min(e.size, self.files[e.file].size - e.offset)) for e in self.extents if e.file != LEFT_OUT)

    @property
    def pages_present(self) -> int:
        """Pages that a bitmap says are there, of an image of such."""
        return int(lib.pk_image_minidump_present(self.core))

    @property
    def missing(self) -> int:
        """Bytes of memory that the header promises and the files lack: a core that was cut, or is being copied."""
        return max(0, self.declared - self.memory_size) if self.declared is not None else 0

    @property
    def left_out(self) -> int:
        """Bytes of memory that whoever wrote the dump left out of it on purpose."""
        if self.pages is not None:
            return int(lib.pk_image_pages_excluded(self.core)) * self.pages.page_size
        return sum(e.size for e in self.extents if e.file == LEFT_OUT)

    def zero_excluded(self) -> None:
        """From now on memory that was left out reads as zeros."""
        lib.pk_image_zero_excluded(self.core, True)

    @property
    def lowest(self) -> int:
        """The lowest physical address that the image knows of; 0 if it has no memory."""
        if self.pages is None:
            return min((e.addr for e in self.extents), default=0)
        start = self.pages.valid_offset or min((p.bitmap_offset for p in self.pages.parts), default=0)
        size = (self.pages.total + 7) // 8
        for at in range(0, size, BITMAP_STEP):
            raw = self.files[0].pread(start + at, min(BITMAP_STEP, size - at))
            bits = raw.lstrip(b"\0")
            if bits:
                pfn = 8 * (at + len(raw) - len(bits)) + (bits[0] & -bits[0]).bit_length() - 1
                return pfn * self.pages.page_size
        return 0

    def release(self) -> None:
        """Let go of what has been read of mapped files: it is read again when it is needed."""
        lib.pk_image_release(self.core)

    def ranges(self) -> Iterator[tuple[int, int]]:
        """(first address, end) of all memory, in order; of sparse files only what is not a hole."""
        if self.pages is not None:
            yield 0, self.pages.total * self.pages.page_size
        for extent in sorted(self.extents):
            if extent.file != LEFT_OUT:
                for start, end in self.files[extent.file].data(extent.offset, extent.size):
                    yield extent.addr + start - extent.offset, extent.addr + end - extent.offset

    def runs(self) -> Iterator[tuple[int, int, int]]:
        """(physical address, bytes, offset in the file) of the memory that whole pages of the file hold, in order:
        pieces that are one in both. Of images of packed pages."""
        if self.packed is None:
            return
        size = self.packed.page_size
        page, offset = ffi.new("uint64_t *"), ffi.new("uint64_t *")
        while count := int(lib.pk_image_minidump_next(self.core, page, offset)):
            yield page[0] * size, count * size, offset[0]
            page[0] += count

    def where(self, addr: int, pages: int) -> tuple[int | None, int]:
        """(offset in the file, how many pages from this physical address on lie there in one piece, at most `pages`);
        an offset of None: of so many pages there is nothing. Of images of packed pages."""
        offset = ffi.new("uint64_t *")
        count = int(lib.pk_image_minidump_where(self.core, addr, pages, offset))
        return (None if offset[0] == NO_OFFSET else offset[0]), count

    def find(self, needle: bytes, offset: int, step: int, progress: Callable[[int], None]) -> Iterator[int]:
        """The physical addresses, offset + any number of steps, at which these bytes lie; progress is told how many
        bytes have been gone through."""
        done = 0
        for start, end in self.ranges():
            at = start + (offset - start) % step
            while at < end:
                stop = min(end, at + FIND_CHUNK)
                found = int(lib.pk_image_find(self.core, at, stop, step, needle, len(needle)))
                if found < stop:
                    yield found
                    at = found + step
                else:
                    at += (stop - at + step - 1) // step * step
                progress(done + at - start)
            done += end - start

    def place(self, extents: Sequence[Extent]) -> None:
        """Say anew where memory lies, of an image that cannot tell (raw memory) when its kernel can."""
        self.extents = tuple(extents)
        _set_extents(self.core, self.files, self.extents)

    def read(self, addr: int, n: int) -> bytes:
        """n bytes of physical memory, or AddressError."""
        if n < 0:
            raise ValueError(f"negative length {n}")
        # A read that the image cannot hold is refused before room is taken for it.
        if not 0 <= addr < 1 << 64 or n > self.memory_size:
            raise AddressError(f"no memory at physical address {addr:x}", addr)
        data: bytes
        core = self.core
        mapped = window(core, addr, n) if n <= NEAR else None
        if mapped:
            data = unpack(mapped, n)
            return data
        buf = unset("char[]", n)
        if read(core, addr, buf, n, ffi.NULL) == n:
            data = unpack(buf, n)
            return data
        fault = ffi.new("pk_fault *")
        got = read(core, addr, buf, n, fault)
        if fault.status == lib.PK_EIO:
            raise KvmError(f"{self.path}: {os.strerror(fault.os_error)}")
        if fault.status == lib.PK_EMEM:
            raise KvmError("out of memory")
        why = REASONS.get(fault.status, "no memory")
        raise AddressError(f"{why} at physical address {addr + got:x} in {self.path}", addr + got)


# Why a physical address cannot be read, for messages.
REASONS = {
    lib.PK_EEOF: "the file ends",
    lib.PK_ELEFTOUT: "memory that the dump leaves out",
    lib.PK_EDAMAGED: "a damaged page",
    lib.PK_ENOPART: "memory in a part of this split dump that was not given",
}


def _build(files: Sequence[HostFile], memory: Sequence[Extent] | Pages | Packed) -> Any:
    core = ffi.gc(lib.pk_image_new(), lib.pk_image_unref)
    if core == ffi.NULL:
        raise KvmError("out of memory")
    for file in files:
        got = lib.pk_image_add_part(core, file.fd, file.start, file.size, file.readable)
        if got < 0:
            raise KvmError(f"{file.path}: {os.strerror(-got)}")
    if isinstance(memory, Pages):
        _set_pages(core, files, memory)
    elif isinstance(memory, Packed):
        _set_packed(core, files, memory)
    else:
        _set_extents(core, files, memory)
    return core


def _set_extents(core: Any, files: Sequence[HostFile], memory: Sequence[Extent]) -> None:
    table = ffi.new("pk_extent[]", [_extent(e) for e in memory])
    bad = lib.pk_image_set_extents(core, table, len(memory))
    if bad == -2:
        raise KvmError("out of memory")
    if bad >= 0:
        raise FormatError(f"{files[0].path}: memory segment {bad} overlaps another, or is not in the file's range")


def _extent(e: Extent) -> tuple[int, int, int, int, int]:
    return (e.addr, e.size, 0, 0, 1) if e.file == LEFT_OUT else (e.addr, e.size, e.offset, e.file, 0)


def _set_pages(core: Any, files: Sequence[HostFile], pages: Pages) -> None:
    shape = ffi.new(
        "pk_page_shape *",
        (
            pages.total,
            pages.valid_offset,
            pages.page_size,
            pages.byteorder == "big",
            PAGE_CACHE,
        ),
    )
    parts = ffi.new("pk_page_part[]", [(p.file, 0, *p[1:]) for p in pages.parts])
    bad = lib.pk_image_set_pages(core, shape, parts, len(pages.parts))
    if bad < 0:
        raise KvmError("out of memory")
    if bad > 0:
        path = files[pages.parts[bad - 1].file].path
        raise FormatError(f"{path}: bitmap of {pages.total} pages: goes beyond the end of the file, or pages overlap")


def _set_packed(core: Any, files: Sequence[HostFile], packed: Packed) -> None:
    shape = ffi.new("pk_minidump_shape *", (*packed[:4], packed.word if packed.byteorder == "big" else 0))
    ranges = ffi.new("pk_minidump_range[]", list(packed.ranges))
    bad = lib.pk_image_set_minidump(core, shape, ranges, len(packed.ranges))
    if bad < 0:
        raise KvmError("out of memory")
    if bad > 0:
        what = f"bitmap of {packed.bits} pages goes beyond the end of the file" if bad == 1 else "ranges overlap"
        raise FormatError(f"{files[0].path}: {what}")


# A probe takes the open files and gives an Image, or None if the files are of another format.
Probe = Callable[[Sequence[HostFile]], "Image | None"]
