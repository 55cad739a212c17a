"""Variables of which each CPU has its own, and sets of CPUs."""

from __future__ import annotations

from pykvm.errors import FormatError
from pykvm.targets.linux.places import Places

MAX_CPUS = 1 << 16
# The sets, as arrays of words: since Linux 4.5, and before.
MASKS = {kind: (f"__cpu_{kind}_mask", f"cpu_{kind}_bits") for kind in ("present", "online", "possible")}


def offset(places: Places, cpu: int) -> int:
    """What to add to a per-CPU variable's symbol; 0 on a kernel for one processor."""
    table = places.symbol("__per_cpu_offset")
    if table is None:
        return 0
    if not 0 <= cpu < cpus(places):
        raise FormatError(f"CPU {cpu} of {cpus(places)}")
    return places.memory.read_ptr(table + cpu * places.word)


def cpus(places: Places) -> int:
    """How many there can be, by nr_cpu_ids, or where that is no variable by the size of struct cpumask."""
    at = places.symbol("nr_cpu_ids")
    count = places.size("cpumask") * 8 if at is None else places.memory.read_u32(at)
    if not 0 < count <= MAX_CPUS:
        raise FormatError(f"nr_cpu_ids {count} makes no sense")
    return count


def count(places: Places, kind: str) -> int | None:
    """How many CPUs are in one of the MASKS; None if this kernel does not have it."""
    at = next((a for a in map(places.symbol, MASKS[kind]) if a is not None), None)
    if at is None:
        return None
    bits = places.word * 8
    return int.from_bytes(places.memory.read(at, -(-cpus(places) // bits) * places.word), "little").bit_count()
