"""SunOS's kvm(3K): processes one after another, their user areas and commands, in Sun's argument order.

    from pykvm.sunos import *

Scripts for SunOS 4 and Solaris run with this on every dump that pykvm reads. The handle is pykvm's (kvm_geterr(3),
which Sun never had, works on it), so are Nlist, kvm_nlist and kvm_write; C's NULL is None. With an errstr, hard errors
of this and later calls go to stderr as `errstr: message`, as pykvm.kvm_open(3) does; TypeError and ValueError are for
wrong calls.

Sun keeps one copy of a process and of a user area for each handle, which the next call overwrites: here each call's
result stays as it is, and threads that share a handle share its place in the list.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import index
from typing import Any, NamedTuple

from pykvm import open as opening
from pykvm import read
from pykvm._native.ffi import ffi, lib
from pykvm.constants import KERN_PROC_KTHREAD, KVM_NO_FILES
from pykvm.errors import CLOSED, KvmError
from pykvm.handle import Kvm, handle
from pykvm.nlist import Nlist, kvm_nlist
from pykvm.paths import Path
from pykvm.procs import attempt
from pykvm.read import kvm_write
from pykvm.records import ProcessRecord

__all__ = [
    "Nlist",
    "Rusage",
    "Timeval",
    "User",
    "kvm_close",
    "kvm_getcmd",
    "kvm_getproc",
    "kvm_getu",
    "kvm_nextproc",
    "kvm_nlist",
    "kvm_open",
    "kvm_read",
    "kvm_setproc",
    "kvm_write",
]

FLAGS = (os.O_RDONLY, os.O_RDWR, KVM_NO_FILES)
TABLE = "_sunos_table"  # where a handle keeps its list of processes: it goes with the handle
MICRO = 10**6


class Timeval(NamedTuple):
    """struct timeval."""

    tv_sec: int
    tv_usec: int


class Rusage(NamedTuple):
    """What every target tells of struct rusage: CPU time of a process, None if this one does not."""

    ru_utime: Timeval | None
    ru_stime: Timeval | None


@dataclass(frozen=True)
class User:
    """The user area of a process: what the members of SunOS's struct user and its names for credentials say.

    Targets have no such area, or another, so it is made of what is known of the process. u_procp is the kernel address
    of the target's structure of the process, u_start when it began (seconds of 1970). What the target does not tell is
    None, and what no target tells (u_pcb, u_ofile, ...) is no attribute.
    """

    u_procp: int | None
    u_comm: str | None
    u_start: Timeval | None
    u_ru: Rusage
    u_uid: int | None
    u_gid: int | None
    u_ruid: int | None
    u_rgid: int | None
    u_groups: tuple[int, ...] | None


class _Table:
    """The processes as kvm_setproc found them, and which come next."""

    def __init__(self, records: list[ProcessRecord]) -> None:
        self.records = records
        self.rest = iter(records)  # asked for its next in one step, whatever threads do

    @cached_property
    def by_pid(self) -> dict[int, ProcessRecord]:
        """Of several with one pid, which only a damaged dump has, the first."""
        return {p.pid: p for p in reversed(self.records)}


def kvm_open(
    namelist: Path | None,
    corefile: Path | Sequence[Path] | None,
    swapfile: Path | None,
    flag: int,
    errstr: str | None,
) -> Kvm | None:
    """Open a kernel's images: a handle, or None. kvm_open(3K).

    namelist: the kernel file, None for the one that runs, or of a dump that has its names in it; corefile: the dump,
    None for the memory of the system that runs; swapfile: what its swap device holds, None for none; flag: os.O_RDONLY
    or os.O_RDWR, as in Sun's, or pykvm's KVM_NO_FILES; errstr: None, or what to print before the messages of errors.
    """
    if errstr is not None and not isinstance(errstr, str):
        raise TypeError("errstr must be a str or None")
    if isinstance(flag, int) and flag not in FLAGS:
        if errstr is not None and sys.stderr is not None:
            print(f"{errstr}: illegal flag {flag:#x} to kvm_open()", file=sys.stderr)
        return None
    return opening.kvm_open(namelist, corefile, swapfile, flag, errstr)


def kvm_close(kd: Kvm) -> int:
    """Close a handle: 0, or -1 if it is closed already. kvm_open(3K)."""
    vars(handle(kd)).pop(TABLE, None)
    return opening.kvm_close(kd)


def kvm_read(kd: Kvm, addr: int, buf: Any, nbytes: int) -> int:
    """Copy nbytes from a kernel virtual address into a writable buffer: the bytes copied. kvm_read(3K).

    Where memory ends before nbytes do, that is fewer (pykvm.kvm_read(3) gives -1 then, as BSD's does), and -1 if there
    is none at addr or the handle is closed. Either way kvm_geterr(3) has the reason. TypeError for a buffer that cannot
    be written to, ValueError if nbytes do not fit it.
    """
    flat = read.check_buffer(buf, nbytes)
    if handle(kd).no_files:
        return read.kvm_read(kd, addr, flat, nbytes)
    fault = ffi.new("pk_fault *")
    try:
        done = kd.transfer(lib.pk_space_read, addr, ffi.from_buffer(flat), nbytes, fault)
    except KvmError:  # which is noted
        return -1
    if fault.status == lib.PK_OK:
        return done
    kd.note(kd.fault(fault, addr, done))
    return done or -1


def kvm_setproc(kd: Kvm) -> int:
    """Go back to the first process, and list them anew: 0, or -1 if they cannot be listed. kvm_nextproc(3K)."""
    vars(handle(kd)).pop(TABLE, None)
    return -1 if _table(kd, "kvm_setproc") is None else 0


def kvm_nextproc(kd: Kvm) -> ProcessRecord | None:
    """The next process, those of the kernel's own and zombies too; None after the last. kvm_nextproc(3K).

    They are those of the last kvm_setproc(3K), or of the first call without one, in the kernel's order. None also if
    they cannot be listed: then kvm_geterr(3) has a message, and the next call tries again.
    """
    table = _table(kd, "kvm_nextproc")
    return None if table is None else next(table.rest, None)


def kvm_getproc(kd: Kvm, pid: int) -> ProcessRecord | None:
    """The process of this number, in the list that kvm_nextproc(3K) goes through; None if there is none.

    It does not change which process is next. TypeError if pid is no int. kvm_nextproc(3K).
    """
    number = index(pid)
    table = _table(kd, "kvm_getproc")
    if table is None:
        return None
    found = table.by_pid.get(number)
    if found is None:
        kd.note(KvmError(f"no process {number}", soft=True))
    return found


def kvm_getu(kd: Kvm, proc: ProcessRecord) -> User | None:
    """The user area of a process; None for a zombie, whose is gone, and on a closed handle. kvm_getu(3K).

    proc is any record of this handle, of pykvm.kvm_getprocs(3) too; TypeError if it is no record.
    """
    return attempt(kd, "kvm_getu", lambda: _user(kd, proc))


def kvm_getcmd(kd: Kvm, proc: ProcessRecord, u: User | None, arg: list[bytes] | None, env: list[bytes] | None) -> int:
    """Fill arg with the arguments of a process and env with its environment: 0, or -1. kvm_getcmd(3K).

    Sun's function stores new vectors where arg and env point: here they are lists, whose contents are replaced; None
    for what is not wanted. u: what kvm_getu(3K) gave for proc. -1 if that was None, or another process's; if the
    process is of the kernel's own, and so has neither; if one that is wanted cannot be read (swapped out, not in the
    dump). Then the lists are as they were. A process that began without an environment has an empty one.

    The strings are in the process's memory: a program may have changed them. TypeError if proc is no record, u no user
    area or arg or env no list; ValueError if they are the same list.
    """
    for wanted in (arg, env):
        if wanted is not None and not isinstance(wanted, list):
            raise TypeError("arg and env must be lists or None")
    if arg is not None and arg is env:
        raise ValueError("arg and env must be two lists")
    if u is not None and not isinstance(u, User):
        raise TypeError("u must be a User, of kvm_getu, or None")

    def strings() -> list[list[bytes]]:
        _check(kd, proc)
        if u is None:
            raise KvmError(f"process {proc.pid}: no user area", soft=True)
        if u.u_procp != proc.paddr:
            raise KvmError(f"process {proc.pid}: the user area is another process's")
        wanted = ((arg, False), (env, True))
        return [[] if into is None else _vector(kd, proc, environment) for into, environment in wanted]

    found = attempt(kd, "kvm_getcmd", strings)
    if found is None:
        return -1
    for into, vector in zip((arg, env), found, strict=True):
        if into is not None:
            into[:] = vector
    return 0


def _table(kd: Kvm, name: str) -> _Table | None:
    """The handle's list of processes, made if it has none; None, with the message kept, if that fails."""

    def listed() -> _Table:
        if kd.closed:
            raise KvmError(CLOSED)
        known: _Table | None = vars(kd).get(TABLE)
        if known is None:
            # Of two threads that list them at once, both take what the first has stored.
            table: _Table = vars(kd).setdefault(TABLE, _Table(kd.target.getprocs(kd.parts, KERN_PROC_KTHREAD, 0)))
            return table
        return known

    return attempt(kd, name, listed)


