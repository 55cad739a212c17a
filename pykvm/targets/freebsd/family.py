"""What FreeBSD and DragonFly, which was made of it, have in common: translation, identity, messages, load."""

from __future__ import annotations

from collections.abc import Iterator

from pykvm.errors import FormatError
from pykvm.images.base import Image
from pykvm.images.minidump import Minidump
from pykvm.loading import loading
from pykvm.machines.mmu import Translation
from pykvm.records import KvmPage
from pykvm.symbols.base import Symbols
from pykvm.symbols.modules import ModuleSymbols
from pykvm.targets.base import Message, Parts, Target
from pykvm.targets.freebsd import facts, fulldump, identity, msgbuf, pages, platform
from pykvm.targets.freebsd.strings import string
from pykvm.targets.freebsd.types import AllTypes, KernelTypes

# Kernel files' machines (pykvm.images.elf) where a dump's header has one word for two.
SAME = {"mips64": "mips"}


class Family(Target):
    """A kernel whose dumps are FreeBSD's.

    `kernphys` is the physical address of the kernel's first page, of an amd64 full dump (None: was not needed);
    `scheme` that of its page tables. `time_t`: bytes of such; `kinfo`: the table of struct kinfo_proc, for kernels
    without types.
    """

    def __init__(self, image: Image, symbols: Symbols | None) -> None:
        super().__init__()
        self.machine = image.machine or ""
        self.byteorder = image.byteorder or "little"
        self.kernphys: int | None = None
        self.scheme: fulldump.Scheme | None = None
        if symbols is not None and SAME.get(symbols.machine or "") == self.machine:
            self.machine = symbols.machine or self.machine
        known = platform.PLATFORMS.get(self.machine)
        self.pointer_size = known.pointer_size if known is not None else 8
        self.time_t = known.time_t if known is not None else 8
        self.kinfo = known.kinfo if known is not None else "freebsd-lp64"
        if isinstance(image.header, Minidump):
            self.page_size = image.header.page_size

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

    def banner(self, image: Image) -> str | None:
        return identity.told_by_log(image)

    def check(self, parts: Parts) -> None:
        """See that the kernel file is the dump's, or move its symbols to where the kernel ran."""
        self.types = kernel = KernelTypes(parts, self.pointer_size)
        self.kerndisp = identity.check(self, parts)
        parts.symbols.chain(lambda: self._module_names(parts))
        self._all_types = AllTypes(kernel, self, parts)

    def _module_names(self, parts: Parts) -> ModuleSymbols | None:
        with loading:
            from pykvm.targets.freebsd import modules

        return modules.read(self, parts)

    def release(self, parts: Parts) -> tuple[str | None, str | None]:
        return string(parts, "osrelease", 64), string(parts, "version", identity.MAX_VERSION)

    def loadavg(self, parts: Parts) -> list[float]:
        return facts.loadavg(self, parts)

    def walk_pages(self, parts: Parts) -> Iterator[KvmPage]:
        return pages.walk(self, parts)

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
