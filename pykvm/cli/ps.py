"""pykvm ps"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pykvm.cli.common import day, json_flag, kernel_flags, open_live, put_json, put_lines
from pykvm.cli.terminal import columns
from pykvm.constants import KERN_PROC_KTHREAD, KERN_PROC_PID
from pykvm.errors import KvmError
from pykvm.handle import Kvm
from pykvm.records import PROCESS_NAMES, ProcessRecord, text
from pykvm.targets.base import Thread

if TYPE_CHECKING:
    import argparse


class Row:
    """A process, or one of its threads, and, when a column asks for it, its arguments."""

    def __init__(self, kd: Kvm, p: ProcessRecord, thread: Thread | None = None) -> None:
        self.kd = kd
        self.p = p
        self.thread = thread

    @property
    def runs(self) -> ProcessRecord | Thread:
        """What has a state and waits."""
        return self.p if self.thread is None else self.thread

    @property
    def args(self) -> str:
        """The arguments, or (comm) where there are none to be had."""
        try:
            vector = self.kd.argv(self.p)
        except KvmError:
            vector = []
        return " ".join(text(word) for word in vector) if vector else f"({self.p.comm})"


class Column(NamedTuple):
    """A column: its title, whether it is right-aligned, and its text for a row (None: unknown)."""

    title: str
    right: bool
    show: Callable[[Row], Any]


def clock(seconds: float | None) -> str | None:
    """ps(1)'s minutes:seconds.hundredths."""
    return None if seconds is None else f"{int(seconds // 60)}:{seconds % 60:05.2f}"


def _cputime(row: Row) -> str | None:
    user, system = row.p.utime, row.p.stime
    return None if user is None or system is None else clock(user + system)


def state(row: Row) -> str | None:
    """The letter and ps(1)'s additions: < raised, N lowered priority, s session leader, + in the foreground."""
    p, letter = row.p, row.runs.stat
    if letter is None:
        return None
    raised, pid, front = p.nice, p.pid, p.tpgid
    nice = "" if not raised else "<" if raised < 0 else "N"
    leader = "s" if pid and pid == p.sid else ""
    return f"{letter}{nice}{leader}{'+' if front and front == p.pgid else ''}"


def _hex(value: int | None) -> str | None:
    return None if value is None else f"{value:x}"


def _number(name: str) -> Callable[[Row], Any]:
    return lambda row: getattr(row.p, name)


