"""kallsyms found by its looks, in the memory of kernels whose VMCOREINFO does not say where it is (before Linux 6.0).

scripts/kallsyms.c writes, each at a multiple of a long:

    up to 6.3   addresses, or offsets and relative_base; num_syms, names, markers, (6.2 and 6.3: seqs_of_names,)
                token_table, token_index
    since 6.4   num_syms, names, markers, token_table, token_index, offsets, relative_base, seqs_of_names

The token table is easily seen: the 256 strings for the bytes of names, of which those of the digits are the digits
themselves, and behind it 256 half-words that say where each of them begins.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from pykvm._native.ffi import ffi, lib
from pykvm.errors import KvmError
from pykvm.pieces import Piece, before, pieces, readable, up
from pykvm.progress import Progress
from pykvm.symbols import kallsyms
from pykvm.symbols.base import Symbols
from pykvm.symbols.kallsyms import Kernel, Tables

if TYPE_CHECKING:
    from pykvm.memory import Memory

DIGITS = b"".join(b"%d\0" % i for i in range(10))
FIRST_DIGIT = ord("0")
TOKENS_MAX = 1 << 16  # the index has 16 bits
BEFORE = (4 << 20, 32 << 20)  # how far before the token table its names are looked for: few kernels need the second
CANDIDATES = 4  # token tables looked at: a kernel has one
MATCHES = 256  # digits looked at
NEAR = 1 << 31  # from relative_base to _stext


class Tokens(NamedTuple):
    """kallsyms_token_table and kallsyms_token_index (where each string starts), by address."""

    table: int
    starts: int


def find(memory: Memory, kernel: Kernel, start: int, size: int) -> Symbols | None:
    """The symbols of the kernel whose image lies in `size` bytes from `start`; None if its kallsyms is not there."""
    found = search(memory, kernel, start, size)
    return None if found is None else found[1]


def search(memory: Memory, kernel: Kernel, start: int, size: int) -> tuple[Tables, Symbols] | None:
    """As find(), with where the tables are.

    At least one name that is known (kernel.known) must come out as it is known, or kernel.wrong have no objection.
    """
    progress = Progress(f"looking for kallsyms in {kernel.path}", size)
    try:
        for tokens in islice(_token_tables(memory, kernel, start, size, progress), CANDIDATES):
            for tables in _tables(memory, kernel, tokens, start):
                try:
                    symbols = kallsyms.read(memory, kernel, tables)
                except KvmError:
                    continue
                if kernel.wrong is not None or any(symbols.find(name) is not None for name in kernel.known):
                    return tables, symbols
    finally:
        progress.done()
    return None


def _token_tables(memory: Memory, kernel: Kernel, start: int, size: int, progress: Progress) -> Iterator[Tokens]:
    last, matches = Piece(0, b""), 0
    for piece in pieces(memory, start, min(start + size, 1 << 64)):
        progress.update(piece.addr - start)
        if last.addr + len(last.data) == piece.addr:  # the digits may lie across the two
            tail = last.data[-len(DIGITS) + 1 :]
            piece = Piece(piece.addr - len(tail), tail + piece.data)
        at = piece.data.find(DIGITS)
        while at >= 0 and matches < MATCHES:
            matches += 1
            tokens = _tokens(memory, kernel, piece.addr + at)
            if tokens is not None:
                yield tokens
            at = piece.data.find(DIGITS, at + 1)
        last = piece


def _tokens(memory: Memory, kernel: Kernel, digits: int) -> Tokens | None:
    """The tables around the token of the digit 0, if they are that: the index must be what the table says."""
    align = kernel.pointer_size
    behind = readable(memory, digits, TOKENS_MAX + align + 512)
    strings = behind.split(b"\0", 256 - FIRST_DIGIT)
    if len(strings) <= 256 - FIRST_DIGIT:
        return None
    at = up(digits + len(behind) - len(strings[-1]), align)
    raw = behind[at - digits : at - digits + 512]
    if len(raw) < 512:
        return None
    index = struct.unpack(("<" if kernel.byteorder == "little" else ">") + "256H", raw)
    table = digits - index[FIRST_DIGIT]
    return Tokens(table, at) if kallsyms.agree(readable(memory, table, at - table), index) else None


def _tables(memory: Memory, kernel: Kernel, tokens: Tokens, stext: int) -> Iterator[Tables]:
    """The tables that belong to these tokens, by every order in which they were ever written."""
    size = kernel.pointer_size
    found = None
    for far in BEFORE:
        piece = before(memory, tokens.table, far)
        place = ffi.new("pk_kallsyms_place *")
        view = ffi.from_buffer("uint8_t[]", piece.data)
        if lib.pk_kallsyms_find(view, len(piece.data), size, kernel.byteorder == "big", place):
            found = place
            break
        if len(piece.data) < far:
            break
    if found is None:
        return
    count = found.count
    num_syms, names = piece.addr + found.num_syms, piece.addr + found.names
    behind = tokens.starts + 512
    # Oracle's 5.4 has kallsyms_sizes, a long for each symbol, before num_syms.
    bases = [up(behind + 4 * count, size), num_syms - size, num_syms - size * count - size]
    offsets = [behind, *((base - 4 * count) // size * size for base in bases[1:])]
    for values, base in zip(offsets, bases, strict=True):
        try:
            if abs(memory.read_ptr(base) - stext) < NEAR:
                yield Tables(num_syms, names, *tokens, values, base)
        except KvmError:
            continue
    for values in (num_syms - size * count, behind):
        yield Tables(num_syms, names, *tokens, values, None)
