"""The structures of a FreeBSD kernel: what is given, and what its file carries, read when it is asked for first."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pykvm.errors import FormatError, KvmError
from pykvm.images.hostfile import HostFile
from pykvm.targets.base import Parts
from pykvm.targets.freebsd import constants
from pykvm.types import of_file
from pykvm.types.graph import GraphTypes
from pykvm.types.layout import Struct, Types, checked
from pykvm.types.modules import WithModules

if TYPE_CHECKING:
    from pykvm.targets.freebsd.family import Family


class KernelTypes(Types):
    """Types of a kernel file (CTF, DWARF), behind those of a layout file."""

    def __init__(self, parts: Parts, pointer_size: int) -> None:
        super().__init__(parts.kernel.path if parts.kernel is not None else parts.image.path)
        self._parts = parts
        self._pointer_size = pointer_size
        self._file = parts.kernel
        self._carried: Types | None = None
        self._lock = threading.Lock()
        self._why = f"{self.source}: carries no type information (CTF, DWARF): a kernel.debug has it, or --layout"

    @property
    def carried(self) -> Types:
        """The kernel file's own, or what its constants for debuggers tell."""
        with self._lock:
            if self._carried is None:
                found = None
                if self._file is not None:
                    try:
                        found = of_file(self._file)
                    except KvmError as e:
                        self._why = f"the kernel's types cannot be read: {e}"
                if isinstance(found, GraphTypes):
                    found.given = self._structs
                self._carried = found if found is not None else constants.types(self._parts, self._pointer_size)
        return self._carried

    def struct(self, name: str) -> Struct:
        found = self.get(checked(name))
        if found is None:
            source = self.carried.source
            raise KvmError(f"struct {name}: {f'not in the types of {source}' if source else self._why}")
        return found

    def same_named(self, name: str) -> list[Struct]:
        return super().same_named(name) if name in self._structs else self.carried.same_named(name)

    def enumerators(self, name: str) -> Mapping[str, int]:
        return self.carried.enumerators(name)

    def constant(self, name: str, default: int | None = None) -> int | None:
        return self.carried.constant(name, default)

    def bodies(self, names: Iterable[str] | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
        for name in self if names is None else names:
            yield from super().bodies([name]) if name in self._structs else self.carried.bodies([name])

    def __getitem__(self, name: str) -> Struct:
        own = self._given(name)
        return own if own is not None else self.carried[name]

    def __contains__(self, name: object) -> bool:
        return (isinstance(name, str) and self._given(name) is not None) or name in self.carried

    def _given(self, name: str) -> Struct | None:
        return self._structs.get(name) or self._structs.get(name.removeprefix("struct ").removeprefix("union "))

    def __iter__(self) -> Iterator[str]:
        yield from self._structs
        yield from (name for name in self.carried if name not in self._structs)

    def __len__(self) -> int:
        return len(set(self._structs) | set(self.carried))


class AllTypes(WithModules[KernelTypes]):
    """The types of the kernel, and of its modules: their files beside the kernel's have them, if anything has."""

    what = "linker_files"

    def __init__(self, kernel: KernelTypes, target: Family, parts: Parts) -> None:
        super().__init__(kernel)
        self._target = target
        self._parts = parts

    def read_modules(self, found: list[Types]) -> None:
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
            from pykvm.types import ctf  # seldom needed, and it takes pyelftools

            base = self.kernel.carried
            if not isinstance(base, ctf.CtfTypes):
                raise
            return ctf.read(file, base)
        finally:
            file.close()
