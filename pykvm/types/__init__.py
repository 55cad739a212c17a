"""Names of structure members to offsets and sizes: layout files, and the types that kernels carry."""

from __future__ import annotations

from collections.abc import Callable

from pykvm.errors import FormatError, KvmError
from pykvm.images.hostfile import HostFile, Path
from pykvm.types import dwarf
from pykvm.types.layout import Types

Reader = Callable[[HostFile, "set[str] | None"], "Types | None"]

# Tried in order on a kernel file: a new kind of type information is a file and a line here. A reader gives None
# where the file carries none of its kind.
READERS: tuple[Reader, ...] = (dwarf.read,)


def kernel_types(path: Path, names: set[str] | None = None) -> Types:
    """The structures that a kernel file describes, all or those named.

    KvmError if it carries no type information, or not one that is asked for.
    """
    file = HostFile(path)
    try:
        for reader in READERS:
            types = reader(file, names)
            if types is not None:
                missing = sorted((names or set()) - set(types))
                if missing:
                    raise KvmError(f"{file.path}: no struct {', '.join(missing)}")
                return types
    finally:
        file.close()
    raise FormatError(f"{file.path}: carries no type information (DWARF)")
