"""The kernel that runs here, asked without its memory (KVM_NO_FILES): the one that this host has, if it is known."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pykvm.loading import loading
from pykvm.targets.base import Parts, Target

if TYPE_CHECKING:
    from pykvm.memory import Memory


def can_tell() -> bool:
    """Whether this host's kernel can be asked. BSDs are by their own libkvm (pykvm.native_libkvm())."""
    return sys.platform.startswith("linux")


def opened(memory: Memory) -> tuple[Target, Parts]:
    """The target, and what it works with, for a handle; KvmError if it does not answer."""
    with loading:
        from pykvm.targets.linux.procfs.target import ProcFs  # not before: most handles are on dumps

    return ProcFs.opened(memory)
