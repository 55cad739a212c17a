"""Why a kernel died: what its log says of it, and the task that was running there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pykvm.errors import KvmError
from pykvm.records import text
from pykvm.targets.base import Message
from pykvm.targets.linux import percpu
from pykvm.targets.linux.places import Places

PANIC = b"Kernel panic - not syncing: "
# Until Linux 4.x this crash is a bad pointer, no panic.
SYSRQ = re.compile(rb"(?:sysrq: )?(?:SysRq : )?Trigger a crash")
# What stands before the line that die() writes, and that line (with a number in [#...]), which may come alone.
REASON = re.compile(rb"(?:watchdog: )?BUG: |kernel BUG at |Unable to handle kernel |Unhandled fault")
DIED = re.compile(rb"Oops\b|Internal error: |Kernel BUG \[#|.*: [0-9a-f]{1,16} \[#\d{1,9}\]")
# dump_stack_print_info(), and show_regs() before Linux 3.11.
TASK = re.compile(
    rb"(?:CPU: (\d{1,9}) (?:UID: \d+ )?PID: (\d{1,9}) Comm: |Pid: (\d{1,9}), comm: )"
    rb"(.{1,20}?)(?: Kdump: loaded)? (?:Not tainted|Tainted: )"
)


@dataclass
class Report:
    """A panic or an oops: its first line, and where it happened, as far as the log says so."""

    line: bytes
    cpu: int | None = None
    pid: int | None = None
    comm: bytes | None = None


def find(messages: Iterable[Message]) -> tuple[Report | None, Report | None]:
    """The last panic and the last oops in the log."""
    panic: Report | None = None
    oops: Report | None = None
    current: Report | None = None
    for line in _lines(messages):
        if line.startswith(PANIC):
            current = panic = Report(line[len(PANIC) :])
        elif SYSRQ.match(line):
            current = panic = Report(line)
        elif REASON.match(line):
            current = oops = Report(line)
        elif DIED.match(line):
            if current is None or current is not oops or current.pid is not None:
                current = oops = Report(line)
        elif current is not None and current.pid is None:
            found = TASK.match(line)
            if found is not None:
                current.cpu = None if found[1] is None else int(found[1])
                current.pid, current.comm = int(found[2] or found[3]), found[4]
    return panic, oops


def _lines(messages: Iterable[Message]) -> Iterator[bytes]:
    for message in messages:
        yield from message.text.split(b"\n")


def facts(places: Places, messages: Iterable[Message]) -> dict[str, Any]:
    """`panic` (its reason), `oops` (its first line), and of a panic the CPU, and pid and name of the task on it."""
    try:
        panic, oops = find(messages)
    except KvmError:
        panic = oops = None
    found: dict[str, Any] = {}
    if panic is not None:
        found["panic"] = text(panic.line)
    if oops is not None:
        found["oops"] = text(oops.line)
    cpu = panicking_cpu(places)
    if cpu is None and panic is None:
        return found
    # A panic because of an oops does not say again where it was.
    told = next((r for r in (panic, oops) if r is not None and r.pid is not None), Report(b""))
    cpu = told.cpu if cpu is None else cpu
    if cpu is not None:
        found["panic cpu"] = cpu
    try:
        found["panic pid"], found["panic command"] = running(places, cpu)
    except KvmError:
        if told.comm is not None and told.cpu in (cpu, None):
            found["panic pid"], found["panic command"] = told.pid, text(told.comm)
    return found


def panicking_cpu(places: Places) -> int | None:
    """panic_cpu (since Linux 4.5) or crashing_cpu: -1 as long as there is none."""
    for name in ("panic_cpu", "crashing_cpu"):
        try:
            number = places.memory.read_i32(places.address(name))
        except KvmError:
            continue
        if 0 <= number < percpu.MAX_CPUS:
            return number
    return None


def running(places: Places, cpu: int | None) -> tuple[int, str]:
    """(pid, name) of the task that a CPU's run queue has as current; KvmError if that cannot be told."""
    if cpu is None:
        raise KvmError("no CPU is known to have panicked")
    queue = places.address("runqueues") + percpu.offset(places, cpu)
    pointer = places.member("rq", "curr", places.word)
    task = places.memory.read_ptr(queue + pointer & (1 << places.word * 8) - 1)
    layout = places.types.struct("task_struct")
    pid = places.memory.read_i32(task + layout.offset("pid"))
    return pid, text(places.memory.read_cstr(task + layout.offset("comm"), 16))
