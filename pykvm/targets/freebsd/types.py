"""The structures of a FreeBSD kernel: what is given, and what its file carries, read when it is asked for first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykvm.errors import FormatError, KvmError
from pykvm.images.hostfile import HostFile
from pykvm.loading import loading
from pykvm.targets.base import Parts
from pykvm.targets.freebsd import constants
from pykvm.types import of_file
from pykvm.types.graph import GraphTypes
from pykvm.types.layered import LayeredTypes
from pykvm.types.layout import Types
from pykvm.types.modules import WithModules

if TYPE_CHECKING:
    from pykvm.targets.freebsd.family import Family


class KernelTypes(LayeredTypes):
    """Types of a kernel file (CTF, DWARF), behind those of a layout file."""

    def __init__(self, parts: Parts, pointer_size: int) -> None:
        super().__init__(parts.kernel.path if parts.kernel is not None else parts.image.path)
        self._parts = parts
        self._pointer_size = pointer_size
        self._file = parts.kernel

    def read(self) -> Types:
        """The kernel file's own, or what its constants for debuggers tell."""
        self.why = f"{self.source}: carries no type information (CTF, DWARF): a kernel.debug has it, or --layout"
        if self._file is not None:
            try:
                found = of_file(self._file)
            except KvmError as e:
                self.why = f"the kernel's types cannot be read: {e}"
            else:
                if found is not None:
                    self.why = ""
                    return found
        return constants.types(self._parts, self._pointer_size)


class AllTypes(WithModules[KernelTypes]):
    """The types of the kernel, and of its modules: their files beside the kernel's have them, if anything has."""

    what = "linker_files"

    def __init__(self, kernel: KernelTypes, target: Family, parts: Parts) -> None:
        super().__init__(kernel)
        self._target = target
        self._parts = parts

    def read_modules(self, found: list[Types]) -> None:
        with loading:
            from pykvm.targets.freebsd import modules  # they take pyelftools, which is large
            from pykvm.targets.freebsd.kofile import Files

        offsets = modules.offsets_of(self._target, self._parts)
        if offsets is None:
            return
        files = Files(self._parts, self._target)
        for module in modules.listed(self._parts, offsets):
            try:
                types = self._types(files.find(module.path, module.address, module.size).path)
            except KvmError as e:
                self.flaw = self.flaw or f"{module.name}: {e}"
                continue
            base = self.kernel.carried
            if isinstance(types, GraphTypes) and isinstance(base, GraphTypes):
                types.given = base.given
            if types is not None:
                found.append(types)

    def _types(self, path: str) -> Types | None:
        """Of a module's file: they stand for themselves, or refer to the kernel's."""
        file = HostFile(path)
        try:
            return of_file(file)
        except FormatError:
            with loading:
                from pykvm.types import ctf  # seldom needed, and it takes pyelftools

            base = self.kernel.carried
            if not isinstance(base, ctf.CtfTypes):
                raise
            return ctf.read(file, base)
        finally:
            file.close()
