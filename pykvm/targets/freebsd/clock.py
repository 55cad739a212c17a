"""Time: when the kernel booted, what its ticks are."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pykvm.errors import KvmError
from pykvm.targets.base import Parts

if TYPE_CHECKING:
    from pykvm.targets.freebsd.family import Family

MICRO = 10**6

Usec = Callable[[int], int]


def seconds(target: Family, parts: Parts, at: int) -> int:
    """A time_t."""
    return parts.memory.read_i32(at) if target.time_t == 4 else parts.memory.read_i64(at)


def boot(target: Family, parts: Parts) -> tuple[int, int] | None:
    """(seconds, microseconds) since 1970: a timeval `boottime` up to 11, since then in the current timehands, as a
    bintime. None if it cannot be told."""
    size = target.time_t
    found = parts.symbols.find("boottime")
    if found is not None:
        sec = seconds(target, parts, found.value)
        return (sec, parts.memory.read_ptr(found.value + size)) if sec else None
    if "timehands" not in target.types or "th_boottime" not in target.types.struct("timehands"):
        return None
    at = parts.memory.read_ptr(parts.address_of("timehands")) + target.types.struct("timehands").offset("th_boottime")
    sec = seconds(target, parts, at)
    # As bintime2timeval() of <sys/time.h> rounds it.
    return (sec, MICRO * (parts.memory.read_u64(at + size) >> 32) >> 32) if sec else None


def counter(parts: Parts) -> tuple[int, int]:
    """(ticks, hz): the clock's interrupts, which wrap around, and how many there are in a second."""
    ticks, hz = (parts.memory.read_i32(parts.address_of(name)) for name in ("ticks", "hz"))
    if hz <= 0:
        raise KvmError(f"hz is {hz}")
    return ticks, hz


def ticks_to_usec(target: Family, parts: Parts) -> Usec:
    """A function from cpu_ticks(), in which run times are counted, to microseconds."""
    rate = _rate(target, parts)
    return lambda ticks: ticks // rate * MICRO + ticks % rate * MICRO // rate


def _rate(target: Family, parts: Parts) -> int:
    """cpu_tickrate() of sys/kern/kern_tc.c: a counter of the processor's own, or the timecounter."""
    memory, symbols = parts.memory, parts.symbols
    function, counter_of = symbols.find("cpu_ticks"), symbols.find("tc_cpu_ticks")
    if function is not None and counter_of is not None and "timehands" in target.types:
        pointer = memory.read_ptr(function.value)
        if pointer == counter_of.value:
            hands = target.types.struct("timehands")
            at = memory.read_ptr(memory.read_ptr(parts.address_of("timehands")) + hands.offset("th_counter"))
            return memory.read_u64(at + target.types.struct("timecounter").offset("tc_frequency")) or 1
    rate = memory.read_u64(parts.address_of("cpu_tick_frequency"))
    if rate == 0:
        raise KvmError("cpu_tick_frequency is 0")
    return rate
