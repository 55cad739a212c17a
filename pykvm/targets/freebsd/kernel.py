"""The FreeBSD target: what it is, and which file answers what."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pykvm.errors import FormatError
from pykvm.images.base import Image
from pykvm.images.minidump import Minidump
from pykvm.machines.mmu import Translation
from pykvm.records import FileRecord, KvmPage, KvmSwap, ProcessRecord
from pykvm.symbols.base import Symbol, Symbols
from pykvm.targets.base import Message, Parts, Target, Thread
from pykvm.targets.freebsd import argv, facts, fulldump, identity, modules, msgbuf, pages, pcpu, platform, swap, vnet
from pykvm.targets.freebsd.procs import select
from pykvm.targets.freebsd.strings import string
from pykvm.targets.freebsd.types import AllTypes, KernelTypes
from pykvm.types.layout import Types

# Kernel files' machines (pykvm.symbols.elf) where a dump's header has one word for two.
SAME = {"mips64": "mips"}


class FreeBSD(Target):
    """FreeBSD on one of its machines; DragonFly is a kind of it.

    `kernphys` is the physical address of the kernel's first page, of an amd64 full dump (None: was not needed); `dpcpu`
    the CPU whose dynamic variables names mean, `vnet` what moves variables into the current network stack, once it is
    known.
    """

    def __init__(self, image: Image, symbols: Symbols | None, system: str) -> None:
        super().__init__()
        self.system = system
        self.machine = image.machine or ""
        self.byteorder = image.byteorder or "little"
        self.kernphys: int | None = None
        self._all_types: AllTypes | None = None
        self.scheme: fulldump.Scheme | None = None  # of page tables, of a full dump
        self.dpcpu = 0
        self.vnet: int | None = None
        if symbols is not None and SAME.get(symbols.machine or "") == self.machine:
            self.machine = symbols.machine or self.machine
        known = platform.PLATFORMS.get(self.machine)
        self.pointer_size = known.pointer_size if known is not None else 8
        if isinstance(image.header, Minidump):
            self.page_size = image.header.page_size

    @property
    def order(self) -> str:
        """The byte order as struct spells it."""
        return "<" if self.byteorder == "little" else ">"

    def translation(self, image: Image, symbols: Symbols | None) -> Translation | None:
        if symbols is not None:
            _refuse_foreign(image, symbols)
        if isinstance(image.header, Minidump):
            return platform.minidump(image, image.header, self.pointer_size, symbols)
        if symbols is None:
            return None
        found = fulldump.find(image, symbols)
        self.kernphys, self.scheme = found.kernphys, found.scheme
        return found.translation

    def check(self, parts: Parts) -> None:
        """See that the kernel file is the dump's, or move its symbols to where the kernel ran."""
        self.types = kernel = KernelTypes(parts, self.pointer_size)
        self.kerndisp = identity.check(self, parts)
        parts.symbols.chain(lambda: modules.read(self, parts))
        self._all_types = AllTypes(kernel, self, parts)

    @property
    def all_types(self) -> Types:
        return self.types if self._all_types is None else self._all_types

    def release(self, parts: Parts) -> tuple[str | None, str | None]:
        return string(parts, "osrelease", 64), string(parts, "version", identity.MAX_VERSION)

    def facts(self, parts: Parts) -> dict[str, Any]:
        return facts.facts(self, parts)

    def getprocs(self, parts: Parts, op: int, arg: int) -> list[ProcessRecord]:
        return select.getprocs(self, parts, op, arg)

    def arguments(self, parts: Parts, record: ProcessRecord, environment: bool, nchr: int) -> list[bytes] | None:
        return argv.vector(self, parts, record, environment, nchr)

    def threads(self, parts: Parts, record: ProcessRecord) -> list[Thread]:
        return select.threads(self, parts, record)

    def getfiles(self, parts: Parts, op: int, arg: int) -> list[FileRecord]:
        """The open files of all processes; op and arg select nothing."""
        from pykvm.targets.freebsd import files  # seldom asked for, and a start costs milliseconds

        return files.getfiles(self, parts)

    def loadavg(self, parts: Parts) -> list[float]:
        return facts.loadavg(self, parts)

    def elsewhere(self, parts: Parts, name: str) -> Symbol | None:
        return vnet.elsewhere(self, parts, name)

    def walk_pages(self, parts: Parts) -> Iterator[KvmPage]:
        return pages.walk(self, parts)

    def maxcpu(self, parts: Parts) -> int:
        return pcpu.maxcpu(parts)

    def ncpus(self, parts: Parts) -> int:
        return pcpu.ncpus(parts)

    def pcpu(self, parts: Parts, cpu: int) -> bytes | None:
        return pcpu.read(self, parts, cpu)

    def set_cpu(self, parts: Parts, cpu: int) -> None:
        pcpu.choose(self, parts, cpu)

    def cpu_copy(self, parts: Parts, base: int, cpu: int) -> int:
        return pcpu.copy(self, parts, base, cpu)

    def counter(self, parts: Parts, base: int) -> int:
        return pcpu.counter(self, parts, base)

    def swapinfo(self, parts: Parts) -> list[KvmSwap]:
        return swap.devices(self, parts)

    def cptime(self, parts: Parts) -> list[int]:
        return pcpu.cptime(self, parts)

    def dmesg(self, parts: Parts) -> bytes:
        return msgbuf.read(self, parts)

    def messages(self, parts: Parts) -> Iterator[Message]:
        return map(_message, msgbuf.read(self, parts).splitlines())


def _message(line: bytes) -> Message:
    """A line of the message buffer. What came through the console or log(9) begins with <priority>."""
    head, bracket, rest = line.partition(b">")
    if bracket and head[:1] == b"<" and head[1:].isdigit() and len(head) <= 5:
        return Message(None, int(head[1:]), rest)
    return Message(None, None, line)


def _refuse_foreign(image: Image, symbols: Symbols) -> None:
    machine = SAME.get(symbols.machine or "", symbols.machine)
    if machine not in (None, image.machine) or symbols.byteorder not in (None, image.byteorder):
        what = symbols.machine if machine != image.machine else f"{symbols.byteorder}-endian"
        text = f"bad namelist: {symbols.path} is of {what}, the dump {image.path} of {image.machine}"
        raise FormatError(text + (": not a minidump for this platform" if isinstance(image.header, Minidump) else ""))
