"""Processes of DragonFly, and what is known of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pykvm.errors import KvmError
from pykvm.targets.base import Parts
from pykvm.targets.common import batch
from pykvm.targets.common.columns import Columns
from pykvm.targets.dragonfly.procs import ids, kinfo2, lists, sizes, state, usage
from pykvm.types import layout
from pykvm.types.layout import Struct

if TYPE_CHECKING:
    from pykvm.targets.dragonfly.kernel import DragonFly

SOURCES = (ids, state, usage, sizes, kinfo2)
KEYS = ("proc", "paddr", "every", "lwps", "lwp", "td", "single")
LWPS = ("lwps", "lwp")


def structure(target: DragonFly) -> Struct:
    """struct kinfo_proc: as the kernel's own types have it, else as it is since 5.8."""
    if "kinfo_proc" in target.types:
        return target.types.struct("kinfo_proc")
    if target.pointer_size != 8:
        raise KvmError("struct kinfo_proc: its layout on i386 is not in the kernel's types, and not known otherwise")
    return layout.builtin("dragonfly").struct("kinfo_proc")


class Batch(batch.Batch["DragonFly"]):
    """Rows of records. `proc`, `lwp`, `td` are the addresses of process, lwp and thread: `proc` and `lwp` are 0 for a
    thread of the kernel, `lwp` for a process that has none any more. `lwps` are those that the row sums up, `every` all
    of the process; `paddr` is `proc`, or None; `single`: the row stands for one lwp or thread."""

    MEMBERS, MAKERS = batch.gathered(SOURCES)

    @classmethod
    def of(cls, target: DragonFly, parts: Parts, kernel_threads: bool) -> Batch:
        """All processes, and behind them the kernel's threads, if they are wanted and can be found."""
        read = Columns.of(target, parts)
        procs = lists.processes(read, parts)
        threads: list[int] = []
        if kernel_threads:
            try:
                threads = lists.kernel_threads(read, parts)
            except KvmError as e:  # the message stays in the handle
                if parts.memory.unreadable is not None:
                    raise
                parts.memory.note(e)
        return cls.made(target, parts, procs, lists.lwps(read, procs), threads)

    @classmethod
    def made(
        cls,
        target: DragonFly,
        parts: Parts,
        procs: Sequence[int],
        lwps: Sequence[Sequence[int]],
        threads: Sequence[int] = (),
    ) -> Batch:
        """Of these processes with their lwps, and of threads of the kernel.

        A process's record shows one of its lwps: the first one, and in kernels that sum up all of them (since
        kinfo_lwp has kl_comm) the last one.
        """
        read = Columns.of(target, parts)
        last = "kp_lwp.kl_comm" in structure(target)
        shown = [group[-1 if last else 0] if group else 0 for group in lwps]
        tds = [at or 0 for at in read.member(shown, "lwp", "lwp_thread")]
        more = len(threads)
        keys: dict[str, Sequence[Any]] = {
            "proc": [*procs, *[0] * more],
            "paddr": [*procs, *[None] * more],
            "lwps": [*((group if last else group[:1]) for group in lwps), *[[] for _ in range(more)]],
            "every": [*lwps, *[[] for _ in range(more)]],
            "lwp": [*shown, *[0] * more],
            "td": [*tds, *threads],
            "single": [*[False] * len(procs), *[True] * more],
        }
        return cls(target, parts, keys)

    def apart(self) -> Batch:
        """One row for each lwp of these rows; those without are as they are."""
        rows: dict[str, list[Any]] = {name: [] for name in KEYS}
        for proc, paddr, group, td, single in zip(*(self[name] for name in KEYS if name not in LWPS), strict=True):
            for lwp in group or (0,):
                own = [lwp] if lwp else []
                row = (proc, paddr, own, own, lwp, td, bool(lwp) or single)
                for column, value in zip(rows.values(), row, strict=True):
                    column.append(value)
        found = iter(self.read.member([at for at in rows["lwp"] if at], "lwp", "lwp_thread"))
        rows["td"] = [next(found) or 0 if lwp else td for lwp, td in zip(rows["lwp"], rows["td"], strict=True)]
        return type(self)(self.target, self.parts, rows, self.whole)
