"""How a format holds memory: in extents, in single pages by descriptors, or in whole pages by a bitmap.

Each kind says to the C core how it is read (`install`), and to everybody else what is there.
"""

from __future__ import annotations

import itertools
import struct
from abc import ABC, abstractmethod
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from pykvm._native.ffi import ffi, lib
from pykvm.errors import FormatError, KvmError
from pykvm.images.hostfile import HostFile

# Bytes of expanded pages that are kept for an image.
PAGE_CACHE = 16 << 20
BITMAP_STEP = 1 << 20
LEFT_OUT = -1
NO_OFFSET = int(lib.PK_NO_OFFSET)

Files = Sequence[HostFile]


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


class PageRange(NamedTuple):
    """Pages first_page ... have the bits first_bit ... (pk_minidump_range in decl/minidump.h)."""

    first_page: int
    pages: int
    first_bit: int


class Held(ABC):
    """Memory as a format holds it. `core` is the C image that it was installed in."""

    @abstractmethod
    def install(self, core: Any, files: Files) -> None:
        """Tell the C core; FormatError for what does not fit the files or itself."""

    @abstractmethod
    def size(self, core: Any, files: Files) -> int:
        """Bytes of memory that the files hold."""

    @abstractmethod
    def lowest(self, files: Files) -> int:
        """The lowest physical address that is known of; 0 if there is none."""

    def left_out(self, core: Any) -> int | None:
        """Bytes of memory that were left out on purpose; None if the format does not tell."""
        return None

    def cut(self, core: Any, files: Files) -> int:
        """Bytes that the files lack at their ends, as far as that can be seen in what they hold."""
        return 0

    def ranges(self, files: Files) -> Iterator[tuple[int, int]]:
        """(first address, end) of all memory, in order, where that is cheap to tell."""
        return iter(())


class Extents(Held):
    """Memory that lies in files as it is."""

    def __init__(self, extents: Sequence[Extent]) -> None:
        self.extents = tuple(extents)

    def install(self, core: Any, files: Files) -> None:
        table = ffi.new("pk_extent[]", [_extent(e) for e in self.extents])
        bad = lib.pk_image_set_extents(core, table, len(self.extents))
        if bad == -2:
            raise KvmError("out of memory")
        if bad >= 0:
            raise FormatError(f"{files[0].path}: memory segment {bad} overlaps another, or is not in the file's range")

    def size(self, core: Any, files: Files) -> int:
        return sum(max(0, min(e.size, files[e.file].size - e.offset)) for e in self.extents if e.file != LEFT_OUT)

    def lowest(self, files: Files) -> int:
        return min((e.addr for e in self.extents), default=0)

    def left_out(self, core: Any) -> int | None:
        return sum(e.size for e in self.extents if e.file == LEFT_OUT) or None

    def ranges(self, files: Files) -> Iterator[tuple[int, int]]:
        """Of sparse files only what is not a hole."""
        for extent in sorted(self.extents):
            if extent.file != LEFT_OUT:
                for start, end in files[extent.file].data(extent.offset, extent.size):
                    yield extent.addr + start - extent.offset, extent.addr + end - extent.offset


