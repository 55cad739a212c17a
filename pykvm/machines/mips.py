"""MIPS: the segments of its address space, and the page tables of NetBSD, which the TLB's handlers walk in software.

Sources: MIPS64 Architecture for Programmers, volume III (address space); NetBSD sys/arch/mips/include/{cpuregs,
mips1_pte,mips3_pte,mips_param}.h, sys/uvm/pmap/pmap_segtab.c.
"""

from __future__ import annotations

from typing import NamedTuple

from pykvm.machines.mmu import PRESENT_UNLESS, Level, Root

KSEG0, KSEG1, KSEG2, SEG_SIZE = 0x80000000, 0xA0000000, 0xC0000000, 0x20000000
SEG_MASK = SEG_SIZE - 1
SIGNED = 0xFFFFFFFF << 32  # addresses of 32 bits are sign-extended where there are 64
XKPHYS, XKPHYS_SIZE = 1 << 63, 1 << 59  # eight windows, one for each kind of caching
XKSEG = 3 << 62
XKPHYS_MASK = XKPHYS_SIZE - 1


class Entry(NamedTuple):
    """The form of page table entries: valid bit, mask of the page frame, which is shifted left to give an address."""

    valid: int
    frame: int
    lshift: int


def linear(wide: bool) -> tuple[Root, ...]:
    """What lies in memory as it is, of a kernel of 32 or 64 bits."""
    high = SIGNED if wide else 0
    found = [Root(high | at, (high | at) + SEG_MASK, 0, linear=True) for at in (KSEG0, KSEG1)]
    if wide:
        found += [Root(XKPHYS + i * XKPHYS_SIZE, XKPHYS + i * XKPHYS_SIZE + XKPHYS_MASK, 0, True) for i in range(8)]
    return tuple(found)


def physical(va: int) -> int:
    """Of an address in one of these; XKPHYS is what begins with 10."""
    return va & (XKPHYS_MASK if va >> 62 == 2 else SEG_MASK)


def array(entry: Entry, page_shift: int) -> tuple[Level, ...]:
    """One array of entries, by all of an address above its page (`Sysmap` of NetBSD up to 5)."""
    return (_pages(entry, page_shift)._replace(bits=64 - page_shift),)


def segments(entry: Entry, page_shift: int, wide: bool) -> tuple[Level, ...]:
    """Segment tables: of one level, or with 64 bits of two. They point at the next by kernel addresses, in KSEG0 or
    XKPHYS; entries have 4 bytes on all."""
    shift = page_shift + page_shift - 2
    if not wide:
        # Half of all addresses: a process's, or the kernel's.
        upper = [Level(shift, 31 - shift, 4, (0xFFFFFFFF, 0), SEG_MASK, 0, unless=PRESENT_UNLESS)]
    else:
        bits = page_shift - 3
        pointer = Level(shift, bits, 8, ((1 << 64) - 1, 0), XKPHYS_MASK, 0, unless=PRESENT_UNLESS)
        pointer = pointer._replace(other=(XKSEG, XKSEG, SEG_MASK))
        upper = [pointer._replace(shift=shift + bits), pointer]
    return (*upper, _pages(entry, page_shift))


def _pages(entry: Entry, page_shift: int) -> Level:
    return Level(page_shift, page_shift - 2, 4, (entry.valid, entry.valid), 0, entry.frame, lshift=entry.lshift)
