"""The machine's own part of a kcore dump (the "cpu" segment): what it says of memory and MMU; a file for each port.

Sources: sys/arch/*/include/kcore.h of MirBSD, NetBSD and OpenBSD.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pykvm.images.kcore_cpu import arm, arm64, hppa, m68k, m88k, mips, sh, sparc, vax, x86

# By savecore.Machine's name: a function of the dump's path and the cpu data that gives what they say, of which
# `memory` is the start and size of each segment; None, or `memory` None: memory lies in the file as it is. FormatError
# names the field that makes no sense. A new port is a file and a line here, and its machine id in savecore.py.
PARSERS: dict[str, Callable[[str, bytes], Any]] = {
    "i386": x86.i386,
    "sparc": sparc.sparc,
    "x86_64": x86.amd64,
    "aarch64": arm64.aarch64,
    "riscv64": arm64.static,
    "m68k": m68k.m68k,
    "m88k": m88k.m88k,
    "hppa": hppa.hppa,
    "vax": vax.vax,
    "sh": sh.sh,
}
# Of machines of either byte order: with that as the third argument.
EITHER: dict[str, Callable[[str, bytes, str], Any]] = {
    "arm": arm.arm,
    "mips": mips.mips,
}


def read(machine: str, byteorder: str, path: str, cpu: bytes) -> Any:
    """What the cpu data of a dump say."""
    if machine in EITHER:
        return EITHER[machine](path, cpu, byteorder)
    return PARSERS[machine](path, cpu)
