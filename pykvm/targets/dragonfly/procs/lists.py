"""The processes, their lwps, and the threads that belong to none.

Sources: sys/kern/kern_proc.c, sys/sys/proc.h, sys/sys/globaldata.h. Up to 3.6 processes are on allproc and zombproc,
since then in a table by pid: allprocs, an array of lists, and in newer kernels procglob, an array of structures with
one each. Zombies are with the others there. Libkvm's own walk of the lwps' tree skips some of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from pykvm.errors import AddressError, FormatError, KvmError
from pykvm.targets.base import Parts
from pykvm.targets.common.columns import Column, Columns
from pykvm.targets.common.lists import follow, one_list
from pykvm.targets.dragonfly.procs.numbers import SIDL, TDF_MARKER

MAX_PROCS = 1 << 18
MAX_LWPS = 1 << 19  # of all processes
MAX_THREADS = 1 << 19
MAX_HASH = 1 << 16  # lists: 256
MAX_CPUS = 1 << 12
MAX_DEPTH = 2 * 20 + 2  # of a red-black tree with so many lwps

# What nothing can be said without: {structure: members, by their names of all releases}.
NEEDED: dict[str, tuple[tuple[str, ...], ...]] = {
    "proc": (
        ("p_list.le_next",), ("p_pid",), ("p_stat",), ("p_flags", "p_flag"), ("p_comm",), ("p_ucred",), ("p_pgrp",),
        ("p_lwp_tree.rbh_root",),
    ),
    "lwp": (
        ("u.lwp_rbnode.rbe_left", "lwp_rbnode.rbe_left"), ("u.lwp_rbnode.rbe_right", "lwp_rbnode.rbe_right"),
        ("lwp_proc",), ("lwp_tid",), ("lwp_stat",), ("lwp_thread",),
    ),
    "thread": (("td_flags",), ("td_comm",)),
}  # fmt: skip
LEFT, RIGHT = NEEDED["lwp"][:2]


def needed(read: Columns) -> None:
    """KvmError with what of the kernel's types is missing."""
    missing = []
    for name, members in NEEDED.items():
        if read.layout(name) is None:
            missing.append(f"struct {name}")
        else:
            missing += [f"struct {name}: {paths[0]}" for paths in members if read.field(name, *paths) is None]
    if not missing:
        return
    try:
        read.types.struct("proc")
        why = "not in the types that are known"
    except KvmError as e:
        why = str(e)
    raise KvmError(
        f"processes of DragonFly need the layouts of {', '.join(missing)} ({why}): they are in the DWARF of a "
        "kernel.debug, or in a layout file (--layout)"
    )


def processes(read: Columns, parts: Parts) -> list[int]:
    """The addresses of all processes but those that are still being made."""
    needed(read)
    if parts.symbols.find("procglob") is not None:
        structure = read.types.struct("procglob")
        found = _table(read, parts, "procglob", structure.size, structure.offset("allproc.lh_first"))
    elif parts.symbols.find("allprocs") is not None:
        found = _table(read, parts, "allprocs", read.pointer_size, 0)
    else:
        found = one_list(read, parts, "allproc", MAX_PROCS)
        try:
            found += one_list(read, parts, "zombproc", MAX_PROCS)
        except KvmError as e:
            # As the original: what is damaged there costs the zombies only. The message stays in the handle.
            if parts.memory.unreadable is not None:
                raise
            parts.memory.note(e)
        if len(set(found)) != len(found):
            raise FormatError("a process is on allproc and on zombproc")
    states = read.member(found, "proc", "p_stat")
    return [at for at, state in zip(found, states, strict=True) if state != SIDL]


def _table(read: Columns, parts: Parts, name: str, step: int, offset: int) -> list[int]:
    """The processes of a table, list by list: `step` bytes from one head to the next."""
    size = parts.memory.read_i32(parts.address_of("allproc_hsize"))
    if not 0 < size <= MAX_HASH:
        raise FormatError(f"allproc_hsize: {name} has {size} lists")
    start = parts.address_of(name) + offset
    heads = read.pointers([start + i * step for i in range(size)])
    if None in heads:
        at = start + heads.index(None) * step
        raise AddressError(f"{name}: can't read the head of a list at {at:#x}", at)
    chains = follow(read, [head or 0 for head in heads], read.offset("proc", "p_list.le_next"), MAX_PROCS, "proc")
    return [at for chain in chains for at in chain]


