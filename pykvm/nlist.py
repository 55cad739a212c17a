"""kvm_nlist(3): kvm_nlist, kvm_nlist2."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import TypeVar

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


class KvmNlist:
    """struct kvm_nlist of FreeBSD's <kvm.h>: as Nlist, with what every host has room for: n_value of 64 bits."""

    __slots__ = ("n_name", "n_type", "n_value")

    def __init__(self, n_name: str | None = None) -> None:
        if n_name is not None and not isinstance(n_name, str):
            raise TypeError("n_name must be a str")
        self.n_name = n_name
        self.n_type = 0
        self.n_value = 0

    def __repr__(self) -> str:
        return f"KvmNlist({self.n_name!r}, n_type={self.n_type:#x}, n_value={self.n_value:#x})"


Entry = TypeVar("Entry", Nlist, KvmNlist)


def kvm_nlist(kd: Kvm, nl: Sequence[Nlist]) -> int:
    """Look up names: the number that was not found, or -1 if there is no symbol table.

    The list ends at its end or at an empty name. A name with a leading underscore also finds a symbol without it
    (not the other way round); of several symbols the last in the table counts. MirBSD's library counts such
    duplicates as several names found, so that its result can be 0 although a name is missing: here each name
    counts once. Names that are not found have all members but n_name set to 0.

    On FreeBSD a name that is not found is looked for as vnet_entry_NAME and pcpu_entry_NAME, and its value moved: into
    the network stack of the thread that made the dump (of its prison; of proc0's, if there is no such thread, and
    always in the original), and into the region of dynamic per-CPU data of the CPU that kvm_dpcpu_setcpu(3) chose.
    If that cannot be told, the name counts as not found, and kvm_geterr(3) has the reason. FreeBSD's library refuses
    dumps of other machines here, whose addresses may not fit: they do.
    """

    def fill(entry: Nlist, found: tuple[int, int, int, int]) -> None:
        entry.n_value, entry.n_type, entry.n_other, entry.n_desc = found

    return _look_up(kd, nl, fill)


def kvm_nlist2(kd: Kvm, nl: Sequence[KvmNlist]) -> int:
    """As kvm_nlist, for a list of KvmNlist, of which n_type and n_value are filled."""

    def fill(entry: KvmNlist, found: tuple[int, int, int, int]) -> None:
        entry.n_value, entry.n_type = found[:2]

    return _look_up(kd, nl, fill)


def _look_up(kd: Kvm, nl: Sequence[Entry], fill: Callable[[Entry, tuple[int, int, int, int]], None]) -> int:
    try:
        symbols = handle(kd).symbols
    except KvmError:
        return -1
    try:
        wanted = list(takewhile(lambda entry: entry.n_name, nl))
    except AttributeError as e:
        raise TypeError("nl must be a list of Nlist or KvmNlist") from e
    missing = 0
    try:
        found = symbols.nlist((str(entry.n_name) for entry in wanted), kd.note)
        for entry, values in zip(wanted, found, strict=True):
            missing += values is None
            fill(entry, values or (0, 0, 0, 0))
    except KvmError as e:  # a resolver's
        kd.note(e)
        return -1
    return missing
