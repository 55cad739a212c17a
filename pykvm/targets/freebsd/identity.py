"""Whether a kernel file is that of a FreeBSD dump, and how far from its link addresses the kernel ran.

The variable `version` holds the same text in both (sys/conf/newvers.sh: release, branch, who built it when and where).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pykvm.errors import FormatError, KvmError
from pykvm.images.base import Image
from pykvm.images.minidump import Minidump
from pykvm.records import text
from pykvm.symbols.base import Symbols
from pykvm.targets.base import Parts
from pykvm.targets.freebsd.platform import displacement

if TYPE_CHECKING:
    from pykvm.targets.freebsd.family import Family

MAX_VERSION = 1024
LARGE = 2 << 20
REACH = 1 << 31  # a kernel is linked into 2 GB and moved within them
DISTANCES = tuple(sign * step for step in range(LARGE, REACH, LARGE) for sign in (1, -1))
LINKED = 0x100000  # a powerpc64's kernel is linked above
VARIABLES = ("allproc", "hz", "ticks", "version")  # of every kernel
# At the beginning of a boot the kernel says its version: `FreeBSD 12.1-RELEASE r354233 GENERIC`.
BANNER = re.compile(rb"^(?:FreeBSD|DragonFly) \d[^\n]*", re.MULTILINE)


def check(target: Family, parts: Parts) -> int:
    """How far the kernel file's symbols had to be moved; FormatError names both kernels if they are not the dump's."""
    symbols, header = parts.symbols, parts.image.header
    moved = displacement(header) if isinstance(header, Minidump) else 0
    if moved and _lowest(symbols) < header.values["dmapbase"]:
        symbols.slide(LINKED, moved)
    else:
        moved = 0
    at = symbols.find("version")
    ours = (symbols.held("version", MAX_VERSION) or b"").split(b"\0")[0]
    if parts.kernel is None:
        return moved
    if at is None or not ours:
        _plausible(parts)
        return moved
    theirs = _read(parts, at.value, len(ours) + 1)
    if theirs == ours + b"\0":
        return moved
    for distance in () if moved or target.pointer_size == 4 else DISTANCES:
        if _read(parts, at.value + distance, len(ours) + 1) == ours + b"\0":
            symbols.slide(at.value & -REACH, distance)
            return distance
    if theirs is None and parts.image.missing and parts.memory.located(at.value) is not None:
        # It may be in what the file lacks.
        return moved
    shown = _told(target, parts, at.value)
    raise FormatError(
        f"bad namelist: {parts.kernel.path} is not the kernel of {parts.image.path}: it is {_line(ours)!r}; "
        + (f"the dump's is {shown!r}" if shown else f"the dump has no version text at {at.value:#x}")
    )


def _plausible(parts: Parts) -> None:
    """A file without the version text must at least be a kernel, with variables that the dump has."""
    kernel, image = parts.kernel, parts.image
    if kernel is None or not isinstance(image.header, Minidump):  # a full dump's tables fit the file's symbols
        return
    found = [symbol for symbol in map(parts.symbols.find, VARIABLES) if symbol is not None]
    first = parts.symbols.find(VARIABLES[0])
    if found and (first is None or any(parts.memory.located(symbol.value) is not None for symbol in found)):
        return
    if first is not None:
        why = f"{first.name} is at {first.value:#x}, where the dump has nothing mapped"
    else:
        why = f"it has no symbol {', '.join(VARIABLES)}" if len(parts.symbols) else "it has no symbols"
    shown = told_by_log(parts.image)
    raise FormatError(
        f"bad namelist: {kernel.path} is not the kernel of {image.path}: {why}"
        + (f"; the dump's is {shown!r}" if shown else "")
    )


def _read(parts: Parts, at: int, n: int) -> bytes | None:
    try:
        return parts.memory.read(at, n)
    except KvmError:
        return None


def _lowest(symbols: Symbols) -> int:
    """The address of the kernel's text, or of something else of it; 0: none is known."""
    found = map(symbols.find, ("kernel_text", "btext", "__start", "version", "allproc"))
    return next((s.value for s in found if s is not None), 0)


def _told(target: Family, parts: Parts, at: int) -> str | None:
    """What the dump says of its kernel: at the place of the file's version text, or in its message buffer."""
    here = (_read(parts, at, 256) or b"").split(b"\0")[0]
    if BANNER.match(here):
        return _line(here)
    return told_by_log(parts.image)


def told_by_log(image: Image) -> str | None:
    """What the kernel said of itself when it started, by a minidump's copy of the message buffer."""
    header = image.header
    size = min(getattr(header, "values", {}).get("msgbufsize", 0), 1 << 20)
    said = BANNER.search(image.files[0].pread(header.msgbuf, size)) if size else None
    return _line(said[0]) if said is not None else None


def _line(raw: bytes) -> str:
    return text(raw).split("\n")[0][:160]
