"""What a target is: one kernel, as pykvm's functions see it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pykvm.errors import CLOSED, KvmError
from pykvm.types.layout import Struct, Types

if TYPE_CHECKING:
    from pykvm.images.base import Image
    from pykvm.images.hostfile import HostFile
    from pykvm.machines.mmu import Translation
    from pykvm.memory import Memory
    from pykvm.records import FileRecord, KvmPage, KvmSwap, ProcessRecord
    from pykvm.symbols.base import Symbol, Symbols


class Thread:
    """A thread of a process: `wchan` and `addr` (of its structure) are kernel addresses."""

    __match_args__ = ("tid", "name", "stat", "wmesg", "wchan", "addr")

    def __init__(self, tid: int, name: str, stat: str, wmesg: str | None, wchan: int | None, addr: int | None) -> None:
        self.tid = tid
        self.name = name
        self.stat = stat
        self.wmesg = wmesg
        self.wchan = wchan
        self.addr = addr

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Thread):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__match_args__)

    def __hash__(self) -> int:
        return hash((self.tid, self.addr))

    def __repr__(self) -> str:
        return f"Thread({', '.join(f'{name}={getattr(self, name)!r}' for name in self.__match_args__)})"


class Message(NamedTuple):
    """A record of the message buffer: `time` in nanoseconds since boot and `priority` as in syslog(3) (8 * facility +
    level), None where the buffer does not tell; `text` may have several lines."""

    time: int | None
    priority: int | None
    text: bytes

    def stamp(self) -> bytes:
        """The time as dmesg(1) puts it before the text."""
        return b"" if self.time is None else b"[%5d.%06d] " % (self.time // 10**9, self.time % 10**9 // 1000)


class SwapDevice(NamedTuple):
    """A swap device: its file and the first page that it holds of all swap space."""

    file: Any
    drum_offset: int


class _Gone:
    """What a closed handle has in place of its parts."""

    def __getattr__(self, name: str) -> Any:
        raise KvmError(CLOSED)


class Parts:
    """What a handle gives its target to work with. prefix: of names in messages."""

    def __init__(
        self,
        memory: Memory,
        image: Image,
        symbols: Symbols,
        kernel: HostFile | None = None,
        swap: Sequence[SwapDevice] = (),
        prefix: str = "",
    ) -> None:
        self.memory = memory
        self.image = image
        self.symbols = symbols
        self.kernel = kernel
        self.swap = swap
        self.prefix = prefix

    def but(self, memory: Memory, image: Image | None = None) -> Parts:
        """The same of other memory."""
        return Parts(memory, image or self.image, self.symbols, self.kernel, self.swap, self.prefix)

    def let_go(self) -> None:
        """The handle is closed: whoever still has this (types that a program keeps) is told so, and keeps no file open
        and no dump mapped."""
        gone: Any = _Gone()
        self.memory = self.image = self.symbols = gone
        self.kernel, self.swap = None, ()

    def address_of(self, name: str) -> int:
        """A symbol's value; KvmError `<name>: no such symbol`."""
        found = self.symbols.loose(name)
        if found is None:
            flaw = f" ({self.symbols.flaw})" if self.symbols.flaw else ""
            raise KvmError(f"{self.prefix}{name}: no such symbol{flaw}")
        return found.value


