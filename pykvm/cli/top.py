"""pykvm top"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections import Counter
from typing import Any, NamedTuple

from pykvm.cli.common import json_flag, kernel_flags, open_live, put
from pykvm.cli.ps import Row, clock, state
from pykvm.errors import KvmError
from pykvm.handle import Kvm
from pykvm.records import ProcessRecord

CLEAR = "\x1b[H\x1b[J"
TITLES = ("PID", "USER", "NI", "RSS", "STAT", "TIME", "%CPU", "FLT/s", "COMMAND")
SAME = 0.5  # seconds by which what is told of a beginning may differ
MOST_SECONDS = 86400 * 365
LEFT = {4, 8}  # columns that are not right-aligned


def setup(parser: argparse.ArgumentParser) -> None:
    """The flags."""
    kernel_flags(parser)
    json_flag(parser)
    parser.add_argument("-s", metavar="SECONDS", type=float, default=2.0, help="between two looks (default 2)")
    parser.add_argument(
        "-d", metavar="COUNT", type=int, help="how often it is shown (default: 1, on a terminal without end)"
    )
    parser.add_argument("-n", metavar="ROWS", type=int, help="most processes to show (default: all that fit)")


class Look(NamedTuple):
    """The processes at one time, by number, with when each began: numbers are used again."""

    when: float
    processes: dict[int | None, tuple[float, ProcessRecord]]


class Rate(NamedTuple):
    """A process, and what it used in each second between two looks: processor time (None: not known), page faults."""

    p: ProcessRecord
    cpu: float | None
    faults: float | None


def look(kd: Kvm) -> Look:
    """Look at all processes."""
    kd.refresh()
    before = time.monotonic()
    found = kd.processes()
    # A clock that is set moves all beginnings: they are told by the first one's.
    first = next((p.start_time for p in found if p.start_time), 0.0)
    began = {p.pid: ((p.start_time or first) - first, p) for p in found}
    return Look((before + time.monotonic()) / 2, began)


def used(p: ProcessRecord) -> float | None:
    """Seconds of processor time."""
    return None if p.utime is None or p.stime is None else p.utime + p.stime


def rates(before: Look, now: Look) -> list[Rate]:
    """What has been used, the most first; who is new has begun with nothing."""
    span = max(now.when - before.when, 1e-3)
    found = []
    for pid, (began, p) in now.processes.items():
        then_began, old = before.processes.get(pid, (began, None))
        if abs(then_began - began) > SAME:
            old = None
        time_then, time_now = (0.0 if old is None else used(old)), used(p)
        cpu = None if time_then is None or time_now is None else max(0.0, time_now - time_then) / span
        then, here = (0 if old is None else _faults(old)), _faults(p)
        found.append(Rate(p, cpu, None if then is None or here is None else max(0, here - then) / span))
    return sorted(found, key=lambda rate: (-(rate.cpu or 0), rate.p.pid or 0))


def _faults(p: ProcessRecord) -> int | None:
    try:
        return int(p.p_uru_minflt + p.p_uru_majflt)
    except AttributeError:  # of a record without
        return None


def run(arguments: argparse.Namespace) -> None:
    """The command."""
    screen = sys.stdout.isatty() and not arguments.json
    if not 0 < arguments.s <= MOST_SECONDS:
        raise KvmError(f"-s {arguments.s}: not a time")
    for flag, number in (("-n", arguments.n), ("-d", arguments.d)):
        if number is not None and number < 1:
            raise KvmError(f"{flag} {number}: must be 1 or more")
    left = arguments.d if arguments.d is not None else None if screen else 1
    with open_live(arguments) as kd:
        if not kd.info.live:
            raise KvmError(f"{kd.image.path}: a dump does not change: pykvm ps shows its processes")
        before = look(kd)
        while left is None or left > 0:
            time.sleep(arguments.s)
            now = look(kd)
            found = rates(before, now)
            size = shutil.get_terminal_size()
            rows = arguments.n if arguments.n is not None else max(1, size.lines - 4) if screen else None
            if arguments.json:
                print(json.dumps(as_json(kd, found[:rows])), flush=True)
            else:
                show(kd, found, rows, size.columns if screen else None, screen)
            before = now
            left = None if left is None else left - 1


def as_json(kd: Kvm, found: list[Rate]) -> dict[str, Any]:
    """One look, for programs: a line. cpu: seconds of processor time in each second; faults: page faults; time: of the
    host; rssize: bytes."""
    names = ("pid", "ppid", "uid", "nice", "rssize", "stat", "comm")
    rows = [{**{n: getattr(r.p, n) for n in names}, "cpu": r.cpu, "faults": r.faults} for r in found]
    return {"time": time.time(), "loadavg": kd.loadavg(), "processes": rows}


def show(kd: Kvm, found: list[Rate], rows: int | None, columns: int | None, screen: bool) -> None:
    """One look, as text."""
    if screen:
        sys.stdout.write(CLEAR)
    states = Counter(rate.p.stat for rate in found)
    counts = ", ".join(f"{count} {letter}" for letter, count in sorted(states.items(), key=lambda item: str(item[0])))
    put(f"load averages: {' '.join(f'{load:.2f}' for load in kd.loadavg())}", columns)
    put(f"{len(found)} processes: {counts}", columns)
    put("", columns)
    lines = [TITLES, *(line(kd, rate) for rate in found[:rows])]
    widths = [max(len(row[i]) for row in lines) for i in range(len(TITLES) - 1)]
    for row in lines:
        cells = [c.ljust(w) if i in LEFT else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=False))]
        put(" ".join([*cells, row[-1]]), columns)
    sys.stdout.flush()


def line(kd: Kvm, rate: Rate) -> tuple[str, ...]:
    """The cells of a process."""
    p = rate.p
    cells = (
        p.pid, p.uid, p.nice, None if p.rssize is None else p.rssize // 1024, state(Row(kd, p)), clock(used(p)),
        None if rate.cpu is None else f"{100 * rate.cpu:.1f}", None if rate.faults is None else f"{rate.faults:.0f}",
        p.comm,
    )  # fmt: skip
    return tuple("-" if cell is None else str(cell) for cell in cells)
