"""Signals: what waits, what is held, ignored and caught; sets of 128 bits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pykvm.targets.common.columns import Columns

if TYPE_CHECKING:
    from pykvm.targets.netbsd.procs.batch import Batch

SET = 16  # bytes of a sigset_t
# struct sigctx ends with ps_sigignore and ps_sigcatch (<sys/signalvar.h>).
IGNORE, CATCH = -2 * SET, -SET

MEMBERS: dict[str, Any] = {}


def _sets(read: Columns, addrs: Sequence[int | None], name: str, *paths: str) -> list[bytes | None]:
    field = read.field(name, *paths)
    return [None] * len(addrs) if field is None else read.blocks(addrs, field.offset, SET)


def _words(read: Columns, raw: bytes | None) -> list[int]:
    order: Any = read.byteorder
    return [int.from_bytes((raw or bytes(SET))[i : i + 4], order) for i in range(0, SET, 4)]


def _union(batch: Batch, sets: Sequence[bytes | None]) -> list[list[int]]:
    """Of each process the sets of all its LWPs together."""
    each = iter([_words(batch.read, raw) for raw in sets])
    found = []
    for group in batch["lwps"]:
        words = [0] * (SET // 4)
        for _ in group:
            words = [a | b for a, b in zip(words, next(each), strict=True)]
        found.append(words)
    return found


def signals(batch: Batch) -> dict[str, Sequence[Any]]:
    """As four words each, which a record has."""
    read = batch.read
    pending = _sets(read, batch["proc"], "proc", "p_sigpend.sp_set.__bits", "p_sigpend.sp_set")
    every = [lwp for group in batch["lwps"] for lwp in group]
    of_lwps = _union(batch, _sets(read, every, "lwp", "l_sigpend.sp_set.__bits", "l_sigpend.sp_set"))
    masks = _union(batch, _sets(read, every, "lwp", "l_sigmask.__bits", "l_sigmask"))
    context = read.field("proc", "p_sigctx")
    ends = [None if context is None else proc + context.offset + context.size for proc in batch["proc"]]
    ignored = read.blocks(ends, IGNORE & read.pointer_mask, SET)
    caught = read.blocks(ends, CATCH & read.pointer_mask, SET)
    return {
        "siglist": [
            [a | b for a, b in zip(_words(read, own), lwps, strict=True)]
            for own, lwps in zip(pending, of_lwps, strict=True)
        ],
        "sigmask": masks,
        "sigignore": [_words(read, raw) for raw in ignored],
        "sigcatch": [_words(read, raw) for raw in caught],
    }


MAKERS = {"siglist sigmask sigignore sigcatch": signals}
