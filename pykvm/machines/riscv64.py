"""RISC-V page tables of 64-bit machines: Sv39, Sv48 and Sv57 (privileged specification, chapter 10)."""

from pykvm.machines.mmu import LEAF_UNLESS, Level

VA_MASK = (1 << 64) - 1
PTE_V = 1
PTE_N = 1 << 63  # Svnapot: one of the entries of a wider page, with the width in its page number's low bits
PTE_RWX = 0xE  # none of them: the entry points to a table
PPN = 0x003FFFFFFFFFFC00  # bits 53:10 are bits 55:12 of the address; those above are Svpbmt's, and N


def levels(va_bits: int) -> tuple[Level, ...]:
    """The levels of an address of 39, 48 or 57 bits."""
    upper = [
        Level(shift, 9, 8, (PTE_V, PTE_V), PPN, PPN, leaf=(PTE_RWX, 0), lshift=2, unless=LEAF_UNLESS)
        for shift in range(va_bits - 9, 12, -9)
    ]
    # A level has one size of pages, so Svnapot's are errors: taken for single ones they would be other memory.
    return (*upper, Level(12, 9, 8, (PTE_V | PTE_N, PTE_V), 0, PPN, lshift=2))
