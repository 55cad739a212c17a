"""AArch64 translation tables of all granules (Arm ARM, D8): 4, 16 and 64 KB pages, any width of addresses."""

from pykvm.machines.mmu import Level

VA_MASK = (1 << 64) - 1


def levels(page_size: int, va_bits: int) -> tuple[Level, ...]:
    """From the top down: the last level has 3 in its low bits, the others 3 for a table and 1 for a block."""
    page_shift = page_size.bit_length() - 1
    per_level = page_shift - 3
    frame = ((1 << 48) - 1) & -page_size
    found = [Level(page_shift, min(per_level, va_bits - page_shift), 8, (3, 3), 0, frame)]
    shift = page_shift + per_level
    while shift < va_bits:
        bits = min(per_level, va_bits - shift)
        found.insert(0, Level(shift, bits, 8, (1, 1), frame, frame, leaf=(3, 1)))
        shift += per_level
    return tuple(found)