def _check(kd: Kvm, proc: ProcessRecord) -> None:
    if not isinstance(proc, ProcessRecord):
        raise TypeError("proc must be a process record")
    if kd.closed:
        raise KvmError(CLOSED)
    if proc.memory not in (None, kd):
        raise KvmError(f"process {proc.pid}: the record is of another handle")


def _user(kd: Kvm, proc: ProcessRecord) -> User:
    _check(kd, proc)
    if proc.stat == "Z":
        raise KvmError(f"process {proc.pid}: a zombie has no user area", soft=True)
    return User(
        u_procp=proc.paddr,
        u_comm=proc.comm,
        u_start=_timeval(proc.start_time),
        u_ru=Rusage(_timeval(proc.utime), _timeval(proc.stime)),
        u_uid=proc.uid,
        u_gid=proc.gid,
        u_ruid=proc.ruid,
        u_rgid=proc.rgid,
        u_groups=None if proc.groups is None else tuple(proc.groups),
    )


def _timeval(seconds: float | None) -> Timeval | None:
    return None if seconds is None else Timeval(*divmod(round(seconds * MICRO), MICRO))


def _vector(kd: Kvm, proc: ProcessRecord, environment: bool) -> list[bytes]:
    """The strings; KvmError for a process that cannot have any."""
    found = kd.target.arguments(kd.parts, proc, environment, 0)
    if found is not None:
        return found
    # Targets tell no empty environment from a process without memory: only the latter has no arguments either.
    if environment and _has_arguments(kd, proc):
        return []
    raise KvmError(f"process {proc.pid}: it has no {'environment' if environment else 'arguments'}", soft=True)


def _has_arguments(kd: Kvm, proc: ProcessRecord) -> bool:
    try:
        return kd.target.arguments(kd.parts, proc, False, 1) is not None
    except KvmError:  # they are there, but not to be read
        return True
