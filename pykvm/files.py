"""kvm_getfiles(3)."""

from __future__ import annotations

from pykvm.handle import Kvm
from pykvm.procs import attempt
from pykvm.records import FileRecord


def kvm_getfiles(kd: Kvm, op: int, arg: int) -> list[FileRecord] | None:
    """All open files as the target's struct file; None on failure. op and arg select nothing (yet, says the manual)."""
    return attempt(kd, "kvm_getfiles", lambda: kd.target.getfiles(kd.parts, op, arg))
