"""Whether a kernel file is that of a Linux dump: by addresses, BUILD-ID and version text.

Some stable kernels of 6.x give a wrong BUILD-ID in VMCOREINFO, and those before 5.9 none. Unless it is the file's, the
notes in the dump's memory are asked, and where those cannot be read, the version text.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from pykvm.errors import FormatError, KvmError
from pykvm.images.base import Image
from pykvm.images.notes import MAX_ID_NOTES, build_id
from pykvm.memory import Memory
from pykvm.records import text
from pykvm.symbols.base import Symbols
from pykvm.targets.base import Parts

if TYPE_CHECKING:
    from pykvm.targets.linux.kernel import Linux

LANDMARKS = ("_stext", "init_uts_ns", "swapper_pg_dir")  # VMCOREINFO gives their addresses on every machine
# Functions that every kernel has, far from each other.
FUNCTIONS = ("_etext", "_sinittext", "_einittext", "start_kernel", "panic", "do_exit", "schedule", "kfree", "vprintk")
MAX_COMPARED = 1 << 14  # names of a file that are looked for
ENOUGH = 16
BANNER = "Linux version "
BANNER_MAX = 1024
# linux_banner: release, (who compiled it), (with what), version.
BANNER_PARTS = re.compile(r"Linux version (\S+) \(.*\) (#.*)")


class Identity(NamedTuple):
    """What tells a kernel from others: its BUILD-ID, and the text of linux_banner. None: not known."""

    build_id: str | None
    banner: str | None

    def __str__(self) -> str:
        """The release and the version, without what compiled it."""
        known = BANNER_PARTS.fullmatch(self.banner or "")
        version = " ".join(known.groups()) if known is not None else self.banner
        return ", ".join(x for x in (version, f"BUILD-ID {self.build_id}" if self.build_id else None) if x)


def told(target: Linux) -> Identity:
    """What VMCOREINFO says of the dump's kernel; the release alone for a banner."""
    return Identity(target.vmcoreinfo.text("BUILD-ID"), target.vmcoreinfo.text("OSRELEASE"))


def fit(target: Linux, image: Image, symbols: Symbols) -> None:
    """Move a kernel file's symbols to where the kernel ran, and see that it can be that kernel: FormatError.

    They stay where they are if they are there already: a saved /proc/kallsyms, or a kernel without KASLR.
    """
    if symbols.machine not in (None, target.machine):
        raise FormatError(
            f"bad namelist: {symbols.path} is of {symbols.machine}, the dump {image.path} of {target.machine}"
        )
    if _astray(target, symbols) is not None or all(symbols.find(name) is None for name in LANDMARKS):
        symbols.slide(target.platform.text_start, _offset(target, symbols))
    astray = _astray(target, symbols)
    if astray is not None:
        raise _refusal(image, symbols, _of_file(symbols), told(target), astray)


def _offset(target: Linux, symbols: Symbols) -> int:
    """How far KASLR moved the kernel. Not all machines' VMCOREINFO says that (i386's has never): then it is as far as
    the first landmark was moved, and the others show whether that is right."""
    told = target.vmcoreinfo.hexadecimal("KERNELOFFSET")
    if told is not None:
        return told
    places = ((target.vmcoreinfo.symbol(name), symbols.find(name)) for name in LANDMARKS)
    return next((addr - found.value for addr, found in places if addr is not None and found is not None), 0)


def _astray(target: Linux, symbols: Symbols) -> str | None:
    """Which symbol is not where VMCOREINFO says that it is; None if all are."""
    for name in LANDMARKS:
        addr, found = target.vmcoreinfo.symbol(name), symbols.find(name)
        if addr is not None and found is not None and addr != found.value:
            return f"{name} is at {found.value:#x}, in the dump at {addr:#x}"
    return None


