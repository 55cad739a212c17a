"""kvm_native(3)."""

from __future__ import annotations

import os
import struct
import sys

from pykvm.errors import CLOSED, KvmError
from pykvm.handle import Kvm, handle

# uname's machine to kd.info's word, for programs of 64 and of 32 bits.
HOSTS = {
    "x86_64": ("x86_64", "i386"), "amd64": ("x86_64", "i386"), "i386": ("", "i386"), "i486": ("", "i386"),
    "i586": ("", "i386"), "i686": ("", "i386"), "aarch64": ("aarch64", "arm"), "arm64": ("aarch64", "arm"),
    "riscv64": ("riscv64", "riscv32"), "ppc64": ("powerpc64", "powerpc"), "ppc64le": ("powerpc64", "powerpc"),
    "powerpc64": ("powerpc64", "powerpc"), "powerpc64le": ("powerpc64", "powerpc"), "ppc": ("", "powerpc"),
    "mips64": ("mips64", "mips"), "mips": ("", "mips"), "sparc64": ("sparc64", "sparc"), "sparc": ("", "sparc"),
    "s390x": ("s390x", "s390"),
}  # fmt: skip


def kvm_native(kd: Kvm) -> int:
    """1 if the kernel's ABI is the host's: the machine, byte order and word size of the kernel file (of the dump, if
    there is none) are those that this program runs as; else 0. A handle without files is of the running kernel: 1.

    Nothing here depends on it: unlike FreeBSD's library, every function reads any kernel from any host.
    """
    if handle(kd).no_files:
        return 1
    if kd.closed:
        kd.note(KvmError(CLOSED))
        return 0
    return int(_abi(kd) == _host())


def _abi(kd: Kvm) -> tuple[str | None, str | None]:
    try:
        symbols = kd.symbols
    except KvmError:
        return None, None
    if symbols.machine is not None:
        return symbols.machine, symbols.byteorder
    info = kd.info
    return info.machine, info.byteorder


def _host() -> tuple[str, str]:
    wide, narrow = HOSTS.get(os.uname().machine, (os.uname().machine,) * 2)
    if os.uname().machine.startswith("arm") and os.uname().machine != "arm64":
        narrow = "arm"
    return (wide if struct.calcsize("P") == 8 else narrow), sys.byteorder
