"""What the files of /proc/PID say (proc(5); fs/proc/array.c, do_task_stat() and proc_pid_status())."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

MAX_FILE = 1 << 20  # of stat and status, which have one line, and some sixty
MAX_GROUPS = 65536
MAX_NUMBER = 1 << 64

Row = dict[str, Any]


class Proc:
    """A directory like /proc: whoever tests may have made it."""

    def __init__(self, root: str = "/proc") -> None:
        self.root = root

    def read(self, *names: str, limit: int = MAX_FILE) -> bytes | None:
        """A file's contents; None if it is not there (any more), or not for this user."""
        try:
            fd = os.open("/".join((self.root, *names)), os.O_RDONLY | os.O_CLOEXEC)
        except (OSError, ValueError):
            return None
        try:
            parts = []
            while limit > 0:
                part = os.read(fd, min(limit, 1 << 16))
                if not part:
                    break
                parts.append(part)
                limit -= len(part)
            return b"".join(parts)
        except OSError:
            return None
        finally:
            os.close(fd)

    def numbers(self, *names: str) -> list[int]:
        """The entries of a directory that are numbers, in order."""
        try:
            found = os.listdir("/".join((self.root, *names)))  # noqa: PTH208 - only the names
        except OSError:
            return []
        return sorted(int(name) for name in found if name.isascii() and name.isdecimal() and len(name) < 20)


# The fields of stat behind the name, from the third (state) on.
STAT = (
    "ppid pgid sid tty_nr tpgid flags minflt cminflt majflt cmajflt utime stime cutime cstime priority nice threads "
    "itrealvalue starttime vsize rss rsslim startcode endcode startstack kstkesp kstkeip signal blocked sigignore "
    "sigcatch wchan nswap cnswap exit_signal processor rt_priority policy delayacct guest_time cguest_time start_data "
    "end_data start_brk arg_start arg_end env_start env_end exit_code"
).split()


def stat(raw: bytes) -> Row | None:
    """The fields of /proc/PID/stat by name, with `pid`, `comm` (bytes) and `letter`; None if it makes no sense. A name
    may have blanks and parentheses: it ends at the last one."""
    start, end = raw.find(b" ("), raw.rfind(b") ")
    words = raw[end + 2 :].split()
    if start < 0 or end < start or len(words) < 22 or len(words[0]) != 1:
        return None
    try:
        row: Row = {name: _number(word) for name, word in zip(STAT, words[1:], strict=False)}
        row["pid"] = _number(raw[:start])
    except ValueError:
        return None
    row["comm"] = raw[start + 2 : end]
    row["letter"] = words[0].decode("ascii", "replace")
    return row


def _number(word: bytes) -> int:
    value = int(word)
    if not -MAX_NUMBER < value < MAX_NUMBER:
        raise ValueError
    return value


class Ids(NamedTuple):
    """The real, effective, saved and file system id."""

    real: int
    effective: int
    saved: int
    fs: int


def status(raw: bytes) -> dict[str, Any]:
    """What /proc/PID/status says, by its words, as far as it makes sense."""
    found: dict[str, Any] = {}
    for line in raw.split(b"\n"):
        key, colon, value = line.partition(b":")
        name = key.decode("ascii", "replace")
        how = KEYS.get(name)
        if colon and how is not None:
            try:
                found[name] = how(value)
            except (ValueError, TypeError, IndexError):
                continue
    return found


def _ids(value: bytes) -> Ids:
    return Ids(*(_number(word) for word in value.split()))


def _groups(value: bytes) -> list[int]:
    return [_number(word) for word in value.split()[:MAX_GROUPS]]


def _kilobytes(value: bytes) -> int:
    return _number(value.split()[0])


def _mask(value: bytes) -> int:
    return int(value.strip()[-16:], 16)


KEYS: dict[str, Callable[[bytes], Any]] = {
    "Uid": _ids, "Gid": _ids, "Groups": _groups,
    "VmHWM": _kilobytes, "VmData": _kilobytes, "VmStk": _kilobytes, "VmExe": _kilobytes,
    "SigPnd": _mask, "ShdPnd": _mask, "SigBlk": _mask, "SigIgn": _mask, "SigCgt": _mask,
    "voluntary_ctxt_switches": _kilobytes, "nonvoluntary_ctxt_switches": _kilobytes,
}  # fmt: skip