class Target:
    """One kernel. Subclasses know a system; whatever a system does not have stays as it is here.

    `system` and `machine` are kd.info's words; `types` the structure layouts in use, `all_types` those for kd.types;
    `kerndisp` is what kvm_kerndisp(3) means: how far the kernel runs above the addresses that it was linked at, where
    its symbols had to be moved.
    """

    system = ""
    machine = ""
    byteorder = "little"
    pointer_size = 8
    page_size = 4096
    kerndisp = 0
    prefix = ""  # that this system's programs write before C's names, and its library in messages

    def __init__(self) -> None:
        self.types = Types()
        self._all_types: Types | None = None

    def let_go(self) -> None:
        """The handle is closed: types lead back to it, and to files that they are read from."""
        self.types = Types()
        self._all_types = None

    @property
    def order(self) -> str:
        """The byte order as struct spells it."""
        return "<" if self.byteorder == "little" else ">"

    @property
    def all_types(self) -> Types:
        """`types`, and what else the target has that the kernel's own code does not know (its modules')."""
        return self.types if self._all_types is None else self._all_types

    def translation(self, image: Image, symbols: Symbols | None) -> Translation | None:
        """How virtual addresses are translated; None if this image does not tell (reads then say so)."""
        raise KvmError(f"{self.system}: no translation")

    def banner(self, image: Image) -> str | None:
        """What the dump itself says of its kernel, for who has to find the file of it; None if it does not."""
        return None

    def own_symbols(self, memory: Memory, image: Image) -> Symbols | None:
        """The symbols that the dump itself carries, once its memory can be read; None if it carries none."""
        return None

    def settled(self, parts: Parts) -> Target:
        """Called once memory can be read: the target, or another that memory shows this dump to be of."""
        return self

    def check(self, parts: Parts) -> None:
        """Called once memory can be read: raise if the kernel file is seen to be another kernel's."""

    def elsewhere(self, parts: Parts, name: str) -> Symbol | None:
        """The symbol that a name stands for which the kernel does not have as it is; None if it stands for nothing.
        KvmError if it does, but where that is cannot be told. It looks for others with parts.symbols.find only."""
        return None

    def moved(self) -> None:
        """Memory lies elsewhere: what was made to read it is made anew when it is needed next."""

    def refresh(self, parts: Parts) -> None:
        """Forget what was read of a kernel that runs, and may have changed."""

    def release(self, parts: Parts) -> tuple[str | None, str | None]:
        """(uname -r, the kernel's version text)."""
        return None, None

    def facts(self, parts: Parts) -> dict[str, Any]:
        """More for `pykvm info`: title -> value, for what can be read."""
        return {}

    def getprocs(self, parts: Parts, op: int, arg: int) -> list[ProcessRecord]:
        """kvm_getprocs(3)."""
        raise self.lacks("kvm_getprocs")

    def with_argv(self, parts: Parts, op: int, arg: int) -> list[ProcessRecord]:
        """As getprocs(), for who will ask for the arguments of all of them: they may be read at once with the list."""
        return self.getprocs(parts, op, arg)

    def getproc2(self, parts: Parts, op: int, arg: int, elemsize: int | None) -> list[ProcessRecord]:
        """kvm_getproc2(3)."""
        raise self.lacks("kvm_getproc2")

    def getlwps(self, parts: Parts, pid: int, paddr: int, elemsize: int | None) -> list[ProcessRecord]:
        """kvm_getlwps(3)."""
        raise self.lacks("kvm_getlwps")

    # Of a record that is a copy of another's bytes: what tells which process it is, by the name of its structure.
    copies: Mapping[str, Mapping[str, Callable[[Any], Any]]] = {}

    def record_struct(self, parts: Parts, two: bool) -> Struct:
        """The structure of kvm_getprocs' records, or (`two`) of kvm_getproc2's."""
        raise self.lacks("kvm_getproc2" if two else "kvm_getprocs")

    def record_of(self, raw: bytes, struct: Struct) -> ProcessRecord:
        """A record that a program has copied, for kvm_getargv(3) and the like."""
        from pykvm.records import ProcessRecord  # which needs this file

        return ProcessRecord(struct, raw, 0, self.byteorder, self.copies[struct.name], {})

    def arguments(self, parts: Parts, record: ProcessRecord, environment: bool, nchr: int) -> list[bytes] | None:
        """kvm_getargv(3) and kvm_getenvv(3); None: the process has none."""
        raise self.lacks("kvm_getargv")

    def threads(self, parts: Parts, record: ProcessRecord) -> list[Thread]:
        """kd.threads."""
        raise self.lacks("threads")

    def loadavg(self, parts: Parts) -> list[float]:
        """All samples of kvm_getloadavg(3)."""
        raise self.lacks("kvm_getloadavg")

    def getfiles(self, parts: Parts, op: int, arg: int) -> list[FileRecord]:
        """kvm_getfiles(3)."""
        raise self.lacks("kvm_getfiles")

    def files_head(self, parts: Parts) -> bytes:
        """What C programs get in front of kvm_getfiles(3)'s records."""
        return b""

    def walk_pages(self, parts: Parts) -> Iterator[KvmPage]:
        """kvm_walk_pages(3)'s pages, one after another."""
        raise self.lacks("kvm_walk_pages")

    def maxcpu(self, parts: Parts) -> int:
        """kvm_getmaxcpu(3)."""
        raise self.lacks("kvm_getmaxcpu")

    def ncpus(self, parts: Parts) -> int:
        """kvm_getncpus(3)."""
        raise self.lacks("kvm_getncpus")

    def pcpu(self, parts: Parts, cpu: int) -> bytes | None:
        """kvm_getpcpu(3); None: there is no such CPU."""
        raise self.lacks("kvm_getpcpu")

    def set_cpu(self, parts: Parts, cpu: int) -> None:
        """kvm_dpcpu_setcpu(3)."""
        raise self.lacks("kvm_dpcpu_setcpu")

    def cpu_copy(self, parts: Parts, base: int, cpu: int) -> int:
        """The address of a CPU's own copy of what lies at base (kvm_read_zpcpu(3))."""
        raise self.lacks("kvm_read_zpcpu")

    def counter(self, parts: Parts, base: int) -> int:
        """kvm_counter_u64_fetch(3)."""
        raise self.lacks("kvm_counter_u64_fetch")

    def swapinfo(self, parts: Parts) -> list[KvmSwap]:
        """The swap devices of kvm_getswapinfo(3), without the total; names without a directory."""
        raise self.lacks("kvm_getswapinfo")

    def cptime(self, parts: Parts) -> list[int]:
        """kvm_getcptime(3)'s counters."""
        raise self.lacks("kvm_getcptime")

    def dmesg(self, parts: Parts) -> bytes:
        """The message buffer, oldest line first."""
        raise self.lacks("dmesg")

    def messages(self, parts: Parts) -> Iterator[Message]:
        """The message buffer's records, where it has more than text."""
        raise self.lacks("dmesg with times and priorities")

    def lacks(self, what: str) -> KvmError:
        """The error for what this target does not have."""
        return KvmError(f"{what}: {self.system} does not have it")


# A probe takes the image and the symbols of the kernel file (None: no file was named), and gives a Target, or None
# if it is another system's.
Probe = Callable[["Image", "Symbols | None"], "Target | None"]
