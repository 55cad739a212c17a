"""What `pykvm info` says of a FreeBSD kernel, and the load average."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pykvm.errors import KvmError
from pykvm.loading import loading
from pykvm.records import text
from pykvm.targets.base import Parts
from pykvm.targets.freebsd import clock, crash, pcpu
from pykvm.targets.freebsd.strings import string

if TYPE_CHECKING:
    from pykvm.targets.freebsd.family import Family

MAX_TEXT = 1024


def _order(target: Family) -> str:
    return "<" if target.byteorder == "little" else ">"


def loadavg(target: Family, parts: Parts) -> list[float]:
    """struct loadavg of <sys/resource.h>: three fixpt_t, and what stands for 1. (libkvm also wants a symbol `fscale`,
    which newer kernels do not have.)"""
    shape = struct.Struct(_order(target) + ("3I4xq" if target.pointer_size == 8 else "3Ii"))
    *samples, scale = shape.unpack(parts.memory.read(parts.address_of("averunnable"), shape.size))
    if scale <= 0:
        raise KvmError(f"can't read averunnable: fscale is {scale}")
    return [sample / scale for sample in samples]


def _panic(target: Family, parts: Parts) -> str | None:
    at = parts.memory.read_ptr(parts.address_of("panicstr"))
    return text(parts.memory.read_cstr(at, MAX_TEXT)) if at else None


def _hostname(target: Family, parts: Parts) -> str | None:
    """prison0.pr_hostname since 8.0, a variable before."""
    if "prison" in target.types and parts.symbols.find("prison0") is not None:
        prison = target.types.struct("prison")
        for name in ("pr_hostname", "pr_host"):
            if name in prison:
                at = parts.address_of("prison0") + prison.offset(name)
                return text(parts.memory.read_cstr(at, prison.field(name).size)) or None
    return string(parts, "hostname", 256)


def _boot_time(target: Family, parts: Parts) -> float | None:
    boot = clock.boot(target, parts)
    return None if boot is None else boot[0] + boot[1] / clock.MICRO


def _dump_time(target: Family, parts: Parts) -> float | None:
    """The last second that the kernel counted; a dump header, where there is one, says when it dumped."""
    return clock.seconds(target, parts, parts.address_of("time_second")) or None


def _memory(target: Family, parts: Parts) -> int | None:
    return parts.memory.read_ptr(parts.address_of("physmem")) * target.page_size or None


def _modules(target: Family, parts: Parts) -> list[dict[str, Any]] | None:
    """The kernel modules that are loaded; None if the kernel does not say where their list is."""
    with loading:
        from pykvm.targets.freebsd import modules  # it takes pyelftools, which is large

    offsets = modules.offsets_of(target, parts)
    if offsets is None:
        return None
    return [{"name": m.name, "address": m.address, "size": m.size} for m in modules.listed(parts, offsets)]


FACTS: dict[str, Callable[[Family, Parts], Any]] = {
    "hostname": _hostname,
    "boot time": _boot_time,
    "dump time": _dump_time,
    "panic": _panic,
    "cpus": lambda target, parts: pcpu.ncpus(parts),
    "load averages": loadavg,
    "physical memory": _memory,
    "modules": _modules,
}


def told(target: Family, parts: Parts, table: Mapping[str, Callable[[Any, Parts], Any]]) -> dict[str, Any]:
    """What of a table of facts the dump has."""
    found: dict[str, Any] = {}
    for title, read in table.items():
        try:
            value = read(target, parts)
        except KvmError:
            continue
        if value is not None:
            found[title] = value
    if "boot time" in found and "dump time" in found:
        found["uptime"] = found["dump time"] - found["boot time"]
    return found


def facts(target: Family, parts: Parts) -> dict[str, Any]:
    """Title to value, in seconds and bytes; what the dump does not have is left out."""
    found = told(target, parts, FACTS)
    found.update(crash.facts(target, parts))
    if target.kerndisp:
        found["KASLR offset"] = target.kerndisp
    if target.kernphys is not None:
        found["kernel loaded at"] = target.kernphys
    return found
