"""Variables without a symbol, found by their looks: of kernels whose kallsyms has functions only.

They are looked for in the kernel's data, around init_task, which it exports. What each looks like is such that nothing
else does: the timekeeper says twice how far its clocks are apart; a module points to itself.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

from pykvm import pieces
from pykvm.errors import KvmError
from pykvm.memory import Memory
from pykvm.pieces import Piece
from pykvm.targets.base import Parts
from pykvm.types.layout import Struct, Types

if TYPE_CHECKING:
    from pykvm.targets.linux.kernel import Linux

NSEC = 10**9
STEP = 1 << 20
BEHIND, BEFORE = 24, 4  # steps on either side of init_task: data and bss of large kernels, with x86's .init between
TRIED = 1 << 16  # of what looks like it, how many are looked at closely: kernels have some 5000 such lists
STATES = 4  # MODULE_STATE_*


class Looks:
    """Searches in the data of one kernel; nothing is found if its symbols have all there is."""

    def __init__(self, target: Linux, parts: Parts, types: Types) -> None:
        self.types = types
        self.target = target
        self.word = target.pointer_size
        self.order = target.byteorder
        self.parts = parts

    @property
    def memory(self) -> Memory:
        """The kernel's, whose failures are not those of the handle."""
        return self.target.quiet(self.parts.image)

    def _data(self, more: int) -> Iterator[Piece]:
        """The data, in pieces, the nearest first; each goes on for so many bytes into the next."""
        symbols = self.parts.symbols
        task = symbols.find("init_task") if symbols.flaw is not None else None
        if task is None:
            return
        centre = task.value // pieces.PAGE * pieces.PAGE
        try:
            for i in sorted(range(-BEFORE, BEHIND), key=abs):
                start = centre + i * STEP
                if 0 <= start < 1 << 8 * self.word:
                    yield Piece(start, bytes(pieces.stretch(self.memory, start, STEP + more)))
        finally:
            self.parts.image.release()

    def _words(self, data: bytes, kind: str) -> array[int]:
        words = array(kind)
        words.frombytes(data[: len(data) // words.itemsize * words.itemsize])
        if self.order != sys.byteorder:
            words.byteswap()
        return words

    def timekeeper(self, keeper: Struct, right: Callable[[int], bool]) -> int | None:
        """The struct timekeeper of the system's clocks, or its shadow, which is as good; `right` proves one."""
        if "wall_to_monotonic.tv_sec" not in keeper or "offs_real" not in keeper:
            return None
        left = TRIED
        real_at, seconds_at = keeper.offset("offs_real"), keeper.offset("wall_to_monotonic.tv_sec")
        for addr, data in self._data(keeper.size):
            for phase in range(0, 8, self.word):  # i386 aligns 64-bit integers to 4
                reals, seconds = (self._words(data[phase + at :], "q") for at in (real_at, seconds_at))
                for i, (real, second) in enumerate(zip(reals, seconds, strict=False)):
                    # wall_to_monotonic is -offs_real, in seconds and in nanoseconds of 0 and more.
                    if real > 0 > second and -real // NSEC == second:
                        left -= 1
                        if left < 0:
                            return None
                        if right(addr + phase + 8 * i):
                            return addr + phase + 8 * i
        return None

    def modules(self) -> int | None:
        """The head of the list of modules; None if there are none, too."""
        if "module" not in self.types:
            return None
        step = self.types.struct("module").offset("list")
        return self._head(lambda node: self._is_module(node - step))

    def btf_modules(self) -> int | None:
        """The head of the list of struct btf_module, which belong to modules."""
        if "btf_module" not in self.types:
            return None
        holder = self.types.struct("btf_module")
        at = holder.offset("module") - holder.offset("list")
        return self._head(lambda node: self._is_module(self.memory.read_ptr(node + at)))

    def _is_module(self, at: int) -> bool:
        module, read = self.types.struct("module"), self.memory
        return read.read_ptr(at + module.offset("mkobj.mod")) == at and read.read_u32(at) < STATES

    def _head(self, known: Callable[[int], bool]) -> int | None:
        """A list_head whose first node is known, and points back."""
        word, left = self.word, TRIED
        for addr, data in self._data(word):
            words = self._words(data, "Q" if word == 8 else "I")
            heads = [
                i for i, (following, last) in enumerate(pairwise(words))
                if following and last and following % word == 0 and following != addr + i * word
            ]  # fmt: skip
            nodes = [words[i] for i in heads]
            back = bytearray(word * len(nodes))
            table = array("Q", [(node + word) % (1 << 64) for node in nodes])
            self.memory.gather_into(table, word, back, 0, word, partial=True)
            for i, node, prev in zip(heads, nodes, self._words(bytes(back), words.typecode), strict=True):
                if prev != addr + i * word:
                    continue
                left -= 1
                if left < 0:
                    return None
                try:
                    if known(node):
                        return prev
                except KvmError:
                    continue
        return None
