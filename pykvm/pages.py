"""kvm_walk_pages(3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import index
from typing import Any

from pykvm.errors import KvmError
from pykvm.handle import Kvm
from pykvm.procs import attempt
from pykvm.records import KvmPage


def kvm_walk_pages(kd: Kvm, callback: Callable[[KvmPage, Any], int], closure: Any = None) -> int:
    """Call callback(page, closure) for every page of the dump until it returns 0: 1 if all were shown, else 0.

    First come the pages that the kernel maps, by their addresses (by their places in a hashed page table), also those
    that are not in the dump (kp_offset -1); then what else is in the dump, by physical address, with the addresses of
    the direct map. A large page is one page of its length where it lies in one piece in the file. 0 with a message if
    the dump is of another kind, or damaged.

    As in the original, only minidumps are walked; unlike there, of all machines and versions, each with its direct
    map, and that of arm64 and riscv64 where it begins (dmapphys).
    """
    if not callable(callback):
        raise TypeError("callback must be callable")
    pages = attempt(kd, "kvm_walk_pages", lambda: kd.target.walk_pages(kd.parts))
    if pages is None:
        return 0
    failed: list[KvmError] = []
    for page in _until_failure(pages, failed):
        if not index(callback(page, closure)):
            return 0
    for error in failed:
        kd.note(error)
    return int(not failed)


def _until_failure(pages: Iterator[KvmPage], failed: list[KvmError]) -> Iterator[KvmPage]:
    """What the dump's walk fails with; the callback's own errors do not come here."""
    try:
        yield from pages
    except KvmError as e:
        failed.append(e)
