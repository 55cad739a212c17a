"""A kernel's memory: the part of a handle that reads and writes it."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pykvm._native.ffi import NEAR, ffi, lib, unset
from pykvm.errors import CLOSED, AddressError, KvmError
from pykvm.images.reasons import REASONS

if TYPE_CHECKING:
    from pykvm.images.base import Image
    from pykvm.machines.mmu import Translation

CHUNK = 16 << 20
SHORT = 4096  # bytes that are copied into a buffer without letting go of the GIL
LIST_LIMIT = 1 << 22
TLB_PAGES = 1 << 14
ADDRESS = (1 << 64) - 1
MAX_GATHER = 1 << 32  # bytes of one call
NO_ADDRESS = (lib.PK_EIO, lib.PK_EMEM, lib.PK_ECLOSED)  # failures that are not of an address

Reader = Callable[[int], int]
WORDS = {1: lib.pk_word_u8, 2: lib.pk_word_u16, 4: lib.pk_word_u32, 8: lib.pk_word_u64}
window, unpack, memmove = lib.pk_space_window, ffi.unpack, ffi.memmove


class Memory:
    """Virtual memory of a target, through an image and a translation; either may be missing.

    The read_* members are functions made for one handle: their way to C must be short.
    """

    read_u8: Reader
    read_u16: Reader
    read_u32: Reader
    read_u64: Reader
    read_i8: Reader
    read_i16: Reader
    read_i32: Reader
    read_i64: Reader
    read_ptr: Reader

    def __init__(self) -> None:
        self._image: Image | None = None
        self._space: Any = None
        self._before: list[Any] = []
        self._pte_error = ""
        self._pointer_size = 8
        self._byteorder = "little"
        self._no_memory = "no valid dump header"
        self._closed = False
        self._near, self._short = NEAR, SHORT
        self._make_readers()

    # -- set-up ---------------------------------------------------------------------------------------------

    def attach(
        self,
        image: Image,
        translation: Translation | None,
        byteorder: str,
        pointer_size: int,
        pages: int = TLB_PAGES,
    ) -> None:
        """Read through this image and translation from now on; `pages`: how many translations to keep."""
        space = None
        if translation is not None:
            new = lib.pk_space_new(image.core, translation.mmu, translation.va_mask, byteorder == "big", pages)
            if new == ffi.NULL:
                raise KvmError("out of memory")
            space = ffi.gc(new, lib.pk_space_free)
            for start, last, offset, sure in image.direct:
                lib.pk_space_direct(space, start, last, offset, sure)
            self._pte_error = translation.pte_error
        # C that has been given the old one, and threads, may read through it until the handle is closed.
        if self._space is not None:
            self._before.append(self._space)
        self._image, self._byteorder, self._pointer_size = image, byteorder, pointer_size
        # /proc/kcore, of which alone addresses have offsets, cannot be mapped: nothing to be looked for there.
        self._near, self._short = (-1, -1) if image.direct else (NEAR, SHORT)
        self._space = space
        self._make_readers()

    @property
    def space(self) -> Any:
        """The core's pk_space that memory is read through, for C; NULL if there is none."""
        return ffi.NULL if self._space is None else self._space

    def outlive(self) -> None:
        """Keep what memory is read through for good, for C that goes on reading when Python has ended."""
        for space in (*self._before, self._space):
            if space is not None:
                ffi.gc(space, None)

    def detach(self) -> None:
        """Make every further access say that the handle is closed."""
        self._closed = True
        for space in (*self._before, self._space):
            if space is not None:
                lib.pk_space_close(space)
        # Threads that are still in C hold their own references; the memory goes with the last of them.
        self._before = []
        self._space = None
        self._image = None
        self._no_memory = CLOSED
        self._make_readers()

    @property
    def unreadable(self) -> str | None:
        """Why kernel memory cannot be read at all; None if it can."""
        return self._no_memory if self._space is None else None

    def note(self, error: KvmError) -> KvmError:
        """Called with every failure before it is raised."""
        return error

    def _make_readers(self) -> None:
        for kind in ("u8", "u16", "u32", "u64", "i8", "i16", "i32", "i64"):
            setattr(self, f"read_{kind}", self._reader(kind))
        self.read_ptr = self.read_u32 if self._pointer_size == 4 else self.read_u64

    def _reader(self, kind: str) -> Reader:
        size, signed = int(kind[1:]) // 8, kind[0] == "i"
        space, call = self._space, getattr(lib, f"pk_word_{kind}")

        def slow(addr: int) -> int:
            byteorder: Any = self._byteorder
            return int.from_bytes(self.read(addr, size), byteorder, signed=signed)

        if space is None:
            return slow

        def read(addr: int) -> int:
            try:
                value: int | None = call(space, addr)
            except OverflowError:
                return slow(addr)
            return value if value is not None else slow(addr)

        read.__name__ = f"read_{kind}"
        what = f"{'signed' if signed else 'unsigned'} {size * 8}-bit integer"
        read.__doc__ = f"The {what} at addr, in the target's byte order; AddressError if it is not there."
        return read

    # -- virtual memory -------------------------------------------------------------------------------------

    def readinto(self, addr: int, buf: Any) -> int:
        """Fill a writable buffer from a kernel virtual address; its size in bytes. All of it or AddressError."""
        flat = memoryview(buf).cast("B")
        if flat.readonly:
            raise TypeError("buf must be writable")
        self._readinto(addr, flat, flat.nbytes)
        return flat.nbytes

    def read(self, addr: int, n: int) -> bytes:
        """n bytes at a kernel virtual address, or AddressError with the first that is not there."""
        if n < 0:
            raise ValueError(f"negative length {n}")
        if n <= CHUNK:
            data: bytes
            space = self._space
            if space is None or not 0 <= addr <= ADDRESS:
                space = self._space_for(addr)
            # Memory that lies mapped in one piece becomes bytes at once, with the GIL: not too much of it.
            mapped = window(space, addr, n) if n <= self._near else None
            if mapped:
                data = unpack(mapped, n)
                return data
            word = self._word(space, addr, n)
            if word is not None:
                return word
            buf = unset("char[]", n)
            if lib.pk_space_read(space, addr, buf, n, ffi.NULL) == n:
                data = unpack(buf, n)
                return data
            room = bytearray(n)
            self._readinto(addr, room, n)
            return bytes(room)
        # A length that makes no sense must fail at its first hole, not take its room beforehand.
        whole = bytearray()
        while len(whole) < n:
            part = bytearray(min(CHUNK, n - len(whole)))
            self._readinto(addr + len(whole), part, len(part))
            whole += part
        return bytes(whole)

    def _readinto(self, addr: int, buf: Any, n: int) -> None:
        if self.copied(addr, buf, n):
            return
        fault = ffi.new("pk_fault *")
        got = self.transfer(lib.pk_space_read, addr, ffi.from_buffer(buf), n, fault)
        if got < n and self.look_again():
            got = self.transfer(lib.pk_space_read, addr, ffi.from_buffer(buf), n, fault)
        if got < n:
            raise self.note(self.fault(fault, addr, got))

    def look_again(self) -> bool:
        """Called when a read fails: whether it is worth another try, as a kernel that runs has its memory elsewhere."""
        return False

    def copied(self, addr: int, buf: Any, n: int) -> bool:
        """Fill n bytes of a buffer, which has them, if they are few and lie mapped in one piece: the short way."""
        space = self._space_for(addr)
        mapped = window(space, addr, n) if n <= self._short else None
        if mapped:
            memmove(buf, mapped, n)
            return True
        word = self._word(space, addr, n)
        if word is None:
            return False
        buf[:n] = word
        return True

    def _word(self, space: Any, addr: int, n: int) -> bytes | None:
        """So many bytes of memory that is not mapped, if they are a word's: a short way, too. None: by the long way."""
        call = WORDS.get(n)
        value: int | None = call(space, addr) if call is not None else None
        return None if value is None else value.to_bytes(n, self._byteorder)  # type: ignore[arg-type]

    def transfer(self, call: Any, addr: int, buf: Any, n: int, fault: Any) -> int:
        """Run pk_space_read or pk_space_write; the bytes moved."""
        got: int = call(self._space_for(addr), addr, buf, n, fault)
        return got

    def read_cstr(self, addr: int, limit: int = 4096) -> bytes:
        """The bytes up to (not with) the NUL, at most limit. AddressError if memory ends before either."""
        if limit < 0:
            raise ValueError(f"negative length {limit}")
        buf = bytearray(min(limit, CHUNK))
        fault = ffi.new("pk_fault *")
        got = self.transfer(lib.pk_space_cstr, addr, ffi.from_buffer("char[]", buf), len(buf), fault)
        if fault.status != lib.PK_OK:
            raise self.note(self.fault(fault, addr, got))
        return bytes(buf[:got])

    def gather(self, addrs: Any, size: int) -> memoryview:
        """`size` bytes from each address, one after another.

        addrs: a buffer of 8-byte integers (array('Q'), numpy, what walk_list gives) or any iterable of int.
        AddressError with the first address that cannot be read.
        """
        if size < 0:
            raise ValueError(f"negative length {size}")
        table = self._table(addrs)
        if size > CHUNK:  # must fail at the first hole, not take its room beforehand
            return memoryview(b"".join(self.read(addr, size) for addr in table))
        if size * len(table) > MAX_GATHER:
            raise self.note(KvmError(f"{len(table)} pieces of {size} bytes: more than {MAX_GATHER} bytes in one call"))
        out = bytearray(len(table) * size)
        self.gather_into(table, size, out, 0, size)
        return memoryview(out)

    def gather_into(
        self, addrs: Any, size: int, out: bytearray, offset: int, stride: int, *, partial: bool = False
    ) -> bytearray:
        """As gather(), into out[offset], out[offset + stride], ... With `partial`, what cannot be read is zeroed;
        the result has a 1 for each address that could be read."""
        table = self._table(addrs)
        count = len(table)
        ok = bytearray(count)
        if count == 0:
            return ok
        if size < 0 or offset < 0 or stride < size or offset + (count - 1) * stride + size > len(out):
            raise ValueError("gather beyond the end of the buffer")
        space = self._space_for(0)
        fault = ffi.new("pk_fault *")
        done = lib.pk_space_gather(
            space,
            ffi.from_buffer("uint64_t[]", table),
            count,
            size,
            ffi.from_buffer(out) + offset,
            stride,
            ffi.from_buffer("uint8_t[]", ok) if partial else ffi.NULL,
            fault,
        )
        if done < count:
            raise self.note(self.fault(fault, table[done], 0))
        return ok

    def _table(self, addrs: Any) -> Any:
        try:
            return address_table(addrs)
        except AddressError as e:
            raise self.note(e) from None

    def walk_list(self, head: int, next_offset: int, limit: int = LIST_LIMIT, *, circular: bool = True) -> memoryview:
        """The addresses on a linked list: head (the first element), then what the pointer at +next_offset of each
        says, up to NULL or back to head; a head of 0 is an empty list.

        limit: most elements. circular=False: only NULL ends the list, and coming back to head is an error.
        AddressError for a pointer that cannot be followed (`address` is the element); KvmError for a loop that
        does not go through head, or more elements than limit.
        """
        if limit < 0:
            raise ValueError(f"limit {limit}")
        if not -ADDRESS <= next_offset <= ADDRESS:
            raise self.note(AddressError(f"next_offset {next_offset:#x} is beyond all addresses", head))
        space = self._space_for(head)
        fault, out = ffi.new("pk_fault *"), ffi.new("uint64_t **")
        count = lib.pk_space_walk(
            space, head, next_offset & ADDRESS, self._pointer_size, circular, min(limit, ADDRESS), out, fault
        )
        try:
            if fault.status == lib.PK_ELOOP:
                raise self.note(KvmError(f"list at {head:x} loops: {fault.addr:x} leads back into it"))
            if fault.status == lib.PK_ELIMIT:
                raise self.note(KvmError(f"list at {head:x} has more than {limit} elements"))
            if fault.status != lib.PK_OK:
                element = int(out[0][count - 1]) if count else head
                why = f"{self.fault(fault, 0, 0)}: in element {element:x} of the list at {head:x}"
                raise self.note(KvmError(why) if fault.status in NO_ADDRESS else AddressError(why, element))
            return memoryview(bytes(ffi.buffer(out[0], count * 8)) if count else b"").cast("Q")
        finally:
            lib.pk_free(out[0])

    @property
    def writable(self) -> bool:
        """Whether the image was opened for writing and can be written to."""
        file = self._image.written if self._image is not None else None
        return file is not None and file.writable and not file.compressed

    def write(self, addr: int, data: Any) -> int:
        """Write bytes to a kernel virtual address: their number. Nothing is written unless all of them have a place.

        KvmError if the handle was not opened for writing, or its dump is compressed; AddressError for memory that
        is not there; KvmError also where the host writes a part and then no more (a full disk, /dev/mem).
        """
        space, image = self._space_for(addr), self._image
        file = image.written if image is not None else None
        if file is not None and not file.writable:
            raise self.note(KvmError(f"{file.path}: not opened for writing"))
        if file is not None and file.compressed:
            raise self.note(KvmError(f"{file.path}: compressed with {file.compressed}: cannot be written to"))
        flat = memoryview(data).cast("B")
        fault = ffi.new("pk_fault *")
        done: int = lib.pk_space_write(space, addr, ffi.from_buffer(flat), flat.nbytes, fault)
        if fault.status != lib.PK_OK:
            raise self.note(self.fault(fault, addr, done))
        return done

    # -- physical memory ------------------------------------------------------------------------------------

    def translate(self, addr: int) -> int:
        """Physical address of a kernel virtual address, or AddressError."""
        space = self._space_for(addr)
        fault = ffi.new("pk_fault *")
        pa: int = lib.pk_space_translate(space, addr, ffi.new("uint64_t *"), fault)
        if fault.status != lib.PK_OK:
            raise self.note(self.fault(fault, addr, 0))
        return pa

    def located(self, addr: int) -> int | None:
        """As translate(), but None for what is not mapped, which is then no failure."""
        fault = ffi.new("pk_fault *")
        pa: int = lib.pk_space_translate(self._space_for(addr), addr, ffi.new("uint64_t *"), fault)
        return pa if fault.status == lib.PK_OK else None

    def read_phys(self, paddr: int, n: int) -> bytes:
        """n bytes of physical memory, or AddressError."""
        image = self._image
        if image is None:
            raise self.note(KvmError(self._no_memory))
        try:
            return image.read(paddr, n)
        except KvmError as e:
            raise self.note(e) from None

    # -- errors ---------------------------------------------------------------------------------------------

    def _space_for(self, addr: int) -> Any:
        """The space to read from, of which there must be one, at an address that C can take.

        It is fetched once for each call: another thread may close the handle in between.
        """
        space = self._space
        if space is None:
            raise self.note(KvmError(self._no_memory))
        if not 0 <= addr < 1 << 64:
            raise self.note(AddressError(f"invalid address ({addr:x})", addr))
        return space

    def fault(self, fault: Any, addr: int, done: int) -> KvmError:
        """What pk_fault says, as an error with kvm(3)'s text; `done` bytes from addr were there."""
        status, at = fault.status, fault.addr
        if status == lib.PK_EADDR:
            return AddressError(f"invalid address ({at:x})", at)
        if status == lib.PK_EPTE:
            text = self._pte_error.format(at)
            if fault.why in REASONS:
                text += f": its page table, at physical address {fault.table:x}, is not there: {REASONS[fault.why]}"
            return AddressError(text, at)
        if status == lib.PK_EPHYS:
            text = f"invalid address ({at:x})"
            if addr + done != at:  # the original tells the physical one only
                text += f": physical, of {addr + done:x}: the dump has no memory there"
            return AddressError(text, addr + done)
        path = self._image.path if self._image is not None else ""
        if status == lib.PK_EEOF:
            return AddressError(f"{path}: ends before physical address {at:x}", addr + done)
        if status == lib.PK_EIO:
            return KvmError(f"{path}: {os.strerror(fault.os_error)}")
        if status == lib.PK_ELEFTOUT:
            return AddressError(f"{path}: leaves out the memory at physical address {at:x}", addr + done)
        if status == lib.PK_EDAMAGED:
            return AddressError(f"{path}: the page at physical address {at:x} is damaged", addr + done)
        if status == lib.PK_ENOPART:
            return AddressError(f"{path}: physical address {at:x} is in a part of it that was not given", addr + done)
        if status == lib.PK_EREADONLY:
            return KvmError(f"{path}: its pages are compressed or packed: cannot be written to")
        if status == lib.PK_EMEM:
            return KvmError("out of memory")
        return KvmError(CLOSED)


def address_table(addrs: Any) -> Any:
    """Addresses as a buffer of u64 in the host's byte order."""
    if isinstance(addrs, array) and addrs.itemsize == 8 and addrs.typecode not in "d":
        return addrs
    if not isinstance(addrs, (list, tuple, range, array)):
        try:
            view = memoryview(addrs)
        except TypeError:
            pass
        else:
            if (
                not view.c_contiguous
                or view.itemsize != 8
                or view.ndim != 1
                or view.format not in ("Q", "L", "q", "l", "N", "@Q", "@L")
            ):
                raise TypeError(f"addresses: a buffer of u64 is needed, not of {view.format!r}")
            return view
    values: Sequence[int] = addrs if isinstance(addrs, (list, tuple, range)) else list(addrs)
    try:
        return array("Q", values)
    except OverflowError:
        bad = next(a for a in values if not 0 <= a < 1 << 64)
        raise AddressError(f"invalid address ({bad:x})", bad) from None
