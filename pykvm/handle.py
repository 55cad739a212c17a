"""The handle: owns the files, what they are, and the message of the last error."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING

from pykvm.asking import Asking, Recorded
from pykvm.constants import KVM_NO_FILES
from pykvm.errors import CLOSED, KvmError
from pykvm.loading import loading

if TYPE_CHECKING:
    from pykvm.images.base import Image
    from pykvm.images.hostfile import HostFile
    from pykvm.info import Info
    from pykvm.paths import Path
    from pykvm.symbols.base import Symbols
    from pykvm.symbols.resolver import Resolver
    from pykvm.targets.base import Parts, SwapDevice, Target
    from pykvm.types.layout import Types

ERRBUF = 2048  # _POSIX2_LINE_MAX: the size of the handle's message and of a caller's errbuf
PATIENCE = 1.0  # seconds between two looks at where a running kernel's memory lies, when reads fail


class Kvm(Asking):
    """A kernel that is looked at: a handle of kvm(3) whose failures raise KvmError.

    Kvm(core, kernel, swap): core is a dump, or a list of the files that one was split over, or None for the
    running kernel; kernel the file it was booted from; swap a swap device's contents. writable: kd.write works.
    layout: a JSON file of structure layouts, which are taken before pykvm's own. zero_excluded: memory that the dump
    leaves out reads as zeros, not as an error. live: whether raw memory is of a virtual machine that runs; None: if
    another program has the file open for writing, which only its owner and the superuser are told.
    """

    def __init__(
        self,
        core: Path | Sequence[Path] | None = None,
        kernel: Path | None = None,
        swap: Path | None = None,
        *,
        writable: bool = False,
        layout: Path | None = None,
        zero_excluded: bool = False,
        live: bool | None = None,
    ) -> None:
        self._prepare(None)
        self._zero_excluded = zero_excluded
        self._runs: bool | None = live
        with Recorded(self):
            self._open(kernel, core, swap, os.O_RDWR if writable else os.O_RDONLY, layout)

    def _prepare(self, program: str | None) -> None:
        """The state of a handle before anything is opened. program: who to name on stderr (kvm_open's errstr)."""
        self.message = ""
        self.soft = False  # whether the last message was one that is always kept
        self.program = program
        self._files: list[HostFile] = []
        self._symbols: Symbols | None = None
        self._kernel: HostFile | None = None
        self._swap: list[SwapDevice] = []
        self._target: Target | None = None
        self._no_files = False
        self.no_files_why = ""
        self._parts: Parts | None = None
        self._layout: Types | None = None
        self._zero_excluded = False
        self._runs = None
        self._resolver: Resolver | None = None
        self._moving = threading.RLock()
        self._look_again = 0.0
        self.moved = False  # the space that memory is read through is another than it was at first
        super().__init__()
        self.symbol: Callable[[str], int] = self._missing

    # -- opening --------------------------------------------------------------------------------------------

    def _open(
        self,
        kernel: Path | None,
        core: Path | Sequence[Path] | None,
        swap: Path | None,
        flags: int,
        layout: Path | None = None,
    ) -> None:
        """kvm_openfiles(3)."""
        try:
            if flags & KVM_NO_FILES:
                self._no_files = True
            else:
                opening().open_files(self, kernel, core, swap, flags, layout)
        except BaseException:
            self._release()
            raise

    def adopt(self, image: Image) -> None:
        """Read this image from now on (kvm_dump_mkheader found a dump on the device)."""
        opening().adopt(self, image)

    def refresh(self) -> None:
        """Of a kernel that runs, read again what is kept: where its memory lies, the names and types of its modules.

        Nothing else is: every read asks memory, and every translation of an address the page tables, which costs a
        running kernel's reader some 100 ns. Of a dump, or without files, this does nothing.
        """
        with Recorded(self):
            image = self._image
            if self._closed:
                raise KvmError(CLOSED)
            if self._target is None or self._parts is None or image is None or not image.live:
                return
            self.look_again(surely=True)
            if self._symbols is not None:
                self._symbols.again()
            self._target.refresh(self._parts)

    def look_again(self, *, surely: bool = False) -> bool:
        """Whether the memory of the kernel lay elsewhere, and is read there now. surely: even if it was looked for a
        moment ago."""
        image = self._image
        if image is None or not image.live or (not surely and time.monotonic() < self._look_again):
            return False
        with self._moving:
            target, parts = self._target, self._parts
            if self._closed or target is None or parts is None or image is not self._image:
                return False
            self._look_again = time.monotonic() + PATIENCE
            fresh = image.again()
            if fresh is None:
                return False
            self._files.append(fresh.files[0])
            opening().translate(self, fresh, target)
            parts.image = fresh
            target.moved()
            self.moved = True
            return True

    def _release(self) -> None:
        with self._moving:
            self.detach()
            for file in self._files:
                file.close()
            self._files = []
        if self._symbols is not None:
            self._symbols.let_go()
        if self._parts is not None:
            self._parts.let_go()
        if self._target is not None:
            self._target.let_go()
        self._symbols = self._kernel = self._parts = self._target = None
        self._swap = []
        self.symbol = self._missing

    # -- errors ---------------------------------------------------------------------------------------------

    def note(self, error: KvmError) -> KvmError:
        """Keep a failure's text for kvm_geterr(3), or print it, once: Sun's errstr rule."""
        if error.noted and self.program is not None and not error.soft:
            return error
        error.noted = True
        self.soft = error.soft
        if self.program is not None and not error.soft:
            if sys.stderr is not None:
                print(f"{self.program}: {error}", file=sys.stderr)
        else:
            raw = str(error).encode("utf-8", "surrogateescape")[: ERRBUF - 1]
            self.message = raw.decode("utf-8", "replace" if len(raw) == ERRBUF - 1 else "surrogateescape")
        return error

    def _missing(self, name: str) -> int:
        with Recorded(self):
            found = None if self._symbols is None else self._symbols.loose(name)
        if found is None:
            raise self.note(KvmError(CLOSED if self._closed else f"{name}: no such symbol{self._left_out()}"))
        return found.value

    def _left_out(self) -> str:
        """Why names may be missing, if they may be: the kernel's own, or those of modules."""
        symbols = self._symbols
        if symbols is None:
            return ""
        flaws = [table.flaw for table in (symbols, symbols.modules) if table is not None and table.flaw]
        return f" ({'; '.join(flaws)})" if flaws else ""

    # -- what the handle is looking at ----------------------------------------------------------------------

    @property
    def parts(self) -> Parts:
        """What the target works with; KvmError if the handle is closed or no target was recognised."""
        self._ask_running()
        if self._parts is None or self._target is None:
            raise KvmError(self._no_memory)
        return self._parts

    @property
    def target(self) -> Target:
        """The kernel that was recognised; KvmError as for `parts`."""
        self._ask_running()
        if self._target is None:
            raise KvmError(self._no_memory)
        return self._target

    @property
    def image(self) -> Image:
        """The image that is read; KvmError if the handle is closed or has none."""
        if self._image is None:
            raise KvmError(CLOSED if self._closed else "this handle has no files")
        return self._image

    @property
    def kernel_path(self) -> str | None:
        """The path of the kernel file, if one was named."""
        return None if self._kernel is None else self._kernel.path

    @property
    def no_files(self) -> bool:
        """Opened with KVM_NO_FILES, or on /dev/null (`no_files_why` says so, for messages)."""
        return self._no_files

    def ask_live(self, name: str) -> None:
        """See that a handle without files can be asked; KvmError if the host's kernel does not tell."""
        self._ask_running()
        if self._target is None:
            raise KvmError(f"{name}: no live kernel to ask")

    def _ask_running(self) -> None:
        """Of a handle without files: the kernel that runs here, when it is asked first."""
        if self._no_files and self._target is None:
            with loading:
                from pykvm.targets import live

            if live.can_tell():
                self._target, self._parts = live.opened(self)

    @property
    def closed(self) -> bool:
        """kd.close() was called, or opening failed."""
        return self._closed

    @property
    def symbols(self) -> Symbols:
        """Names to addresses: a mapping. KvmError if the handle is closed or the kernel file has no symbols."""
        if self._symbols is None:
            raise self.note(KvmError(CLOSED if self._closed else "bad namelist" + self.no_files_why, soft=True))
        return self._symbols

    def symbol_at(self, addr: int) -> tuple[str, int]:
        """(name, offset) of the closest symbol at or below an address; KvmError if there is none."""
        found = self.symbols.at(addr)
        if found is None:
            raise self.note(KvmError(f"{addr:x}: no symbol at or below this address{self._left_out()}"))
        return found

    @property
    def types(self) -> Types:
        """Structure layouts of the target."""
        with Recorded(self):
            return self.target.all_types

    @property
    def info(self) -> Info:
        """What this is an image of."""
        with loading:
            from pykvm.info import Info, of_target

        with Recorded(self):
            self._ask_running()
            target = self._target
            if self._no_files and target is not None:
                return of_target(target, self.parts, "none", True)
            image = self.image
            if target is None:
                return Info(None, None, None, image.machine, image.byteorder, None, None, image.format, image.live)
            return of_target(target, self.parts, image.format, image.live)

    # -- the end --------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Let go of all files. Whatever is asked of the handle afterwards says that it is closed."""
        if not self._closed:
            self._no_files = False
            self._release()

    def __enter__(self) -> Kvm:
        if self._closed:
            raise self.note(KvmError(CLOSED))
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        # Only the files: what C holds frees itself, and when the collector takes a cycle it may be gone already.
        for file in getattr(self, "_files", ()):
            file.close()

    def __repr__(self) -> str:
        if self._closed:
            return "<Kvm, closed>"
        return f"<Kvm {self._image.path if self._image is not None else 'without files'}>"


def opening() -> ModuleType:
    """How files are opened, which takes longer to load than the rest, and not every handle has any."""
    with loading:
        from pykvm import opening

    return opening


def handle(kd: Kvm) -> Kvm:
    """A handle passed to one of kvm(3)'s functions: TypeError if it is none (an open that failed gives None)."""
    if not isinstance(kd, Kvm):
        raise TypeError(f"kd must be a pykvm.Kvm, not {type(kd).__name__}")
    return kd