class Segments(Extents):
    """Segments that follow one another in the file from an offset on, of which there may be very many: `pairs` has the
    address and the size of each."""

    def __init__(self, pairs: array[int], offset: int) -> None:
        self.pairs, self.offset = pairs, offset

    @property
    def total(self) -> int:
        """Bytes of all of them."""
        return sum(self.pairs[1::2])

    @cached_property
    def extents(self) -> tuple[Extent, ...]:  # type: ignore[override]
        """Where each lies."""
        sizes = self.pairs[1::2]
        offsets = itertools.accumulate(sizes, initial=self.offset)
        return tuple(Extent(*row) for row in zip(self.pairs[::2], sizes, offsets, strict=False) if row[1])

    def install(self, core: Any, files: Files) -> None:
        table = ffi.from_buffer("uint64_t[]", self.pairs) if len(self.pairs) else ffi.NULL
        bad = lib.pk_image_set_segments(core, table, len(self.pairs) // 2, self.offset)
        if bad == -2:
            raise KvmError("out of memory")
        if bad >= 0:
            raise FormatError(f"{files[0].path}: memory segment {bad} overlaps another, wraps around, or is too large")

    def size(self, core: Any, files: Files) -> int:
        return max(0, min(self.total, files[0].size - self.offset))

    def lowest(self, files: Files) -> int:
        return min((a for a, n in zip(self.pairs[::2], self.pairs[1::2], strict=True) if n), default=0)

    def left_out(self, core: Any) -> int | None:
        return None


def _extent(e: Extent) -> tuple[int, int, int, int, int]:
    return (e.addr, e.size, 0, 0, 1) if e.file == LEFT_OUT else (e.addr, e.size, e.offset, e.file, 0)


class Pages(Held):
    """Pages found by bitmap and descriptor (pk_page_shape in decl/pages.h)."""

    def __init__(
        self, total: int, valid_offset: int, page_size: int, byteorder: str, parts: Sequence[PagePart]
    ) -> None:
        self.total = total
        self.valid_offset = valid_offset
        self.page_size = page_size
        self.byteorder = byteorder
        self.parts = tuple(parts)

    def install(self, core: Any, files: Files) -> None:
        shape = ffi.new(
            "pk_page_shape *",
            (self.total, self.valid_offset, self.page_size, self.byteorder == "big", PAGE_CACHE),
        )
        parts = ffi.new("pk_page_part[]", [(p.file, 0, *p[1:]) for p in self.parts])
        bad = lib.pk_image_set_pages(core, shape, parts, len(self.parts))
        if bad < 0:
            raise KvmError("out of memory")
        if bad > 0:
            path = files[self.parts[bad - 1].file].path
            raise FormatError(
                f"{path}: bitmap of {self.total} pages: goes beyond the end of the file, or pages are also in another "
                "part"
            )

    def size(self, core: Any, files: Files) -> int:
        return int(lib.pk_image_pages_present(core)) * self.page_size

    def left_out(self, core: Any) -> int | None:
        return int(lib.pk_image_pages_excluded(core)) * self.page_size

    def lowest(self, files: Files) -> int:
        start = self.valid_offset or min((p.bitmap_offset for p in self.parts), default=0)
        size = (self.total + 7) // 8
        for at in range(0, size, BITMAP_STEP):
            raw = files[0].pread(start + at, min(BITMAP_STEP, size - at))
            bits = raw.lstrip(b"\0")
            if bits:
                pfn = 8 * (at + len(raw) - len(bits)) + (bits[0] & -bits[0]).bit_length() - 1
                return pfn * self.page_size
        return 0

    def ranges(self, files: Files) -> Iterator[tuple[int, int]]:
        yield 0, self.total * self.page_size

    def cut(self, core: Any, files: Files) -> int:
        """By the last descriptor of each part, whose page writers put last."""
        return sum(self._cut(files[part.file], part) for part in self.parts)

    def _cut(self, file: HostFile, part: PagePart) -> int:
        first, last = part.first_pfn, min(part.last_pfn, self.total - 1)
        count = 0
        for at in range(first // 8, last // 8 + 1, BITMAP_STEP):
            stop = min(at + BITMAP_STEP, last // 8 + 1)
            bits = int.from_bytes(file.pread(part.bitmap_offset + at, stop - at), "little")
            if at == first // 8:
                bits = bits >> first % 8 << first % 8
            if stop == last // 8 + 1:
                bits &= (1 << last - 8 * at + 1) - 1
            count += bits.bit_count()
        return self._beyond(file, part.descriptor_offset, count)

    def _beyond(self, file: HostFile, table: int, count: int) -> int:
        """How far the last pages are behind the file's end, by the last descriptors. One page of zeros may stand for
        all: those are passed over."""
        if table + count * DESCRIPTOR.size > file.size:
            return table + count * DESCRIPTOR.size - file.size
        one = struct.Struct(("<" if self.byteorder == "little" else ">") + DESCRIPTOR.format)
        for stop in range(count, max(0, count - LAST), -STEP):
            start = max(0, stop - STEP)
            rows = list(one.iter_unpack(file.pread(table + start * one.size, (stop - start) * one.size)))
            used = Counter(offset for offset, _ in rows)
            ends = [offset + size for offset, size in rows if used[offset] == 1]
            if ends:
                lacking: int = max(0, max(ends) - file.size)
                return lacking
        return 0


DESCRIPTOR = struct.Struct("qI12x")  # page_desc_t: offset and size; flags, page_flags
STEP, LAST = 1 << 12, 1 << 18  # descriptors that are read at a time, and at most


class Packed(Held):
    """Whole pages one behind another, in the order of a bitmap's set bits (pk_minidump_shape in decl/minidump.h).

    `word`: bytes of one of the bitmap's words.
    """

    def __init__(
        self,
        bits: int,
        bitmap_offset: int,
        data_offset: int,
        page_size: int,
        byteorder: str,
        ranges: Sequence[PageRange],
        word: int = 8,
    ) -> None:
        self.bits = bits
        self.bitmap_offset = bitmap_offset
        self.data_offset = data_offset
        self.page_size = page_size
        self.byteorder = byteorder
        self.page_ranges = tuple(ranges)
        self.word = word

    def install(self, core: Any, files: Files) -> None:
        swapped = self.word if self.byteorder == "big" else 0
        places = self.bits, self.bitmap_offset, self.data_offset, self.page_size
        shape = ffi.new("pk_minidump_shape *", (*places, swapped))
        ranges = ffi.new("pk_minidump_range[]", list(self.page_ranges))
        bad = lib.pk_image_set_minidump(core, shape, ranges, len(self.page_ranges))
        if bad < 0:
            raise KvmError("out of memory")
        if bad > 0:
            what = f"bitmap of {self.bits} pages goes beyond the end of the file" if bad == 1 else "ranges overlap"
            raise FormatError(f"{files[0].path}: {what}")

    def present(self, core: Any) -> int:
        """Pages that the bitmap says are there."""
        return int(lib.pk_image_minidump_present(core))

    def size(self, core: Any, files: Files) -> int:
        room = max(0, files[0].size - self.data_offset) & -self.page_size
        return min(self.present(core) * self.page_size, room)

    def lowest(self, files: Files) -> int:
        return 0

    def cut(self, core: Any, files: Files) -> int:
        return self.present(core) * self.page_size - self.size(core, files)

    def runs(self, core: Any) -> Iterator[tuple[int, int, int]]:
        """(physical address, bytes, offset in the file) of the memory that whole pages of the file hold, in order:
        pieces that are one in both."""
        size = self.page_size
        page, offset = ffi.new("uint64_t *"), ffi.new("uint64_t *")
        while count := int(lib.pk_image_minidump_next(core, page, offset)):
            yield page[0] * size, count * size, offset[0]
            page[0] += count

    def where(self, core: Any, addr: int, pages: int) -> tuple[int | None, int]:
        """(offset in the file, how many pages from this physical address on lie there in one piece, at most `pages`);
        an offset of None: of so many pages there is nothing."""
        offset = ffi.new("uint64_t *")
        count = int(lib.pk_image_minidump_where(core, addr, pages, offset))
        return (None if offset[0] == NO_OFFSET else offset[0]), count
