"""The structures of a kernel: what is given, then what its file carries (CTF, DWARF), else a table of its release."""

from __future__ import annotations

from collections.abc import Mapping

from pykvm.errors import KvmError
from pykvm.targets.base import Parts
from pykvm.types import layout, of_file
from pykvm.types.layered import LayeredTypes
from pykvm.types.layout import Types

# (system, release, machine): the table, of kernels whose structures were read from their own debug information. A
# kernel's options may change its structures: these are of the releases' own configurations.
TABLES: Mapping[tuple[str, str, str], str] = {
    ("NetBSD", "7.99.10", "x86_64"): "netbsd-7.99.10-x86_64",
    ("OpenBSD", "7.3", "x86_64"): "openbsd-7.3-x86_64",
    ("OpenBSD", "5.1", "i386"): "openbsd-5.1-i386",
}


class KernelTypes(LayeredTypes):
    """Types of one kernel. release: uname -r."""

    def __init__(self, parts: Parts, system: str, release: str | None, machine: str) -> None:
        super().__init__(parts.kernel.path if parts.kernel is not None else parts.image.path)
        self._file = parts.kernel
        self._key = system, (release or "").partition("-")[0], machine

    def read(self) -> Types:
        flaw = ""
        if self._file is not None:
            try:
                found = of_file(self._file)
            except KvmError as e:
                flaw = f": {e}"
            else:
                if found is not None:
                    return found
        table = TABLES.get(self._key)
        if table is not None:
            return layout.builtin(table)
        system, release, machine = self._key
        self.why = (
            f"{self.source} carries no type information (CTF, DWARF), and pykvm has no table of {system} "
            f"{release or '?'} on {machine}: --layout takes what `pykvm layout` makes of the kernel with debug "
            f"information (netbsd.gdb, bsd.gdb){flaw}"
        )
        return Types(self.source)
