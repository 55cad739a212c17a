"""kvm_getprocs(3): kvm_getprocs, kvm_getproc2, kvm_getargv, kvm_getenvv, kvm_getargv2, kvm_getenvv2."""

from __future__ import annotations

from collections.abc import Callable
from operator import index
from typing import TypeVar

from pykvm.errors import KvmError
from pykvm.handle import Kvm, handle
from pykvm.records import ProcessRecord

T = TypeVar("T")


def kvm_getprocs(kd: Kvm, op: int, arg: int) -> list[ProcessRecord] | None:
    """The processes that op (KERN_PROC_ALL ... KERN_PROC_KTHREAD) and arg select, as struct kinfo_proc; or None."""
    return attempt(kd, "kvm_getprocs", lambda: kd.target.getprocs(kd.parts, index(op), index(arg)))


def kvm_getproc2(kd: Kvm, op: int, arg: int, elemsize: int | None = None) -> list[ProcessRecord] | None:
    """As kvm_getprocs, as struct kinfo_proc2, of which bytes(p) has the first elemsize bytes (None: all).

    Systems that have no such structure have MirBSD's, in their own byte order; members for what they do not have are 0.
    """
    return attempt(kd, "kvm_getproc2", lambda: kd.target.getproc2(kd.parts, index(op), index(arg), elemsize))


def kvm_getargv(kd: Kvm, p: ProcessRecord, nchr: int) -> list[bytes] | None:
    """The argument vector of a process; None if it has none (a zombie) or its memory cannot be read.

    nchr: the most bytes to collect, NULs included (the string that reaches it is cut and ends the vector); 0: all.
    """
    return attempt(kd, "kvm_getargv", lambda: kd.vector(p, False, nchr))


def kvm_getenvv(kd: Kvm, p: ProcessRecord, nchr: int) -> list[bytes] | None:
    """The environment of a process, as kvm_getargv; None also if it is empty."""
    return attempt(kd, "kvm_getenvv", lambda: kd.vector(p, True, nchr))


def kvm_getargv2(kd: Kvm, p: ProcessRecord, nchr: int) -> list[bytes] | None:
    """kvm_getargv for a record of kvm_getproc2."""
    return kvm_getargv(kd, p, nchr)


def kvm_getenvv2(kd: Kvm, p: ProcessRecord, nchr: int) -> list[bytes] | None:
    """kvm_getenvv for a record of kvm_getproc2."""
    return kvm_getenvv(kd, p, nchr)


def attempt(kd: Kvm, name: str, call: Callable[[], T]) -> T | None:
    """What a call gives, or None with its message kept as C's functions do."""
    try:
        if handle(kd).no_files:
            kd.ask_live(name)
        return call()
    except KvmError as e:
        kd.note(e)
        return None
