"""Compressed cores and kernels: expanded once, into a sparse file that has no name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from pykvm._native.ffi import ffi, lib
from pykvm.errors import FormatError, KvmError
from pykvm.loading import loading
from pykvm.progress import Progress

BLOCK = 1 << 16
ZEROS = bytes(BLOCK)


class _Zstd:
    """A zstd stream as a file. Unlike zstandard's own reader it notices that the last frame is cut."""

    # A block of 4 bytes may stand for 128 KB: this bounds what one call can give to 32 MB.
    INPUT = 1024

    def __init__(self, raw: IO[bytes]) -> None:
        with loading:
            import zstandard

        self.raw = raw
        self.frame: Any = None
        self.new = zstandard.ZstdDecompressor
        self.left = b""

    def read(self, size: int) -> bytes:
        """The next piece (of any size), or b"" at the end."""
        while True:
            data = self.left or self.raw.read(self.INPUT)
            self.left = b""
            if not data:
                if self.frame is not None:
                    raise EOFError
                return b""
            if self.frame is None:
                self.frame = self.new().decompressobj()
            out: bytes = self.frame.decompress(data)
            if self.frame.eof:
                self.left, self.frame = self.frame.unused_data, None
            if out:
                return out


class _First:
    """The first gzip member or zstd frame in a part of a file: what follows it there does not belong to it."""

    INPUT = 1024  # as above

    def __init__(self, fd: int, part: tuple[int, int], scheme: str) -> None:
        with loading:
            import zlib

            import zstandard

        self.fd, self.at, self.end = fd, part[0], sum(part)
        self.stream: Any = zlib.decompressobj(31) if scheme == "gzip" else zstandard.ZstdDecompressor().decompressobj()

    def tell(self) -> int:
        """How far the file has been read."""
        return self.at

    def read(self, size: int) -> bytes:
        """The next piece (of any size), or b"" at the end."""
        while not self.stream.eof:
            data = os.pread(self.fd, min(self.INPUT, self.end - self.at), self.at)
            if not data:
                raise EOFError
            self.at += len(data)
            out: bytes = self.stream.decompress(data)
            if out:
                return out
        return b""


class _Lzw:
    """What compress(1) made, as a file. It has neither an end mark nor a checksum: only the part of a code that is left
    over tells of a cut."""

    INPUT = 1 << 16
    OUTPUT = 1 << 18  # bounds what one call can give
    HEADER = 3
    BITS, RESERVED, BLOCK_MODE = 0x1F, 0x60, 0x80  # of its last byte

    def __init__(self, raw: IO[bytes]) -> None:
        header = raw.read(self.HEADER)
        if len(header) < self.HEADER:
            raise EOFError
        bits = header[2] & self.BITS
        if not 9 <= bits <= 16:
            raise ValueError(f"its header says codes of up to {bits} bits, which can be 9 to 16")
        if header[2] & self.RESERVED:
            raise ValueError(f"its header has flags {header[2] & self.RESERVED:#x}, which mean nothing")
        self.raw, self.data, self.at = raw, b"", 0
        self.state: Any = ffi.gc(lib.pk_lzw_new(bits, header[2] & self.BLOCK_MODE), lib.pk_lzw_free)
        if not self.state:
            raise MemoryError
        self.out = bytearray(self.OUTPUT)
        self.into: Any = ffi.from_buffer("uint8_t[]", self.out, require_writable=True)
        self.result: Any = ffi.new("pk_lzw_result *")

    def read(self, size: int) -> memoryview:
        """The next piece (of any size; until the next call), or an empty one at the end."""
        result = self.result
        while True:
            if self.at == len(self.data):
                self.data, self.at = self.raw.read(self.INPUT), 0
            source = ffi.from_buffer("uint8_t[]", self.data)
            left = len(self.data) - self.at
            if not lib.pk_lzw_feed(self.state, source + self.at, left, self.into, self.OUTPUT, result):
                where = f"at byte {self.HEADER + result.where // 8}"
                raise ValueError(f"code {result.code} {where}, where {result.highest} is the highest")
            self.at += result.taken
            if result.made or not self.data:
                if not result.made and not lib.pk_lzw_ended(self.state):
                    raise EOFError
                return memoryview(self.out)[: result.made]


