"""kvm_nlist(3)."""

from __future__ import annotations

from collections.abc import Sequence

from pykvm.errors import KvmError
from pykvm.open import Kvm
from pykvm.symbols.base import Symbol, Symbols


class Nlist:
    """struct nlist of <a.out.h>: the name to look for, and what kvm_nlist found. n_value is an address."""

    __slots__ = ("n_desc", "n_name", "n_other", "n_type", "n_value")

    def __init__(self, n_name: str | None = None) -> None:
        if n_name is not None and not isinstance(n_name, str):
            raise TypeError("n_name must be a str")
        self.n_name = n_name
        self.n_type = 0
        self.n_other = 0
        self.n_desc = 0
        self.n_value = 0

    def __repr__(self) -> str:
        return f"Nlist({self.n_name!r}, n_type={self.n_type:#x}, n_value={self.n_value:#x})"


def kvm_nlist(kd: Kvm, nl: Sequence[Nlist]) -> int:
    """Look up names: the number that was not found, or -1 if there is no symbol table.

    The list ends at its end or at an empty name. A name with a leading underscore also finds a symbol without it
    (not the other way round); of several symbols the last in the table counts. MirBSD's library counts such
    duplicates as several names found, so that its result can be 0 although a name is missing: here each name
    counts once. Names that are not found have all members but n_name set to 0.
    """
    try:
        symbols = kd.symbols
    except KvmError:
        return -1
    missing = 0
    for entry in nl:
        if not entry.n_name:
            break
        found = find(symbols, entry.n_name)
        entry.n_type = entry.n_other = entry.n_desc = entry.n_value = 0
        if found is None:
            missing += 1
            continue
        entry.n_value = found.value
        entry.n_type = symbols.n_type(found)
        if symbols.format == "a.out":  # in ELF these members mean something else: nlist(3) leaves them 0
            entry.n_other, entry.n_desc = _signed(found.other, 8), _signed(found.desc, 16)
    return missing


def find(symbols: Symbols, name: str) -> Symbol | None:
    """The last symbol of this name, or of the name without its underscore."""
    found = symbols.find(name)
    if name.startswith("_") and len(name) > 1:
        plain = symbols.find(name[1:])
        if plain is not None and (found is None or plain.order > found.order):
            return plain
    return found


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> bits - 1 else value
