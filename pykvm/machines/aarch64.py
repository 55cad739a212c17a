"""AArch64 translation tables of all granules (Arm ARM, D8): 4, 16 and 64 KB pages, any width of addresses."""

from pykvm.machines.mmu import Level

VA_MASK = (1 << 64) - 1
# Where an entry keeps the top bits of a 52-bit physical address: FEAT_LPA (64 KB pages) has bits 51:48 in 15:12,
# which are zero without it; FEAT_LPA2 (4 and 16 KB) has bits 51:50 in 9:8, which hold the shareability without it.
HIGH_LPA = (0xF000, 36)
HIGH_LPA2 = (0x300, 42)


def levels(page_size: int, va_bits: int, lpa2: bool = False) -> tuple[Level, ...]:
    """From the top down: the last level has 3 in its low bits, the others 3 for a table and 1 for a block."""
    page_shift = page_size.bit_length() - 1
    per_level = page_shift - 3
    high = HIGH_LPA if page_size == 65536 else HIGH_LPA2 if lpa2 else (0, 0)
    frame = ((1 << (50 if lpa2 else 48)) - 1) & -page_size
    found = [Level(page_shift, min(per_level, va_bits - page_shift), 8, (3, 3), 0, frame, high=high)]
    shift = page_shift + per_level
    while shift < va_bits:
        bits = min(per_level, va_bits - shift)
        found.insert(0, Level(shift, bits, 8, (1, 1), frame, frame, leaf=(3, 1), high=high))
        shift += per_level
    return tuple(found)
