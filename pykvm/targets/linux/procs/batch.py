"""Processes of Linux, by the addresses of their leaders."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykvm.targets.base import Parts
from pykvm.targets.common import batch
from pykvm.targets.linux.procs import cputime, ids, names, signals, sizes, state, terminals, usage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pykvm.targets.linux.kernel import Linux


class Batch(batch.Batch["Linux"]):
    """Some processes: the columns of the files beside this one."""

    MEMBERS, MAKERS = batch.gathered((ids, terminals, state, names, cputime, usage, sizes, signals))

    @classmethod
    def of(cls, target: Linux, parts: Parts, tasks: Sequence[int]) -> Batch:
        """Of these tasks."""
        return cls(target, parts, {"task": tasks, "paddr": tasks})
