"""Sections of an ELF file: mapped, expanded where they are compressed, relocated where the file is not linked."""

from __future__ import annotations

import io
import mmap
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import zstandard
from elftools.common.exceptions import DWARFError, ELFError
from elftools.construct import ConstructError
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationHandler

from pykvm._native.ffi import ffi, lib
from pykvm.errors import FormatError, KvmError
from pykvm.images.elf import MAX_SECTIONS, SHF_COMPRESSED
from pykvm.images.hostfile import HostFile

# What pyelftools raises on damaged files is not always an ELFError.
DAMAGED = (
    ELFError, DWARFError, ConstructError, struct.error, zlib.error, ArithmeticError, AssertionError, AttributeError,
    LookupError, NotImplementedError, RecursionError, TypeError, ValueError,
)  # fmt: skip
ZLIB, ZSTD = 1, 2  # ch_type
RATIO = 32  # debug information packs to a fifth with zlib, to an eighth with zstd; what promises more is a bomb
MAX_EXPANDED = 1 << 31
MAX_RELOCATIONS = 16 << 20  # bytes of them for one section: pyelftools applies some 50,000 in a second


class Section:
    """Bytes of a section in which things can be found, and which pyelftools reads as a file. Not a copy."""

    def __init__(self, data: memoryview | bytes) -> None:
        whole: Any = data.obj if isinstance(data, memoryview) and isinstance(data.obj, mmap.mmap) else None
        self._data = memoryview(data)
        # Only a mapping can be searched where it is.
        self._whole: Any = bytes(data) if whole is None else whole
        self._start = 0 if whole is None else _address(data) - _address(whole)

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, which: slice) -> bytes:
        return bytes(self._data[which])

    def places(self, needle: bytes, most: int) -> Iterator[int]:
        """Where these bytes are, the first ones."""
        at, end = self._start, self._start + len(self)
        for _ in range(most):
            at = self._whole.find(needle, at, end)
            if at < 0:
                return
            yield at - self._start
            at += 1

    def words(self, values: Sequence[int], limit: int, byteorder: str) -> Iterator[int]:
        """Where 32-bit words are that have one of these values, all below `limit`, at any alignment."""
        if not values:
            return
        bits = bytearray(limit // 8 + 1)
        for value in values:
            bits[value >> 3] |= 1 << (value & 7)
        data, size = ffi.from_buffer("uint8_t[]", self._data), len(self)
        at = lib.pk_find_words(data, size, 0, ffi.from_buffer("uint8_t[]", bits), limit, byteorder == "big")
        while at < size:
            yield at
            at = lib.pk_find_words(data, size, at + 1, ffi.from_buffer("uint8_t[]", bits), limit, byteorder == "big")

    def stream(self) -> Any:
        """A file of them."""
        return io.BufferedReader(_Stream(self._data))


def _address(data: Any) -> int:
    return int(ffi.cast("uintptr_t", ffi.from_buffer(data)))


class _Stream(io.RawIOBase):
    """What a file needs for io.BufferedReader."""

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part = self.data[self.at : self.at + len(buffer)]
        buffer[: len(part)] = part
        self.at += len(part)
        return len(part)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: len(self.data)}[whence]
        self.at = max(0, start + offset)
        return self.at


