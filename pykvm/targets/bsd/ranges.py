"""Page tables that serve ranges of 64-bit addresses, with holes that nothing serves: sparc64, alpha."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pykvm.machines import mmu
from pykvm.machines.mmu import Level, Root, Translation
from pykvm.targets.bsd.pmap import Pmap

ALL = (1 << 64) - 1


def _first(pmap: Pmap) -> int:
    return pmap.roots()[0]


@dataclass(frozen=True)
class RangedTables:
    """kernel: what serves the kernel's addresses; users: the first and the last address of each range of a process's,
    all of one table, whose physical address `root` takes from the pmap."""

    levels: Sequence[Level]
    kernel: tuple[Root, ...]
    users: tuple[tuple[int, int], ...]
    page_size: int
    byteorder: str
    root: Callable[[Pmap], int] = _first

    def translation(self) -> Translation:
        """Of the kernel."""
        return Translation(mmu.radix(self.kernel, self.levels, self.byteorder), ALL)

    def user(self, pmap: Pmap) -> Translation:
        """Of a process."""
        table = self.root(pmap)
        roots = [Root(start, last, table) for start, last in self.users]
        return Translation(mmu.radix(roots, self.levels, self.byteorder), ALL)
