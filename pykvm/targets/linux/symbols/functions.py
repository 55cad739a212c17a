"""Names of kernel functions by an address in them, as the kernel itself gives them: by kallsyms.

A kernel file may have several names at one place too, in another order: so the dump's own table is asked where there
is one, else the rules by which scripts/kallsyms.c sorts names are applied to the file's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykvm._native.ffi import ffi, lib
from pykvm.errors import KvmError
from pykvm.symbols.base import KALLSYMS, Symbol, Symbols, first_name
from pykvm.targets.base import Parts

if TYPE_CHECKING:
    from pykvm.targets.linux.kernel import Linux

LTO = ".llvm."  # what Clang's link-time optimisation adds to a name, and kallsyms takes off
WEAK = 2  # STB_WEAK
EDGES = ("start_", "stop_", "end_"), ("_start", "_end")  # of names that the linker script makes


class Functions:
    """Looks addresses of code up. text: where the kernel's own is."""

    def __init__(self, target: Linux, parts: Parts, text: range) -> None:
        self._target, self._parts, self._text = target, parts, text
        self._table: Symbols | None = None
        self._names: dict[int, str] | None = None  # of an unsorted table
        self._module_names: dict[int, str] | None = None

    def at(self, pc: int) -> tuple[str, int] | None:
        """(name, address) of the function that an address is in; None if it is in none's."""
        return self._kernel_at(pc) if pc in self._text else self._module_at(pc)

    def _kernel_at(self, pc: int) -> tuple[str, int] | None:
        if self._table is None:
            self._table = self._sorted()
        out = ffi.new("pk_symbol *")
        if lib.pk_symtab_at(self._table.core, pc, out) <= 0:
            return None
        value = int(out.value)
        if self._table.format == KALLSYMS:
            return first_name(self._table, out).split(LTO, 1)[0], value
        if self._names is None:
            self._names = _names_of(self._table, self._text)
        name = self._names.get(value)
        return None if name is None else (name, value)

    def _sorted(self) -> Symbols:
        """The kernel's own table, if it can be had."""
        symbols = self._parts.symbols
        if symbols.format != KALLSYMS:
            try:
                return self._target.own_symbols(self._parts.memory, self._parts.image) or symbols
            except KvmError:
                if self._parts.memory.unreadable is not None:
                    raise
        return symbols

    def _module_at(self, pc: int) -> tuple[str, int] | None:
        """In a module's table the first of the names at one place counts."""
        modules = self._parts.symbols.modules
        found = modules.at(pc) if modules is not None else None
        if modules is None or found is None:
            return None
        if self._module_names is None:
            self._module_names = {}
            for symbol in modules.all():
                self._module_names.setdefault(symbol.value, symbol.name)
        value = pc - found[1]
        return self._module_names.get(value, found[0]), value


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
