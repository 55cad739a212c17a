"""a.out kernels (a.out(5), <sys/exec_aout.h>): OMAGIC, NMAGIC, ZMAGIC, QMAGIC, old and new headers."""

from __future__ import annotations

import struct
from typing import NamedTuple

from pykvm.errors import FormatError
from pykvm.images.hostfile import HostFile
from pykvm.symbols.base import SymbolLayout, Symbols

OMAGIC, NMAGIC, ZMAGIC, QMAGIC = 0o407, 0o410, 0o413, 0o314
MAGICS = (OMAGIC, NMAGIC, ZMAGIC, QMAGIC)
HEADER = 32
N_STAB = 0xE0


class Mid(NamedTuple):
    """A machine id: whose it is, its byte order and the page size that its linker pads to."""

    machine: str
    byteorder: str
    page: int


# <sys/exec_aout.h>: MID_I386 and MID_SPARC.
MIDS = {134: Mid("i386", "little", 4096), 138: Mid("sparc", "big", 8192)}
BY_ORDER = {"little": MIDS[134], "big": MIDS[138]}


def n_type(kind: int, desc: int) -> int:
    """a.out has n_type itself."""
    return kind


def letter(kind: int, desc: int) -> str:
    """nm(1)'s letter of n_type: small for what is local."""
    found = {0: "u", 2: "a", 4: "t", 6: "d", 8: "b", 0x12: "c", 0x1E: "f"}.get(kind & 0x1E, "?")
    return found.upper() if kind & 1 else found


def layout(big_endian: bool) -> SymbolLayout:
    """struct nlist of a 32-bit machine. symbol_at: N_TEXT, N_DATA and N_BSS."""
    addr_types = 1 << 4 | 1 << 6 | 1 << 8
    return SymbolLayout(12, 0, 8, 4, 0, 0, 4, 5, 6, N_STAB, 0x1E, 1, int(big_endian), addr_types, 0, 0xFFFF)


class Exec(NamedTuple):
    """struct exec, decoded. `old`: the header has a bare magic in the machine's own byte order."""

    magic: int
    mid: Mid
    old: bool
    text: int
    data: int
    bss: int
    syms: int
    entry: int
    trsize: int
    drsize: int


def _decode(raw: bytes) -> Exec | None:
    """The midmag is big-endian on every machine; a word that is a bare magic in one byte order is an old header."""
    word = int.from_bytes(raw[:4], "big")
    if word >> 16 and (word & 0xFFFF) in MAGICS:
        mid = MIDS.get(word >> 16 & 0x3FF)
        if mid is None:
            return None
        return Exec(word & 0xFFFF, mid, False, *struct.unpack(_order(mid) + "7I", raw[4:HEADER]))
    for mid in BY_ORDER.values():
        magic = struct.unpack(_order(mid) + "I", raw[:4])[0]
        if magic in MAGICS:
            return Exec(magic, mid, True, *struct.unpack(_order(mid) + "7I", raw[4:HEADER]))
    return None


def _order(mid: Mid) -> str:
    return "<" if mid.byteorder == "little" else ">"


def _text_offset(header: Exec) -> int:
    if header.old:
        return {ZMAGIC: header.mid.page, QMAGIC: 0}.get(header.magic, HEADER)
    return 0 if header.magic == ZMAGIC else HEADER


def probe(file: HostFile) -> Symbols | None:
    """The symbols of an a.out kernel, or None if the file is none (or has no symbols, as nlist(3) has it)."""
    raw = file.pread(0, HEADER)
    if len(raw) < 4:
        return None
    header = _decode(raw.ljust(HEADER, b"\0"))
    if header is None:
        return None
    if len(raw) < HEADER:
        raise FormatError(f"{file.path}: a.out header: the file has only {len(raw)} bytes")
    if header.syms == 0:
        raise FormatError(f"{file.path}: a_syms is 0: an a.out file without symbols")
    big_endian = header.mid.byteorder == "big"
    text_at = _text_offset(header)
    text = header.text
    if header.magic in (ZMAGIC, QMAGIC):
        text = (text + header.mid.page - 1) & -header.mid.page
    symbols_at = text_at + text + header.data + header.trsize + header.drsize
    shape = layout(big_endian)
    # A header without a machine id says nothing of the machine, only its byte order.
    symbols = Symbols(file.path, None if header.old else header.mid.machine, header.mid.byteorder, n_type, letter)
    symbols.format = "a.out"
    symbols.bound(header.syms // shape.entry_size, 0)
    table = file.exactly(symbols_at, header.syms, "a_syms: symbol table")
    strings_at = symbols_at + header.syms
    size = struct.unpack(_order(header.mid) + "I", file.exactly(strings_at, 4, "string table size"))[0]
    symbols.bound(0, size)
    strings = file.exactly(strings_at, size, "string table") if size >= 4 else b"\0\0\0\0"
    symbols.add_table(table, len(table) // shape.entry_size, strings, shape)
    return symbols
