"""What each CPU has of its own: struct pcpu, copies of dynamic variables (DPCPU), of what UMA gives out, times.

Sources: sys/sys/pcpu.h, sys/kern/subr_pcpu.c, sys/vm/uma_int.h.
"""

from __future__ import annotations

import re
import struct
from itertools import pairwise
from typing import TYPE_CHECKING

from pykvm.constants import CPUSTATES
from pykvm.errors import AddressError, FormatError, KvmError
from pykvm.symbols.base import Symbol
from pykvm.targets.base import Parts
from pykvm.targets.freebsd.strings import string

if TYPE_CHECKING:
    from pykvm.targets.freebsd.family import Family
    from pykvm.targets.freebsd.kernel import FreeBSD

MAX_CPUS = 1 << 14  # MAXCPU is 1024 at most
MAX_PCPU = 1 << 16  # bytes of a struct pcpu, of which there are a thousand or so, or a page
PAGED_SINCE = 12  # the release since which UMA's copies are a page apart (UMA_PCPU_ALLOC_SIZE)
RELATIVE_SINCE = 13  # the one since which amd64's bases are relative


def _symbol(parts: Parts, name: str) -> int:
    found = parts.symbols.find(name)
    if found is None:
        raise KvmError(f"unable to find {name}")
    return found.value


def _int(parts: Parts, name: str) -> int:
    at = _symbol(parts, name)
    try:
        return parts.memory.read_i32(at)
    except KvmError as e:
        raise KvmError(f"cannot read {name}: {e}") from e


def maxcpu(parts: Parts) -> int:
    """The size of the kernel's arrays of CPUs."""
    number = _int(parts, "mp_maxcpus")
    if not 0 < number <= MAX_CPUS:
        raise FormatError(f"{parts.image.path}: mp_maxcpus {number} makes no sense")
    return number


def ncpus(parts: Parts) -> int:
    """How many there are."""
    number = _int(parts, "mp_ncpus")
    if not 0 < number <= MAX_CPUS:
        raise FormatError(f"{parts.image.path}: mp_ncpus {number} makes no sense")
    return number


def _words(target: Family, parts: Parts, name: str) -> tuple[int, ...]:
    """An array of a word for every CPU."""
    at, count, word = _symbol(parts, name), maxcpu(parts), target.pointer_size
    try:
        raw = parts.memory.read(at, count * word)
    except KvmError as e:
        raise KvmError(f"cannot read {name} array: {e}") from e
    return struct.unpack(f"{target.order}{count}{'Q' if word == 8 else 'I'}", raw)


def addresses(target: Family, parts: Parts) -> dict[int, int]:
    """struct pcpu of the CPUs that there are, by their numbers."""
    return {cpu: at for cpu, at in enumerate(_words(target, parts, "cpuid_to_pcpu")) if at}


def read(target: FreeBSD, parts: Parts, cpu: int) -> bytes | None:
    """struct pcpu; None if there is no such CPU."""
    table = addresses(target, parts)
    if cpu not in table:
        return None
    try:
        return parts.memory.read(table[cpu], _size(target, parts, table))
    except AddressError as e:
        raise KvmError(f"unable to read per-CPU data: {e}") from e


def _size(target: FreeBSD, parts: Parts, table: dict[int, int]) -> int:
    """Bytes of struct pcpu: as the types say, else the room of the array that they are in, or from one to the next."""
    if "pcpu" in target.types:
        return target.types.struct("pcpu").size
    array = parts.symbols.find("__pcpu")
    count = maxcpu(parts)
    if array is not None and array.size >= count * target.pointer_size and array.size % count == 0:
        return array.size // count
    places = sorted(table.values())
    room = min((after - at for at, after in pairwise(places)), default=0)
    if not 0 < room <= MAX_PCPU:
        target.types.struct("pcpu")  # which says why there is none
        raise KvmError("struct pcpu: its size is not known")
    return room


