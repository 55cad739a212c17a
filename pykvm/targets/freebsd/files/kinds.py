"""What a struct file is open on, by its kind: a path, a name of its own, or the kind's word.

Source: the fo_fill_kinfo of each kind of file, which is what procstat(1) and fstat(1) show. Numbers: DTYPE_* of
<sys/file.h>.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pykvm.errors import KvmError
from pykvm.records import text
from pykvm.targets.base import Parts
from pykvm.targets.common.columns import Columns
from pykvm.targets.freebsd.files import sockets
from pykvm.targets.freebsd.files.paths import Paths

if TYPE_CHECKING:
    from pykvm.targets.freebsd.kernel import FreeBSD

VNODE, SOCKET, PIPE, FIFO, KQUEUE, CRYPTO, MQUEUE, SHM, SEM, PTS, DEV, PROCDESC = range(1, 13)
EVENTFD, TIMERFD, INOTIFY, JAILDESC = range(13, 17)  # since 13.0 (up to 12 Linux' own: 12.1), 15.0
WORDS = {
    SOCKET: "socket", PIPE: "pipe", KQUEUE: "kqueue", CRYPTO: "crypto", MQUEUE: "mqueue", SHM: "shm", SEM: "sem",
    PTS: "pts", DEV: "dev", PROCDESC: "procdesc", EVENTFD: "eventfd", TIMERFD: "timerfd", INOTIFY: "inotify",
    JAILDESC: "jaildesc",
}  # fmt: skip
PATH_MAX = 1024


def names(target: FreeBSD, parts: Parts, read: Columns, files: Sequence[int]) -> list[str | None]:
    """Of each struct file; None where it cannot be told."""
    kinds = read.member(files, "file", "f_type")
    vnodes = read.member(files, "file", "f_vnode")
    data = read.member(files, "file", "f_data")
    paths = Paths(target, parts)
    return [_name(read, paths, *row) for row in zip(kinds, vnodes, data, strict=True)]


def _name(read: Columns, paths: Paths, kind: int | None, vnode: int | None, data: int | None) -> str | None:
    if kind in (VNODE, FIFO):
        return paths.of(vnode) if vnode else None
    own = OWN.get(kind or 0)
    if own is not None and data:
        try:
            found = own(read, data)
            if found:
                return found
        except KvmError:
            pass
    return WORDS.get(kind or 0)


def _behind(struct: str, member: str) -> Callable[[Columns, int], str | None]:
    """A string that a member points at."""

    def name(read: Columns, at: int) -> str | None:
        where = read.memory.read_ptr(at + read.offset(struct, member))
        return text(read.memory.read_cstr(where, PATH_MAX)) if where else None

    return name


def _queue(read: Columns, at: int) -> str:
    field = read.text_field("mqfs_node", "mn_name")
    return "/" + text(read.memory.read_cstr(at + field.offset, field.size))


def device(read: Columns, cdev: int) -> str:
    """The name of a device, below /dev."""
    field = read.text_field("cdev", "si_name")
    return text(read.memory.read_cstr(cdev + field.offset, field.size))


def _terminal(read: Columns, at: int) -> str | None:
    """The master side of a pseudo-terminal."""
    cdev = read.memory.read_ptr(at + read.offset("tty", "t_dev"))
    return device(read, cdev) if cdev else None


# Kinds that have names, from f_data.
OWN: dict[int, Callable[[Columns, int], str | None]] = {
    SOCKET: sockets.describe,
    MQUEUE: _queue,
    SHM: _behind("shmfd", "shm_path"),
    SEM: _behind("ksem", "ks_path"),
    PTS: _terminal,
}
