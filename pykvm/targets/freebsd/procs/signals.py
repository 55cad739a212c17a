"""Signals: sigset_t is four words of 32 bits, signal n is bit n - 1."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pykvm.targets.common.columns import Member

if TYPE_CHECKING:
    from pykvm.targets.freebsd.procs.batch import Batch

WORDS = 4

MEMBERS = {"sigacts": Member("proc", "proc", ("p_sigacts",))}


def words(batch: Batch, base: str, name: str, path: str) -> list[tuple[int, ...] | None]:
    """One set of each."""
    read, addrs = batch.read, batch[base]
    field = read.field(name, path)
    if field is None or field.size != 4 * WORDS:
        return [None] * len(addrs)
    one = struct.Struct(f"{read.order}{WORDS}I")
    return [None if raw is None else one.unpack(raw) for raw in read.blocks(addrs, field.offset, field.size)]


def _of(column: str, base: str, name: str, path: str) -> Callable[[Batch], dict[str, Sequence[Any]]]:
    return lambda batch: {column: words(batch, base, name, path)}


# A process's pending signals; those of a thread of its own are threads.py's.
MAKERS = {
    "siglist": _of("siglist", "proc", "proc", "p_sigqueue.sq_signals"),
    "sigmask": _of("sigmask", "td", "thread", "td_sigmask"),
    "sigignore": _of("sigignore", "sigacts", "sigacts", "ps_sigignore"),
    "sigcatch": _of("sigcatch", "sigacts", "sigacts", "ps_sigcatch"),
}