def cptime(target: FreeBSD, parts: Parts) -> list[int]:
    """The sum of all CPUs' times; up to FreeBSD 6 an array of the kernel's."""
    shape = struct.Struct(f"{target.order}{CPUSTATES}{'q' if target.pointer_size == 8 else 'i'}")
    single = parts.symbols.find("cp_time")
    if single is not None:
        return list(shape.unpack(parts.memory.read(single.value, shape.size)))
    table = addresses(target, parts)
    field = target.types.struct("pcpu").field("pc_cp_time")
    if field.size < shape.size:
        raise FormatError(f"struct pcpu: pc_cp_time has {field.size} bytes, needs {shape.size}")
    all_times = (shape.unpack(parts.memory.read(at + field.offset, shape.size)) for at in table.values())
    return [sum(times) for times in zip(*all_times, strict=True)] or [0] * CPUSTATES


# -- dynamic per-CPU variables --------------------------------------------------------------------------------------


def moved(target: FreeBSD, parts: Parts, symbol: Symbol) -> Symbol:
    """A variable of the set of which every CPU has a copy: that of the chosen CPU."""
    start, stop = (parts.symbols.find(f"__{edge}_set_pcpu") for edge in ("start", "stop"))
    if start is None or stop is None or not start.value <= symbol.value < stop.value:
        return symbol
    offset = _offset(target, parts, target.dpcpu)
    return symbol._replace(value=symbol.value + offset & (1 << 8 * target.pointer_size) - 1)


def choose(target: FreeBSD, parts: Parts, cpu: int) -> None:
    """Take this CPU's copies from now on; KvmError if there is no such CPU."""
    _offset(target, parts, cpu)
    target.dpcpu = cpu


def _offset(target: FreeBSD, parts: Parts, cpu: int) -> int:
    for edge in ("start", "stop"):
        _symbol(parts, f"__{edge}_set_pcpu")
    offsets = _words(target, parts, "dpcpu_off")
    if not 0 <= cpu < len(offsets):
        raise KvmError(f"kvm_dpcpu_setcpu: CPU {cpu} too big (mp_maxcpus is {len(offsets)})")
    if not offsets[cpu]:
        raise KvmError(f"kvm_dpcpu_setcpu: CPU {cpu} not found")
    return offsets[cpu]


# -- UMA's per-CPU allocations --------------------------------------------------------------------------------------


def copy(target: FreeBSD, parts: Parts, base: int, cpu: int) -> int:
    """The address of a CPU's copy.

    Since 13 struct pcpu says what to add to a base; on amd64 bases are then not addresses, but what is missing to the
    first CPU's struct pcpu. The address itself is taken for one where that leads nowhere.
    """
    table = addresses(target, parts)
    if cpu not in table:
        raise KvmError(f"CPU {cpu} not found")
    if not base:
        raise AddressError("nothing is allocated at 0", 0)
    mask, types = (1 << 8 * target.pointer_size) - 1, target.types
    if "pcpu" in types and "pc_zpcpu_offset" in types.struct("pcpu"):
        member = types.struct("pcpu").offset("pc_zpcpu_offset")
        own, first = (parts.memory.read_ptr(at + member) for at in (table[cpu], table[min(table)]))
        return _readable(parts, base + own & mask, base + own - first & mask)
    at = base + cpu * stride(target, parts) & mask
    if "pcpu" not in types and target.machine == "x86_64" and _release(parts) >= RELATIVE_SINCE:
        return _readable(parts, at, at + table[min(table)] & mask)
    return at


def _readable(parts: Parts, at: int, other: int) -> int:
    """The first of two addresses, unless only the second is mapped."""
    return at if parts.memory.located(at) is not None or parts.memory.located(other) is None else other


def stride(target: FreeBSD, parts: Parts) -> int:
    """From one CPU's copy to the next one's: a page since 12, the size of struct pcpu before, when kegs told the size
    of their slabs. A kernel without types says it by its release only."""
    types = target.types
    paged = "uk_slabsize" not in types.struct("uma_keg") if "uma_keg" in types else _release(parts) >= PAGED_SINCE
    return target.page_size if paged else _size(target, parts, addresses(target, parts))


def _release(parts: Parts) -> int:
    found = re.match(r"\d+", string(parts, "osrelease", 64) or "")
    if found is None:
        raise KvmError("how far apart per-CPU copies are: neither struct uma_keg nor osrelease is there to tell")
    return int(found[0])


def counter(target: FreeBSD, parts: Parts, base: int) -> int:
    """The sum of the CPUs' copies, of 64 bits."""
    cpus = addresses(target, parts)
    return sum(parts.memory.read_u64(copy(target, parts, base, cpu)) for cpu in cpus) & (1 << 64) - 1
