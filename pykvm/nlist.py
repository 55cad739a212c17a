"""kvm_nlist(3)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from pykvm.errors import KvmError
from pykvm.handle import Kvm, handle


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
        symbols = handle(kd).symbols
    except KvmError:
        return -1
    try:
        wanted = list(takewhile(lambda entry: entry.n_name, nl))
    except AttributeError as e:
        raise TypeError("nl must be a list of Nlist") from e
    missing = 0
    for entry, found in zip(wanted, symbols.nlist(str(entry.n_name) for entry in wanted), strict=True):
        if found is None:
            missing += 1
            found = 0, 0, 0, 0
        entry.n_value, entry.n_type, entry.n_other, entry.n_desc = found
    return missing