def check(target: Linux, parts: Parts) -> None:
    """See that a kernel file is the dump's, now that the dump's memory can be read: FormatError names both kernels."""
    if parts.kernel is None:
        return
    symbols, said = parts.symbols, told(target)
    ours = _of_file(symbols)
    if ours.build_id is not None and ours.build_id == said.build_id:
        return
    astray = None
    theirs = _in_memory(target, symbols, target.quiet(parts.image))
    if ours.build_id is not None and theirs.build_id is not None:
        same = ours.build_id == theirs.build_id
    elif ours.banner is not None and theirs.banner is not None:
        same = ours.banner == theirs.banner
    elif ours.build_id is not None and said.build_id is not None:
        same = False
    elif theirs.banner is not None:  # a list of names: what is at its linux_banner must be that
        same = theirs.banner.startswith(f"{BANNER}{said.banner} ")
    else:  # a list of functions
        astray = _misplaced(target, parts)
        same = astray is None
    if not same:
        if theirs.banner is not None and not theirs.banner.startswith(BANNER):
            astray = f"the dump has no version text at its linux_banner, {symbols['linux_banner']:#x}"
            theirs = Identity(theirs.build_id, None)
        shown = Identity(theirs.build_id or said.build_id, theirs.banner or said.banner)
        raise _refusal(parts.image, symbols, ours, shown, astray)


def _misplaced(target: Linux, parts: Parts) -> str | None:
    """Which name is not where the dump's own kallsyms has it; None if all that are looked at are. A file with none of
    the kernel's names is another's."""
    try:
        own = target.own_symbols(parts.memory, parts.image)
    except KvmError:
        own = None
    if own is None:  # then only addresses that VMCOREINFO tells could be compared
        known = any(target.vmcoreinfo.symbol(name) is not None and name in parts.symbols for name in LANDMARKS)
        return None if known or len(parts.symbols) else "it has no symbols"
    compared = 0
    for name in (*FUNCTIONS, *islice(parts.symbols, MAX_COMPARED)):
        theirs, ours = own.find(name), parts.symbols.find(name)
        if theirs is None or ours is None:
            continue
        if theirs.value == ours.value:
            compared += 1
        elif name in FUNCTIONS or not compared:
            # Several functions may have one name: what fits before them tells enough.
            return f"{name} is at {ours.value:#x}, in the dump at {theirs.value:#x}"
        if compared == ENOUGH:
            return None
    return None if compared else "it has none of the kernel's names" if len(parts.symbols) else "it has no symbols"


def _of_file(symbols: Symbols) -> Identity:
    raw = symbols.held("linux_banner", BANNER_MAX)
    return Identity(symbols.build_id, _line(raw) if raw else None)


def _in_memory(target: Linux, symbols: Symbols, memory: Memory) -> Identity:
    """What the dump's memory has where the file's symbols say that notes and version text are."""
    found, banner = None, None
    start, stop, at = (symbols.find(name) for name in ("__start_notes", "__stop_notes", "linux_banner"))
    try:
        if start is not None and stop is not None and start.value < stop.value:
            notes = memory.read(start.value, min(stop.value - start.value, MAX_ID_NOTES))
            found = build_id(notes, "<" if target.byteorder == "little" else ">")
    except KvmError:
        pass  # not in the dump
    try:
        if at is not None:
            banner = _line(memory.read_cstr(at.value, BANNER_MAX))
    except KvmError:
        pass
    return Identity(found, banner)


def _line(raw: bytes) -> str:
    return text(raw.split(b"\0")[0]).rstrip("\n")


def _refusal(image: Image, symbols: Symbols, ours: Identity, theirs: Identity, astray: str | None) -> FormatError:
    reasons = (astray, f"it is {ours}" if str(ours) else None, f"the dump's is {theirs}" if str(theirs) else None)
    reason = "; ".join(r for r in reasons if r)
    return FormatError(f"bad namelist: {symbols.path} is not the kernel of {image.path}: {reason}")
