"""A file of the host: opened, checked for what it is, expanded if it is compressed."""

from __future__ import annotations

import errno
import mmap
import os
import pathlib
import signal
import stat
from collections.abc import Iterator
from typing import Any

from pykvm.errors import CLOSED, FormatError, KvmError
from pykvm.images import compressed, flattened
from pykvm.paths import Path


def _beyond_stdio(fd: int) -> int:
    """The same file by another descriptor."""
    import fcntl  # not on every host

    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(fd)


def _in_use(path: str) -> bool:
    """Whether a program has the file open for writing: where the host can tell (Linux, fcntl(2): a read lease is not
    given then; a memfd is nobody's but of programs that run), else not."""
    try:
        import fcntl  # not on every host

        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (ImportError, OSError, ValueError):
        return False
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return False
        link = pathlib.Path(f"/proc/self/fd/{fd}")
        if link.is_symlink() and str(link.readlink()).startswith("/memfd:"):
            return True
        # Who opens it for writing just now would have this process told by SIGIO, of which it dies.
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except (AttributeError, OSError) as e:
        return isinstance(e, OSError) and e.errno == errno.EAGAIN
    finally:
        os.close(fd)
    return False


class HostFile:
    """An open file: `path` as given, `fd`, `size` in bytes, `writable`, `compressed` (the scheme, or None).

    Only a part of the host's file may be meant: `start` is where it begins, and offsets are within it. `facts` is
    what was around it (a dump header), for `pykvm info`.
    """

    def __init__(self, path: Path, flags: int = os.O_RDONLY) -> None:
        """Open a regular file or block device; KvmError `<path>: <reason>` if that cannot be.

        A compressed file is expanded into an unlinked temporary file, which `fd` then is. kvm_openfiles(3)
        leaves special files to the reads that follow; here a directory, FIFO or socket is refused at once.
        """
        self.path = os.fsdecode(path)
        self.compressed: str | None = None
        self.runs: bool | None = None
        self.start = 0
        self.facts: dict[str, Any] = {}
        access = flags & os.O_ACCMODE
        self.readable = access in (os.O_RDONLY, os.O_RDWR)
        self.writable = access == os.O_RDWR
        self._used = self.writable and _in_use(self.path)  # before this handle uses it
        try:
            # O_NONBLOCK: opening a FIFO without a writer would wait for one.
            self.fd = os.open(self.path, flags | os.O_CLOEXEC | os.O_NONBLOCK | getattr(os, "O_NOCTTY", 0))
        except OSError as e:
            raise KvmError(f"{self.path}: {e.strerror}") from e
        except ValueError as e:  # an embedded NUL
            raise KvmError(f"{self.path!r}: {e}") from e
        if self.fd <= 2:  # a program closed one of these: what it prints must not go to the dump
            self.fd = _beyond_stdio(self.fd)
        try:
            self._examine()
        except BaseException:
            os.close(self.fd)
            raise

    def _examine(self) -> None:
        mode = os.fstat(self.fd).st_mode
        self.mode = mode
        if stat.S_ISDIR(mode):
            raise KvmError(f"{self.path}: Is a directory")
        if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
            raise KvmError(f"{self.path}: is a pipe or socket, which cannot be read at any offset")
        self.size = 0
        if not stat.S_ISCHR(mode):
            try:
                self.size = os.lseek(self.fd, 0, os.SEEK_END)
            except OSError as e:
                if not (stat.S_ISREG(mode) and e.errno == errno.EINVAL):  # files of /proc, which are made while read
                    raise KvmError(f"{self.path}: {e.strerror}") from e
        if stat.S_ISREG(mode) and self.readable:
            scheme = compressed.scheme_of(self.pread(0, compressed.MAGIC_SIZE))
            if scheme is not None:
                self._replace(compressed.expand(self.fd, self.path, scheme), scheme)
            if self.pread(0, len(flattened.SIGNATURE)) == flattened.SIGNATURE:
                self._replace(flattened.expand(self.fd, self.path), self.compressed or "makedumpfile -F")

    def _replace(self, fd: int, scheme: str) -> None:
        """Read an expanded file instead."""
        os.close(self.fd)
        self.fd = fd
        self.start = 0
        self.size = os.fstat(fd).st_size
        self.compressed = scheme

    def changing(self) -> bool:
        """Whether another program has the file open for writing, as QEMU has the RAM of its guest; or what whoever
        opened it says (`runs`)."""
        if self.runs is not None:
            return self.runs
        return self.compressed is None and (self._used if self.writable else _in_use(self.path))

    def narrow(self, start: int, size: int, scheme: str | None) -> None:
        """From now on only this part counts, expanded if it is compressed."""
        if scheme is not None:
            self._replace(compressed.expand(self.fd, self.path, scheme, (self.start + start, size)), scheme)
        else:
            self.start += start
            self.size = size

    def pread(self, offset: int, n: int) -> bytes:
        """Up to n bytes at an offset: fewer at the end of the file."""
        if offset < 0 or offset >= 1 << 63:
            return b""
        n = min(n, self.size - offset) if self.start else n
        offset += self.start
        try:
            parts = []
            while n > 0:
                part = os.pread(self.fd, n, offset)
                if not part:
                    break
                parts.append(part)
                offset += len(part)
                n -= len(part)
            return b"".join(parts)
        except OSError as e:
            raise KvmError(CLOSED if self.fd < 0 else f"{self.path}: {e.strerror}") from e

    def data(self, offset: int, size: int) -> Iterator[tuple[int, int]]:
        """(start, end) of what a range of the file has that is not a hole, where the host can tell."""
        at, end = self.start + offset, self.start + min(offset + size, self.size)
        while at < end:
            start, stop = at, end
            if hasattr(os, "SEEK_DATA"):
                try:
                    start = os.lseek(self.fd, at, os.SEEK_DATA)
                    stop = min(end, os.lseek(self.fd, start, os.SEEK_HOLE))
                except OSError as e:
                    if e.errno == errno.ENXIO:  # only a hole follows
                        return
            if start < stop:
                yield start - self.start, stop - self.start
            at = max(stop, at + 1)

    def contains(self, data: bytes) -> bool:
        """Whether these bytes are anywhere in the file."""
        if self.size < len(data):
            return False
        with mmap.mmap(self.fd, 0, access=mmap.ACCESS_READ) as view:
            return view.find(data, self.start, self.start + self.size) >= 0

    def exactly(self, offset: int, n: int, what: str) -> bytes:
        """n bytes at an offset, or FormatError that says which part of the file is missing."""
        if n > self.size - offset or offset > self.size:
            raise FormatError(
                f"{self.path}: {what}: {n} bytes at offset {offset} go beyond the end of the file ({self.size})"
            )
        data = self.pread(offset, n)
        if len(data) != n:
            raise FormatError(f"{self.path}: {what}: only {len(data)} of {n} bytes at offset {offset} can be read")
        return data

    def close(self) -> None:
        """Close the descriptor; a second call does nothing."""
        # Nobody may read by a number that another file has got meanwhile: it is forgotten first.
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)
