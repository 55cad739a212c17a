"""Sun's MMUs before page tables: the segment map and its groups of PTEs (PMEGs) are not in memory but in the dump's
header (NetBSD's sun2 and sun3; sun4 and sun4c of all)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pykvm.machines import mmu
from pykvm.machines.mmu import PmegShape, Translation
from pykvm.targets.bsd.pmap import Pmap

VA_MASK = 0xFFFFFFFF
Segments = Sequence[tuple[int, int]]  # of each its PMEG, and how many PTEs that has


@dataclass(frozen=True)
class Pmegs:
    """The kernel's segments from shape.base on, and PTEs of all PMEGs, of which the last is none. users: a process's
    segments from 0 on, and PTEs."""

    shape: PmegShape
    segments: Segments
    ptes: Sequence[int]
    users: Callable[[Pmap], tuple[Segments, Sequence[int]]]
    byteorder: str = "big"

    @property
    def page_size(self) -> int:
        """Of a PTE's page."""
        return 1 << self.shape.page_shift

    def translation(self) -> Translation:
        """Of the kernel."""
        return self._translation(self.shape, self.segments, self.ptes)

    def user(self, pmap: Pmap) -> Translation:
        """Of a process."""
        return self._translation(self.shape._replace(base=0), *self.users(pmap))

    def _translation(self, shape: PmegShape, segments: Segments, ptes: Sequence[int]) -> Translation:
        return Translation(mmu.pmeg(shape, segments, len(ptes) // shape.ptes_per_pmeg, ptes), VA_MASK)