# The libraries are loaded for files that need them: most dumps do not.
def _gzip(raw: IO[bytes]) -> Any:
    with loading:
        import gzip

    return gzip.GzipFile(fileobj=raw)


def _bzip2(raw: IO[bytes]) -> Any:
    with loading:
        import bz2

    return bz2.BZ2File(raw)


def _xz(raw: IO[bytes]) -> Any:
    with loading:
        import lzma

    return lzma.LZMAFile(raw)


def _damage() -> tuple[type[Exception], ...]:
    """What the libraries raise on a damaged stream."""
    with loading:
        import lzma
        import zlib

        import zstandard

    return (EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError, ValueError)


# Magic numbers: RFC 1952, bzip2(1), the .xz file format 1.2, RFC 8878, compress(1).
SCHEMES: tuple[tuple[str, bytes, Callable[[IO[bytes]], Any]], ...] = (
    ("gzip", b"\x1f\x8b\x08", _gzip),
    ("bzip2", b"BZh", _bzip2),
    ("xz", b"\xfd7zXZ\x00", _xz),
    ("zstd", b"\x28\xb5\x2f\xfd", _Zstd),
    ("compress", b"\x1f\x9d", _Lzw),
)
MAGIC_SIZE = max(len(magic) for _, magic, _ in SCHEMES)


def scheme_of(start: bytes) -> str | None:
    """The compression scheme whose magic a file starts with, or None."""
    return next((name for name, magic, _ in SCHEMES if start.startswith(magic)), None)


def expand(fd: int, path: str, scheme: str, part: tuple[int, int] | None = None) -> int:
    """Expand a compressed file; a new descriptor, of a temporary file (in $TMPDIR) that is already unlinked.

    part: (offset, size) of a gzip or zstd stream in a file that has more. Blocks of zeros become holes.
    FormatError for a damaged or cut stream, KvmError when the disk is full.
    """
    with loading:
        import tempfile  # half a hundredth of a second, that no other dump needs

    opener = next(op for name, _, op in SCHEMES if name == scheme)
    total = os.fstat(fd).st_size
    progress = Progress(f"expanding {Path(path).name}", total)
    with os.fdopen(os.dup(fd), "rb") as raw, tempfile.TemporaryFile(prefix="pykvm-") as out:
        raw.seek(0)
        try:
            if part is not None:
                first = _First(fd, part, scheme)
                _copy(first, out.fileno(), lambda: progress.update(first.tell()))
            else:
                _copy(opener(raw), out.fileno(), lambda: progress.update(raw.tell()))
        except OSError as e:
            # gzip and bz2 report damage as an OSError without a number.
            if e.errno is None:
                raise FormatError(f"{path}: damaged {scheme} stream: {e}") from e
            raise KvmError(f"{path}: expanding into {tempfile.gettempdir()} (TMPDIR): {e.strerror}") from e
        except _damage() as e:
            raise FormatError(f"{path}: damaged {scheme} stream: {str(e) or 'it ends too early'}") from e
        finally:
            progress.done()
        return os.dup(out.fileno())


def _copy(stream: Any, out: int, tick: Callable[[], None]) -> None:
    offset = 0
    while True:
        piece = memoryview(stream.read(BLOCK))
        if not piece:
            break
        for start in range(0, len(piece), BLOCK):
            block = piece[start : start + BLOCK]
            if block != ZEROS[: len(block)]:
                _write(out, block, offset)
            offset += len(block)
        tick()
    os.ftruncate(out, offset)


def _write(out: int, block: memoryview, offset: int) -> None:
    while block:
        n = os.pwrite(out, block, offset)
        block = block[n:]
        offset += n
