"""Open files by /proc/PID/fd and fdinfo: seq_show() of fs/proc/fd.c."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple

from pykvm.errors import KvmError
from pykvm.records import FileRecord, text
from pykvm.targets.common import pack as packing
from pykvm.targets.linux.procfs.tree import OURS, numbers, short
from pykvm.types.layout import Types, from_json

if TYPE_CHECKING:
    from pykvm.targets.linux.procfs.target import ProcFs

# What fdinfo tells of a struct file, by the names that the members have there.
LAYOUT = {"file": {"size": 16, "fields": {"f_pos": [0, 8, "long long"], "f_flags": [8, 4, "unsigned int"]}}}
POSITION = re.compile(rb"^pos:\s+(-?\d{1,20})\nflags:\s+([0-7]{1,11})\n")
O_CLOEXEC = os.O_CLOEXEC  # of the descriptor; struct file has it no more since Linux 5.13
TRIES = 5


class Opened(NamedTuple):
    """A descriptor of a process."""

    pid: int
    fd: int
    path: str
    f_pos: int
    f_flags: int


def structures() -> Types:
    """Of the records."""
    return from_json(LAYOUT, "/proc/PID/fdinfo")


def getfiles(target: ProcFs) -> list[FileRecord]:
    """One record for each descriptor, by process and number, of processes that this user may trace. If there are
    others, the handle's message says of how many."""
    tree = target.tree
    rows: list[Opened] = []
    hidden, own = 0, tree.own()
    for pid in tree.processes():
        try:
            with tree.process(pid) as at:  # which this program has open for the while only
                rows += (row for row in _of(pid, at) if pid != own or row.fd != at)
        except PermissionError:
            hidden += 1
        except OSError as e:
            tree.left_out(pid, e)
    if hidden:
        whose = f"{hidden} process{'es' if hidden > 1 else ''}"
        target.note(KvmError(f"kvm_getfiles: the files of {whose} are not for this user to see", soft=True))
    layout = target.types.struct("file")
    columns = {member: [getattr(row, member) for row in rows] for member in ("f_pos", "f_flags")}
    buf = packing.pack(columns, layout, target.order)
    return [
        FileRecord(layout, buf, i * layout.size, target.byteorder, None, row.pid, row.fd, row.path)
        for i, row in enumerate(rows)
    ]


def _of(pid: int, at: int) -> list[Opened]:
    """The descriptors of a process; OSError if it has ended, or they are not for this user."""
    found = [_one(pid, fd, at) for fd in numbers("fd", at)]
    return [row for row in found if row is not None]


def _one(pid: int, fd: int, at: int) -> Opened | None:
    """A descriptor: its path and what else is of the same file; None if it was closed meanwhile.
    PermissionError if it is not for this user."""
    for _ in range(TRIES):
        try:
            before = os.readlink(b"fd/%d" % fd, dir_fd=at)
            told = POSITION.match(short(f"fdinfo/{fd}", at))
            path = os.readlink(b"fd/%d" % fd, dir_fd=at)
        except PermissionError:
            raise
        except OSError as e:
            if e.errno in OURS:
                raise
            return None
        if path == before:
            break
    else:
        return None
    if told is None:
        return None
    return Opened(pid, fd, text(path), int(told[1]), int(told[2], 8) & ~O_CLOEXEC)
