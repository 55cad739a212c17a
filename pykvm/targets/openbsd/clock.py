"""When the kernel began, to the nanosecond: th_boottime of struct timehands (kern_tc.c), a struct bintime.

Where it is in that structure differs from release to release and is in no table: it is the one of its words that is the
second of the start, as time_second and time_uptime have it, with the fraction behind it.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from pykvm.errors import KvmError
from pykvm.targets.base import Parts

if TYPE_CHECKING:
    from pykvm.targets.openbsd.kernel import OpenBSD

TIMEHANDS = 256  # bytes of it that are looked through
NANO = 10**9


def boot_ns(target: OpenBSD, parts: Parts, second: int) -> int:
    """Nanoseconds since 1970; the whole second where it is not to be found. second: when it was, by whole seconds, of
    which each was cut off."""
    try:
        at = parts.memory.read_ptr(parts.address_of("timehands"))
        raw = parts.memory.read(at, TIMEHANDS)
    except KvmError:
        return second * NANO
    pair = struct.Struct(f"{target.order}2Q")
    for offset in range(0, TIMEHANDS - pair.size + 1, target.pointer_size):  # i386 aligns 64 bits to 4 bytes
        words: tuple[int, int] = pair.unpack_from(raw, offset)
        here, fraction = words
        if here in (second, second - 1, second + 1) and fraction:
            return here * NANO + (fraction * NANO >> 64)
    return second * NANO
