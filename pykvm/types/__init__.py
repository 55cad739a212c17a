"""Names of structure members to offsets and sizes: layout files, and the types that kernels carry."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from pykvm.errors import FormatError, KvmError
from pykvm.loading import load, loading

if TYPE_CHECKING:
    from pykvm.images.hostfile import HostFile
    from pykvm.paths import Path
    from pykvm.types.layout import Types

Reader = Callable[["HostFile"], "Types | None"]

# Tried in order on a kernel file: a new kind of type information is a file with a Reader `read`, and its name here. A
# reader gives None where the file carries none of its kind. They are loaded when they are needed: pyelftools is large.
READERS = ("btf", "ctf", "dwarf")


def kernel_types(path: Path, names: Iterable[str] | None = None) -> Types:
    """The structures that a kernel file describes, all (each worked out when it is asked for) or those named.

    KvmError if it carries no type information, or not one that is asked for.
    """
    with loading:
        from pykvm.images.hostfile import HostFile
        from pykvm.types.layout import from_json

    file = HostFile(path)
    try:
        types = of_file(file)
    finally:
        file.close()
    if types is None:
        raise FormatError(f"{file.path}: carries no type information (BTF, CTF, DWARF)")
    if names is None:
        return types
    wanted = list(names)
    missing = sorted(name for name in wanted if name not in types)
    if missing:
        raise KvmError(f"{file.path}: no struct {', '.join(missing)}")
    return from_json(dict(types.bodies(wanted)), file.path)


def of_file(file: HostFile) -> Types | None:
    """The types of an open kernel file, which may be closed afterwards; None if it carries none."""
    for name in READERS:
        reader: Reader = load(f"pykvm.types.{name}").read
        types = reader(file)
        if types is not None:
            return types
    return None
