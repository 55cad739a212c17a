"""What the children of processes have used, of struct rusage: the same on NetBSD and OpenBSD."""

from __future__ import annotations

from collections.abc import Sequence

from pykvm.targets.common.columns import Columns

MICRO = 10**6


def children_ns(read: Columns, addrs: Sequence[int | None], dead: Sequence[bool]) -> list[int]:
    """Nanoseconds of user and system time in the struct rusage at each address; 0 where it does not say, and of the
    dead."""
    total = [0] * len(addrs)
    for name in ("ru_utime", "ru_stime"):
        seconds = read.member(addrs, "rusage", f"{name}.tv_sec", signed=True)
        micro = read.member(addrs, "rusage", f"{name}.tv_usec", signed=True)
        total = [t + ((s or 0) * MICRO + (u or 0)) * 1000 for t, s, u in zip(total, seconds, micro, strict=True)]
    return [0 if gone else t for gone, t in zip(dead, total, strict=True)]
