"""Open files by /proc/PID/fd and fdinfo."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from pykvm.records import FileRecord, text
from pykvm.types.layout import Struct, from_json

if TYPE_CHECKING:
    from pykvm.targets.linux.procfs.target import ProcFs

O_CLOEXEC = 0o2000000  # of the descriptor, not of the file
# What /proc tells of a struct file, by the names that the members have there.
FILE = {"file": {"size": 16, "fields": {"f_pos": [0, 8, "loff_t"], "f_flags": [8, 4, "unsigned int"]}}}


def structure() -> Struct:
    """Of the records."""
    return from_json(FILE, "/proc/PID/fdinfo").struct("file")


def getfiles(target: ProcFs) -> list[FileRecord]:
    """One record for each descriptor of each process whose descriptors are for this user to see."""
    layout = structure()
    rows = [row for pid in target.proc.numbers() for row in _of(target, pid)]
    buf = bytearray(len(rows) * layout.size)
    found = []
    for i, (pid, fd, path, position, flags) in enumerate(rows):
        base = i * layout.size
        for member, value in (("f_pos", position), ("f_flags", flags)):
            field = layout.field(member)
            at = base + field.offset
            value &= (1 << 8 * field.size) - 1
            buf[at : at + field.size] = value.to_bytes(field.size, target.host_order)
        found.append(FileRecord(layout, buf, base, target.byteorder, 0, pid, fd, path))
    return found


def _of(target: ProcFs, pid: int) -> list[tuple[int, int, str, int, int]]:
    found = []
    for fd in target.proc.numbers(str(pid), "fd"):
        try:
            path = os.readlink(os.fsencode(f"{target.proc.root}/{pid}/fd/{fd}"))  # noqa: PTH115 - names are bytes
        except OSError:
            continue
        told: dict[str, Any] = {}
        for line in (target.proc.read(str(pid), "fdinfo", str(fd)) or b"").split(b"\n"):
            key, _, value = line.partition(b":")
            told.setdefault(key.decode("ascii", "replace"), value.strip())
        position, flags = _number(told.get("pos"), 10), _number(told.get("flags"), 8)
        found.append((pid, fd, text(path), position, flags & ~O_CLOEXEC))
    return found


def _number(word: bytes | None, base: int) -> int:
    try:
        return int(word or b"0", base)
    except ValueError:
        return 0
