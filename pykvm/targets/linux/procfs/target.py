"""The Linux that runs here, without its memory: what kvm(3) asks of a handle that was opened with KVM_NO_FILES."""

from __future__ import annotations

import os
import struct
import sys
from typing import TYPE_CHECKING, Any

from pykvm.errors import KvmError
from pykvm.native import HOSTS
from pykvm.records import FileRecord, KvmSwap, ProcessRecord
from pykvm.targets.base import Parts, Target, Thread
from pykvm.targets.common import kinfo2
from pykvm.targets.linux.procfs import figures, files, processes, single
from pykvm.targets.linux.procfs.batch import PAGE
from pykvm.targets.linux.procfs.tree import Tree
from pykvm.types import layout
from pykvm.types.layout import Struct

if TYPE_CHECKING:
    from pykvm.memory import Memory


class ProcFs(Target):
    """Linux by /proc: by `root`, for who tests."""

    system = "Linux"
    page_size = PAGE

    def __init__(self, root: str = "/proc") -> None:
        super().__init__()
        self.tree: Tree = Tree(root)
        self.byteorder = sys.byteorder
        self.machine, self.pointer_size = _machine(os.uname().machine)
        self.types = layout.builtin("kinfo_proc2")
        self.types.update(files.structures())
        self._boot: int | None = None
        self._memory: Memory | None = None

    @classmethod
    def opened(cls, memory: Memory, root: str = "/proc") -> tuple[ProcFs, Parts]:
        """The target, and what it works with, for a handle; KvmError if there is no /proc."""
        target = cls(root)
        if not target.tree.mounted:
            raise KvmError(f"{root} is not mounted: there is no live kernel to ask")
        target._memory = memory
        nothing: Any = None
        return target, Parts(memory, nothing, nothing)

    def let_go(self) -> None:
        super().let_go()
        self.tree.close()
        self._memory = None

    def note(self, error: KvmError) -> None:
        """Keep a message with the handle of what has not failed."""
        if self._memory is not None:
            self._memory.note(error)

    def boot(self) -> int:
        """figures.boot(), which stays the same until the clock is set."""
        now = figures.boot()
        if self._boot is None or abs(now - self._boot) > figures.MILLI:
            self._boot = now
        return self._boot

    def lacks(self, what: str) -> KvmError:
        return KvmError(f"{what}: this handle has no memory, and {self.tree.root} does not tell")

    def release(self, parts: Parts) -> tuple[str | None, str | None]:
        name = os.uname()
        return name.release, name.version

    def facts(self, parts: Parts) -> dict[str, Any]:
        return figures.facts(self)

    copies = {"kinfo_proc2": kinfo2.COPIES}

    def record_struct(self, parts: Parts, two: bool) -> Struct:
        return kinfo2.structure(self)

    def getprocs(self, parts: Parts, op: int, arg: int) -> list[ProcessRecord]:
        """Linux has no kinfo_proc: its records are kinfo_proc2."""
        return self.getproc2(parts, op, arg, None)

    def getproc2(self, parts: Parts, op: int, arg: int, elemsize: int | None) -> list[ProcessRecord]:
        return processes.getproc2(self, parts, op, arg, elemsize)

    def with_argv(self, parts: Parts, op: int, arg: int) -> list[ProcessRecord]:
        return processes.getproc2(self, parts, op, arg, None, argv=True)

    def arguments(self, parts: Parts, record: ProcessRecord, environment: bool, nchr: int) -> list[bytes] | None:
        return single.arguments(self, record, environment, nchr)

    def threads(self, parts: Parts, record: ProcessRecord) -> list[Thread]:
        return single.threads(self, record)

    def getfiles(self, parts: Parts, op: int, arg: int) -> list[FileRecord]:
        """The open files of all processes; op and arg select nothing."""
        return files.getfiles(self)

    def loadavg(self, parts: Parts) -> list[float]:
        return figures.loadavg(self.tree)

    def maxcpu(self, parts: Parts) -> int:
        """One more than the number of the last CPU that there may ever be."""
        return max(figures.cpus("possible"), default=0) + 1

    def ncpus(self, parts: Parts) -> int:
        return len(figures.cpus("online"))

    def swapinfo(self, parts: Parts) -> list[KvmSwap]:
        return figures.swapinfo(self.tree)

    def cptime(self, parts: Parts) -> list[int]:
        return figures.cptime(self.tree)


def _machine(name: str) -> tuple[str, int]:
    """kd.info's word for uname's, and the bytes of a pointer: the kernel's, whatever this program's."""
    if name == "armv8l":  # what a program of 32 bits is told on AArch64
        return "aarch64", 8
    wide, narrow = HOSTS.get(name, (name, name))
    if name.startswith("arm") and name != "arm64":
        return "arm", 4
    if wide and wide == narrow:
        return name, struct.calcsize("P")
    return (wide, 8) if wide else (narrow, 4)
