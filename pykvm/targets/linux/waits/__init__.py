"""Where a task waits: what /proc/PID/wchan says, the function of the kernel that called the scheduler.

Source: get_wchan() of kernel/sched/core.c, proc_pid_wchan() of fs/proc/base.c: the first address on the stack of a
task that is off the CPU, which is not in the scheduler itself. An answer is given only where every frame up to there
was found by rule, and the address is in the kernel's code or a module's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

from pykvm.errors import AddressError
from pykvm.symbols.base import Symbols
from pykvm.targets.base import Parts
from pykvm.targets.common.columns import Columns
from pykvm.targets.linux.symbols.functions import Functions
from pykvm.targets.linux.waits import frames, orc
from pykvm.types.decode import CODES

if TYPE_CHECKING:
    from pykvm.targets.linux.kernel import Linux

NOWHERE: tuple[None, None] = (None, None)
TASK_RUNNING, TASK_WAKING = 0, 0x200  # <linux/sched.h>, since Linux 4.14
MASK = 0xFFFFFFFF
MAX_FRAMES = 16
# What in_sched_functions() knows.
SCHEDULER = (("__sched_text_start", "__sched_text_end"), ("__lock_text_start", "__lock_text_end"))
TEXT = ("_stext", "_etext")
# Return addresses that tracers put in the place of the true ones.
TRAMPOLINES = frozenset("return_to_handler arch_rethook_trampoline __kretprobe_trampoline kretprobe_trampoline".split())
MEMBERS = {
    "state": ("__state", "state"),
    "dead": ("exit_state",),
    "queued": ("on_rq",),
    "running": ("on_cpu",),
    "delayed": ("se.sched_delayed",),
}

# A machine's walk over the stack of a task that is off the CPU: its return addresses, innermost first. None where the
# kernel lacks what it needs.
Walk = Callable[[int], Iterator[int]]
WALKS: dict[str, tuple[Callable[[Linux, Parts, Columns], Walk | None], ...]] = {
    "x86_64": (orc.walk, frames.x86_walk),
    "i386": (frames.x86_walk,),
    "aarch64": (frames.aarch64_walk,),
}


class Waits:
    """Finds where tasks wait, for one handle."""

    def __init__(self, target: Linux, parts: Parts) -> None:
        read = Columns.of(target, parts)
        spans = [_span(parts.symbols, *names) for names in (TEXT, *SCHEDULER)]
        self._scheduler = [span for span in spans[1:] if span is not None]
        self._members = {name: _reader(read, *paths) for name, paths in MEMBERS.items()}
        self._functions = Functions(target, parts, spans[0] or range(0))
        self._walk: Walk | None = None
        if None not in spans and self._members["state"] is not None:
            made = (make(target, parts, read) for make in WALKS.get(target.machine, ()))
            self._walk = next((walk for walk in made if walk is not None), None)

    def channel(self, task: int) -> tuple[str | None, int | None]:
        """(wmesg, wchan) of a task: the function's name and address. (None, None): it does not wait, or where it
        does cannot be told."""
        try:
            if not self._asleep(task) or self._walk is None:
                return NOWHERE
            for pc in islice(self._walk(task), MAX_FRAMES):
                if not any(pc in span for span in self._scheduler):
                    found = self._functions.at(pc)
                    return NOWHERE if found is None or found[0] in TRAMPOLINES else found
        except AddressError:
            pass
        return NOWHERE

    def _asleep(self, task: int) -> bool:
        """Whether a task is off the CPU and stays there."""

        def value(name: str) -> int | None:
            read = self._members[name]
            return None if read is None else read(task)

        state = value("state")
        if state is None or state & MASK in (TASK_RUNNING, TASK_WAKING) or value("dead") or value("running"):
            return False
        # Since Linux 6.12 a task that sleeps may stay on its queue for a while.
        return value("queued") == 0 or bool(value("delayed"))


def _reader(read: Columns, *paths: str) -> Callable[[int], int] | None:
    """A function that reads a member of task_struct; None if there is none."""
    field = read.field("task_struct", *paths)
    if field is None or field.size not in CODES:
        return None
    one: Callable[[int], int] = getattr(read.memory, f"read_u{8 * field.size}")
    return lambda task: one(task + field.offset)


def _span(symbols: Symbols, start: str, end: str) -> range | None:
    first, last = symbols.find(start), symbols.find(end)
    return None if first is None or last is None else range(first.value, last.value)
