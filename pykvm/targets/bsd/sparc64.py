"""sparc64 of NetBSD and OpenBSD: the header says what the TLB has locked, and where the kernel's page tables are.

Sources: sys/arch/sparc64/include/{kcore,param,pmap,vmparam}.h of both.
"""

from __future__ import annotations

from collections.abc import Iterator

from pykvm.images.base import Image
from pykvm.images.kcore_cpu.sparc64 import SUN4V, Sparc64Cpu
from pykvm.machines import sparc64
from pykvm.machines.mmu import Root
from pykvm.symbols.base import Symbols
from pykvm.targets.bsd import machines
from pykvm.targets.bsd.ranges import RangedTables

USER = ((0, sparc64.REACH - 1), (sparc64.ALL - sparc64.REACH + 1, sparc64.ALL))


def find(image: Image, symbols: Symbols) -> RangedTables | None:
    """None of memory without a header."""
    cpu = machines.cpu(image)
    if not isinstance(cpu, Sparc64Cpu):
        return None
    # OpenBSD's header, and NetBSD's of old, do not tell a sun4v; memory so far up no other machine has.
    ends = map(sum, zip(cpu.memory[::2], cpu.memory[1::2], strict=True))
    sun4v = cpu.cputype == SUN4V or any(end > sparc64.SUN4U_MEMORY for end in ends)
    levels = sparc64.levels(sparc64.SUN4V_FRAME if sun4v else sparc64.SUN4U_FRAME)
    return RangedTables(levels, _roots(cpu), USER, 1 << sparc64.PAGE_SHIFT, "big")


def _roots(cpu: Sparc64Cpu) -> tuple[Root, ...]:
    """What is locked, then the tables for all other addresses from kernbase up to the hole."""
    found: list[Root] = []
    locked = [Root(va, va + size - 1, pa, linear=True) for va, pa, size in cpu.locked]
    for root in (*locked, Root(cpu.kernbase, sparc64.REACH - 1, cpu.table)):
        pieces = [(max(root.start, cpu.kernbase), root.last)]
        for other in found:
            pieces = [part for piece in pieces for part in _without(piece, other)]
        for start, last in pieces:
            if start <= last:
                table = root.table + start - root.start if root.linear else root.table
                found.append(Root(start, last, table, root.linear))
    return tuple(found)


def _without(piece: tuple[int, int], other: Root) -> Iterator[tuple[int, int]]:
    """What is left of a range."""
    start, last = piece
    if last < other.start or other.last < start:
        yield piece
        return
    if start < other.start:
        yield start, other.start - 1
    if other.last < last:
        yield other.last + 1, last
