"""kvm_getprocs(3)'s choice of processes: what an op selects by."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import TypeVar

from pykvm import constants as k
from pykvm.errors import KvmError
from pykvm.targets.base import Target
from pykvm.targets.common.batch import Batch

MAX_ELEMSIZE = 1 << 16
NUMBER = 0xFFFFFFFF  # ids and devices are unsigned in their records, arg is an int
# The attribute that each op selects by. No process is on the terminal "none".
ATTRIBUTES: dict[int, str] = {
    k.KERN_PROC_PID: "pid",
    k.KERN_PROC_PGRP: "pgid",
    k.KERN_PROC_SESSION: "sid",
    k.KERN_PROC_TTY: "tdev",
    k.KERN_PROC_UID: "uid",
    k.KERN_PROC_RUID: "ruid",
    k.KERN_PROC_GID: "gid",
    k.KERN_PROC_RGID: "rgid",
}
EVERY = (k.KERN_PROC_ALL, k.KERN_PROC_KTHREAD)

B = TypeVar("B", bound=Target)


def check(name: str, op: int, elemsize: int | None, ops: Container[int] = ATTRIBUTES) -> None:
    """KvmError for what the function of that name cannot be asked."""
    if op not in ops and op not in EVERY:
        raise KvmError(f"{name}: op {op}: Invalid argument")
    if elemsize is not None and not 0 < elemsize <= MAX_ELEMSIZE:
        raise KvmError(f"{name}: elemsize {elemsize}: Invalid argument")


def places(batch: Batch[B], op: int, arg: int, flags: str, system: int) -> Sequence[int]:
    """The places in the batch of those that op and arg select; a process with a bit of `system` in the column `flags`
    is a kernel thread, which only KERN_PROC_ALL leaves out."""
    if op == k.KERN_PROC_ALL:
        return [i for i, value in enumerate(batch[flags]) if not (value or 0) & system]
    if op == k.KERN_PROC_KTHREAD:
        return range(len(batch))
    if not -(1 << 31) <= arg <= NUMBER:  # no int of C's
        return []
    column = batch[ATTRIBUTES[op]]
    return [i for i, value in enumerate(column) if value is not None and value & NUMBER == arg & NUMBER]
