"""What `pykvm info` says of a Linux kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any

from pykvm.errors import KvmError
from pykvm.records import text
from pykvm.targets.base import Message, Parts
from pykvm.targets.linux import clock, log, percpu
from pykvm.targets.linux.facts import panic
from pykvm.targets.linux.places import Places

if TYPE_CHECKING:
    from pykvm.targets.linux.kernel import Linux

UTS_LEN = 65
MAX_COMMAND_LINE = 1 << 16
COMMAND_LINE = b"Kernel command line: "
FIRST = 1000  # messages among which that is
MAX_TASKS = 1 << 22  # PID_MAX_LIMIT
# Documentation/admin-guide/tainted-kernels.rst: a letter for each bit of tainted_mask.
TAINTS = "PFSRMBUDAWCIOELKXTNJ"


def uts(target: Linux, parts: Parts) -> dict[str, str]:
    """struct new_utsname: six texts of 65 bytes."""
    at = target.vmcoreinfo.symbol("init_uts_ns")
    if at is None:
        return {}
    at += target.vmcoreinfo.decimal("OFFSET(uts_namespace.name)") or 0
    names = ("sysname", "nodename", "release", "version", "machine", "domainname")
    try:
        return {n: text(parts.memory.read_cstr(at + i * UTS_LEN, UTS_LEN)) for i, n in enumerate(names)}
    except KvmError:
        return {}


def facts(target: Linux, parts: Parts) -> dict[str, Any]:
    """Title to value, in seconds and bytes; what the dump does not have is left out."""
    places = Places(target, parts)
    found: dict[str, Any] = {}
    for title, read in FACTS.items():
        try:
            value = read(places)
        except KvmError:
            continue
        if value is not None:
            found[title] = value
    try:
        said: Iterator[Message] = log.messages(target, parts)
    except KvmError:
        said = iter(())
    if "command line" not in found:
        told, said = _told(said)
        if told is not None:
            found["command line"] = told
    found = {title: found[title] for title in FACTS if title in found}
    found.update(panic.facts(places, said))
    return found


def _told(said: Iterator[Message]) -> tuple[str | None, Iterator[Message]]:
    """The command line by the log's account, if it still has its beginning; and all of the log."""
    first: list[Message] = []
    try:
        for message in said:
            first.append(message)
            if message.text.startswith(COMMAND_LINE):
                return text(message.text[len(COMMAND_LINE) :]), chain(first, said)
            if len(first) == FIRST:
                break
    except KvmError:
        pass
    return None, chain(first, said)


def _hostname(places: Places) -> str | None:
    return uts(places.target, places.parts).get("nodename") or None


def _command_line(places: Places) -> str | None:
    pointer = places.memory.read_ptr(places.address("saved_command_line"))
    return text(places.memory.read_cstr(pointer, MAX_COMMAND_LINE)).strip() or None


def _boot_time(places: Places) -> float | None:
    found = clock.times(places)
    return None if found is None else found[0]


def _dump_time(places: Places) -> float | None:
    """When the kernel crashed by its own account, or else its last tick."""
    crash = places.info.decimal("CRASHTIME")
    found = clock.times(places)
    return crash or (None if found is None else found[1])


def _uptime(places: Places) -> float | None:
    found = clock.times(places)
    return None if found is None else found[1] - found[0]


def _processes(places: Places) -> int:
    head = places.address("init_task") + places.types.struct("task_struct").offset("tasks")
    return len(places.memory.walk_list(head, 0, MAX_TASKS)) - 1


def _threads(places: Places) -> int | None:
    count = places.memory.read_i32(places.address("nr_threads"))
    return count if 0 < count <= MAX_TASKS else None


def _tainted(places: Places) -> int:
    return places.memory.read_ptr(places.address("tainted_mask"))


def _taint_flags(places: Places) -> str | None:
    mask = _tainted(places)
    return "".join(letter for bit, letter in enumerate(TAINTS) if mask >> bit & 1) or None


FACTS: dict[str, Callable[[Places], Any]] = {
    "hostname": _hostname,
    "command line": _command_line,
    "boot time": _boot_time,
    "dump time": _dump_time,
    "uptime": _uptime,
    "cpus": lambda places: percpu.count(places, "present"),
    "cpus online": lambda places: percpu.count(places, "online"),
    "cpus possible": lambda places: percpu.count(places, "possible"),
    "load averages": lambda places: places.target.loadavg(places.parts),
    "processes": _processes,
    "threads": _threads,
    "build id": lambda places: places.info.text("BUILD-ID"),
    "KASLR offset": lambda places: places.info.hexadecimal("KERNELOFFSET"),
    "page table levels": lambda places: len(places.target.tables(places.parts.image).levels),
    "tainted": _tainted,
    "taint flags": _taint_flags,
}
