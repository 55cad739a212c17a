"""alpha of NetBSD and OpenBSD. Sources: sys/arch/alpha/include/{kcore,pmap,vmparam}.h of both."""

from __future__ import annotations

from pykvm.errors import FormatError
from pykvm.images.base import Image
from pykvm.images.kcore_cpu import common
from pykvm.machines import alpha
from pykvm.machines.mmu import Root
from pykvm.symbols.base import Symbols
from pykvm.targets.bsd import machines
from pykvm.targets.bsd.pmap import Pmap
from pykvm.targets.bsd.ranges import RangedTables

USER = ((0, alpha.USER_LAST),)


def find(image: Image, symbols: Symbols) -> RangedTables | None:
    """None of memory without a header."""
    cpu = machines.cpu(image)
    if not isinstance(cpu, common.Tables):
        return None
    kernel = (alpha.LINEAR, Root(alpha.K1SEG, alpha.ALL, cpu.root))
    return RangedTables(alpha.LEVELS, kernel, USER, 1 << alpha.PAGE_SHIFT, "little", _root)


def _root(pmap: Pmap) -> int:
    """A process's level-1 table, by its address in K0SEG. NetBSD since 10 has that once for each CPU, always the
    same."""
    struct = pmap.types.struct("pmap")
    name = "pm_lev1map"
    if name in struct or "pm_percpu" not in struct:
        at = pmap.word(name)
    else:
        name = "pmc_lev1map"
        offset = struct.offset("pm_percpu") + pmap.types.struct("pmap_percpu").offset(name)
        at = pmap.memory.read_ptr(pmap.at + offset)
    if not alpha.K0SEG <= at < alpha.K1SEG:
        raise FormatError(f"struct pmap: {name} is {at:#x}, which is not in K0SEG")
    return alpha.physical(at)
