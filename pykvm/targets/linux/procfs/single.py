"""What is asked of one process: arguments and environment, threads, and what has files of its own.

The process is the record's: what has its number by now, but began at another time, is not asked in its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pykvm.errors import KvmError
from pykvm.records import ProcessRecord, text
from pykvm.targets.base import Thread
from pykvm.targets.common.vectors import limited
from pykvm.targets.linux.procfs import parse
from pykvm.targets.linux.procfs.batch import SWITCHES, letter, short_name
from pykvm.targets.linux.procfs.parse import Stat
from pykvm.targets.linux.procfs.tree import GONE, numbers, short, unreadable, whole
from pykvm.targets.linux.procs.kinfo import PER_MASK, PERSONALITIES
from pykvm.targets.linux.procs.neutral import PF_KTHREAD
from pykvm.targets.linux.procs.thread import LazyThread

if TYPE_CHECKING:
    from pykvm.targets.linux.procfs.target import ProcFs

MAX_ARGS = 8 << 20  # as linux/procs/user.py
BLOCK = 512
# Members of records that are not in stat and status. How often a process of several threads was switched, the status
# of each thread says.
LATER = ("p_wmesg", "p_emul", "p_uru_inblock", "p_uru_oublock", "p_uru_nvcsw", "p_uru_nivcsw")
# task_io_accounting, as do_io_accounting() of fs/proc/base.c sums it over all threads that were and are.
BYTES = {"p_uru_inblock": parse.count("read_bytes"), "p_uru_oublock": parse.count("write_bytes")}


@contextmanager
def held(target: ProcFs, pid: int, began: int | None) -> Iterator[tuple[int, Stat]]:
    """The directory of a process, and what its stat says now. KvmError if it has ended: there is none of this number,
    or it began at another time (None: that is not known). What fails within is of the process, too."""
    tree = target.tree
    try:
        with tree.process(pid) as at:
            told = parse.stat(short("stat", at))
            if told is None or told.pid != pid or began not in (None, told.began):
                raise ended(pid)
            yield at, told
    except OSError as e:
        raise ended(pid) if e.errno in GONE else unreadable(f"{tree.root}/{pid}", e) from e


def ended(pid: int) -> KvmError:
    """The error that a process is no more."""
    return KvmError(f"process {pid} has ended")


def began(record: ProcessRecord) -> int | None:
    """When a record's process began; None of a record that is a copy of another's bytes."""
    told: Stat | None = getattr(record, "told", None)
    return None if told is None else told.began


def arguments(target: ProcFs, record: ProcessRecord, environment: bool, nchr: int) -> list[bytes] | None:
    """The strings; None for a process without memory (a kernel thread, a zombie), or without such strings. KvmError if
    they are not for this user."""
    name = "environ" if environment else "cmdline"
    kept: bytes | None = None if environment else getattr(record, "cmdline", None)
    if kept is not None:
        return _strings(kept, nchr) if kept else None
    with held(target, record.pid, began(record)) as (at, told):
        if told.flags & PF_KTHREAD or letter(told) == "Z":
            return None
        try:
            raw = whole(name, at, MAX_ARGS + 1)
        except OSError as e:
            if e.errno in GONE:
                raise
            raise unreadable(f"{target.tree.root}/{record.pid}/{name}", e) from e
        if not raw:
            short("stat", at)  # of a process that has ended meanwhile there is nothing, but no failure
            return None
    if len(raw) > MAX_ARGS:
        raise KvmError(f"process {record.pid}: {name} has more than {MAX_ARGS} bytes")
    return _strings(raw, nchr)


def _strings(raw: bytes, nchr: int) -> list[bytes]:
    return limited(raw.removesuffix(b"\0").split(b"\0"), nchr)


def threads(target: ProcFs, record: ProcessRecord) -> list[Thread]:
    """The threads of a process by their numbers, but its leader, whose number is the process's, first. One that ends
    meanwhile is left out."""
    found: list[Thread] = []
    with held(target, record.pid, began(record)) as (at, _):
        tids = numbers("task", at)
        for tid in sorted(tids, key=lambda tid: (tid != record.pid, tid)):
            try:
                told = parse.stat(short(f"task/{tid}/stat", at))
            except OSError as e:
                target.tree.left_out(record.pid, e)
                continue
            if told is not None and told.pid == tid:
                found.append(_thread(target, record.pid, told))
    if not found:
        raise ended(record.pid)
    return found


def _thread(target: ProcFs, pid: int, told: Stat) -> Thread:
    name = text(short_name(told.name, told.flags))

    def waits() -> tuple[str | None, int | None]:
        return wait(target, told, f"{pid}/task/{told.pid}"), None

    return LazyThread(told.pid, name, letter(told), None, waits)


def wait(target: ProcFs, told: Stat, path: str | None = None) -> str | None:
    """The function of the kernel that a process waits in, or a thread, whose directory `path` is; None if it runs or
    has ended, or it is not told (PTRACE_MODE_READ_FSCREDS of ptrace(2))."""
    tree = target.tree
    try:
        with tree.process(path or told.pid) as at:
            return _wait(at) if _same(at, told) else None
    except OSError as e:
        tree.left_out(told.pid, e)
        return None


def _same(at: int, told: Stat) -> bool:
    now = parse.stat(short("stat", at))
    return now is not None and now.began == told.began


def _wait(at: int) -> str | None:
    try:
        raw = short("wchan", at)
    except OSError:
        return None
    return None if raw in (b"", b"0") else text(raw)


def later(target: ProcFs, told: Stat, count: int) -> dict[str, Any]:
    """The values of LATER's members, as far as they can be had; p_wmesg as text."""
    found: dict[str, Any] = {"p_wmesg": None}
    tree = target.tree
    try:
        with tree.process(told.pid) as at:
            if _same(at, told):
                found["p_wmesg"] = _wait(at)
                found.update(_counted(at))
                found.update(_emulated(at))
                if count > 1:
                    found.update(_switched(at))
    except OSError as e:
        tree.left_out(told.pid, e)
    return found


def _counted(at: int) -> dict[str, int]:
    """Blocks that were read and written, for who may trace the process."""
    try:
        raw = b"\n" + short("io", at)
    except OSError:
        return {}
    found = {member: parse.value(pattern, raw) for member, pattern in BYTES.items()}
    return {member: value // BLOCK for member, value in found.items() if value is not None}


def _emulated(at: int) -> dict[str, bytes]:
    """The personality, for who may."""
    try:
        return {"p_emul": PERSONALITIES.get(int(short("personality", at), 16) & PER_MASK, b"")}
    except (OSError, ValueError):
        return {}


def _switched(at: int) -> dict[str, int]:
    """How often the threads that there are were switched."""
    total = dict.fromkeys(SWITCHES, 0)
    for tid in numbers("task", at):
        try:
            raw = short(f"task/{tid}/status", at)
        except OSError:
            continue
        for name, pattern in SWITCHES.items():
            total[name] += parse.value(pattern, raw) or 0
    return {f"p_uru_{name}": value for name, value in total.items()}
