"""A kernel of NetBSD's or OpenBSD's: what both do alike."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, ClassVar

from pykvm.errors import FormatError, KvmError
from pykvm.images.base import Image
from pykvm.images.hostfile import HostFile
from pykvm.machines.mmu import Translation
from pykvm.memory import Memory
from pykvm.records import ProcessRecord, text
from pykvm.symbols.base import Symbols
from pykvm.targets import netbsd, openbsd
from pykvm.targets.base import Parts, Target
from pykvm.targets.bsd import argv, loadavg, msgbuf
from pykvm.targets.bsd.machines import Machine, Mmu, refuse_foreign
from pykvm.targets.bsd.pmap import Pmap
from pykvm.targets.bsd.types import KernelTypes
from pykvm.targets.bsd.uvm import Anons, UserMemory
from pykvm.targets.bsd.variables import count, number, shown, string, time_of
from pykvm.types import layout

MAX_VERSION = 1024
USER_TLB = 64  # translations that are kept of one process


class Bsd(Target):
    """A kernel on one of its machines. A system's own class says in `prefix_words` how many longs are before the text
    of its message buffer, and in `records` what tables its records are in, by the size of a pointer."""

    prefix = "_"
    prefix_words = 4
    guessed = False  # the names do not say whose kernel it is
    records: ClassVar[Mapping[int, str]] = {}

    def __init__(self, where: Machine) -> None:
        super().__init__()
        self.where = where
        self.machine = where.name
        self.byteorder = where.byteorder
        self.pointer_size = where.pointer_size
        self.page_size = where.page_size
        self.tables: Mmu | None = None

    def translation(self, image: Image, symbols: Symbols | None) -> Translation | None:
        if symbols is None:
            return None
        refuse_foreign(image, symbols)
        found = self.where.find(image, symbols)
        if found is None and image.format == "elf":
            raise FormatError(
                f"bad namelist: {symbols.path} is not the kernel of {image.path}: there are no page tables where it "
                "says (or the dump was cut)"
            )
        if found is None:
            return None
        self.tables = found
        self.page_size = found.page_size
        return found.translation()

    def settled(self, parts: Parts) -> Target:
        """The other system's target, if memory says that it is its; KvmError where nothing says whose it is."""
        here = string(parts, "version", MAX_VERSION) or string(parts, "ostype", 64) or ""
        system = here.partition(" ")[0]
        make = {"NetBSD": netbsd.target, "OpenBSD": openbsd.target}.get(system)
        if make is not None and system != self.system:
            found = make(parts.image, parts.symbols, self.machine)
            if found is not None:
                found.translation(parts.image, parts.symbols)
                return found
        if self.guessed and not here:
            raise KvmError(
                f"{parts.symbols.path}: of which system the dump is cannot be told by these names: version, ostype, "
                "lwp0 (NetBSD) and allprocess (OpenBSD) would say"
            )
        return self

    def check(self, parts: Parts) -> None:
        """See that the version text in memory is this system's, and that of the kernel file, if that holds one."""
        namelist, image = parts.symbols.path, parts.image.path
        symbol = parts.symbols.loose("version")
        version = string(parts, "version", MAX_VERSION)
        if symbol is not None and not version and (version is not None or not _there(parts, symbol.value)):
            raise FormatError(
                f"bad namelist: {namelist} is not the kernel of {image}: there is nothing at {symbol.value:#x}, where "
                "its version is (or the dump was cut)"
            )
        first = (version or "").partition("\n")[0].encode("utf-8", "surrogateescape")
        if symbol is not None and first and not first.startswith(self.system.encode() + b" "):
            raise FormatError(
                f"bad namelist: {namelist} is not the kernel of {image}: at {symbol.value:#x}, where its version is, "
                f"there is {shown(first)}, which is no {self.system} (or the dump is damaged)"
            )
        if first and parts.kernel is not None and _another(parts, parts.kernel, first, self.system.encode() + b" "):
            raise FormatError(f"bad namelist: {namelist} is not the kernel of {image}, whose version is {shown(first)}")
        release = string(parts, "osrelease", 64)
        if first and release and release.encode("utf-8", "surrogateescape") not in first:
            raise FormatError(
                f"bad namelist: {namelist} is not the kernel of {image}: its osrelease is "
                f"{shown(release.encode('utf-8', 'surrogateescape'))}, its version {shown(first)}"
            )
        self.types = KernelTypes(parts, self.system, self.release(parts)[0], self.machine)
        self.types.update(layout.builtin(self.record_table))

    @property
    def record_table(self) -> str:
        """The table of the records of this machine."""
        return self.records[self.pointer_size]

    def release(self, parts: Parts) -> tuple[str | None, str | None]:
        version = string(parts, "version", MAX_VERSION)
        release = string(parts, "osrelease", 64)
        if not release and version and version.startswith(self.system + " "):
            release = version.split(" ")[1].partition("-")[0]
        return release or None, version or None

    def facts(self, parts: Parts) -> dict[str, Any]:
        found: dict[str, Any] = {}
        name = string(parts, "hostname", 256)
        if name:
            found["hostname"] = name
        for title, seconds in (("boot time", self.boot_time(parts)), ("dump time", self.now(parts))):
            if seconds:
                found[title] = seconds
        pages = count(parts, "physmem", self.pointer_size)
        if pages:
            found["physical memory"] = pages * self.page_size
        panic = number(parts, "panicstr", self.pointer_size)
        if panic:
            with contextlib.suppress(KvmError):
                found["panic"] = text(parts.memory.read_cstr(panic, 256))
        return found

    def now(self, parts: Parts) -> float | None:
        """Seconds since 1970 when the kernel stopped."""
        seconds = time_of(parts, ("time_second", "time__second"), self.pointer_size)
        return None if seconds is None else float(seconds)

    def boot_time(self, parts: Parts) -> float | None:
        """And when it began."""
        now, up = self.now(parts), time_of(parts, ("time_uptime", "time__uptime"), self.pointer_size)
        return None if now is None or up is None else now - up

    def loadavg(self, parts: Parts) -> list[float]:
        return loadavg.read(parts, self.order, self.pointer_size)

    def dmesg(self, parts: Parts) -> bytes:
        return msgbuf.read(parts, self.pointer_size, self.byteorder, self.prefix_words)

    def arguments(self, parts: Parts, record: ProcessRecord, environment: bool, nchr: int) -> list[bytes] | None:
        return argv.vector(self, parts, record, environment, nchr)

    def ps_strings(self, parts: Parts, record: ProcessRecord) -> argv.Where | None:
        """Where a process's struct ps_strings is; None: it has none (of the kernel's own, a zombie)."""
        raise NotImplementedError

    def anons(self, parts: Parts, vmspace: int) -> Anons | None:
        """Its anonymous memory, by UVM; None where the kernel's types do not say."""
        return None

    def user(self, parts: Parts, vmspace: int) -> UserMemory:
        """The memory of a struct vmspace, in memory or in swap."""
        return UserMemory(self.space(parts, vmspace), self.anons(parts, vmspace), self.page_size)

    def space(self, parts: Parts, vmspace: int) -> Memory:
        """The address space of a struct vmspace, through its own page tables."""
        if self.tables is None:
            raise KvmError(f"the memory of processes on {self.machine} is not read")
        types = self.types
        at = parts.memory.read_ptr(
            vmspace + types.struct("vmspace").offset("vm_map") + types.struct("vm_map").offset("pmap")
        )
        memory = Memory()
        user = self.tables.user(Pmap(parts.memory, types, at, self.byteorder, self.where.pmap, self.where.root))
        memory.attach(parts.image, user, self.byteorder, self.pointer_size, USER_TLB)
        return memory


def _another(parts: Parts, kernel: HostFile, first: bytes, marked: bytes) -> bool:
    """Whether a kernel file has another version text than the dump. One that was emptied of all but its names has
    none."""
    told = parts.symbols.held("version", len(first))
    if told is not None and told.strip(b"\0"):
        return told != first
    return not kernel.contains(first) and kernel.contains(marked)


def _there(parts: Parts, va: int) -> bool:
    """Whether there is memory at an address: what lies linearly has a translation in any case."""
    try:
        parts.memory.read(va, 1)
    except KvmError:
        return False
    return True
