"""The machine's own part of a kcore dump (the "cpu" segment): what it says of memory and MMU; a file for each port.

Sources: sys/arch/*/include/kcore.h of MirBSD, NetBSD and OpenBSD.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pykvm.images.kcore_cpu import arm64, sparc, x86

# By savecore.Machine's name: a function of the dump's path and the cpu data that gives what they say, of which
# `memory` is the start and size of each segment; None: nothing, memory lies in the file as it is. FormatError names
# the field that makes no sense. A new port is a file and a line here, and its machine id in savecore.py.
PARSERS: dict[str, Callable[[str, bytes], Any]] = {
    "i386": x86.i386,
    "sparc": sparc.sparc,
    "x86_64": x86.amd64,
    "aarch64": arm64.aarch64,
    "riscv64": arm64.static,
}
