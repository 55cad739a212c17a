"""The symbols that a Linux kernel exports to modules (EXPORT_SYMBOL), with those that are data: the only ones of these
that can be had of kernels whose kallsyms has functions only (built without KALLSYMS_ALL).

include/asm-generic/export.h, <linux/export-internal.h>: tables of struct kernel_symbol, __ksymtab and __ksymtab_gpl,
in read-only data, sorted by name. Fields are addresses, or distances from where they are (HAVE_ARCH_PREL32_RELOCATIONS,
since Linux 4.19). Nothing says where the tables are, so they are known by their looks, and by the functions in them,
which must be where kallsyms has them.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from pykvm import pieces
from pykvm._native.ffi import ffi, lib
from pykvm.symbols import kallsyms
from pykvm.symbols.base import Symbols
from pykvm.symbols.kallsyms import Kernel

if TYPE_CHECKING:
    from pykvm.memory import Memory

REACH = (16 << 20, 64 << 20)  # how far from the end of its code a kernel's tables are: few need the second
LEAST = 32  # entries of a table: kernels have thousands
AGREED = 16  # functions of a table that are where kallsyms has them, and three of four of those that it has
RUNS = 64  # of entries of one shape that are looked at: kernels have two tables, and little else that looks so
ENTRIES = 1 << 17  # of all of them: large kernels export some 20,000 names
FORMAT = "exported"


class Shape(NamedTuple):
    """What entries look like: `width` bytes a field, so many `fields`, `relative` distances or addresses."""

    width: int
    fields: int
    relative: bool


def read(memory: Memory, kernel: Kernel, symbols: Symbols, start: int) -> Symbols | None:
    """What the kernel exports and `symbols`, its kallsyms, does not have, by the tables that lie behind an address:
    None if they are not there.
    """
    for far in REACH:
        image = pieces.stretch(memory, start, far)
        for shape in _shapes(kernel.pointer_size):
            found = _Search(kernel, symbols, start, image, shape).found
            if len(found) and next(kallsyms.disagreements(found, kernel.known), None) is None:
                return found
        if len(image) < far:
            break
    return None


def _shapes(pointer_size: int) -> Iterator[Shape]:
    for fields in (3, 2):
        yield Shape(4, fields, True)
    for fields in (3, 2):
        yield Shape(pointer_size, fields, False)


class _Search:
    """All tables of one shape."""

    def __init__(self, kernel: Kernel, symbols: Symbols, start: int, image: bytearray, shape: Shape) -> None:
        self.symbols = symbols
        self.mask = (1 << 8 * kernel.pointer_size) - 1
        self.code = self.mask & ~1 if kernel.machine == "arm" else self.mask  # of Thumb's functions bit 0 is set
        self.found = Symbols(kernel.path, kernel.machine, kernel.byteorder, kallsyms.n_type, kallsyms.letter)
        self.found.format = FORMAT
        self.view: Any = ffi.from_buffer("uint8_t[]", image)
        self.shape = ffi.new("pk_ksymtab_shape *", (start, *shape, kernel.byteorder == "big"))
        for run in islice(self.runs(shape.width, shape.width * shape.fields), RUNS):
            self.take(run)

    def runs(self, width: int, step: int) -> Iterator[list[tuple[bytes, int]]]:
        """What looks like tables of entries of `step` bytes."""
        left = ENTRIES
        for first in range(0, step, width):
            at = ffi.new("uint64_t *", first)
            while count := lib.pk_ksymtab_find(self.view, len(self.view), self.shape, LEAST, at):
                left -= count
                if left < 0:
                    return
                yield [*self.entries(at[0], count, step)]
                at[0] += count * step

    def entries(self, at: int, count: int, step: int) -> Iterator[tuple[bytes, int]]:
        """(name, value) of each."""
        value, name, size = ffi.new("uint64_t *"), ffi.new("char **"), ffi.new("uint64_t *")
        for i in range(count):
            if lib.pk_ksymtab_entry(self.view, len(self.view), self.shape, at + i * step, value, name, size):
                yield bytes(ffi.buffer(name[0], size[0])), value[0] & self.mask

    def take(self, table: list[tuple[bytes, int]]) -> None:
        """Keep what a table has, if it is one."""
        known = {}
        for name, _ in table:
            own = self.symbols.find(name.decode())
            if own is not None:
                known[name] = own.value
        agreed = sum(value & self.code == known[name] for name, value in table if name in known)
        if agreed < AGREED or agreed * 4 < len(known) * 3:
            return
        for name, value in table:
            if name not in known:
                # Whether it is written to is not known. x86-64's per-CPU variables are offsets, no addresses.
                placed = value > self.mask >> 2
                self.found.put(name, value, 0, ord("D" if placed else "A"), placed, b"")
