"""kvm_getargv(3), kvm_getenvv(3): what the kernel keeps of the arguments. Minidumps have no memory of processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykvm.errors import AddressError, KvmError
from pykvm.records import ProcessRecord
from pykvm.targets.base import Parts
from pykvm.targets.common.columns import Columns
from pykvm.targets.common.vectors import limited
from pykvm.targets.dragonfly.procs import numbers
from pykvm.targets.freebsd.argv import kept

if TYPE_CHECKING:
    from pykvm.targets.dragonfly.kernel import DragonFly

TITLE = 1024  # UPMAP_MAXPROCTITLE of sys/upmap.h


def vector(target: DragonFly, parts: Parts, record: ProcessRecord, environment: bool, nchr: int) -> list[bytes] | None:
    """The strings; None for what has none (the kernel's own threads, a zombie). As sysctl(3)'s kern.proc.args: the
    title that setproctitle(3) wrote into the page that the process shares with the kernel, else p_args, which execve(2)
    makes of short arguments."""
    proc = record.paddr
    if proc is None:
        return None
    read = Columns.of(target, parts)
    stat, flags, args, shared = (
        read.member([proc], "proc", *names)[0]
        for names in (("p_stat",), ("p_flags", "p_flag"), ("p_args",), ("p_upmap",))
    )
    if stat is None or flags is None:
        raise KvmError(f"can't read proc at {proc:#x}")
    if stat == numbers.SZOMB or numbers.kernel_process(record.pid, flags):
        return None
    what = "environment" if environment else "arguments"
    try:
        strings = None if environment else _title(read, shared) or (kept(read, args) if args else None)
    except AddressError as e:
        raise AddressError(f"process {record.pid}: {what}: {e}", e.address) from e
    except KvmError as e:
        raise type(e)(f"process {record.pid}: {what}: {e}") from e
    if strings is None:
        if not environment and read.field("proc", "p_args") is None:
            raise KvmError(f"process {record.pid}: {what}: struct proc: p_args: not in the kernel's types")
        raise KvmError(f"process {record.pid}: {what}: a minidump does not hold the memory of processes")
    return limited(strings, nchr) if strings else None


def _title(read: Columns, shared: int | None) -> list[bytes] | None:
    """proc_title of struct sys_upmap (since 4.1); None if none was set."""
    if not shared or read.field("sys_upmap", "proc_title") is None:
        return None
    at = shared + read.offset("sys_upmap", "proc_title")
    title = read.memory.read_cstr(at, min(read.types.struct("sys_upmap").field("proc_title").size, TITLE))
    return [title] if title else None
