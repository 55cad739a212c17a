"""The files of /proc, or of a directory like it: whoever tests may have made that.

A process's files are opened by its directory: that goes on being of this process when another one has its number.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from pykvm._native.ffi import ffi, lib
from pykvm.errors import CLOSED, KvmError

FILE = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # where /proc is not the kernel's, a pipe may be called like a file
PLACE = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
LISTED = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
FIRST = 8192  # bytes: all of most files
MAX_FILE = 1 << 20
MAX_NUMBER = 1 << 31  # of processes and descriptors
# What is wrong with the reader, not with what it reads: nothing is left out for that.
OURS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
GONE = (errno.ENOENT, errno.ESRCH)


def short(name: str, at: int) -> bytes:
    """A file that the kernel writes in one piece (seq_file(9)'s single_open), such as stat and status; it is whole if
    it is not longer than MAX_FILE."""
    fd = os.open(name, FILE, dir_fd=at)
    try:
        data = os.read(fd, FIRST)
        return data if len(data) < FIRST else data + _rest(fd, MAX_FILE)
    finally:
        os.close(fd)


def whole(name: str, at: int | None = None, limit: int = MAX_FILE) -> bytes:
    """A file to its end, or to the limit."""
    fd = os.open(name, FILE, dir_fd=at)
    try:
        return _rest(fd, limit)
    finally:
        os.close(fd)


def _rest(fd: int, limit: int) -> bytes:
    parts = []
    while limit > 0:
        part = os.read(fd, min(limit, 1 << 17))
        if not part:
            break
        parts.append(part)
        limit -= len(part)
    return b"".join(parts)


def numbers(name: str, at: int | None = None) -> list[int]:
    """The entries of a directory that are numbers, in order."""
    fd = os.open(name, LISTED, dir_fd=at)
    try:
        found = os.listdir(fd)  # noqa: PTH208 - only the names
    finally:
        os.close(fd)
    return sorted(n for n in map(number, found) if n is not None)


def number(word: str) -> int | None:
    """The number that is spelt as the kernel does; None if it is none."""
    if not word or not word.isascii() or not word.isdecimal() or len(word) > 10 or (word[0] == "0" and word != "0"):
        return None
    value = int(word)
    return value if value < MAX_NUMBER else None


class File(NamedTuple):
    """A file that each process has; once: as short() reads it; limit: bytes."""

    name: str
    once: bool = True
    limit: int = MAX_FILE


class Tree:
    """The directory."""

    def __init__(self, root: str = "/proc") -> None:
        self._root: str | None = root

    @property
    def root(self) -> str:
        """Its path; KvmError if the handle is closed."""
        if self._root is None:
            raise KvmError(CLOSED)
        return self._root

    def close(self) -> None:
        """What is asked from now on says that the handle is closed."""
        self._root = None

    @property
    def mounted(self) -> bool:
        """Whether there is something: `self` is a link even for who has no number in it (another PID namespace's)."""
        return os.path.lexists(f"{self.root}/self")

    def own(self) -> int | None:
        """This program's number there."""
        try:
            return number(os.readlink(f"{self.root}/self"))  # noqa: PTH115 - see types/layout.py
        except OSError:
            return None

    def processes(self) -> list[int]:
        """The numbers of all processes that are for this user to see (hidepid of proc(5)), in order."""
        try:
            return numbers(self.root)
        except OSError as e:
            raise unreadable(self.root, e) from e

    @contextmanager
    def process(self, which: int | str) -> Iterator[int]:
        """The directory of a process, or by its path that of a thread, open; OSError if there is none."""
        at = os.open(f"{self.root}/{which}", PLACE)
        try:
            yield at
        finally:
            os.close(at)

    def texts(self, pids: Sequence[int], files: Sequence[File]) -> list[list[bytes | int]]:
        """These files of each of these processes: what they say, or an errno (E2BIG: more than the limit)."""
        found = self._texts(pids, files)
        for i, texts in enumerate(found):
            if len(pids) > 1 and any(text in OURS for text in texts):
                # Several threads need more descriptors than one, or more memory: there may be enough now.
                (found[i],) = self._texts([pids[i]], files)
        return found

    def _texts(self, pids: Sequence[int], files: Sequence[File]) -> list[list[bytes | int]]:
        try:
            root = os.open(self.root, PLACE)
        except OSError as e:
            raise unreadable(self.root, e) from e
        try:
            found = lib.pk_texts_read(
                root,
                ffi.new("uint32_t[]", pids),
                len(pids),
                b"".join(file.name.encode() + b"\0" for file in files),
                len(files),
                ffi.new("uint64_t[]", [file.limit for file in files]),
                sum(1 << i for i, file in enumerate(files) if file.once),
            )
        finally:
            os.close(root)
        if found == ffi.NULL:
            raise KvmError("out of memory")
        try:
            total = sum(found.files[i].size for i in range(found.count))
            data = ffi.unpack(ffi.cast("char *", found.data), total)
            flat = [t.error or data[t.at : t.at + t.size] for t in ffi.unpack(found.files, found.count)]
        finally:
            lib.pk_texts_free(found)
        return [flat[i : i + len(files)] for i in range(0, len(flat), len(files))]

    def file(self, name: str) -> bytes:
        """What a file that is of no process says; KvmError if it cannot be read."""
        path = f"{self.root}/{name}"
        try:
            return whole(path)
        except OSError as e:
            raise unreadable(path, e) from e

    def left_out(self, pid: int, error: OSError) -> None:
        """A process cannot be read: it has ended, or is not for this user. KvmError if it is this program's fault."""
        if error.errno in OURS:
            raise unreadable(f"{self.root}/{pid}", error) from error


def unreadable(path: str, error: OSError) -> KvmError:
    """The error that a file cannot be read."""
    return KvmError(f"can't read {path}: {os.strerror(error.errno) if error.errno else error}")
