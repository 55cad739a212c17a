"""Names of kernel functions by an address in them, as the kernel itself gives them: by kallsyms.

A kernel file may have several names at one place too, in another order: so the dump's own table is asked where there
is one, else the rules by which scripts/kallsyms.c sorts names are applied to the file's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pykvm._native.ffi import ffi, lib
from pykvm.errors import KvmError
from pykvm.records import text
from pykvm.symbols.base import Symbol, Symbols
from pykvm.targets.base import Parts

if TYPE_CHECKING:
    from pykvm.targets.linux.kernel import Linux

LTO = b".llvm."  # what Clang's link-time optimisation adds to a name, and kallsyms takes off
WEAK = 2  # STB_WEAK
EDGES = ("start_", "stop_", "end_"), ("_start", "_end")  # of names that the linker script makes


class Functions:
    """Looks addresses up; for kernel text only."""

    def __init__(self, target: Linux, parts: Parts, first: int, last: int) -> None:
        self._text = range(first, last)
        self._symbols = parts.symbols
        self._sorted: Symbols | None = parts.symbols if parts.symbols.format == "kallsyms" else None
        self._names: dict[int, str] | None = None
        if self._sorted is None:
            try:
                self._sorted = target.own_symbols(parts.memory, parts.image)
            except KvmError:
                if parts.memory.unreadable is not None:
                    raise

    def at(self, pc: int) -> tuple[str, int] | None:
        """(name, address) of the function that an address of kernel text is in."""
        if pc not in self._text:
            return None
        symbols = self._symbols if self._sorted is None else self._sorted
        out = ffi.new("pk_symbol *")
        if lib.pk_symtab_at(symbols.core, pc, out) <= 0:
            return None
        if self._sorted is not None:
            return _first_name(symbols, out), int(out.value)
        if self._names is None:
            self._names = _names_of(symbols, self._text)
        name = self._names.get(out.value)
        return None if name is None else (name, int(out.value))


def _first_name(symbols: Symbols, out: Any) -> str:
    """Of the names at one place, in a table that is sorted by address."""
    before = ffi.new("pk_symbol *")
    while out.order > 0 and lib.pk_symtab_get(symbols.core, out.order - 1, before) and before.value == out.value:
        out, before = before, out
    return text(bytes(ffi.buffer(out.name, out.name_len)).split(LTO, 1)[0])


def _names_of(symbols: Symbols, where: range) -> dict[int, str]:
    """The name of each place, by kallsyms' order."""
    best: dict[int, tuple[tuple[bool, bool, int, str], str]] = {}
    for symbol in symbols.all():
        if symbol.value in where and symbol.name[:1] != "$" and symbol.name[:2] != ".L":
            rank = _rank(symbol)
            known = best.get(symbol.value)
            if known is None or rank < known[0]:
                best[symbol.value] = rank, symbol.name
    return {value: name for value, (_, name) in best.items()}


def _rank(symbol: Symbol) -> tuple[bool, bool, int, str]:
    """Strong names first, then those that the linker script did not make, then by their underscores."""
    name = symbol.name
    edge = name.startswith("__") and (name[2:].startswith(EDGES[0]) or name.endswith(EDGES[1]))
    return symbol.type >> 4 == WEAK, edge, len(name) - len(name.lstrip("_")), name
