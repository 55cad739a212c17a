"""x86-64 paging with 4 and 5 levels (Intel SDM volume 3, chapter 4.5)."""

from pykvm.machines.mmu import Level

PG_P = 1
PG_PS = 0x80
FRAME = 0x000FFFFFFFFFF000
VA_MASK = (1 << 64) - 1


def levels(count: int, encryption: int = 0) -> tuple[Level, ...]:
    """The levels of 4- or 5-level paging; `encryption` are the bits of a frame number that mark encrypted memory."""
    frame = FRAME & ~encryption
    present = (PG_P, PG_P)
    found = [Level(shift, 9, 8, present, frame, frame) for shift in (48, 39)[2 - (count - 3) :]]
    found += [Level(shift, 9, 8, present, frame, frame, leaf=(PG_PS, PG_PS)) for shift in (30, 21)]
    return (*found, Level(12, 9, 8, present, 0, frame))


def user_end(count: int) -> int:
    """The last address of the lower half of the address space."""
    return (1 << (47 if count == 4 else 56)) - 1
