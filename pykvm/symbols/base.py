"""Symbol tables: the names and addresses of one kernel file, indexed in C."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from pykvm._native.ffi import ffi, lib
from pykvm.errors import FormatError, KvmError
from pykvm.images.hostfile import HostFile

MISS = lib.PK_MISS
# More than any kernel has by far: bounds what a damaged table can cost.
MAX_SYMBOLS = 1 << 22
MAX_STRINGS = 256 << 20
TOO_MUCH = f"the names of the symbols take more than {lib.PK_NAMES_MAX} bytes, or than there is memory"
PAGE = 4096


class Symbol(NamedTuple):
    """One entry of the table. `type`, `other`, `desc` are the file's own; `order` is its place in the table."""

    name: str
    value: int
    size: int
    type: int
    other: int
    desc: int
    order: int


class SymbolLayout(NamedTuple):
    """How one entry of a symbol table looks (pk_symlayout in decl/symtab.h)."""

    entry_size: int
    name_off: int
    value_off: int
    value_size: int
    size_off: int
    size_size: int
    type_off: int
    other_off: int
    desc_off: int
    skip_types: int
    addr_type_mask: int
    global_mask: int
    big_endian: int
    addr_types: int
    addr_desc_min: int
    addr_desc_max: int


class Symbols(Mapping[str, int]):
    """The symbols of one kernel: a mapping of names to addresses, in the names' own spelling.

    `machine` and `byteorder` are what the file says of its kernel (machine None where the format does not say).
    Names that occur more than once stand once for each time in len() and iteration; the last one is found.
    """

    format = ""

    def __init__(self, path: str, machine: str | None, byteorder: str, n_type: Callable[[int, int], int]) -> None:
        self.path = path
        self.machine = machine
        self.byteorder = byteorder
        self._n_type = n_type
        self._tab = ffi.gc(lib.pk_symtab_new(int.from_bytes(os.urandom(8), "big")), lib.pk_symtab_free)

    @property
    def core(self) -> Any:
        """The C index, for readers of tables in other forms."""
        return self._tab

    def bound(self, count: int, strings: int) -> None:
        """Refuse a table that no kernel has, before it is read: FormatError."""
        if count > MAX_SYMBOLS:
            raise FormatError(f"{self.path}: symbol table of {count} entries (at most {MAX_SYMBOLS} are read)")
        if strings > MAX_STRINGS:
            raise FormatError(f"{self.path}: string table of {strings} bytes (at most {MAX_STRINGS} are read)")

    def add_table(self, entries: Any, count: int, strings: Any, layout: SymbolLayout) -> None:
        """Index `count` entries; FormatError if they are absurdly many or none of their names is in `strings`."""
        size = memoryview(strings).nbytes
        self.bound(count, size)
        c_layout = ffi.new("pk_symlayout *", layout)
        bad = lib.pk_symtab_add(
            self._tab, ffi.from_buffer(entries), count, ffi.from_buffer("char[]", strings), size, c_layout
        )
        if bad < 0:
            raise FormatError(f"{self.path}: {TOO_MUCH}")
        if bad > 0 and len(self) == 0:
            raise FormatError(f"{self.path}: the names of all {bad} symbols lie outside the string table")

    def slide(self, start: int, delta: int) -> None:
        """Move all symbols from an address on: a kernel that runs elsewhere than it was linked (KASLR)."""
        lib.pk_symtab_slide(self._tab, start, delta % (1 << 64))

    def nlist(self, names: Iterable[str]) -> Iterator[tuple[int, int, int, int] | None]:
        """(n_value, n_type, n_other, n_desc) of each name by the rules of nlist(3); None for one that is not there."""
        out, lookup, tab, n_type = ffi.new("pk_symbol *"), lib.pk_symtab_nlist, self._tab, self._n_type
        own = self.format == "a.out"  # in ELF the last two mean something else, and nlist(3) leaves them 0
        for name in names:
            raw = _encoded(name)
            if not lookup(tab, raw, len(raw), own, out):
                yield None
            else:
                kind, desc = out.type, out.desc
                rest = (_signed(out.other, 8), _signed(desc, 16)) if own else (0, 0)
                yield out.value, n_type(kind, desc), *rest

    def find(self, name: str) -> Symbol | None:
        """The last symbol of exactly this name."""
        raw = _encoded(name)
        out = ffi.new("pk_symbol *")
        return _export(out) if lib.pk_symtab_find(self._tab, raw, len(raw), out) else None

    def loose(self, name: str) -> Symbol | None:
        """As find(), with C's leading underscore taken off or added if need be."""
        found = self.find(name)
        if found is None and name.startswith("_"):
            found = self.find(name[1:])
        return found if found is not None else self.find("_" + name)

    def at(self, addr: int) -> tuple[str, int] | None:
        """(name, offset) of the closest symbol at or below an address; None if there is none, or only the last of
        all, which ends more than a page before."""
        out = ffi.new("pk_symbol *")
        if not 0 <= addr < 1 << 64:
            return None
        got = lib.pk_symtab_at(self._tab, addr, out)
        if got < 0:
            raise KvmError("out of memory")
        if got == 0:
            return None
        symbol = _export(out)
        if got == 2 and addr - symbol.value >= symbol.size + PAGE:
            return None
        return symbol.name, addr - symbol.value

    def getter(self, missing: Callable[[str], int]) -> Callable[[str], int]:
        """A fast name -> address function; `missing` is asked for names that are not found as they are."""
        value, tab = lib.pk_symtab_value, self._tab

        def symbol(name: str) -> int:
            try:
                raw = name.encode("utf-8", "surrogateescape")
            except UnicodeEncodeError:
                return missing(name)
            except AttributeError:
                raise TypeError("a name is a str") from None
            found: int = value(tab, raw, len(raw))
            return found if found != MISS else missing(name)

        return symbol

    def all(self) -> Iterator[Symbol]:
        """Every symbol, in the table's order."""
        out = ffi.new("pk_symbol *")
        for i in range(len(self)):
            lib.pk_symtab_get(self._tab, i, out)
            yield _export(out)

    def __getitem__(self, name: str) -> int:
        found = self.loose(name)
        if found is None:
            raise KeyError(name)
        return found.value

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.loose(name) is not None

    def __iter__(self) -> Iterator[str]:
        out = ffi.new("pk_symbol *")
        for i in range(len(self)):
            lib.pk_symtab_get(self._tab, i, out)
            yield _name(out)

    def __len__(self) -> int:
        return int(lib.pk_symtab_len(self._tab))


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> bits - 1 else value


def _encoded(name: str) -> bytes:
    """A name as it stands in the file. What no file can hold (a lone surrogate) finds nothing."""
    try:
        return name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return name.encode("utf-8", "surrogatepass")


def _name(out: Any) -> str:
    return bytes(ffi.buffer(out.name, out.name_len)).decode("utf-8", "surrogateescape")


def _export(out: Any) -> Symbol:
    return Symbol(_name(out), out.value, out.size, out.type, out.other, out.desc, out.order)


# A probe takes an open kernel file and gives its symbols, or None if the file is of another format.
Probe = Callable[[HostFile], "Symbols | None"]
