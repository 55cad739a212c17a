"""The lists of processes and threads.

Sources: sys/kern/kern_proc.c and kern_thread.c. Processes are on allproc, the newest first; zombies on zombproc up to
FreeBSD 12, since then only in the table of processes by pid.
"""

from __future__ import annotations

from collections.abc import Sequence

from pykvm.errors import AddressError, FormatError, KvmError
from pykvm.targets.base import Parts
from pykvm.targets.common.columns import Columns
from pykvm.targets.common.lists import follow, one_list
from pykvm.targets.freebsd.procs.numbers import PRS_NEW, PRS_ZOMBIE

MAX_PROCS = 1 << 18  # kern.pid_max is at most 99999
MAX_THREADS = 1 << 20  # of all processes
MAX_HASH = 1 << 20  # heads of the table by pid


def processes(read: Columns, parts: Parts) -> list[int]:
    """The addresses of all processes, zombies last, but for those that are still being made."""
    found = one_list(read, parts, "allproc", MAX_PROCS)
    try:
        found += _zombies(read, parts, set(found))
    except KvmError as e:
        # As the original: what is damaged there costs the zombies only. The message stays in the handle.
        if parts.memory.unreadable is not None:
            raise
        parts.memory.note(e)
    states = read.member(found, "proc", "p_state")
    return [at for at, state in zip(found, states, strict=True) if state != PRS_NEW]


def _zombies(read: Columns, parts: Parts, known: set[int]) -> list[int]:
    if parts.symbols.find("zombproc") is not None:
        return one_list(read, parts, "zombproc", MAX_PROCS)
    if parts.symbols.find("pidhashtbl") is None or read.field("proc", "p_hash.le_next") is None:
        return []
    table = parts.memory.read_ptr(parts.address_of("pidhashtbl"))
    size = parts.memory.read_ptr(parts.address_of("pidhash")) + 1
    if size > MAX_HASH:
        raise FormatError(f"pidhash: the table of processes has {size} heads")
    step = read.pointer_size
    heads = read.pointers([table + i * step for i in range(size)])
    if None in heads:
        at = table + heads.index(None) * step
        raise AddressError(f"pidhashtbl: can't read its head at {at:#x}", at)
    offset = read.offset("proc", "p_hash.le_next")
    chains = follow(read, [head or 0 for head in heads], offset, MAX_PROCS, "proc")
    others = [at for chain in chains for at in chain if at not in known]
    states = read.member(others, "proc", "p_state")
    return [at for at, state in zip(others, states, strict=True) if state == PRS_ZOMBIE]


def threads(read: Columns, procs: Sequence[int]) -> list[list[int]]:
    """The addresses of each process's threads, the first one first."""
    heads = read.member(procs, "proc", "p_threads.tqh_first")
    if None in heads:
        at = procs[heads.index(None)]
        raise AddressError(f"can't read the threads of proc at {at:#x}", at)
    offset = read.offset("thread", "td_plist.tqe_next")
    return follow(read, [head or 0 for head in heads], offset, MAX_THREADS, "thread")
