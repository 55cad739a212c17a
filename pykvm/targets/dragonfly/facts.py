"""What `pykvm info` says of a DragonFly kernel."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pykvm.targets.base import Parts
from pykvm.targets.freebsd import crash
from pykvm.targets.freebsd import facts as freebsd

if TYPE_CHECKING:
    from pykvm.targets.dragonfly.kernel import DragonFly

NANO = 10**9


def _boot_time(target: DragonFly, parts: Parts) -> float | None:
    """`boottime`, a struct timespec (sys/kern/kern_clock.c), where FreeBSD's is a timeval."""
    shape = struct.Struct("<qq" if target.pointer_size == 8 else "<ii")
    sec, nsec = shape.unpack(parts.memory.read(parts.address_of("boottime"), shape.size))
    return sec + nsec / NANO if sec and 0 <= nsec < NANO else None


FACTS: dict[str, Callable[[Any, Parts], Any]] = {
    **{title: freebsd.FACTS[title] for title in ("hostname", "dump time", "panic", "load averages")},
    "boot time": _boot_time,
    "cpus": lambda target, parts: parts.memory.read_i32(parts.address_of("ncpus")) or None,
    **{title: freebsd.FACTS[title] for title in ("physical memory", "modules")},
}


def facts(target: DragonFly, parts: Parts) -> dict[str, Any]:
    """Title to value, in seconds and bytes; what the dump does not have is left out."""
    found = freebsd.told(target, parts, FACTS)
    if "pcb" in target.types:  # without types only FreeBSD's is known
        found.update(crash.facts(target, parts))
    return found
