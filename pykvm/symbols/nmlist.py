"""Lists of names as text: System.map, what nm(1) prints, saved copies of /proc/kallsyms.

Lines of ADDRESS TYPE NAME, with the size before the type (nm -S) or a module in brackets behind the name
(/proc/kallsyms). The addresses are those that the kernel was linked at, or in copies of /proc/kallsyms those that it
ran at: its target has to see which.
"""

from __future__ import annotations

import mmap
import re

from pykvm._native.ffi import ffi, lib
from pykvm.errors import FormatError, KvmError
from pykvm.images.hostfile import HostFile
from pykvm.symbols import kallsyms
from pykvm.symbols.base import MAX_STRINGS, MAX_SYMBOLS, TOO_MUCH, Symbols

HEAD = 4096
SHOWN = 60  # bytes of a line that makes no sense
# Addresses are printed in full: 8 or 16 digits; blanks stand for those of undefined names.
FIRST_LINE = re.compile(rb"(?:(?:[0-9a-fA-F]{8}){1,2}[ \t]+(?:[0-9a-fA-F]{8,16}[ \t]+)?|[ \t]{9,})[A-Za-z?][ \t]+\S")


def probe(file: HostFile) -> Symbols | None:
    """The symbols that a list names, or None if the file does not begin like one.

    Nothing in it says of which machine it is. Names in modules are chained behind the kernel's. FormatError names the
    line that makes no sense; KvmError if the file cannot be read.
    """
    head = file.pread(0, HEAD)
    if FIRST_LINE.match(head.lstrip(b"\r\n")) is None:
        return None
    if file.size > MAX_STRINGS:
        raise FormatError(f"{file.path}: a list of names of {file.size} bytes (at most {MAX_STRINGS} are read)")
    text: bytes | mmap.mmap
    try:
        if file.size:
            text = mmap.mmap(file.fd, file.size, access=mmap.ACCESS_READ)
        else:  # the kernel's own, which is made while it is read
            text = file.pread(0, MAX_STRINGS)
    except (OSError, ValueError) as e:  # it has been cut since it was opened
        raise KvmError(f"{file.path}: {e}") from e
    symbols, modules = (Symbols(file.path, None, None, kallsyms.n_type, kallsyms.letter) for _ in range(2))
    symbols.format = modules.format = "nm list"
    result = ffi.new("pk_nmlist_result *")
    view = ffi.from_buffer("char[]", text)
    done = lib.pk_symtab_add_nmlist(symbols.core, modules.core, view, len(text), MAX_SYMBOLS, result)
    if done < 0:
        raise FormatError(f"{file.path}: {TOO_MUCH}, or they are more than {MAX_SYMBOLS}")
    if done == 0:
        line = text[result.begins : result.begins + SHOWN].split(b"\n")[0]
        raise FormatError(f"{file.path}: line {result.line}: {line!r} is not ADDRESS TYPE NAME")
    if result.defined == 0:
        raise FormatError(f"{file.path}: a list of names without addresses")
    if result.nonzero == 0:
        raise FormatError(
            f"{file.path}: all addresses are 0: /proc/kallsyms shows them to who has CAP_SYSLOG only, and only if "
            "kernel.kptr_restrict is below 2"
        )
    if len(modules):
        symbols.chain(lambda: modules)
    return symbols
