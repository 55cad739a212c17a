"""The Linux that runs here, without its memory: what kvm(3) asks of a handle that was opened with KVM_NO_FILES."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, Any, Literal

from pykvm.errors import KvmError
from pykvm.records import FileRecord, KvmSwap, ProcessRecord, text
from pykvm.targets.base import Parts, Target, Thread
from pykvm.targets.common import kinfo2
from pykvm.targets.linux.procfs import files, processes
from pykvm.targets.linux.procfs.parse import Proc
from pykvm.types.layout import Struct

if TYPE_CHECKING:
    from pykvm.memory import Memory

ESCAPE = re.compile(rb"\\([0-7]{3})")  # how /proc/swaps spells blanks
CPU = "/sys/devices/system/cpu"


class ProcFs(Target):
    """Linux by /proc."""

    system = "Linux"
    pointer_size = 8  # of the records, whatever the host's: a kinfo_proc2 is nobody's in particular

    def __init__(self, root: str = "/proc") -> None:
        super().__init__()
        self.proc = Proc(root)
        self.host_order: Literal["little", "big"] = sys.byteorder
        self.byteorder = sys.byteorder
        self.machine = os.uname().machine
        self.page_size = processes.PAGE

    @staticmethod
    def opened(memory: Memory) -> tuple[ProcFs, Parts]:
        """The target, and what it works with; KvmError if there is no /proc."""
        target = ProcFs()
        if target.proc.read("self", "stat") is None:
            raise KvmError("/proc is not mounted: there is no live kernel to ask")
        nothing: Any = None
        return target, Parts(memory, nothing, nothing)

    def release(self, parts: Parts) -> tuple[str | None, str | None]:
        name = os.uname()
        return name.release, name.version

    copies = {"kinfo_proc2": kinfo2.COPIES}

    def record_struct(self, parts: Parts, two: bool) -> Struct:
        return kinfo2.structure(self)

    def getprocs(self, parts: Parts, op: int, arg: int) -> list[ProcessRecord]:
        return self.getproc2(parts, op, arg, None)

    def getproc2(self, parts: Parts, op: int, arg: int, elemsize: int | None) -> list[ProcessRecord]:
        return processes.getproc2(self, parts, op, arg, elemsize)

    def arguments(self, parts: Parts, record: ProcessRecord, environment: bool, nchr: int) -> list[bytes] | None:
        return processes.arguments(self, record, environment, nchr)

    def threads(self, parts: Parts, record: ProcessRecord) -> list[Thread]:
        return processes.threads(self, record)

    def getfiles(self, parts: Parts, op: int, arg: int) -> list[FileRecord]:
        return files.getfiles(self)

    def loadavg(self, parts: Parts) -> list[float]:
        words = (self.proc.read("loadavg") or b"").split()[:3]
        try:
            return [float(word) for word in words]
        except ValueError as e:
            raise KvmError(f"can't read {self.proc.root}/loadavg: {e}") from e

    def maxcpu(self, parts: Parts) -> int:
        """CPUs that may ever be there: the last number of the list, and one."""
        raw = Proc(CPU).read("possible") or b"0"
        return int(re.split(rb"[-,]", raw.strip())[-1] or 0) + 1

    def ncpus(self, parts: Parts) -> int:
        return os.cpu_count() or 1

    def swapinfo(self, parts: Parts) -> list[KvmSwap]:
        """By /proc/swaps, in kilobytes there. A file is called by its path in brackets."""
        found = []
        for line in (self.proc.read("swaps") or b"").splitlines()[1:]:
            words = line.split()
            try:
                total, used = (int(word) * 1024 // self.page_size for word in words[2:4])
            except ValueError:
                continue
            name = text(ESCAPE.sub(lambda m: bytes([int(m[1], 8) & 0xFF]), words[0]))
            shown = name.rpartition("/")[2] if words[1] == b"partition" else f"[{name}]"
            found.append(KvmSwap(shown, used, total, 0))
        return found

    def cptime(self, parts: Parts) -> list[int]:
        """User, nice, system, interrupts, idle, in the clock's ticks: /proc/stat's, of all CPUs."""
        for line in (self.proc.read("stat") or b"").splitlines():
            words = line.split()
            if words[:1] == [b"cpu"] and len(words) >= 8:
                user, nice, system, idle, wait, irq, soft = (int(word) for word in words[1:8])
                return [user, nice, system, irq + soft, idle + wait]
        raise KvmError(f"can't read {self.proc.root}/stat")