class Elf:
    """The sections of an ELF file, by name. FormatError if the file cannot be understood."""

    def __init__(self, file: HostFile) -> None:
        self._path = file.path
        # Not closed: sections are views of it, and the last of them lets it go.
        try:
            self._map = mmap.mmap(file.fd, file.size, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as e:  # it has been cut since it was opened
            raise KvmError(f"{file.path}: {e}") from e
        try:
            stream: Any = self._map
            self._elf = ELFFile(stream)
            if self._elf.num_sections() > MAX_SECTIONS:
                raise FormatError(
                    f"{file.path}: e_shnum is {self._elf.num_sections()} (at most {MAX_SECTIONS} are read)"
                )
            self._headers = self._read_headers()
        except DAMAGED as e:
            raise FormatError(f"{file.path}: damaged ELF file: {e}") from e
        self.big_endian = not self._elf.little_endian
        self.pointer_size = self._elf.elfclass // 8

    @staticmethod
    def of(file: HostFile) -> Elf | None:
        """The sections of a file, or None if it is no ELF file."""
        return Elf(file) if file.size >= 52 and file.pread(0, 4) == b"\x7fELF" else None

    def _read_headers(self) -> dict[str, Any]:
        names: dict[str, Any] = {}
        for i in range(self._elf.num_sections()):
            header = self._elf._get_section_header(i)
            if header["sh_type"] not in ("SHT_NULL", "SHT_NOBITS"):
                names.setdefault(self._elf._get_section_name(header), header)
        return names

    def __contains__(self, name: str) -> bool:
        return name in self._headers or f".z{name[1:]}" in self._headers

    def section(self, name: str, limit: int = MAX_EXPANDED) -> memoryview | bytes | None:
        """The contents of a section, or None if there is none of that name (or only in another file).

        FormatError if it is not within the file, cannot be expanded, or is larger than `limit` bytes.
        """
        header = self._headers.get(name)
        old = None if header is not None else self._headers.get(f".z{name[1:]}")
        try:
            if old is not None:
                return self._relocated(name, self._zdebug(name, old, limit))
            if header is None:
                return None
            data = self._raw(name, header)
            if header["sh_flags"] & SHF_COMPRESSED:
                data = self._compressed(name, data, limit)
            if len(data) > limit:
                raise self._wrong(name, f"{len(data)} bytes (at most {limit})")
            return self._relocated(name, data)
        except DAMAGED as e:
            raise self._wrong(name, str(e)) from e

    def linked_strings(self, name: str, limit: int = MAX_EXPANDED) -> memoryview | bytes:
        """The strings of the section that a section links to (sh_link), be it a string table or one of symbols; empty
        if it links to none. FormatError if they are not within the file, or more than `limit` bytes."""
        try:
            header = self._headers[name]
            for _ in range(2):
                header = self._elf._get_section_header(header["sh_link"])
                if header["sh_type"] == "SHT_STRTAB":
                    if header["sh_size"] > limit:
                        raise self._wrong(name, f"{header['sh_size']} bytes of strings (at most {limit})")
                    return self._raw(name, header)
        except DAMAGED as e:
            raise self._wrong(name, str(e)) from e
        return b""

    def _wrong(self, name: str, what: str) -> FormatError:
        return FormatError(f"{self._path}: section {name}: {what}")

    def _raw(self, name: str, header: Any) -> memoryview | bytes:
        offset, size = header["sh_offset"], header["sh_size"]
        if offset > len(self._map) or size > len(self._map) - offset:
            raise self._wrong(name, f"sh_offset {offset} and sh_size {size} go beyond the end of the file")
        return memoryview(self._map)[offset : offset + size]

    def _compressed(self, name: str, data: memoryview | bytes, limit: int) -> bytes:
        """Elf32_Chdr or Elf64_Chdr, and what it says of the bytes behind it."""
        form = struct.Struct((">" if self.big_endian else "<") + ("I4xQQ" if self.pointer_size == 8 else "III"))
        kind, size, _ = form.unpack_from(data)
        return self._expanded(name, data[form.size :], kind, size, limit)

    def _zdebug(self, name: str, header: Any, limit: int) -> bytes:
        """A section of binutils before 2.26: "ZLIB", the size (big-endian), the rest."""
        data = self._raw(name, header)
        if bytes(data[:4]) != b"ZLIB":
            raise self._wrong(name, f"a .zdebug section that begins with {bytes(data[:4])!r}")
        size = int.from_bytes(data[4:12], "big")
        return self._expanded(name, data[12:], ZLIB, size, limit)

    def _expanded(self, name: str, packed: memoryview | bytes, kind: int, size: int, limit: int) -> bytes:
        if size > min(limit, RATIO * len(packed) + 4096):
            raise self._wrong(name, f"{len(packed)} bytes cannot expand to {size}")
        try:
            if kind == ZLIB:
                data = zlib.decompressobj().decompress(packed, size) if size else b""
            elif kind == ZSTD:
                data = zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True).read(size)
            else:
                raise self._wrong(name, f"ch_type {kind} is not known")
        except (zlib.error, zstandard.ZstdError) as e:
            raise self._wrong(name, str(e)) from e
        if len(data) != size:
            raise self._wrong(name, f"expands to {len(data)} bytes, not to {size}")
        return data

    def _relocated(self, name: str, data: memoryview | bytes) -> memoryview | bytes:
        """In a file that is not linked, what sections say of each other is filled in."""
        if self._elf["e_type"] != "ET_REL":
            return data
        for kind in (".rela", ".rel"):
            header = self._headers.get(kind + name) or self._headers.get(f"{kind}.z{name[1:]}")
            if header is not None and header["sh_type"] in ("SHT_RELA", "SHT_REL"):
                break
        else:
            return data
        if header["sh_size"] > MAX_RELOCATIONS:
            raise self._wrong(kind + name, f"{header['sh_size']} bytes (at most {MAX_RELOCATIONS})")
        stream = io.BytesIO(data)
        relocations: Any = self._elf._make_section(header)
        RelocationHandler(self._elf).apply_section_relocations(stream, relocations)
        return stream.getvalue()
