"""A handle of a library in C: what it is asked, raising, and the object's ways of reading."""

from __future__ import annotations

import mmap
import os
import struct
import sys
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pykvm import images, symbols
from pykvm.constants import KERN_PROC_ALL, KERN_PROC_KTHREAD
from pykvm.errors import CLOSED, AddressError, FormatError, KvmError
from pykvm.hostlib.structures import RAW, Host, NativeRecord, is_kernel
from pykvm.images.hostfile import HostFile
from pykvm.native import HOSTS
from pykvm.nlist import Nlist
from pykvm.records import FileRecord, ProcessRecord
from pykvm.targets.freebsd.platform import PLATFORMS
from pykvm.types import layout
from pykvm.types.layout import Struct, Types

if TYPE_CHECKING:
    from pykvm.hostlib.library import NativeLibkvm

ULONG = (1 << 8 * struct.calcsize("L")) - 1
MAX_RECORDS = 1 << 24
MAX_SIZE = 1 << 16  # of a record
TEXT = 64  # bytes of `ostype`


def _reader(size: int, signed: bool) -> Callable[[NativeKvm, int], int]:
    def read(kd: NativeKvm, addr: int) -> int:
        """A number at a kernel virtual address, in the kernel's byte order."""
        return kd.number(addr, size, signed)

    return read


