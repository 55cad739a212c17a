"""What /proc says of the whole system: load, processor time, swap space; what `pykvm info` says."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pykvm.errors import KvmError
from pykvm.loading import loading
from pykvm.records import KvmSwap, text
from pykvm.targets.linux.procfs.batch import NSEC, PAGE
from pykvm.targets.linux.procfs.tree import Tree, unreadable, whole

if TYPE_CHECKING:
    from pykvm.targets.linux.procfs.target import ProcFs

MILLI = NSEC // 1000
LOOKS = 5  # at the clocks: between two, this program may have to wait
CPUS = "/sys/devices/system/cpu"
NOTES = "/sys/kernel/notes"
LOAD = re.compile(rb"(\d{1,9}\.\d\d) (\d{1,9}\.\d\d) (\d{1,9}\.\d\d) \d+/(\d{1,9}) ")
TIMES = re.compile(rb"^cpu +" + rb"(\d{1,20}) " * 6 + rb"(\d{1,20})[ \n]", re.M)
SWAP = re.compile(rb"^(\S+)\s+(partition|file)\s+(\d{1,20})\s+(\d{1,20})\s", re.M)
ESCAPE = re.compile(rb"\\([0-7]{3})")  # mangle_path() of fs/seq_file.c
SPAN = re.compile(rb"(\d{1,5})(?:-(\d{1,5}))?")
DEVICES = b"/dev/"


def boot() -> int:
    """Nanoseconds since 1970 at boot: the kernel's offs_real - offs_boot (kernel/time/timekeeping.c), which only a
    clock that is set changes. Whole milliseconds, so that it is the same each time: the clocks cannot be read at once,
    and processes' times are of ticks of 10 ms. /proc/stat's btime has but seconds."""
    return min(_look() for _ in range(LOOKS))[1] // MILLI * MILLI


def _look() -> tuple[int, int]:
    """How long it took, and the distance of the clocks then."""
    before = time.clock_gettime_ns(time.CLOCK_REALTIME)
    booted = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    after = time.clock_gettime_ns(time.CLOCK_REALTIME)
    return abs(after - before), (before + after) // 2 - booted


def loadavg(tree: Tree) -> list[float]:
    """The three, to hundredths."""
    return [float(word) for word in _load(tree).group(1, 2, 3)]


def _load(tree: Tree) -> re.Match[bytes]:
    raw = tree.file("loadavg")
    found = LOAD.match(raw)
    if found is None:
        raise _nonsense(f"{tree.root}/loadavg", raw)
    return found


def _nonsense(path: str, raw: bytes) -> KvmError:
    return KvmError(f"{path}: {text(raw[:60])!r} makes no sense")


def cptime(tree: Tree) -> list[int]:
    """CP_USER, CP_NICE, CP_SYS, CP_INTR, CP_IDLE in the clock's ticks. Waiting for a disk is idle; what a hypervisor
    took is none of them."""
    raw = tree.file("stat")
    found = TIMES.search(raw)
    if found is None:
        raise _nonsense(f"{tree.root}/stat", raw)
    user, nice, system, idle, wait, hard, soft = map(int, found.groups())
    return [user, nice, system, hard + soft, idle + wait]


def swapinfo(tree: Tree) -> list[KvmSwap]:
    """Devices by their names in /dev, files by their paths in brackets, in the order of the kernel's list; no flags.
    A kernel that is built without swap space has none."""
    try:
        raw = tree.file("swaps")
    except KvmError:
        tree.file("meminfo")  # of a /proc that has processes only (subset=pid), this fails, too
        return []
    found = []
    for name, kind, size, used in SWAP.findall(raw):
        path = ESCAPE.sub(lambda m: bytes([int(m[1], 8) & 0xFF]), name)
        shown = path.removeprefix(DEVICES) if kind == b"partition" else b"[%b]" % path
        found.append(KvmSwap(text(shown), int(used) * 1024 // PAGE, int(size) * 1024 // PAGE, 0))
    return found


def cpus(kind: str) -> list[int]:
    """The numbers of the CPUs that are present, online or possible, by a list as bitmap_parselist() of lib/bitmap-str.c
    has it. KvmError if it cannot be told."""
    path = f"{CPUS}/{kind}"
    try:
        raw = whole(path).strip()
    except OSError as e:
        raise unreadable(path, e) from e
    found: list[int] = []
    for part in raw.split(b",") if raw else []:
        span = SPAN.fullmatch(part)
        first, last = (0, -1) if span is None else (int(span[1]), int(span[2] or span[1]))
        if last < first:
            raise _nonsense(path, raw)
        found += range(first, last + 1)
    return found


def facts(target: ProcFs) -> dict[str, Any]:
    """Title to value, as linux/facts has them; what /proc does not tell is left out."""
    found: dict[str, Any] = {}
    for title, tell in FACTS.items():
        try:
            value = tell(target)
        except (KvmError, ValueError):
            continue
        if value is not None:
            found[title] = value
    return found


def _build_id(target: ProcFs) -> str | None:
    with loading:
        from pykvm.images import notes

    try:
        return notes.build_id(whole(NOTES), target.order)
    except OSError:
        return None


def _tainted(target: ProcFs) -> int:
    return int(target.tree.file("sys/kernel/tainted"))


def _taint_flags(target: ProcFs) -> str | None:
    with loading:
        from pykvm.targets.linux.facts import TAINTS  # seldom asked for, and it brings all of a kernel's memory along

    mask = _tainted(target)
    return "".join(letter for bit, letter in enumerate(TAINTS) if mask >> bit & 1) or None


FACTS: dict[str, Callable[[ProcFs], Any]] = {
    "hostname": lambda target: os.uname().nodename or None,
    "command line": lambda target: text(target.tree.file("cmdline")).strip() or None,
    "boot time": lambda target: target.boot() / NSEC,
    "uptime": lambda target: time.clock_gettime(time.CLOCK_BOOTTIME),
    "cpus": lambda target: len(cpus("present")),
    "cpus online": lambda target: len(cpus("online")),
    "cpus possible": lambda target: len(cpus("possible")),
    "load averages": lambda target: loadavg(target.tree),
    "processes": lambda target: len(target.tree.processes()),
    "threads": lambda target: int(_load(target.tree)[4]),
    "build id": _build_id,
    "tainted": _tainted,
    "taint flags": _taint_flags,
}
