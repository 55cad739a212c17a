"""What time it was: the kernel's timekeeper (include/linux/timekeeper_internal.h)."""

from __future__ import annotations

from pykvm.errors import KvmError
from pykvm.targets.linux.places import Places
from pykvm.targets.linux.symbols.looks import Looks
from pykvm.types.layout import Struct

NSEC = 10**9
# What holds the timekeeper: struct tk_data since Linux 6.13 (an array of them since 6.17), nothing before 3.17.
HOLDERS = ("timekeeper_data", "tk_core", "timekeeper")
# What a holder without a name begins with, since Linux 5.9 and before; what it holds is aligned to 8 bytes, or to 4.
COUNTERS = ("seqcount_raw_spinlock", "seqcount")


def times(places: Places) -> tuple[float, float] | None:
    """(seconds since 1970 at boot, and at the last tick); None if the dump does not tell."""
    try:
        at = _timekeeper(places)
        if at is None:
            return None
        keeper, memory = places.types.struct("timekeeper"), places.memory
        base = next((p for p in ("tkr_mono.", "tkr.") if p + "xtime_nsec" in keeper), "")
        shift = memory.read_u32(at + keeper.offset(base + "shift"))
        fraction = memory.read_u64(at + keeper.offset(base + "xtime_nsec")) >> min(shift, 64)
        seconds = memory.read_u64(at + keeper.offset("xtime_sec"))
        return _boot(places, at) / NSEC, seconds + min(fraction, NSEC) / NSEC
    except KvmError:
        return None


def boot(places: Places) -> int | None:
    """Nanoseconds since 1970 at boot; None if the dump does not tell."""
    try:
        at = _timekeeper(places)
        return None if at is None else _boot(places, at)
    except KvmError:
        return None


def _boot(places: Places, at: int) -> int:
    keeper, memory = places.types.struct("timekeeper"), places.memory
    real, booted = (memory.read_i64(at + keeper.offset(m)) for m in ("offs_real", "offs_boot"))
    return real - booted


def _timekeeper(places: Places) -> int | None:
    if "timekeeper" not in places.types:
        return None
    keeper = places.types.struct("timekeeper")
    addresses = _addresses(places)
    if not addresses:
        looks = Looks(places.target, places.parts, places.types)
        return looks.timekeeper(keeper, lambda at: _right(places, keeper, at))
    return next((at for at in addresses if _right(places, keeper, at)), None)


def _addresses(places: Places) -> list[int]:
    """Where the timekeeper of the system's clocks may be."""
    name = next((n for n in HOLDERS if places.symbol(n) is not None), None)
    if name is None:
        return []
    at, types = places.address(name), places.types
    if name == "timekeeper":
        return [at]
    if "tk_data" in types:
        return [at + types.struct("tk_data").offset("timekeeper")]
    sizes = [types.struct(c).size for c in COUNTERS if c in types] or [4]
    return [at - -size // align * align for size in sizes for align in (8, 4)]


def _right(places: Places, keeper: Struct, at: int) -> bool:
    """A timekeeper says twice how far the clocks are apart: offs_real and, negative, wall_to_monotonic."""
    if "wall_to_monotonic.tv_sec" not in keeper:
        return True
    memory = places.memory
    seconds = memory.read_i64(at + keeper.offset("wall_to_monotonic.tv_sec"))
    rest = keeper.field("wall_to_monotonic.tv_nsec")
    nanoseconds = (memory.read_i64 if rest.size == 8 else memory.read_i32)(at + rest.offset)
    return memory.read_i64(at + keeper.offset("offs_real")) == -(seconds * NSEC + nanoseconds)
