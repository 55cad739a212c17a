"""The part of Kvm that asks its kernel: processes, files, load, messages."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from pykvm.constants import KERN_PROC_KTHREAD
from pykvm.errors import KvmError
from pykvm.memory import Memory
from pykvm.records import FileRecord, KvmPage, ProcessRecord
from pykvm.targets.base import Message, Parts, Target, Thread


class Recorded:
    """Keeps a KvmError that passes as the handle's message."""

    def __init__(self, kd: Memory) -> None:
        self.kd = kd

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        if isinstance(value, KvmError):
            self.kd.note(value)


class Asking(Memory):
    """Questions to the target. What fails raises KvmError, and is kept as the handle's message."""

    @property
    @abstractmethod
    def parts(self) -> Parts:
        """What the target works with."""

    @property
    @abstractmethod
    def target(self) -> Target:
        """The kernel that was recognised."""

    @property
    @abstractmethod
    def no_files(self) -> bool:
        """Whether the handle was opened without memory."""

    def _ready(self) -> Target:
        """The target, of which memory can be read; else the reason why not, before a call fails for it."""
        target = self.target
        if self.unreadable is not None and not self.no_files:
            raise KvmError(self.unreadable)
        return target

    def processes(self, op: int = KERN_PROC_KTHREAD, arg: int = 0, *, argv: bool = False) -> list[ProcessRecord]:
        """The processes that op (a KERN_PROC_*) and arg select, as kvm_getprocs(3) gives them.

        argv: kd.argv() will be asked of them, of which it may then say what it was when the list was made: of a
        system that runs, to read all at once takes half the time.
        """
        with Recorded(self):
            target = self._ready()
            return (target.with_argv if argv else target.getprocs)(self.parts, op, arg)

    def threads(self, p: ProcessRecord) -> list[Thread]:
        """The threads of a process."""
        with Recorded(self):
            self._check_record(p)
            return self._ready().threads(self.parts, p)

    def _check_record(self, p: ProcessRecord) -> None:
        if not isinstance(p, ProcessRecord):
            raise TypeError("p must be a process record")
        if p.memory not in (None, self):
            raise KvmError(f"process {p.pid}: the record is of another handle")

    def argv(self, p: ProcessRecord, nchr: int = 0) -> list[bytes]:
        """The argument vector; empty for a zombie or a process without. nchr: most bytes, 0 for all."""
        return self.vector(p, False, nchr) or []

    def environ(self, p: ProcessRecord, nchr: int = 0) -> list[bytes]:
        """The environment, as argv()."""
        return self.vector(p, True, nchr) or []

    def vector(self, p: ProcessRecord, environment: bool, nchr: int) -> list[bytes] | None:
        """What kvm_getargv(3) or kvm_getenvv(3) gives, raising; None: the process has none."""
        with Recorded(self):
            self._check_record(p)
            return self.target.arguments(self.parts, p, environment, nchr)

    def lwps(self, pid: int, paddr: int, elemsize: int | None = None) -> list[ProcessRecord]:
        """The LWPs of the process at paddr, as kvm_getlwps(3) gives them; raising."""
        with Recorded(self):
            return self._ready().getlwps(self.parts, pid, paddr, elemsize)

    def loadavg(self) -> list[float]:
        """The load averages of 1, 5 and 15 minutes."""
        with Recorded(self):
            return self._ready().loadavg(self.parts)

    def files(self) -> list[FileRecord]:
        """The open files, as kvm_getfiles(3) gives them."""
        with Recorded(self):
            return self._ready().getfiles(self.parts, 0, 0)

    def dmesg(self) -> bytes:
        """The kernel's message buffer, oldest line first."""
        with Recorded(self):
            return self._ready().dmesg(self.parts)

    def pages(self) -> Iterator[KvmPage]:
        """The dump's pages, as kvm_walk_pages(3) gives them."""
        with Recorded(self):
            yield from self._ready().walk_pages(self.parts)

    def messages(self) -> Iterator[Message]:
        """The message buffer's records, oldest first: time, priority and text, as far as the kernel keeps them."""
        with Recorded(self):
            yield from self._ready().messages(self.parts)

    def facts(self) -> dict[str, Any]:
        """What `pykvm info` says of the system: title -> value, times in seconds, sizes in bytes."""
        with Recorded(self):
            return self.target.facts(self.parts)
