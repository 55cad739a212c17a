"""Signals: pending, blocked, ignored, caught. The first 32 of Linux's 64: bit n - 1 of the masks is signal n, as in
BSD's 32-bit sets, by Linux's numbers.

Source: task_sig() of fs/proc/array.c.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pykvm.errors import FormatError
from pykvm.targets.common.columns import Column, Member

if TYPE_CHECKING:
    from pykvm.targets.linux.procs.batch import Batch

COUNT = 32
SIG_DFL, SIG_IGN = 0, 1
MAX_ACTION = 256  # bytes of struct k_sigaction
MASK = (1 << COUNT) - 1

MEMBERS = {"sighand": Member("task", "task_struct", ("sighand",))}


def _set(batch: Batch, base: str, name: str, path: str) -> Column:
    """The lowest bits of a sigset_t, an array of longs."""
    field = batch.read.field(name, path)
    column = batch[base]
    if field is None:
        return [None] * len(column)
    return [v if v is None else v & MASK for v in batch.read.pointers(column, field.offset)]


def pending(batch: Batch) -> dict[str, Sequence[Any]]:
    """Of the process and of its leader."""
    own = _set(batch, "task", "task_struct", "pending.signal")
    shared = _set(batch, "signal", "signal_struct", "shared_pending.signal")
    return {"siglist": [None if a is None or b is None else a | b for a, b in zip(own, shared, strict=True)]}


def blocked(batch: Batch) -> dict[str, Sequence[Any]]:
    """By the leader."""
    return {"sigmask": _set(batch, "task", "task_struct", "blocked")}


def actions(batch: Batch) -> dict[str, Sequence[Any]]:
    """Ignored and caught ones, by the handlers."""
    read, column = batch.read, batch["sighand"]
    actions, one = read.field("sighand_struct", "action"), read.layout("k_sigaction")
    if actions is None or one is None:
        nothing = [None] * len(column)
        return {"sigignore": nothing, "sigcatch": nothing}
    handler, word = one.offset("sa.sa_handler"), read.pointer_size
    if not handler + word <= one.size <= MAX_ACTION:
        raise FormatError(f"struct k_sigaction: sa_handler at {handler} of {one.size} bytes")
    blocks = read.blocks(column, actions.offset, one.size * COUNT)
    entry = f"{handler}x{'Q' if word == 8 else 'I'}{one.size - handler - word}x"
    handlers = struct.Struct(read.order + entry * COUNT)
    known: dict[bytes, tuple[int, int]] = {}
    ignored: list[int | None] = []
    caught: list[int | None] = []
    for block in blocks:
        if block is None:
            ignored.append(None)
            caught.append(None)
            continue
        if block not in known:
            values = handlers.unpack(block)
            known[block] = (
                sum(1 << i for i, value in enumerate(values) if value == SIG_IGN),
                sum(1 << i for i, value in enumerate(values) if value not in (SIG_DFL, SIG_IGN)),
            )
        ignored.append(known[block][0])
        caught.append(known[block][1])
    return {"sigignore": ignored, "sigcatch": caught}


MAKERS = {"siglist": pending, "sigmask": blocked, "sigignore sigcatch": actions}
