"""kvm(3)'s functions over a library in C, by the rules of pykvm's own."""

from __future__ import annotations

import ctypes.util
import os
import tempfile
from collections.abc import Callable, Sequence
from operator import index
from typing import Any, TypeVar

from cffi import FFI

from pykvm.constants import CPUSTATES
from pykvm.errors import CLOSED, KvmError
from pykvm.handle import ERRBUF
from pykvm.hostlib.flavours import OURS, OURS_ONLY, Flavour, of_host
from pykvm.hostlib.handle import NativeKvm
from pykvm.images.hostfile import HostFile
from pykvm.nlist import KvmNlist, Nlist
from pykvm.open import _store
from pykvm.read import _check_length, check_buffer
from pykvm.records import FileRecord, KvmPage, KvmSwap, ProcessRecord
from pykvm.types import of_file

T = TypeVar("T")
Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]
LIBC = "FILE *fdopen(int, const char *); int fclose(FILE *); void free(void *); size_t malloc_usable_size(void *);"
MAX_SWAP = 1 << 12  # devices
MAX_STRINGS = 1 << 20


class NativeLibkvm:
    """A libkvm of the host's: its functions by their names in C, with pykvm's arguments and results, and `Kvm`, the
    object. `flavour` says which system's it is."""

    def __init__(self, path: str | None = None) -> None:
        """path: a shared library; None: the system's."""
        name = ctypes.util.find_library("kvm") or "libkvm.so" if path is None else path
        probe = FFI()
        try:
            probe.cdef(f"int {OURS_ONLY}(void);")
            ours = hasattr(probe.dlopen(name), OURS_ONLY)
            self.flavour: Flavour = OURS if ours else of_host()
            self.ffi: Any = FFI()
            self.ffi.cdef(self.flavour.declarations())
            self.c: Any = self.ffi.dlopen(name)
        except OSError as e:
            raise KvmError(f"{name}: cannot be loaded: {e}") from e
        self.libc_ffi: Any = FFI()
        self.libc_ffi.cdef(LIBC)
        self.libc: Any = self.libc_ffi.dlopen(None)
        self.path = name
        if not self.has("kvm_read") or not self.has("kvm_openfiles"):
            raise KvmError(f"{name}: is no libkvm: it has no kvm_openfiles or no kvm_read")

    def has(self, name: str) -> bool:
        """Whether the library has a function."""
        return hasattr(self.c, name)

    def function(self, name: str, kd: NativeKvm | None) -> Any:
        """A function of the library; KvmError, noted in the handle, if it has none of that name."""
        if not self.has(name):
            whose = f"{self.flavour.system}'s libkvm" if self.flavour.system else self.path
            error = KvmError(f"{name}: {whose} does not have it")
            raise error if kd is None else kd.note(error)
        return getattr(self.c, name)

    def __repr__(self) -> str:
        return f"<NativeLibkvm {self.path}, {self.flavour.system or 'of every system'}>"

    # -- opening --------------------------------------------------------------------------------------------------

    def kvm_openfiles(
        self, execfile: Path | None, corefile: Path | None, swapfile: Path | None, flags: int, errbuf: Any = None
    ) -> NativeKvm | None:
        """A handle, or None with the message in errbuf."""
        return self._opened("kvm_openfiles", (execfile, corefile, swapfile), flags, errbuf)

    def kvm_open(
        self, execfile: Path | None, corefile: Path | None, swapfile: Path | None, flags: int, errstr: str | None
    ) -> NativeKvm | None:
        """A handle or None; with an errstr, hard errors go to stderr."""
        try:
            call = self.function("kvm_open", None)
        except KvmError:
            return None
        paths = self._texts(execfile, corefile, swapfile, errstr)
        pointer = call(*paths[:3], _c_int(flags), paths[3])
        return self._handle(pointer, (paths,), (execfile, corefile), errstr)

    def kvm_open2(
        self,
        execfile: Path | None,
        corefile: Path | None,
        flags: int,
        errbuf: Any = None,
        resolver: Callable[[str], int | None] | None = None,
    ) -> NativeKvm | None:
        """FreeBSD's way to open; resolver gives a symbol's address, or None."""
        if resolver is not None and not callable(resolver):
            raise TypeError("resolver must be callable or None")
        return self._opened("kvm_open2", (execfile, corefile), flags, errbuf, self._resolver(resolver))

    def _opened(self, name: str, files: tuple[Any, ...], flags: int, errbuf: Any, *more: Any) -> NativeKvm | None:
        if errbuf is not None and not isinstance(errbuf, bytearray):
            raise TypeError("errbuf must be a bytearray or None")
        paths, message = self._texts(*files), self.ffi.new(f"char[{ERRBUF}]")
        try:
            pointer = self.function(name, None)(*paths, _c_int(flags), message, *more)
            kd = self._handle(pointer, (paths, more), files[:2])
            why = b"" if kd is not None else bytes(self.ffi.string(message))
        except KvmError as e:
            kd, why = None, str(e).encode()
        if kd is None and errbuf is not None:
            _store(errbuf, why.decode("utf-8", "surrogateescape"))
        return kd

    def _texts(self, *texts: Any) -> list[Any]:
        """C strings, NULL for None: as long as the list is kept."""
        found = [None if text is None else os.fsencode(text) for text in texts]
        for text in found:
            if text is not None and b"\0" in text:
                raise ValueError("embedded null byte")
        return [self.ffi.NULL if text is None else self.ffi.new("char[]", text) for text in found]

    def _resolver(self, resolver: Callable[[str], int | None] | None) -> Any:
        if resolver is None:
            return self.ffi.NULL

        def ask(name: Any, value: Any) -> int:
            found = resolver(bytes(self.ffi.string(name)).decode("utf-8", "surrogateescape"))
            value[0] = 0 if found is None else found
            return -1 if found is None else 0

        return self.ffi.callback("int(const char *, uint64_t *)", ask, error=-1, onerror=lambda *why: None)

    def _handle(self, pointer: Any, kept: tuple[Any, ...], files: Any, program: str | None = None) -> NativeKvm | None:
        return None if pointer == self.ffi.NULL else NativeKvm(self, pointer, kept, files, program)

    def Kvm(
        self, core: Path | None = None, kernel: Path | None = None, swap: Path | None = None, *, writable: bool = False
    ) -> NativeKvm:
        """An open handle; KvmError if it cannot be opened."""
        errbuf = bytearray(ERRBUF)
        kd = self.kvm_openfiles(kernel, core, swap, os.O_RDWR if writable else os.O_RDONLY, errbuf)
        if kd is None:
            raise KvmError(errbuf.split(b"\0")[0].decode("utf-8", "surrogateescape") or f"{self.path}: cannot open")
        return kd

    def kvm_close(self, kd: NativeKvm) -> int:
        """0, or -1 if it is closed already."""
        if not _check(kd).pointer:
            kd.note(KvmError(CLOSED))
            return -1
        kd.close()
        return 0

    def kvm_geterr(self, kd: NativeKvm) -> str:
        """The most recent message."""
        return _check(kd).message

    # -- memory and names -----------------------------------------------------------------------------------------

    def kvm_read(self, kd: NativeKvm, addr: int, buf: Any, nbytes: int) -> int:
        """The bytes copied, or -1."""
        flat = check_buffer(buf, nbytes)
        return _attempt(kd, -1, lambda: kd.move("kvm_read", index(addr), self.ffi.from_buffer(flat), nbytes))

    def kvm_read2(self, kd: NativeKvm, addr: int, buf: Any, nbytes: int) -> int:
        """kvm_read with an address of 64 bits."""
        return self.kvm_read(kd, addr, buf, nbytes)

    def kvm_write(self, kd: NativeKvm, addr: int, buf: Any, nbytes: int) -> int:
        """The bytes written, or -1."""
        flat = memoryview(buf).cast("B")
        _check_length(nbytes, flat.nbytes)
        return _attempt(kd, -1, lambda: kd.move("kvm_write", index(addr), self.ffi.from_buffer(flat), nbytes))

    def kvm_nlist(self, kd: NativeKvm, nl: Sequence[Nlist]) -> int:
        """The number of names that were not found, or -1."""
        return _attempt(kd, -1, lambda: self.look_up(kd, "kvm_nlist", nl))

    def kvm_nlist2(self, kd: NativeKvm, nl: Sequence[KvmNlist]) -> int:
        """The same for a list of KvmNlist, by kvm_nlist where there is no kvm_nlist2."""
        name = "kvm_nlist2" if self.has("kvm_nlist2") else "kvm_nlist"
        return _attempt(kd, -1, lambda: self.look_up(kd, name, nl))

    def look_up(self, kd: NativeKvm, name: str, nl: Sequence[Any]) -> int:
        """What kvm_nlist and kvm_nlist2 give, with the list filled."""
        wanted, kept = [], []
        for entry in nl:
            if not entry.n_name:
                break
            wanted.append(entry)
            kept += self._texts(entry.n_name)
        kind = "struct kvm_nlist[]" if name == "kvm_nlist2" else "struct nlist[]"
        table = self.ffi.new(kind, len(wanted) + 1)
        for row, text in zip(table, kept, strict=False):
            row.n_name = text
        missing = int(kd.call(name, table))
        if missing >= 0:
            for row, entry in zip(table, wanted, strict=False):
                for member in entry.__slots__:
                    if member != "n_name":
                        value = getattr(row, member, 0)
                        setattr(entry, member, value if isinstance(value, int) else value[0])
        return missing

    def kvm_kerndisp(self, kd: NativeKvm) -> int:
        """How far the kernel runs from where it was linked."""
        return _attempt(kd, 0, lambda: int(kd.call("kvm_kerndisp")))

    def kvm_native(self, kd: NativeKvm) -> int:
        """1 if the kernel's ABI is the host's; a library that has no such function knows no other."""
        if not self.has("kvm_native"):
            return int(bool(_check(kd).pointer))
        return _attempt(kd, 0, lambda: int(kd.call("kvm_native")))

    def kvm_walk_pages(self, kd: NativeKvm, callback: Callable[[KvmPage, Any], int], closure: Any = None) -> int:
        """Call callback(page, closure) for every page until it returns 0: 1 if all were shown, else 0."""
        if not callable(callback):
            raise TypeError("callback must be callable")
        raised: list[BaseException] = []

        def show(page: Any, _: Any) -> int:
            try:
                return index(callback(KvmPage(*(getattr(page, member) for member in KvmPage._fields)), closure))
            except BaseException as e:  # which C must not see
                raised.append(e)
                return 0

        call = self.ffi.callback("int(struct kvm_page *, void *)", show)
        found = _attempt(kd, 0, lambda: int(kd.call("kvm_walk_pages", call, self.ffi.NULL)))
        for error in raised:
            raise error
        return found

    # -- processes and files --------------------------------------------------------------------------------------

    def kvm_getprocs(self, kd: NativeKvm, op: int, arg: int) -> list[ProcessRecord] | None:
        """The processes that op and arg select, or None."""
        return _attempt(kd, None, lambda: kd.processes(index(op), index(arg)))

    def kvm_getproc2(self, kd: NativeKvm, op: int, arg: int, elemsize: int | None = None) -> list[ProcessRecord] | None:
        """The same as struct kinfo_proc2, elemsize bytes of each in bytes(p)."""
        return _attempt(kd, None, lambda: kd.getproc2(index(op), index(arg), elemsize))

    def kvm_getlwps(self, kd: NativeKvm, pid: int, paddr: int, elemsize: int) -> list[ProcessRecord] | None:
        """The LWPs of the process whose struct proc is at paddr, or None: NetBSD's."""
        return _attempt(kd, None, lambda: kd.lwps(index(pid), index(paddr), index(elemsize)))

    def kvm_getargv(self, kd: NativeKvm, p: ProcessRecord, nchr: int) -> list[bytes] | None:
        """The argument vector, or None."""
        return _attempt(kd, None, lambda: kd.vector(p, "kvm_getargv", index(nchr)))

    def kvm_getenvv(self, kd: NativeKvm, p: ProcessRecord, nchr: int) -> list[bytes] | None:
        """The environment, or None."""
        return _attempt(kd, None, lambda: kd.vector(p, "kvm_getenvv", index(nchr)))

    kvm_getargv2, kvm_getenvv2 = kvm_getargv, kvm_getenvv

    def strings(self, words: Any) -> list[bytes]:
        """A vector of C's: the strings up to its NULL."""
        found: list[bytes] = []
        while words[len(found)] != self.ffi.NULL and len(found) < MAX_STRINGS:
            found.append(bytes(self.ffi.string(words[len(found)])))
        return found

    def kvm_getfiles(self, kd: NativeKvm, op: int, arg: int) -> list[FileRecord] | None:
        """All open files, or None."""
        return _attempt(kd, None, lambda: kd.files())

    # -- figures --------------------------------------------------------------------------------------------------

    def kvm_getloadavg(self, kd: NativeKvm, nelem: int = 3) -> list[float] | int:
        """The first nelem (at most 3; all if it is negative) load averages, or -1."""
        found: list[float] | int = _attempt(kd, -1, lambda: kd.loadavg())
        return found if isinstance(found, int) or nelem < 0 else found[:nelem]

    def kvm_getmaxcpu(self, kd: NativeKvm) -> int:
        """The number of CPUs that the kernel is made for, or -1."""
        return _attempt(kd, -1, lambda: int(kd.call("kvm_getmaxcpu")))

    def kvm_getncpus(self, kd: NativeKvm) -> int:
        """The number of CPUs that it runs on, or -1."""
        return _attempt(kd, -1, lambda: int(kd.call("kvm_getncpus")))

    def kvm_getpcpu(self, kd: NativeKvm, cpu: int) -> bytes | int | None:
        """struct pcpu of a CPU, of the size that the kernel file's types say; None: no such CPU; -1 on failure."""
        return _attempt(kd, -1, lambda: self._pcpu(kd, _c_int(cpu)))

    def _pcpu(self, kd: NativeKvm, cpu: int) -> bytes | int | None:
        self.function("kvm_getpcpu", kd)
        try:
            size = self._pcpu_size(kd)
        except KvmError as e:
            raise kd.note(KvmError(f"kvm_getpcpu: struct pcpu: how long it is is not known: {e}")) from e
        at = kd.call("kvm_getpcpu", cpu)
        if at == self.ffi.NULL:
            return None
        if int(self.ffi.cast("intptr_t", at)) == -1:
            return -1
        block = self.libc_ffi.cast("void *", int(self.ffi.cast("uintptr_t", at)))
        try:
            # FreeBSD's library takes as much as the struct pcpu that it was compiled with has.
            if hasattr(self.libc, "malloc_usable_size") and self.libc.malloc_usable_size(block) < size:
                raise kd.note(KvmError(f"kvm_getpcpu: {self.path} gives less than struct pcpu's {size} bytes"))
            return bytes(self.ffi.buffer(at, size))
        finally:
            self.libc.free(block)

    def _pcpu_size(self, kd: NativeKvm) -> int:
        kernel = kd.kernel or "/boot/kernel/kernel"
        file = HostFile(kernel)
        try:
            types = of_file(file)
            if types is None:
                raise KvmError(f"{file.path} has no types (CTF, DWARF)")
            return types.struct("pcpu").size
        finally:
            file.close()

    def kvm_dpcpu_setcpu(self, kd: NativeKvm, cpu: int) -> int:
        """Choose a CPU for dynamic per-CPU variables: 0 or -1."""
        return _attempt(kd, -1, lambda: int(kd.call("kvm_dpcpu_setcpu", index(cpu) & 0xFFFFFFFF)))

    def kvm_read_zpcpu(self, kd: NativeKvm, base: int, buf: Any, size: int, cpu: int) -> int:
        """Read a CPU's own copy of what lies at base: the bytes read, or -1."""
        into = self.ffi.from_buffer(check_buffer(buf, size))
        return _attempt(kd, -1, lambda: int(kd.call("kvm_read_zpcpu", index(base), into, size, _c_int(cpu))))

    def kvm_counter_u64_fetch(self, kd: NativeKvm, base: int) -> int:
        """The value of a counter(9); 0 on failure."""
        return _attempt(kd, 0, lambda: int(kd.call("kvm_counter_u64_fetch", index(base))))

    def kvm_getswapinfo(self, kd: NativeKvm, swap_max: int, flags: int = 0) -> list[KvmSwap] | int:
        """Up to swap_max - 1 swap devices and the total of all; -1 on failure."""
        room = min(index(swap_max), MAX_SWAP)
        if room < 1:
            return -1
        table = self.ffi.new("struct kvm_swap[]", room)
        count = _attempt(kd, -1, lambda: int(kd.call("kvm_getswapinfo", table, room, _c_int(flags))))
        return -1 if not 0 <= count < room else [self._swap(table[i]) for i in range(count + 1)]

    def _swap(self, row: Any) -> KvmSwap:
        name = bytes(self.ffi.string(row.ksw_devname)).decode("utf-8", "surrogateescape")
        return KvmSwap(name, row.ksw_used, row.ksw_total, row.ksw_flags)

    def kvm_getcptime(self, kd: NativeKvm) -> list[int] | int:
        """The time that all CPUs spent in each state, or -1."""
        times = self.ffi.new(f"long[{CPUSTATES}]")
        failed = _attempt(kd, -1, lambda: int(kd.call("kvm_getcptime", times)))
        return -1 if failed else list(times)

    # -- dumps on a device ----------------------------------------------------------------------------------------

    def kvm_dump_mkheader(self, kd: NativeKvm, dump_off: int) -> int:
        """Look for a dump on the device: the size of its header, 0 or -1."""
        return _attempt(kd, -1, lambda: int(kd.call("kvm_dump_mkheader", index(dump_off))))

    def kvm_dump_wrtheader(self, kd: NativeKvm, fp: Any, dumpsize: int) -> int:
        """Write the header to a binary file object: the bytes written, or -1."""
        with tempfile.TemporaryFile() as between:
            stream = self.libc.fdopen(os.dup(between.fileno()), b"wb")
            if stream == self.libc_ffi.NULL:
                raise OSError("fdopen failed")
            try:
                at = self.ffi.cast("void *", int(self.libc_ffi.cast("uintptr_t", stream)))
                written = _attempt(kd, -1, lambda: int(kd.call("kvm_dump_wrtheader", at, _c_int(dumpsize))))
            finally:
                self.libc.fclose(stream)
            between.seek(0)
            fp.write(between.read())
        return written

    def kvm_dump_header(
        self, kd: NativeKvm, write_buf: Callable[[Any, bytes], bool], cookie: Any, dumpsize: int
    ) -> int:
        """Give the header to write_buf(cookie, data), in pieces: the bytes given, or -1."""
        raised: list[BaseException] = []

        def take(_: Any, data: Any, n: int) -> bool:
            try:
                return bool(write_buf(cookie, bytes(self.ffi.buffer(data, n))))
            except BaseException as e:  # nothing may leave through C
                raised.append(e)
                return False

        call = self.ffi.callback("bool(void *, const void *, size_t)", take)
        given = _attempt(kd, -1, lambda: int(kd.call("kvm_dump_header", call, self.ffi.NULL, _c_int(dumpsize))))
        for error in raised:
            raise error
        return given

    def kvm_getkernelname(self, kd: NativeKvm) -> str | None:
        """The path of the kernel file, or None."""
        name = _attempt(kd, self.ffi.NULL, lambda: kd.call("kvm_getkernelname"))
        if name == self.ffi.NULL:
            return None
        return bytes(self.ffi.string(name)).decode("utf-8", "surrogateescape")

    def kvm_dump_inval(self, kd: NativeKvm) -> int:
        """Clear the dump's header: 0 or -1."""
        return _attempt(kd, -1, lambda: int(kd.call("kvm_dump_inval")))


def _c_int(value: int) -> int:
    """As C's int takes an unsigned one, such as KVM_NO_FILES."""
    return (index(value) + (1 << 31) & 0xFFFFFFFF) - (1 << 31)


def _check(kd: NativeKvm) -> NativeKvm:
    if not isinstance(kd, NativeKvm):
        raise TypeError(f"kd must be a handle of this library, not {type(kd).__name__}")
    return kd


def _attempt(kd: NativeKvm, failure: Any, call: Callable[[], T]) -> T | Any:
    """What a call gives, or the function's failure: the message is in the handle, or the library's."""
    _check(kd)
    try:
        return call()
    except KvmError:
        return failure
