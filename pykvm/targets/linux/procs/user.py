"""User memory of a Linux process: arguments and environment, as /proc/PID/cmdline and environ give them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykvm.errors import AddressError, KvmError
from pykvm.memory import Memory
from pykvm.records import ProcessRecord
from pykvm.targets.base import Parts
from pykvm.targets.common.vectors import limited
from pykvm.targets.linux.procs import running
from pykvm.targets.linux.procs.neutral import PF_KTHREAD

if TYPE_CHECKING:
    from pykvm.targets.linux.kernel import Linux

TLB_PAGES = 64  # of one process
MAX_ARGS = 8 << 20  # an eighth of the largest stack: <linux/binfmts.h>


def space(target: Linux, parts: Parts, mm: int) -> Memory:
    """The address space of a struct mm_struct."""
    at = target.types.struct("mm_struct").offset("pgd")
    pgd = parts.memory.translate(parts.memory.read_ptr(mm + at))
    memory = Memory()
    user = target.platform.user(target.tables(parts.image), pgd)
    memory.attach(parts.image, user, target.byteorder, target.pointer_size, TLB_PAGES)
    return memory


def vector(target: Linux, parts: Parts, record: ProcessRecord, environment: bool, nchr: int) -> list[bytes] | None:
    """The strings; None for a process without memory (a kernel thread, a zombie), or without such strings."""
    if parts.image.live:
        return running.unchanged(target, parts, record, lambda now: _vector(target, now, record, environment, nchr))
    return _vector(target, parts, record, environment, nchr)


def _vector(target: Linux, parts: Parts, record: ProcessRecord, environment: bool, nchr: int) -> list[bytes] | None:
    task = target.types.struct("task_struct")
    mm = parts.memory.read_ptr(record.paddr + task.offset("mm"))
    if mm == 0 or parts.memory.read_u32(record.paddr + task.offset("flags")) & PF_KTHREAD:  # which has but borrowed it
        return None
    layout = target.types.struct("mm_struct")
    names = ("arg_start", "arg_end", "env_start", "env_end")
    arg_start, arg_end, env_start, env_end = (parts.memory.read_ptr(mm + layout.offset(n)) for n in names)
    start, end = (env_start, env_end) if environment else (arg_start, arg_end)
    if start == 0 or end <= start:
        return None
    if end - start > MAX_ARGS:
        name = "env" if environment else "arg"
        raise KvmError(f"process {record.pid}: {name}_end is {end - start} bytes behind {name}_start")
    user = space(target, parts, mm)
    try:
        data = user.read(start, end - start)
        if not environment and data[-1:] != b"\0":
            data = _title(target, user, start, end, env_start, env_end, data)
    except AddressError as e:
        raise AddressError(f"process {record.pid}: user memory at {e.address:#x}: {_why(e)}", e.address) from e
    finally:
        user.detach()
    strings = data.removesuffix(b"\0").split(b"\0")
    return limited(strings, nchr)


def _why(e: AddressError) -> str:
    told = str(e)
    return "not in memory (swapped out, or never touched)" if told.startswith("invalid address") else told


def _title(target: Linux, user: Memory, start: int, end: int, env_start: int, env_end: int, data: bytes) -> bytes:
    """A title that was written over the NUL behind the arguments goes on to the next NUL: in the first page from
    arg_start on (get_mm_proctitle() of fs/proc/base.c, since Linux 5.3)."""
    if env_start != end or env_end < env_start:
        return data
    page = user.read(start, min(target.page_size, env_end - start))
    return page.split(b"\0", 1)[0]
