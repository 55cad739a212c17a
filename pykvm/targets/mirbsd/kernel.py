"""The MirBSD target: what it is, and which file answers what."""

from __future__ import annotations

import contextlib
import re
from typing import Any

from pykvm.errors import FormatError, KvmError
from pykvm.images.base import Image
from pykvm.machines.mmu import Translation
from pykvm.records import FileRecord, ProcessRecord, text
from pykvm.symbols.base import Symbols
from pykvm.targets import openbsd
from pykvm.targets.base import Parts, Target, Thread
from pykvm.targets.bsd.machines import refuse_foreign
from pykvm.targets.bsd.variables import shown
from pykvm.targets.mirbsd import argv, files, neutral, platform, proc2, procs
from pykvm.targets.mirbsd.structs import Structs
from pykvm.types import layout
from pykvm.types.layout import Struct

MSG_MAGIC = 0x063061
MAX_MSGBUF = 16 << 20


RELATIVE = re.compile(rb"[A-Z][A-Za-z]*BSD[ #]")  # how the version texts of MirBSD's relatives begin


class MirBSD(Target):
    """MirBSD on one of its machines."""

    system = "MirBSD"
    pointer_size = 4
    prefix = "_"

    def __init__(self, where: platform.Platform) -> None:
        super().__init__()
        self.platform = where
        self.machine = where.machine
        self.byteorder = where.byteorder
        self.types = layout.builtin(where.layout)

    @property
    def structs(self) -> Structs:
        """The layouts in this machine's byte order."""
        return Structs(self.types, self.byteorder)

    def translation(self, image: Image, symbols: Symbols | None) -> Translation | None:
        if symbols is None:
            return None
        refuse_foreign(image, symbols)
        self.page_size = self.platform.page_size(image)
        return self.platform.translation(image, symbols)

    def settled(self, parts: Parts) -> Target:
        """OpenBSD, if the version text is its: with few names its dumps look alike, and are translated alike."""
        if not any((self._string(parts, name, 256) or "").startswith("OpenBSD") for name in ("version", "ostype")):
            return self
        found = openbsd.target(parts.image, parts.symbols, self.machine)
        if found is None:
            return self
        found.translation(parts.image, parts.symbols)
        return found

    def check(self, parts: Parts) -> None:
        """The version text must be MirBSD's: its relatives' dumps look alike. A kernel file that holds one must hold
        the dump's."""
        version = parts.symbols.loose("version")
        if version is None:
            return
        foreign = f"bad namelist: {parts.symbols.path} is not the kernel of {parts.image.path}"
        try:
            here = parts.memory.read_cstr(version.value, 256).partition(b"\n")[0]
        except KvmError:
            here = b""
        if not here:
            raise FormatError(
                f"{foreign}: there is nothing at {version.value:#x}, where its version is (or the dump was cut)"
            )
        if RELATIVE.match(here) and not here.startswith(self.system.encode()):
            raise FormatError(f"{parts.image.path}: is of {shown(here)}, which is no MirBSD: not known to pykvm")
        if not here.startswith(self.system.encode()):
            raise FormatError(
                f"{foreign}: at {version.value:#x}, where its version is, there is {shown(here)}, which is no MirBSD "
                "(or the dump is damaged)"
            )
        if parts.kernel is not None and parts.kernel.contains(b"MirBSD#") and not parts.kernel.contains(here):
            raise FormatError(f"{foreign}, whose version is {shown(here)}")

    def release(self, parts: Parts) -> tuple[str | None, str | None]:
        version = self._string(parts, "version", 1024)
        release = self._string(parts, "osrelease", 64)
        if release is None and version is not None and version.startswith(self.system):
            release = version[len(self.system) :].split(" ")[0]
        return release, version

    def facts(self, parts: Parts) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for title, name in (("hostname", "hostname"), ("cpu", "cpu_model")):
            value = self._string(parts, name, 256)
            if value:
                found[title] = value
        for title, name in (("boot time", "boottime"), ("dump time", "time")):
            seconds = self._time(parts, name)
            if seconds:
                found[title] = seconds
        try:
            pages = parts.memory.read_u32(parts.address_of("physmem"))
            found["physical memory"] = pages * self.page_size
        except KvmError:
            pass
        try:
            panic = parts.memory.read_u32(parts.address_of("panicstr"))
            if panic:
                found["panic"] = text(parts.memory.read_cstr(panic, 256))
        except KvmError:
            pass
        return found

    def _string(self, parts: Parts, name: str, limit: int) -> str | None:
        symbol = parts.symbols.loose(name)
        if symbol is None:
            return None
        try:
            return text(parts.memory.read_cstr(symbol.value, limit)).rstrip("\n")
        except KvmError:
            return None

    def _time(self, parts: Parts, name: str) -> float | None:
        symbol = parts.symbols.loose(name)
        if symbol is None:
            return None
        unpack = self.structs.unpacker("timeval", ("tv_sec", "tv_usec"))
        try:
            seconds, micro = unpack.unpack(parts.memory.read(symbol.value, unpack.size))
        except KvmError:
            return None
        return float(seconds + micro / 1e6)

    copies = {"kinfo_proc": neutral.KINFO_PROC, "kinfo_proc2": neutral.KINFO_PROC2}

    def record_struct(self, parts: Parts, two: bool) -> Struct:
        return self.types.struct("kinfo_proc2" if two else "kinfo_proc")

    def getprocs(self, parts: Parts, op: int, arg: int) -> list[ProcessRecord]:
        return procs.getprocs(self.structs, parts, op, arg)

    def getproc2(self, parts: Parts, op: int, arg: int, elemsize: int | None) -> list[ProcessRecord]:
        return proc2.getproc2(self.structs, parts, op, arg, elemsize)

    def arguments(self, parts: Parts, record: ProcessRecord, environment: bool, nchr: int) -> list[bytes] | None:
        return argv.vector(self, parts, record, environment, nchr)

    def threads(self, parts: Parts, record: ProcessRecord) -> list[Thread]:
        """One: MirBSD has no kernel-supported threads."""
        return [Thread(record.pid, record.comm, record.stat, record.wmesg, record.wchan, record.paddr)]

    def loadavg(self, parts: Parts) -> list[float]:
        unpack = self.structs.unpacker("loadavg", ("ldavg", "fscale"))
        average, fscale = parts.address_of("averunnable"), parts.address_of("fscale")
        try:
            *samples, scale = unpack.unpack(parts.memory.read(average, unpack.size))
        except KvmError as e:
            raise KvmError("can't read averunnable") from e
        with contextlib.suppress(KvmError):  # if it is not readable, the scale in the structure serves
            scale = parts.memory.read_i32(fscale)
        if scale <= 0:
            raise KvmError(f"can't read averunnable: fscale is {scale}")
        return [sample / scale for sample in samples]

    def getfiles(self, parts: Parts, op: int, arg: int) -> list[FileRecord]:
        return files.getfiles(self.structs, parts)

    def files_head(self, parts: Parts) -> bytes:
        """The head of the list, `filehead`."""
        return parts.memory.read(parts.address_of("filehead"), self.pointer_size)

    def dmesg(self, parts: Parts) -> bytes:
        """struct msgbuf (<sys/msgbuf.h>): a ring of msg_bufs bytes, written at msg_bufx."""
        unpack = self.structs.unpacker("msgbuf", ("msg_magic", "msg_bufx", "msg_bufs", "msg_bufl"))
        at = parts.memory.read_u32(parts.address_of("msgbufp"))
        magic, bufx, size, length = unpack.unpack(parts.memory.read(at, unpack.size))
        if magic != MSG_MAGIC:
            raise FormatError(f"msgbufp: msg_magic is {magic:#x}, must be {MSG_MAGIC:#x}")
        if not (0 < size <= MAX_MSGBUF and 0 <= bufx <= size and 0 <= length <= size):
            raise FormatError(f"msgbufp: msg_bufx {bufx}, msg_bufs {size}, msg_bufl {length} make no sense")
        ring = parts.memory.read(at + self.types.struct("msgbuf").offset("msg_bufc"), size)
        used = ring[bufx:] + ring[:bufx] if length == size else ring[:length]
        return used.replace(b"\0", b"")
