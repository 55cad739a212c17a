"""Flat page maps: one array of entries for all kernel addresses from a base up, as minidumps have them.

It is a level (or the upper of two) whose index is all of the address above its page, and whose table begins so far
before the array that the base's entry is the array's first.
"""

from __future__ import annotations

from pykvm._native.ffi import lib
from pykvm.machines import aarch64, arm, i386, riscv64, x86_64
from pykvm.machines.mmu import Level, Root

FILE_TABLE = int(lib.PK_FILE_TABLE)
ADDRESS = (1 << 64) - 1


def spread(level: Level) -> Level:
    """A level whose index is the whole upper part of an address."""
    return level._replace(bits=64 - level.shift)


def root(level: Level, base: int, offset: int, size: int, va_mask: int) -> Root:
    """The addresses that an array of `size` bytes at a file offset serves, the first of them `base`."""
    count = size // level.entry_size
    last = min(base + (count << level.shift) - 1, va_mask)
    table = FILE_TABLE + offset - (base >> level.shift) * level.entry_size
    return Root(base, last, table & ADDRESS)


_X86 = x86_64.levels(4)
AMD64_PTES = (spread(_X86[-1]),)
AMD64_PDES = (spread(_X86[-2]), _X86[-1])
# DragonFly: entries of 1 GB, index (va >> 30) & 0x3ffff, for the whole of a 48-bit space.
DFLY_PDPES = (_X86[-3]._replace(bits=18), *_X86[-2:])
I386_PTES = (spread(i386.LEVELS[-1]),)
I386_PAE_PTES = (spread(i386.PAE_LEVELS[-1]),)
# A leaf has one of R, W, X, also here where nothing else is meant to be.
RISCV64_PTES = (spread(riscv64.levels(39)[-1])._replace(refuse=(riscv64.PTE_RWX, 0)),)
ARM_PTES = (spread(arm.FREEBSD_LEVELS[-1]),)
# Type 3 is a small page that is not to be executed from, but in version 4 of the architecture a tiny one of 1 KB, which
# FreeBSD does not use.
ARM_V4_PTES = (ARM_PTES[0]._replace(refuse=(3, 3)),)
ARM_LPAE_PTES = (spread(arm.LONG_LEVELS[-1]),)
# FreeBSD's pte.h for MIPS: V is bit 1, the page frame is from bit 6 on.
MIPS_PTES = (Level(12, 52, 4, (2, 2), 0, 0x1FFFFFC0, lshift=6),)
MIPS64_PTES = (Level(12, 52, 8, (2, 2), 0, 0x3FFFFFFC0, lshift=6),)


def aarch64_ptes(page_size: int) -> tuple[Level, ...]:
    """Of 4 or 16 KB pages."""
    return (spread(aarch64.levels(page_size, 48)[-1]),)
