"""What page table entries allow the kernel: as data, for those who list pages (translation does not ask)."""

from __future__ import annotations

from typing import NamedTuple

from pykvm.constants import VM_PROT_EXECUTE, VM_PROT_READ, VM_PROT_WRITE


class Test(NamedTuple):
    """Passed by an entry if entry & mask == value; `unless`: if it is not."""

    mask: int
    value: int
    unless: bool = False

    def passed(self, entry: int) -> bool:
        """Whether this entry does."""
        return (entry & self.mask == self.value) != self.unless


ALWAYS = Test(0, 0)


class Rights(NamedTuple):
    """How entries of a machine say that a page may be written to, and executed. All may be read."""

    write: Test
    execute: Test = ALWAYS

    def prot(self, entry: int) -> int:
        """VM_PROT_* of an entry."""
        prot = VM_PROT_READ
        if self.write.passed(entry):
            prot |= VM_PROT_WRITE
        if self.execute.passed(entry):
            prot |= VM_PROT_EXECUTE
        return prot


class Sized(NamedTuple):
    """Rights whose bits are elsewhere in the entries of wide pages (those with entry & mask == value)."""

    mask: int
    value: int
    wide: Rights
    small: Rights

    def prot(self, entry: int) -> int:
        """VM_PROT_* of an entry."""
        return (self.wide if entry & self.mask == self.value else self.small).prot(entry)


X86 = Rights(Test(2, 2), Test(1 << 63, 0))  # also of PAE
I386 = Rights(Test(2, 2))
AARCH64 = Rights(Test(0x80, 0), Test(1 << 53, 0))  # AP[2]; PXN is what keeps the kernel from executing
RISCV64 = Rights(Test(4, 4), Test(8, 8))
ARM_LPAE = Rights(Test(0x80, 0), Test(1 << 54, 0))
# FreeBSD on arm before version 6 of the architecture: AP of the first quarter of a page; nothing forbids execution.
ARM_V4 = Rights(Test(0x10, 0x10))
# Later: the hardware's read-only bit says whether a page is modified, TEX[1] whether it may be written to (pte-v6.h).
# XN is bit 0 of a small page, bit 15 of a large one.
ARM_V6 = Sized(3, 1, Rights(Test(0x80, 0), Test(0x8000, 0)), Rights(Test(0x80, 0), Test(1, 0)))
# FreeBSD's pte.h for MIPS: a bit of software's says that a page is read-only.
MIPS = Rights(Test(1 << 29, 0))
MIPS64 = Rights(Test(1 << 55, 0))
# The second doubleword of an entry: PP is 3 where the kernel may not write, N (libkvm has it the other way round).
POWERPC_HASHED = Rights(Test(3, 3, True), Test(4, 0))
POWERPC_RADIX = Rights(Test(2, 2), Test(1, 1))
