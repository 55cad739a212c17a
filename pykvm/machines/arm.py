"""32-bit Arm translation tables (Arm ARM for v7-A, B3): short descriptors, and the long ones of LPAE."""

from pykvm.machines.mmu import PRESENT_UNLESS, Level, Wide

VA_MASK = 0xFFFFFFFF
# A first-level entry is a coarse table (1), a section of 1 MB (2, or 3 where it may not be executed), or nothing (0).
# A second-level entry is a small page if bit 1 is set; Linux makes neither large pages nor supersections of memory.
SHORT_LEVELS = (
    Level(20, 12, 4, (3, 0), 0xFFFFFC00, 0xFFF00000, leaf=(2, 2), unless=PRESENT_UNLESS),
    Level(12, 8, 4, (2, 2), 0, 0xFFFFF000),
)
# FreeBSD's kernels also have supersections (16 MB: bit 18 of a section) and large pages (64 KB: type 1).
LARGE = Wide(16, 3, 1, 0xFFFF0000)
SUPERSECTION = Wide(24, 0x40000, 0x40000, 0xFF000000)
FREEBSD_LEVELS = (
    SHORT_LEVELS[0]._replace(wide=SUPERSECTION),
    SHORT_LEVELS[1]._replace(present=(3, 0), unless=PRESENT_UNLESS, wide=LARGE),
)
LONG_FRAME = 0x000000FFFFFFF000
LONG_LEVELS = (
    Level(30, 2, 8, (1, 1), LONG_FRAME, LONG_FRAME, leaf=(3, 1)),
    Level(21, 9, 8, (1, 1), LONG_FRAME, LONG_FRAME, leaf=(3, 1)),
    Level(12, 9, 8, (3, 3), 0, LONG_FRAME),
)
# NetBSD and OpenBSD: FreeBSD's sizes, and small pages without a type, whose use is watched: the next one faults.
BSD_LEVELS = (
    FREEBSD_LEVELS[0],
    FREEBSD_LEVELS[1]._replace(present=(0xFFFFFFFF, 0)),
)
