"""The DragonFly target: what it shares with FreeBSD, of which it was made, and what is its own."""

from __future__ import annotations

from typing import Any

from pykvm.images.base import Image
from pykvm.records import ProcessRecord
from pykvm.symbols.base import Symbols
from pykvm.targets.base import Parts, Target, Thread
from pykvm.targets.dragonfly import argv, facts
from pykvm.targets.dragonfly.procs import select
from pykvm.targets.freebsd.kernel import FreeBSD
from pykvm.targets.freebsd.strings import string


class DragonFly(FreeBSD):
    """DragonFly: translation, identity, messages and the load as FreeBSD's."""

    system = "DragonFly"

    def __init__(self, image: Image, symbols: Symbols | None) -> None:
        super().__init__(image, symbols, self.system)

    # FreeBSD's per-CPU data and swap devices, which DragonFly has in other structures.
    maxcpu, ncpus, pcpu, set_cpu, cpu_copy = Target.maxcpu, Target.ncpus, Target.pcpu, Target.set_cpu, Target.cpu_copy
    counter, swapinfo, cptime, elsewhere = Target.counter, Target.swapinfo, Target.cptime, Target.elsewhere

    def facts(self, parts: Parts) -> dict[str, Any]:
        return facts.facts(self, parts)

    def getprocs(self, parts: Parts, op: int, arg: int) -> list[ProcessRecord]:
        return select.getprocs(self, parts, op, arg)

    def arguments(self, parts: Parts, record: ProcessRecord, environment: bool, nchr: int) -> list[bytes] | None:
        return argv.vector(self, parts, record, environment, nchr)

    def threads(self, parts: Parts, record: ProcessRecord) -> list[Thread]:
        return select.threads(self, parts, record)


class Lookalike(FreeBSD):
    """A minidump of FreeBSD's first version: which system wrote it, only its memory tells."""

    def __init__(self, image: Image, symbols: Symbols | None) -> None:
        super().__init__(image, symbols, "FreeBSD")

    def settled(self, parts: Parts) -> Target:
        """By `ostype` (sys/conf/newvers.sh), where the kernel file has it: DragonFly's kernels are never moved."""
        if string(parts, "ostype", 64) == DragonFly.system:
            return DragonFly(parts.image, parts.symbols)
        return FreeBSD(parts.image, parts.symbols, "FreeBSD")