def lwps(read: Columns, procs: Sequence[int]) -> list[list[int]]:
    """The addresses of each process's lwps, by their numbers: of all trees at once, level by level."""
    roots = read.member(procs, "proc", "p_lwp_tree.rbh_root")
    if None in roots:
        at = procs[roots.index(None)]
        raise AddressError(f"can't read the lwps of proc at {at:#x}", at)
    left, right = read.offset("lwp", *LEFT), read.offset("lwp", *RIGHT)
    owners = {root: proc for root, proc in zip(roots, procs, strict=True) if root}
    if len(owners) != sum(1 for root in roots if root):
        raise FormatError("an lwp is in the trees of two processes")
    below: dict[int, tuple[int, int]] = {}
    level: dict[int, int] = {root: proc for root, proc in owners.items() if root is not None}
    for _ in range(MAX_DEPTH):
        if not level:
            return [_in_order(root or 0, below) for root in roots]
        level = _below(read, level, left, right, below)
    raise FormatError("p_lwp_tree: deeper than a red-black tree can be")


def _below(
    read: Columns, level: dict[int, int], left: int, right: int, below: dict[int, tuple[int, int]]
) -> dict[int, int]:
    """The level below, as {lwp: process}."""
    here = list(level)
    columns = (read.pointers(here, left), read.pointers(here, right), read.member(here, "lwp", "lwp_proc"))
    found: dict[int, int] = {}
    for at, a, b, owner in zip(here, *columns, strict=True):
        if a is None or b is None or owner is None:
            raise AddressError(f"can't read lwp at {at:#x}", at)
        if owner != level[at]:
            raise FormatError(f"lwp at {at:#x} has wrong parent: {owner:#x}, must be {level[at]:#x}")
        below[at] = (a, b)
        for child in (a, b):
            if child and (child in below or child in found or child in level):
                raise FormatError(f"lwp at {child:#x} is in the trees of lwps twice")
            if child:
                found[child] = level[at]
    if len(below) + len(found) > MAX_LWPS:
        raise FormatError(f"more than {MAX_LWPS} of struct lwp")
    return found


def _in_order(root: int, below: dict[int, tuple[int, int]]) -> list[int]:
    found: list[int] = []
    path: list[int] = []
    at = root
    while at or path:
        while at:
            path.append(at)
            at = below[at][0]
        found.append(path.pop())
        at = below[found[-1]][1]
    return found


def kernel_threads(read: Columns, parts: Parts) -> list[int]:
    """The threads without a process, CPU by CPU, as sysctl(3)'s kern.proc lists them: the oldest first."""
    first, after = read.offset("globaldata", "gd_tdallq.tqh_first"), read.offset("thread", "td_allq.tqe_next")
    heads = read.pointers(cpus(read, parts), first)
    if None in heads:
        raise KvmError("globaldata: can't read gd_tdallq")
    chains = follow(read, [head or 0 for head in heads], after, MAX_THREADS, "thread")
    threads = [td for chain in chains for td in chain[::-1]]
    flags = read.member(threads, "thread", "td_flags")
    owners: Column = read.member(threads, "thread", "td_proc")
    return [
        td
        for td, flag, owner in zip(threads, flags, owners, strict=True)
        if owner == 0 and flag is not None and not flag & TDF_MARKER
    ]


def cpus(read: Columns, parts: Parts) -> list[int]:
    """The addresses of struct globaldata of the CPUs that run. CPU_prvspace is an array of struct privatespace, in
    newer kernels of pointers to them; each has its own address in it."""
    start, number = parts.address_of("CPU_prvspace"), parts.memory.read_i32(parts.address_of("ncpus"))
    if not 0 < number <= MAX_CPUS:
        raise FormatError(f"ncpus is {number}")
    private = read.types.struct("privatespace")
    itself = private.offset("mdglobaldata.mi.gd_prvspace")
    if read.pointers([start], itself)[0] == start:
        spaces: Column = [start + i * private.size for i in range(number)]
    else:
        spaces = read.pointers([start + i * read.pointer_size for i in range(number)])
    told = read.pointers(spaces, itself)
    running = [space for space, address in zip(spaces, told, strict=True) if space and space == address]
    if not running:
        raise FormatError("CPU_prvspace: no CPU's data are there")
    mi = private.offset("mdglobaldata.mi")
    return [space + mi for space in running]
