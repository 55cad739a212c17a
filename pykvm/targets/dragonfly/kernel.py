"""The DragonFly target: what it shares with FreeBSD, of which it was made, and what is its own."""

from __future__ import annotations

from typing import Any

from pykvm.records import ProcessRecord
from pykvm.targets.base import Parts, Target, Thread
from pykvm.targets.common import kinfo2
from pykvm.targets.dragonfly import argv, facts
from pykvm.targets.dragonfly.procs import select
from pykvm.targets.dragonfly.procs.batch import structure
from pykvm.targets.freebsd.family import Family
from pykvm.targets.freebsd.kernel import FreeBSD
from pykvm.targets.freebsd.strings import string
from pykvm.types.layout import Struct


class DragonFly(Family):
    """DragonFly: translation, identity, messages and the load as FreeBSD's."""

    system = "DragonFly"

    def facts(self, parts: Parts) -> dict[str, Any]:
        return facts.facts(self, parts)

    copies = {"kinfo_proc": {"pid": lambda p: p.kp_pid, "paddr": lambda p: p.kp_paddr}, "kinfo_proc2": kinfo2.COPIES}

    def record_struct(self, parts: Parts, two: bool) -> Struct:
        return kinfo2.structure(self) if two else structure(self)

    def getprocs(self, parts: Parts, op: int, arg: int) -> list[ProcessRecord]:
        return select.getprocs(self, parts, op, arg)

    def getproc2(self, parts: Parts, op: int, arg: int, elemsize: int | None) -> list[ProcessRecord]:
        return select.getproc2(self, parts, op, arg, elemsize)

    def arguments(self, parts: Parts, record: ProcessRecord, environment: bool, nchr: int) -> list[bytes] | None:
        return argv.vector(self, parts, record, environment, nchr)

    def threads(self, parts: Parts, record: ProcessRecord) -> list[Thread]:
        return select.threads(self, parts, record)


class Lookalike(Family):
    """A minidump of FreeBSD's first version: which system wrote it, only its memory tells."""

    system = FreeBSD.system

    def settled(self, parts: Parts) -> Target:
        """By `ostype` (sys/conf/newvers.sh), where the kernel file has it: DragonFly's kernels are never moved."""
        if string(parts, "ostype", 64) == DragonFly.system:
            return DragonFly(parts.image, parts.symbols)
        return FreeBSD(parts.image, parts.symbols)
