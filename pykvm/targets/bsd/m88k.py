"""m88k of OpenBSD (luna88k, mvme88k, aviion): the kernel sees memory as it is (pmap_map_direct()); what is not memory
is found by its own segment table, which kernel_pmap_store has twice: as pm_stab and, with flags, as pm_apr.

Sources: sys/arch/m88k/include/{mmu.h,pmap.h}, machdep.c of the ports.
"""

from __future__ import annotations

import itertools
import struct

from pykvm.errors import FormatError, KvmError
from pykvm.images.base import Image
from pykvm.images.kcore_cpu.m88k import M88kCpu
from pykvm.machines import m88k
from pykvm.machines.mmu import Root
from pykvm.symbols.base import Symbols
from pykvm.targets.bsd import machines
from pykvm.targets.bsd.machines import Mmu, Tables

STORE = "kernel_pmap_store"
PMAP = 64  # bytes of a struct pmap that are looked through
APR_V = 1


def root(apr: int) -> int:
    """The physical address in an area pointer register."""
    return apr & m88k.FRAME


def find(image: Image, symbols: Symbols) -> Mmu | None:
    """None of memory without a header."""
    cpu = machines.cpu(image)
    if not isinstance(cpu, M88kCpu):
        return None
    linear = tuple(
        Root(start, min(start + size - 1, m88k.VA_MASK), start, linear=True)
        for start, size in zip(cpu.memory[::2], cpu.memory[1::2], strict=True)
        if start <= m88k.VA_MASK
    )
    return Tables(m88k.LEVELS, _table(image, symbols), m88k.VA_MASK, "big", linear)


def _table(image: Image, symbols: Symbols) -> int:
    """Two words that follow one another and have the same frame."""
    symbol = symbols.loose(STORE)
    try:
        raw = b"" if symbol is None else image.read(symbol.value, PMAP)
    except KvmError:
        raw = b""
    words: list[int] = [word for (word,) in struct.iter_unpack(">I", raw)]
    for stab, apr in itertools.pairwise(words):
        if stab and stab == root(apr) and apr & APR_V:
            return stab
    raise FormatError(
        f"bad namelist: {symbols.path} is not the kernel of {image.path}: there is no {STORE}, or no segment table in "
        "it"
    )
