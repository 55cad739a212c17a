"""The names of a kernel's modules, as a table behind the kernel's own."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import NamedTuple

from pykvm.errors import FormatError
from pykvm.symbols import kallsyms
from pykvm.symbols.base import Symbols


@dataclass
class Budget:
    """What the tables of all modules together may take."""

    left: dict[str, int] = field(
        default_factory=lambda: {"symbols": 1 << 19, "exports": 1 << 18, "bytes of names": 32 << 20}
    )

    def take(self, what: str, n: int) -> None:
        """FormatError if there is not so much left."""
        if n > self.left[what]:
            raise FormatError(f"the modules have too many {what}")
        self.left[what] -= n


class Area(NamedTuple):
    """Memory of a module."""

    start: int
    end: int


class ModuleSymbols(Symbols):
    """The names of all modules, whose types are nm(1)'s letters. `flaw`: the first that is wrong with them."""

    def __init__(self, path: str, machine: str | None, byteorder: str | None) -> None:
        super().__init__(path, machine, byteorder, kallsyms.n_type, kallsyms.letter)
        self.areas: list[Area] = []  # in order, when all are known

    def at(self, addr: int) -> tuple[str, int] | None:
        """As Symbols.at(), within the memory of the module that the address is in; None if it is in none's."""
        i = bisect_right(self.areas, (addr, 1 << 64)) - 1
        if i < 0 or not self.areas[i].start <= addr < self.areas[i].end:
            return None
        found = self._at(addr)
        return found if found is not None and addr - found[1] >= self.areas[i].start else None
