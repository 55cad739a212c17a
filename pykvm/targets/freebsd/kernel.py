"""The FreeBSD target: what it is, and which file answers what."""

from __future__ import annotations

from typing import Any

from pykvm.images.base import Image
from pykvm.loading import loading
from pykvm.records import FileRecord, KvmSwap, ProcessRecord
from pykvm.symbols.base import Symbol, Symbols
from pykvm.targets.base import Parts, Thread
from pykvm.targets.common import kinfo2
from pykvm.targets.freebsd import argv, facts, pcpu, swap, vnet
from pykvm.targets.freebsd.family import Family
from pykvm.targets.freebsd.procs import select
from pykvm.types.layout import Struct


class FreeBSD(Family):
    """FreeBSD on one of its machines.

    `dpcpu` is the CPU whose dynamic variables names mean, `vnet` what moves variables into the current network stack,
    once it is known.
    """

    system = "FreeBSD"

    def __init__(self, image: Image, symbols: Symbols | None) -> None:
        super().__init__(image, symbols)
        self.dpcpu = 0
        self.vnet: int | None = None

    def facts(self, parts: Parts) -> dict[str, Any]:
        return facts.facts(self, parts)

    copies = {"kinfo_proc": {"pid": lambda p: p.ki_pid, "paddr": lambda p: p.ki_paddr}, "kinfo_proc2": kinfo2.COPIES}

    def record_struct(self, parts: Parts, two: bool) -> Struct:
        return kinfo2.structure(self) if two else select.structure(self)

    def getprocs(self, parts: Parts, op: int, arg: int) -> list[ProcessRecord]:
        return select.getprocs(self, parts, op, arg)

    def getproc2(self, parts: Parts, op: int, arg: int, elemsize: int | None) -> list[ProcessRecord]:
        return select.getproc2(self, parts, op, arg, elemsize)

    def arguments(self, parts: Parts, record: ProcessRecord, environment: bool, nchr: int) -> list[bytes] | None:
        return argv.vector(self, parts, record, environment, nchr)

    def threads(self, parts: Parts, record: ProcessRecord) -> list[Thread]:
        return select.threads(self, parts, record)

    def getfiles(self, parts: Parts, op: int, arg: int) -> list[FileRecord]:
        """The open files of all processes; op and arg select nothing."""
        with loading:
            from pykvm.targets.freebsd import files  # seldom asked for, and a start costs milliseconds

        return files.getfiles(self, parts)

    def elsewhere(self, parts: Parts, name: str) -> Symbol | None:
        return vnet.elsewhere(self, parts, name)

    def maxcpu(self, parts: Parts) -> int:
        return pcpu.maxcpu(parts)

    def ncpus(self, parts: Parts) -> int:
        return pcpu.ncpus(parts)

    def pcpu(self, parts: Parts, cpu: int) -> bytes | None:
        return pcpu.read(self, parts, cpu)

    def set_cpu(self, parts: Parts, cpu: int) -> None:
        pcpu.choose(self, parts, cpu)

    def cpu_copy(self, parts: Parts, base: int, cpu: int) -> int:
        return pcpu.copy(self, parts, base, cpu)

    def counter(self, parts: Parts, base: int) -> int:
        return pcpu.counter(self, parts, base)

    def swapinfo(self, parts: Parts) -> list[KvmSwap]:
        return swap.devices(self, parts)

    def cptime(self, parts: Parts) -> list[int]:
        return pcpu.cptime(self, parts)
