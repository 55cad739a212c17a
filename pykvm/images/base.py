"""What every image format hands on: where physical memory lies."""

from __future__ import annotations

import copy
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from pykvm._native.ffi import NEAR, ffi, lib, unset
from pykvm.errors import AddressError, KvmError
from pykvm.images.held import Extent, Extents, Held
from pykvm.images.hostfile import HostFile
from pykvm.images.notes import Notes
from pykvm.images.reasons import REASONS

window, read, unpack = lib.pk_image_window, lib.pk_image_read, ffi.unpack
FIND_CHUNK = 64 << 20
SNAPSHOT = 64 << 20  # bytes of pages that one keeps
DEVICE = 1 << 62  # a character device (/dev/mem) has no size


NO_NOTES = Notes(None, ())


class Image:
    """A memory image over open files.

    `format` is kd.info's word for it; `held` how it holds memory; `machine` and `byteorder` are what its header says,
    None where it says nothing; `flaw` is why a header that seemed to be there is none (None: there is no trace of one);
    `declared` is how many bytes of memory the header promises; `facts` is what `pykvm info` says of the container.
    `live`: the memory is of a system that runs. Of a kernel's own view of itself (/proc/kcore), `linear` are ranges of
    virtual addresses (first, last, physical) that are memory as it is, and `direct` (first, last, offset, sure) those
    that its first file has from that offset on (pk_space_direct); `again` looks whether they are others by now.
    """

    def __init__(
        self,
        format: str,
        files: Sequence[HostFile],
        held: Held,
        *,
        machine: str | None = None,
        byteorder: str | None = None,
        header: Any = None,
        flaw: str | None = None,
        declared: int | None = None,
        notes: Notes = NO_NOTES,
        facts: Mapping[str, Any] | None = None,
        live: bool = False,
        linear: Sequence[tuple[int, int, int]] = (),
        direct: Sequence[tuple[int, int, int, bool]] = (),
        again: Callable[[Image], Image | None] | None = None,
    ) -> None:
        self.format = format
        self.files = tuple(files)
        self.held = held
        self.machine = machine
        self.byteorder = byteorder
        self.header = header
        self.flaw = flaw
        self.declared = declared
        self.vmcoreinfo = notes.vmcoreinfo
        self.cpus = notes.cpus
        self.facts = facts or {}
        self.linear = linear
        self.direct = direct
        self._again = again
        self._target_file = 0
        self.core = _open(self.files)
        held.install(self.core, self.files)
        self.live = live  # where something was found once, it may not be the next time
        if live:
            lib.pk_image_live(self.core)

    def again(self) -> Image | None:
        """Of a kernel's own view of itself: another image, if its memory lies elsewhere by now."""
        return None if self._again is None else self._again(self)

    @property
    def path(self) -> str:
        """The name of the (first) file."""
        return self.files[0].path

    @cached_property
    def memory_size(self) -> int:
        """Bytes of physical memory that the files hold."""
        return self.held.size(self.core, self.files)

    @property
    def missing(self) -> int:
        """Bytes that the files lack: a core that was cut, or is being copied. Of memory that the header promises, else
        of the file, by what is in it."""
        if self.declared is not None:
            return max(0, self.declared - self.memory_size)
        return self.held.cut(self.core, self.files)

    @property
    def left_out(self) -> int | None:
        """Bytes of memory that whoever wrote the dump left out of it on purpose; None where it does not say."""
        return self.held.left_out(self.core)

    def zero_excluded(self) -> None:
        """From now on memory that was left out reads as zeros."""
        lib.pk_image_zero_excluded(self.core, True)

    def one_at_a_time(self) -> None:
        """Only one thread may read the (first) file at a time."""
        if not lib.pk_image_one_at_a_time(self.core, 0):
            raise KvmError("out of memory")

    def write_through(self, file: int) -> None:
        """What is written goes to this file, at its physical address."""
        self._target_file = file
        lib.pk_image_write_through(self.core, file)

    @property
    def written(self) -> HostFile:
        """The file that is written to."""
        return self.files[self._target_file]

    def snapshot(self, page_size: int) -> Image:
        """The same memory, each page of it as it is when it is read first from now on."""
        still = copy.copy(self)
        still.core = ffi.gc(lib.pk_image_snapshot(self.core, page_size, SNAPSHOT), lib.pk_image_unref)
        if still.core == ffi.NULL:
            raise KvmError("out of memory")
        still.live, still.direct = False, ()
        return still

    @property
    def lowest(self) -> int:
        """The lowest physical address that the image knows of; 0 if it has no memory."""
        return self.held.lowest(self.files)

    def release(self) -> None:
        """Let go of what has been read of mapped files: it is read again when it is needed."""
        lib.pk_image_release(self.core)

    def ranges(self) -> Iterator[tuple[int, int]]:
        """(first address, end) of all memory, in order; of sparse files only what is not a hole."""
        return self.held.ranges(self.files)

    def find(self, needle: bytes, offset: int, step: int, progress: Callable[[int], None]) -> Iterator[int]:
        """The physical addresses, offset + any number of steps, at which these bytes lie; progress is told how many
        bytes have been gone through."""
        done = 0
        for start, end in self.ranges():
            at = start + (offset - start) % step
            while at < end:
                stop = min(end, at + FIND_CHUNK)
                found = int(lib.pk_image_find(self.core, at, stop, step, needle, len(needle)))
                if found < stop:
                    yield found
                    at = found + step
                else:
                    at += (stop - at + step - 1) // step * step
                progress(done + at - start)
            done += end - start

    def place(self, extents: Sequence[Extent]) -> None:
        """Say anew where memory lies, of an image that cannot tell (raw memory) when its kernel can."""
        self.held = Extents(extents)
        self.held.install(self.core, self.files)

    def read(self, addr: int, n: int) -> bytes:
        """n bytes of physical memory, or AddressError."""
        if n < 0:
            raise ValueError(f"negative length {n}")
        # A read that the image cannot hold is refused before room is taken for it.
        if not 0 <= addr < 1 << 64 or n > self.memory_size:
            raise AddressError(f"no memory at physical address {addr:x}", addr)
        data: bytes
        core = self.core
        mapped = window(core, addr, n) if n <= NEAR else None
        if mapped:
            data = unpack(mapped, n)
            return data
        buf = unset("char[]", n)
        if read(core, addr, buf, n, ffi.NULL) == n:
            data = unpack(buf, n)
            return data
        fault = ffi.new("pk_fault *")
        got = read(core, addr, buf, n, fault)
        if fault.status == lib.PK_EIO:
            raise KvmError(f"{self.path}: {os.strerror(fault.os_error)}")
        if fault.status == lib.PK_EMEM:
            raise KvmError("out of memory")
        why = REASONS.get(fault.status, "no memory")
        raise AddressError(f"{why} at physical address {addr + got:x} in {self.path}", addr + got)


def _open(files: Sequence[HostFile]) -> Any:
    core = ffi.gc(lib.pk_image_new(), lib.pk_image_unref)
    if core == ffi.NULL:
        raise KvmError("out of memory")
    for file in files:
        size = DEVICE if stat.S_ISCHR(file.mode) else file.size
        got = lib.pk_image_add_part(core, file.fd, file.start, size, file.readable and size != DEVICE)
        if got < 0:
            raise KvmError(f"{file.path}: {os.strerror(-got)}")
    return core


# A probe takes the open files and gives an Image, or None if the files are of another format.
Probe = Callable[[Sequence[HostFile]], "Image | None"]
