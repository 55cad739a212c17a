"""What time it was: the kernel's timekeeper (include/linux/timekeeper_internal.h)."""

from __future__ import annotations

from pykvm.errors import KvmError
from pykvm.targets.linux.places import Places

# What holds the timekeeper: struct tk_data since Linux 6.13, several of them since 6.17; nothing before 3.17.
HOLDERS = ("timekeeper_data", "tk_core", "timekeeper")
# Since Linux 5.9 and before: what a nameless holder begins with.
COUNTERS = ("seqcount_raw_spinlock", "seqcount")


def address(places: Places) -> int | None:
    """Where the struct timekeeper of the system's clocks is; None if that cannot be told."""
    types = places.types
    name = next((n for n in HOLDERS if places.symbol(n) is not None), None)
    if name is None or "timekeeper" not in types:
        return None
    at = places.address(name)
    if name == "timekeeper":
        return at
    if "tk_data" in types:
        return at + types.struct("tk_data").offset("timekeeper")
    align = 4 if places.target.machine == "i386" else 8  # of u64 in a structure
    counter = next((types.struct(c).size for c in COUNTERS if c in types), 4)
    return at - -counter // align * align


def times(places: Places) -> tuple[float, float] | None:
    """(seconds since 1970 at boot, and at the last tick); None if the dump does not tell."""
    try:
        at = address(places)
        if at is None:
            return None
        keeper, memory = places.types.struct("timekeeper"), places.memory
        seconds = memory.read_u64(at + keeper.offset("xtime_sec"))
        base = next((p for p in ("tkr_mono.", "tkr.") if p + "xtime_nsec" in keeper), "")
        shift = memory.read_u32(at + keeper.offset(base + "shift"))
        fraction = memory.read_u64(at + keeper.offset(base + "xtime_nsec")) >> min(shift, 64)
        real, boot = (memory.read_i64(at + keeper.offset(m)) for m in ("offs_real", "offs_boot"))
    except KvmError:
        return None
    return (real - boot) / 1e9, seconds + min(fraction, 10**9) / 1e9
