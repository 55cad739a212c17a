"""Memory in pieces: what can be read of ranges that may have holes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from pykvm._native.ffi import ffi, lib

if TYPE_CHECKING:
    from pykvm.memory import Memory

PAGE = 4096
CHUNK = 1 << 20


class Piece(NamedTuple):
    """Memory in one piece."""

    addr: int
    data: bytes


def pieces(memory: Memory, start: int, end: int) -> Iterator[Piece]:
    """What can be read of a range, in pieces of up to CHUNK bytes."""
    at, step = start, CHUNK
    while at < end:
        data = readable(memory, at, min(step, end - at))
        if data:
            yield Piece(at, data)
        at += len(data)
        if len(data) == step:
            step = CHUNK
        else:  # a hole: page by page to its end
            at, step = up(at if data else at + 1, PAGE), PAGE


def stretch(memory: Memory, start: int, size: int) -> bytearray:
    """Up to `size` bytes from an address on: as far as there is any, with zeros for what cannot be read before."""
    whole = bytearray()
    for piece in pieces(memory, start, min(start + size, 1 << 64)):
        whole += bytes(piece.addr - start - len(whole))
        whole += piece.data
    return whole


def before(memory: Memory, end: int, size: int) -> Piece:
    """Up to `size` bytes that end at an address and can be read in one piece, from a page's start on."""
    parts: list[bytes] = []
    at = end
    while size > 0:
        step = at % PAGE or PAGE
        data = readable(memory, at - step, step)
        if len(data) < step:
            break
        parts.append(data)
        at -= step
        size -= step
    return Piece(at, b"".join(reversed(parts)))


def readable(memory: Memory, addr: int, size: int) -> bytes:
    """Up to `size` bytes at an address: as many as can be read in one piece."""
    if not 0 <= addr < 1 << 64 or size <= 0:
        return b""
    buf, fault = bytearray(size), ffi.new("pk_fault *")
    return bytes(buf[: memory.transfer(lib.pk_space_read, addr, ffi.from_buffer(buf), size, fault)])


def up(addr: int, align: int) -> int:
    """An address, rounded up."""
    return -(-addr // align) * align
