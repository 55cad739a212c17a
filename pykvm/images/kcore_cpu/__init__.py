"""The machine's own part of a kcore dump (the "cpu" segment): what it says of memory and MMU; a file for each port.

Sources: sys/arch/*/include/kcore.h of MirBSD, NetBSD and OpenBSD.
"""

from __future__ import annotations

from typing import Any

from pykvm.loading import load

# By savecore.Machine's name: a file here and its function of the dump's path, the cpu data and their byte order that
# gives what they say, of which `memory` is the start and size of each segment; None, or `memory` None: memory lies in
# the file as it is. FormatError names the field that makes no sense. A new port is a file and a line here, and its
# machine id in savecore.py.
PARSERS = {
    "aarch64": ("arm64", "aarch64"),
    "alpha": ("alpha", "alpha"),
    "arm": ("arm", "arm"),
    "hppa": ("hppa", "hppa"),
    "i386": ("x86", "i386"),
    "m68k": ("m68k", "m68k"),
    "m88k": ("m88k", "m88k"),
    "mips": ("mips", "mips"),
    "riscv64": ("arm64", "static"),
    "sh": ("sh", "sh"),
    "sparc": ("sparc", "sparc"),
    "sparc64": ("sparc64", "sparc64"),
    "vax": ("vax", "vax"),
    "x86_64": ("x86", "amd64"),
}


def read(machine: str, byteorder: str, path: str, cpu: bytes) -> Any:
    """What the cpu data of a dump say."""
    file, function = PARSERS[machine]
    return getattr(load(f"{__name__}.{file}"), function)(path, cpu, byteorder)