COLUMNS: dict[str, Column] = {
    **{
        name: Column(name.upper(), True, _number(name))
        for name in ("pid", "ppid", "pgid", "tpgid", "uid", "ruid", "svuid", "gid", "rgid", "svgid")
    },
    "sess": Column("SESS", True, _number("sid")),
    "user": Column("USER", False, _number("uid")),
    "ruser": Column("RUSER", False, _number("ruid")),
    "login": Column("LOGIN", False, lambda row: row.p.login or None),
    "tt": Column("TT", False, lambda row: _hex(row.p.tdev)),
    "stat": Column("STAT", False, state),
    "nice": Column("NI", True, _number("nice")),
    "flags": Column("F", True, lambda row: _hex(row.p.flags)),
    "time": Column("TIME", True, _cputime),
    "utime": Column("UTIME", True, lambda row: clock(row.p.utime)),
    "stime": Column("STIME", True, lambda row: clock(row.p.stime)),
    "lstart": Column("STARTED", False, lambda row: None if row.p.start_time is None else day(row.p.start_time)),
    "wchan": Column("WCHAN", False, lambda row: row.runs.wmesg or None),
    "nwchan": Column("WCHAN", True, lambda row: _hex(row.runs.wchan)),
    "paddr": Column("PADDR", True, lambda row: _hex(row.p.paddr)),
    "rss": Column("RSS", True, lambda row: None if row.p.rssize is None else row.p.rssize // 1024),
    "lwp": Column("LWP", True, lambda row: None if row.thread is None else row.thread.tid),
    "tdname": Column("TDNAME", False, lambda row: None if row.thread is None else row.thread.name),
    "nlwp": Column("NLWP", True, _number("threads")),
    "groups": Column("GROUPS", False, lambda row: None if row.p.groups is None else ",".join(map(str, row.p.groups))),
    "comm": Column("COMMAND", False, _number("comm")),
    "command": Column("COMMAND", False, lambda row: row.args),
}
ALIASES = {
    "args": "command",
    "logname": "login",
    "cputime": "time",
    "f": "flags",
    "lid": "lwp",
    "tid": "lwp",
    "ni": "nice",
    "sid": "sess",
    "start": "lstart",
    "state": "stat",
    "tty": "tt",
    "ucomm": "comm",
    "wmesg": "wchan",
}
WIDE = 132
# The attribute that each flag selects by.
FILTERS = {"p": "pid", "t": "tdev", "U": "uid"}
PLAIN = ("pid", "tt", "stat", "time", "command")
THREAD = ("tid", "name", "stat", "wmesg", "wchan", "addr")  # its attributes
THREADS = ("pid", "lwp", "tt", "stat", "wchan", "tdname", "command")
USER = ("user", "pid", "ppid", "rss", "tt", "stat", "lstart", "time", "command")


def setup(parser: argparse.ArgumentParser) -> None:
    """The flags."""
    kernel_flags(parser)
    json_flag(parser)
    everyone = "as in ps(1); a dump has no user or terminal of its own, so all processes are shown in any case"
    parser.add_argument("-a", action="store_true", help=everyone)
    parser.add_argument("-x", action="store_true", help=everyone)
    parser.add_argument("-H", action="store_true", dest="threads", help="threads; the columns " + " ".join(THREADS))
    parser.add_argument("-u", action="store_true", help="the columns " + " ".join(USER))
    parser.add_argument(
        "-o", metavar="COLUMNS", action="append", help="columns: " + " ".join(COLUMNS) + ", or a member of the record"
    )
    parser.add_argument("-w", action="count", default=0, help="132 columns; -ww: whole lines")
    parser.add_argument("-p", metavar="PID", help="only these processes (a comma-separated list)")
    parser.add_argument("-t", metavar="TTY", help="only of these terminals: device numbers, hexadecimal as in TT")
    parser.add_argument("-U", metavar="UID", help="only of these users")


def run(arguments: argparse.Namespace) -> None:
    """The command."""
    names = [name for part in arguments.o or [] for name in part.replace(",", " ").split()]
    chosen = [column(name) for name in names or (USER if arguments.u else THREADS if arguments.threads else PLAIN)]
    wanted = {name: numbers(name, getattr(arguments, name)) for name in FILTERS}
    with open_live(arguments) as kd:
        kd.message = ""
        everyone = kd.processes(KERN_PROC_KTHREAD, argv=all_arguments(arguments, chosen))
        warning = kd.message  # of a list that is damaged, while another one is whole
        rows = [row for p in everyone if matches(p, wanted) for row in rows_of(kd, p, arguments.threads)]
        if arguments.json:
            put_json([as_json(row) for row in rows])
        else:
            table(chosen, rows, width(arguments.w))
    if warning:
        print(f"pykvm: {warning}", file=sys.stderr)
    if not rows and any(chosen is not None for chosen in wanted.values()):
        asked = " ".join(f"-{flag} {getattr(arguments, flag)}" for flag, chosen in wanted.items() if chosen is not None)
        raise KvmError(f"no such process: {asked}")


def all_arguments(arguments: argparse.Namespace, chosen: Sequence[Column]) -> bool:
    """Whether the arguments of all processes will be shown."""
    some = any(getattr(arguments, flag) is not None for flag in FILTERS)
    return not some and (arguments.json or any(c.show is COLUMNS["command"].show for c in chosen))


def rows_of(kd: Kvm, p: ProcessRecord, threads: bool) -> list[Row]:
    """The process, or its threads: none if it has ended meanwhile, on a system that runs."""
    if not threads:
        return [Row(kd, p)]
    try:
        return [Row(kd, p, thread) for thread in kd.threads(p)]
    except KvmError:
        if kd.info.live and p.pid is not None and not kd.processes(KERN_PROC_PID, p.pid):
            return []
        raise


def column(name: str) -> Column:
    """A column by its name, as in ps(1), or by a member of the record (kp_eproc.e_jobc, p_priority); NAME=TITLE
    gives it another title. KvmError if there is none like it."""
    name, equals, title = name.partition("=")
    plain = ALIASES.get(name.lower(), name.lower())
    if plain in COLUMNS:
        found = COLUMNS[plain]
    elif name.startswith(("p_", "ki_")) or "." in name:
        found = Column(name.rpartition(".")[2].upper(), True, _member(name))
    else:
        raise KvmError(f"-o {name}: no such column (there are: {' '.join(COLUMNS)}, and members of the record)")
    return found._replace(title=title) if equals else found


def _member(path: str) -> Callable[[Row], Any]:
    def show(row: Row) -> Any:
        value: Any = row.p
        try:
            for part in path.split("."):
                value = getattr(value, part)
        except AttributeError:
            raise KvmError(f"-o {path}: this system's records have no such member") from None
        return text(value) if isinstance(value, bytes) else value

    return show


def numbers(flag: str, given: str | None) -> set[int] | None:
    """The numbers of a comma-separated list (hexadecimal for -t); None if the flag was not given."""
    if given is None:
        return None
    try:
        return {int(word, 16 if flag == "t" else 10) for word in given.replace(",", " ").split()}
    except ValueError:
        raise KvmError(f"-{flag} {given}: not a number") from None


def matches(p: ProcessRecord, wanted: dict[str, set[int] | None]) -> bool:
    """Whether a process is one that is asked for."""
    return all(chosen is None or getattr(p, FILTERS[flag]) in chosen for flag, chosen in wanted.items())


def as_json(row: Row) -> dict[str, Any]:
    """A process with all its attributes; argv and environ null where they cannot be read."""
    found = {name: getattr(row.p, name) for name in sorted(PROCESS_NAMES)}
    for name, vector in (("argv", row.kd.argv), ("environ", row.kd.environ)):
        try:
            found[name] = [text(word) for word in vector(row.p)]
        except KvmError:
            found[name] = None
    if row.thread is not None:
        found["thread"] = {name: getattr(row.thread, name) for name in THREAD}
    return found


def width(wide: int) -> int | None:
    """Columns to show: a terminal's width unless -w; what goes to a file or pipe is not cut."""
    if wide:
        return WIDE if wide == 1 else None
    return columns() if sys.stdout.isatty() else None


def table(columns: Sequence[Column], rows: Sequence[Row], limit: int | None) -> None:
    """Aligned columns, the last one as long as it is, lines cut at `limit`."""
    # Column by column: of a list that is long, most of the time would go into the loops.
    texts = [[c.title, *("-" if v is None or v == "" else str(v) for v in map(c.show, rows))] for c in columns]
    cells = []
    for c, column in zip(columns, texts, strict=True):
        if c is columns[-1] and not c.right:
            cells.append(column)
        else:
            width = max(map(len, column))
            cells.append([cell.rjust(width) if c.right else cell.ljust(width) for cell in column])
    put_lines((" ".join(line).rstrip() for line in zip(*cells, strict=True)), limit)
