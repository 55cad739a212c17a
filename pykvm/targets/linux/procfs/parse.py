"""What the files of /proc/PID say: proc(5); do_task_stat() and proc_pid_status() of fs/proc/array.c.

Nothing is made of what does not look as the kernel writes it: a file may be cut short, or not be the kernel's (lxcfs).
"""

from __future__ import annotations

import re
from typing import NamedTuple

# The fields of stat behind the letter of the state, which is its third; to Linux 3.5, which added the last.
FIELDS = (
    "ppid pgrp session tty_nr tpgid flags minflt cminflt majflt cmajflt utime stime cutime cstime priority nice "
    "threads itrealvalue starttime vsize rss rsslim startcode endcode startstack kstkesp kstkeip signal blocked "
    "sigignore sigcatch wchan nswap cnswap exit_signal processor rt_priority policy delayacct guest_time cguest_time "
    "start_data end_data start_brk arg_start arg_end env_start env_end exit_code"
).split()
NEEDED = FIELDS.index("rsslim") + 1
STARTTIME = FIELDS.index("starttime")
FLAGS = FIELDS.index("flags")
WIDEST = 20  # digits of a number of 64 bits
MAX_GROUPS = 65536  # NGROUPS_MAX

PID = re.compile(rb"(\d{1,10}) \(")
NUMBERS = re.compile(rb"([A-Za-z])((?: -?\d{1,%d}){%d,99})\n?" % (WIDEST, NEEDED))
# Names have no newlines in status, where they are escaped: no line can be made up by a name.
IDS = re.compile(rb"\nUid:" + rb"\s+(\d{1,10})" * 4 + rb"\nGid:" + rb"\s+(\d{1,10})" * 4 + rb"\n")
LEADER = re.compile(rb"\nTgid:\s+(\d{1,10})\n")
# Sets of signals, of which MIPS has 128.
SIGNALS = (b"SigPnd", b"ShdPnd", b"SigBlk", b"SigIgn", b"SigCgt")
SETS = re.compile(b"".join(rb"\n%b:\s+([\da-f]{8,32})" % key for key in SIGNALS) + rb"\n")
GROUPS = re.compile(rb"\nGroups:([\d \t]*)\n")


class Stat(NamedTuple):
    """A line of stat; words: FIELDS, as they are there, as many as there are."""

    pid: int
    name: bytes
    letter: str
    words: list[bytes]

    @property
    def began(self) -> int:
        """When, in the clock's ticks since boot: with the number, what tells processes apart."""
        return int(self.words[STARTTIME])

    @property
    def flags(self) -> int:
        """The task's PF_*."""
        return int(self.words[FLAGS])


def stat(raw: bytes) -> Stat | None:
    """None if it makes no sense. A name may have blanks, parentheses and newlines: it ends at the last of them."""
    first, end = PID.match(raw), raw.rfind(b") ")
    if first is None or end < first.end():
        return None
    rest = NUMBERS.fullmatch(raw, end + 2)
    if rest is None:
        return None
    return Stat(int(first[1]), raw[first.end() : end], rest[1].decode(), rest[2].split())


class Ids(NamedTuple):
    """A user's and a group's numbers of a process."""

    ruid: int
    uid: int
    svuid: int
    rgid: int
    gid: int
    svgid: int


def ids(status: bytes) -> Ids | None:
    """Of status; None if it does not tell."""
    found = IDS.search(status)
    return None if found is None else Ids(*map(int, found.group(1, 2, 3, 5, 6, 7)))


def leader(status: bytes) -> int | None:
    """The number of the process that it is the status of, or of a thread of which."""
    found = LEADER.search(status)
    return None if found is None else int(found[1])


def groups(status: bytes) -> list[int] | None:
    """The supplementary groups."""
    found = GROUPS.search(status)
    words = [] if found is None else found[1].split()
    if found is None or len(words) > MAX_GROUPS or any(len(word) > 10 for word in words):
        return None
    return [int(word) for word in words]


def count(key: str) -> re.Pattern[bytes]:
    """Finds a number in status, or one of kilobytes."""
    return re.compile(rb"\n%b:\s+(\d{1,%d})(?: kB)?\n" % (key.encode(), WIDEST))


class Signals(NamedTuple):
    """Sets of signals: bit n - 1 is signal n."""

    pending: int
    shared: int
    sigmask: int
    sigignore: int
    sigcatch: int


def signals(status: bytes) -> Signals | None:
    """Of status; None if it does not tell."""
    found = SETS.search(status)
    return None if found is None else Signals(*(int(word, 16) for word in found.groups()))


def value(pattern: re.Pattern[bytes], status: bytes) -> int | None:
    """What is found; None if it is not there."""
    found = pattern.search(status)
    return None if found is None else int(found[1])
