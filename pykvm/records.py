"""Records: of processes and open files, a structure of the target and names that mean the same everywhere; of pages
and swap, the structures of FreeBSD's <kvm.h>."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from pykvm.types.layout import Struct
from pykvm.types.view import StructView

if TYPE_CHECKING:
    from pykvm.memory import Memory

# The attributes that every process record has (interface.md, section 2).
PROCESS_NAMES = frozenset(
    "pid ppid pgid sid tpgid uid ruid svuid gid rgid svgid groups comm stat flags nice tdev login wmesg wchan paddr "
    "start_time utime stime rssize threads".split()
)


def text(raw: bytes) -> str:
    """Names of the target as str: undecodable bytes survive as surrogates."""
    return raw.decode("utf-8", "surrogateescape")


class ProcessRecord(StructView):
    """A process: the target's own structure by its members' names, PROCESS_NAMES by one meaning.

    A value that the target does not have is None. `bytes(p)` is the record as that system's C library lays it out.
    """

    __slots__ = ("_length", "_more", "_neutral")
    memory: Memory | None = None  # of the handle that it is of, where that is known

    def __init__(
        self,
        struct: Struct,
        buf: Any,
        base: int,
        byteorder: str,
        neutral: Mapping[str, Callable[[ProcessRecord], Any]],
        more: Mapping[str, Any],
        length: int | None = None,
    ) -> None:
        """`neutral` computes attributes from the record, `more` holds values that the structure has no room for
        (asked first); `length`: the size of bytes(p), where it is not the structure's."""
        super().__init__(struct, buf, base, byteorder)
        self._neutral = neutral
        self._more = more
        self._length = struct.size if length is None else length

    @property
    def structure(self) -> str:
        """The name of the structure that the record is."""
        return self._struct.name

    def __getattr__(self, name: str) -> Any:
        if name in PROCESS_NAMES:
            if name in self._more:
                return self._more[name]
            compute = self._neutral.get(name)
            try:
                return compute(self) if compute is not None else None
            except AttributeError:  # a layout that lacks the member
                return None
        return super().__getattr__(name)

    def __bytes__(self) -> bytes:
        return super().__bytes__()[: self._length].ljust(self._length, b"\0")

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *PROCESS_NAMES})

    def __repr__(self) -> str:
        return f"<{self._struct.name} {self.pid} {self.comm}>"


class FileRecord(StructView):
    """An open file: the target's struct file by its members' names; `paddr` is its kernel address, None if not told.

    Where the target lists descriptors, there is one record for each: `pid` is of the process that has it, `fd` its
    number, `path` what it is open on, a path or the system's own word for what has none ("pipe:[3141]"). Elsewhere,
    and where it cannot be told, they are None.
    """

    __slots__ = ("fd", "paddr", "path", "pid")

    def __init__(
        self,
        struct: Struct,
        buf: Any,
        base: int,
        byteorder: str,
        paddr: int | None,
        pid: int | None = None,
        fd: int | None = None,
        path: str | None = None,
    ) -> None:
        super().__init__(struct, buf, base, byteorder)
        self.paddr = paddr
        self.pid = pid
        self.fd = fd
        self.path = path

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), "fd", "paddr", "path", "pid"})

    def __repr__(self) -> str:
        if self.pid is None:
            return super().__repr__()
        return f"<{self._struct.name} {self.pid} {self.fd} {self.path}>"


class KvmPage(NamedTuple):
    """struct kvm_page: a page (or several, of one mapping) of the dump.

    kp_paddr: its physical address; kp_kmap_vaddr: where the kernel maps it, 0 if it does only directly; kp_dmap_vaddr:
    where it is in the direct map, 0 if there is none; kp_prot: VM_PROT_*, of the kernel's mapping or the direct one;
    kp_offset: where its kp_len bytes lie in the dump's file, -1 if they are not there (devices' memory).
    """

    kp_version: int
    kp_paddr: int
    kp_kmap_vaddr: int
    kp_dmap_vaddr: int
    kp_prot: int
    kp_offset: int
    kp_len: int


class KvmSwap(NamedTuple):
    """struct kvm_swap: a swap device, or all of them together. Sizes in pages; ksw_flags are the kernel's SW_*."""

    ksw_devname: str
    ksw_used: int
    ksw_total: int
    ksw_flags: int