class NativeKvm:
    """A kernel that the library has opened: the handle of its kvm_ functions, and an object whose failures raise
    KvmError. `host` says whose structures its records are (None: that could not be found out)."""

    def __init__(
        self, lib: NativeLibkvm, pointer: Any, kept: tuple[Any, ...], files: tuple[Any, Any], program: str | None = None
    ) -> None:
        """kept: what C may still look at; files: kernel and core, as they were named."""
        self.lib = lib
        self.pointer = pointer
        self.program = program
        self._kept = kept
        self._files = files
        self._own = self._then = ""
        self._host: Host | None = None
        self._types: Types | None = None

    # -- errors -------------------------------------------------------------------------------------------------------

    @property
    def message(self) -> str:
        """The most recent message: the library's, or that of what never came to it."""
        told = self._told()
        return self._own if self._own and told == self._then else told

    def _told(self) -> str:
        if not self.pointer or not self.lib.has("kvm_geterr"):
            return self._then
        raw = self.lib.c.kvm_geterr(self.pointer)
        return "" if raw == self.lib.ffi.NULL else bytes(self.lib.ffi.string(raw)).decode("utf-8", "surrogateescape")

    def note(self, error: KvmError) -> KvmError:
        """Keep the text of a failure that the library does not know of; or print it: Sun's errstr rule."""
        if self.program is not None and not error.soft:
            if sys.stderr is not None:
                print(f"{self.program}: {error}", file=sys.stderr)
        else:
            self._own, self._then = str(error), self._told()
        return error

    def failed(self, name: str) -> KvmError:
        """The library's failure, as an exception."""
        return KvmError(self._told() or f"{name} failed")

    def call(self, name: str, *arguments: Any) -> Any:
        """Call a function of the library."""
        if not self.pointer:
            raise self.note(KvmError(CLOSED))
        return self.lib.function(name, self)(self.pointer, *arguments)

    # -- whose it is --------------------------------------------------------------------------------------------------

    @property
    def host(self) -> Host | None:
        """Whose structures the records are."""
        if self._host is None:
            system = self.lib.flavour.system
            if not system and self._files[0] is None and self._files[1] in (None, os.devnull):
                system = "Linux" if sys.platform == "linux" else ""  # the running kernel, if pykvm's own asks it
            self._host = _running(system) if system else self._seen()
        return self._host

    def _seen(self) -> Host | None:
        """What the files are of that a library for all systems has opened."""
        kernel, core = self._files
        machine = byteorder = None
        try:
            for path in (kernel, core):
                if path is not None and machine is None:
                    machine, byteorder = _of_file(path, path is core)
        except KvmError:
            return None
        if machine is None or byteorder is None:
            return None
        if self.found("ostype"):
            raw = self.peek(self.found("ostype"), TEXT)
            system = raw.split(b"\0", 1)[0].decode("ascii", "replace")
        else:
            system = "Linux" if self.found("init_task") else ""
        word = PLATFORMS[machine].pointer_size if machine in PLATFORMS else 4 if machine in ("sparc", "m68k") else 8
        return Host(system, machine, byteorder, word)

    @property
    def kernel(self) -> Any:
        """The kernel file, as it was named."""
        return self._files[0]

    @property
    def core(self) -> Any:
        """The dump; None: the running kernel."""
        return self._files[1]

    @property
    def types(self) -> Types:
        """The structures of the system, as pykvm's tables have them."""
        if self._types is None:
            host = self.host
            self._types = Types() if host is None else host.types()
        return self._types

    def _structure(self, name: str, first: bytes = b"") -> Struct:
        """That of a record, by its first bytes; one without members if its layout is not known."""
        host, known = self.host, self.types.get(name)
        system = "this kernel" if host is None else host.system
        if name == "kinfo_proc" and host is not None and host.system == "Linux":
            known = self.types.get("kinfo_proc2")
        size = None if known is None else known.size
        if name == "kinfo_proc" and host is not None and host.system == "FreeBSD" and first:
            told = int.from_bytes(first[:4], host.order)  # ki_structsize
            if told != size:
                known, size = None, told
        if size is None or not 0 < size <= MAX_SIZE:
            raise self.note(KvmError(f"struct {name} of {system}: how long it is is not known to pykvm"))
        return Struct(name, size, {}, Types(system)) if known is None else known

    # -- memory -------------------------------------------------------------------------------------------------------

    def readinto(self, addr: int, buf: Any) -> int:
        """Fill a buffer from a kernel virtual address: its length. AddressError if any of it is not there."""
        flat = memoryview(buf).cast("B")
        got = self.move("kvm_read", addr, self.lib.ffi.from_buffer(flat, require_writable=True), flat.nbytes)
        if got != flat.nbytes:
            raise AddressError(self.message if got < 0 else f"short read at {addr:#x}", addr + max(0, got))
        return flat.nbytes

    def read(self, addr: int, n: int) -> bytes:
        """n bytes from a kernel virtual address."""
        buf = bytearray(n)
        self.readinto(addr, buf)
        return bytes(buf)

    def peek(self, addr: int, n: int) -> bytes:
        """As many of n bytes as there are up to the end of their page, at least."""
        return self.read(addr, n if addr % mmap.PAGESIZE + n <= mmap.PAGESIZE else mmap.PAGESIZE - addr % mmap.PAGESIZE)

    def move(self, name: str, addr: int, buf: Any, n: int) -> int:
        """kvm_read or kvm_write; kvm_read2 where it takes it."""
        if addr & ULONG != addr and name == "kvm_read" and self.lib.has("kvm_read2"):
            name = "kvm_read2"
        elif not 0 <= addr <= ULONG:
            raise self.note(AddressError(f"invalid address ({addr:x})", addr))
        return int(self.call(name, addr, buf, n))

    def read_cstr(self, addr: int, limit: int = 4096) -> bytes:
        """The bytes up to the NUL, at most limit."""
        found = b""
        while len(found) < limit:
            part = self.peek(addr + len(found), min(256, limit - len(found)))
            if b"\0" in part:
                return found + part.split(b"\0", 1)[0]
            found += part
        return found

    def write(self, addr: int, data: Any) -> int:
        """Write a buffer to a kernel virtual address: its length."""
        flat = memoryview(data).cast("B")
        got = self.move("kvm_write", addr, self.lib.ffi.from_buffer(flat), flat.nbytes)
        if got != flat.nbytes:
            raise self.failed("kvm_write")
        return got

    read_u8, read_u16, read_u32, read_u64 = (_reader(size, False) for size in (1, 2, 4, 8))
    read_i8, read_i16, read_i32, read_i64 = (_reader(size, True) for size in (1, 2, 4, 8))

    def number(self, addr: int, size: int, signed: bool) -> int:
        """A number of so many bytes."""
        host = self.host
        if host is None:
            raise self.note(KvmError("the byte order of this kernel is not known"))
        return int.from_bytes(self.read(addr, size), host.order, signed=signed)

    def read_ptr(self, addr: int) -> int:
        """A pointer at a kernel virtual address."""
        host = self.host
        return self.number(addr, 8 if host is None else host.pointer_size, False)

    # -- names --------------------------------------------------------------------------------------------------------

    def found(self, name: str) -> int:
        """The value of a name in either spelling; 0 if it is not found."""
        for spelling in (name, name[1:] if name.startswith("_") else f"_{name}"):
            entry = Nlist(spelling)
            if spelling and self.lib.look_up(self, "kvm_nlist", [entry]) == 0 and entry.n_type | entry.n_value:
                return entry.n_value
        return 0

    def symbol(self, name: str) -> int:
        """The value of a symbol, named with or without C's leading underscore."""
        value = self.found(name)
        if not value:
            raise self.note(KvmError(f"{name}: no such symbol"))
        return value

    # -- processes and figures ----------------------------------------------------------------------------------------

    def processes(self, op: int = KERN_PROC_KTHREAD, arg: int = 0) -> list[ProcessRecord]:
        """The processes that op (a KERN_PROC_*) and arg select, as kvm_getprocs(3) gives them."""
        return self._selected("kvm_getproc2" if self.lib.flavour.second else "kvm_getprocs", op, arg, None)

    def getproc2(self, op: int, arg: int, elemsize: int | None) -> list[ProcessRecord]:
        """What kvm_getproc2(3) gives."""
        if elemsize is not None and not 0 < elemsize <= MAX_SIZE:
            raise self.note(KvmError(f"kvm_getproc2: elemsize {elemsize}: Invalid argument"))
        return self._selected("kvm_getproc2", op, arg, elemsize)

    def _selected(self, name: str, op: int, arg: int, elemsize: int | None) -> list[ProcessRecord]:
        flavour, two = self.lib.flavour, name == "kvm_getproc2"
        self.lib.function(name, self)
        try:
            number = flavour.op(name, op)
        except KvmError as e:
            raise self.note(e) from None
        count = self.lib.ffi.new("int *")
        select = (number, (arg + (1 << 31) & 0xFFFFFFFF) - (1 << 31))
        given = self._structure("kinfo_proc2" if two else "kinfo_proc").size if two or flavour.sized else 0
        at = self.call(name, *select, given, count) if given else self.call(name, *select, count)
        if at == self.lib.ffi.NULL:
            raise self.failed(name)
        records = self._records(at, count[0], two, elemsize)
        if op & ~flavour.flags == KERN_PROC_ALL and flavour.filtered:
            try:
                return [p for p in records if not is_kernel(flavour.system, p)]
            except KvmError as e:
                raise self.note(e) from None
        return records

    def _records(self, at: Any, count: int, two: bool, elemsize: int | None) -> list[ProcessRecord]:
        if not 0 <= count <= MAX_RECORDS:
            raise self.note(KvmError(f"kvm_getproc{'2' if two else 's'}: {count} records"))
        if not count:
            return []
        ffi = self.lib.ffi
        layout = self._structure("kinfo_proc2" if two else "kinfo_proc", b"" if two else bytes(ffi.buffer(at, 4)))
        raw, size = bytes(ffi.buffer(at, count * layout.size)), layout.size
        return [NativeRecord(self, layout, raw[i : i + size], two, elemsize) for i in range(0, len(raw), size)]

    def lwps(self, pid: int, paddr: int, elemsize: int | None = None) -> list[ProcessRecord]:
        """What kvm_getlwps(3) gives."""
        struct = layout.builtin("netbsd").struct("kinfo_lwp")
        size = struct.size if elemsize is None else elemsize
        if not 0 < size <= MAX_SIZE:
            raise self.note(KvmError(f"kvm_getlwps: elemsize {size}: Invalid argument"))
        count = self.lib.ffi.new("int *")
        at = self.call("kvm_getlwps", pid, paddr, size, count)
        if at == self.lib.ffi.NULL:
            raise self.failed("kvm_getlwps")
        if not 0 <= count[0] <= MAX_RECORDS:
            raise self.note(KvmError(f"kvm_getlwps: {count[0]} records"))
        raw = bytes(self.lib.ffi.buffer(at, count[0] * size)) if count[0] else b""
        whole = [raw[i : i + size].ljust(struct.size, b"\0") for i in range(0, len(raw), size)]
        return [ProcessRecord(struct, one, 0, sys.byteorder, {}, {}, size) for one in whole]

    def argv(self, p: ProcessRecord, nchr: int = 0) -> list[bytes]:
        """The argument vector; empty for a zombie or a process without. nchr: most bytes, 0 for all."""
        return self.vector(p, "kvm_getargv", nchr) or []

    def environ(self, p: ProcessRecord, nchr: int = 0) -> list[bytes]:
        """The environment, as argv()."""
        return self.vector(p, "kvm_getenvv", nchr) or []

    def vector(self, p: ProcessRecord, name: str, nchr: int) -> list[bytes] | None:
        """What kvm_getargv(3) or kvm_getenvv(3) gives, by the kind of the record; None: the process has none."""
        if not isinstance(p, ProcessRecord):
            raise TypeError("p must be a process record")
        if isinstance(p, NativeRecord) and p.handle is not self:
            raise self.note(KvmError("the record is of another handle"))
        two = p.two if isinstance(p, NativeRecord) else p.structure == "kinfo_proc2"
        before, ffi = self._told(), self.lib.ffi
        whole = bytes(p._buf[p._base : p._base + p._struct.size])
        words = self.call(name + ("2" if two else ""), ffi.from_buffer(whole), nchr)
        if words != ffi.NULL:
            return self.lib.strings(words)
        # Of a process that has none, BSD's libraries say nothing, or what was wrong before.
        if self._told() not in ("", before):
            raise self.failed(name)
        return None

    def loadavg(self) -> list[float]:
        """The load averages of 1, 5 and 15 minutes."""
        room = self.lib.ffi.new("double[3]")
        count = self.call("kvm_getloadavg", room, 3)
        if count < 0:
            raise self.failed("kvm_getloadavg")
        return list(room)[:count]

    def files(self) -> list[FileRecord]:
        """The open files, as kvm_getfiles(3) gives them."""
        self.lib.function("kvm_getfiles", self)
        host, layout = self.host, self.types.get("file")
        if host is None or layout is None or host.system != "MirBSD":
            raise self.note(KvmError(f"kvm_getfiles: struct file: {RAW.split(':')[0]}"))
        ffi, count = self.lib.ffi, self.lib.ffi.new("int *")
        at = self.call("kvm_getfiles", 0, 0, count)
        if at == ffi.NULL:
            raise self.failed("kvm_getfiles")
        if not 0 <= count[0] <= MAX_RECORDS:
            raise self.note(KvmError(f"kvm_getfiles: {count[0]} records"))
        # The head of the list is in front of its records.
        raw = bytes(ffi.buffer(at, host.pointer_size + count[0] * layout.size))
        order = host.order
        paddr, link, found = int.from_bytes(raw[: host.pointer_size], order), layout.offset("f_list.le_next"), []
        for base in range(host.pointer_size, len(raw), layout.size):
            found.append(FileRecord(layout, raw, base, host.byteorder, paddr))
            paddr = int.from_bytes(raw[base + link : base + link + host.pointer_size], order)
        return found

    # -- the end ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close it. Whatever is asked of the handle afterwards says that it is closed."""
        if self.pointer:
            pointer, self.pointer, self._own = self.pointer, None, ""
            self.lib.c.kvm_close(pointer)

    def __enter__(self) -> NativeKvm:
        if not self.pointer:
            raise self.note(KvmError(CLOSED))
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "pointer", None) and not sys.is_finalizing():
            self.close()

    def __repr__(self) -> str:
        return f"<NativeKvm of {self.lib.path}{'' if self.pointer else ', closed'}>"


def _of_file(path: Any, core: bool) -> tuple[str | None, str | None]:
    """(machine, byte order) of a kernel file or a dump."""
    file = HostFile(path)
    try:
        what = images.recognise([file]) if core else symbols.recognise(file)
        if what is None:
            raise FormatError(f"{file.path}: no kernel file")
        return what.machine, what.byteorder
    finally:
        file.close()


def _running(system: str) -> Host:
    """The system that runs here."""
    wide, narrow = HOSTS.get(os.uname().machine, (os.uname().machine,) * 2)
    word = struct.calcsize("P")
    return Host(system, wide if word == 8 else narrow, sys.byteorder, word, mmap.PAGESIZE)
