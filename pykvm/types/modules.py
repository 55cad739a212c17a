"""The types of a kernel together with those of its modules."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from pykvm.errors import KvmError
from pykvm.types.layout import Struct, Types, checked

K = TypeVar("K", bound=Types)


class WithModules(Types, Generic[K]):
    """The types of the kernel, and of its modules what the kernel does not have: these are read when it is needed.

    A system's own class says how, and in `what` which list it is that they are on.
    """

    what = ""

    def __init__(self, kernel: K) -> None:
        super().__init__(kernel.source)
        self.kernel = kernel
        self.flaw = ""
        self._modules: list[Types] | None = None
        self._lock = threading.Lock()

    @abstractmethod
    def read_modules(self, found: list[Types]) -> None:
        """Add the modules' types, in the order of the kernel's list. What cannot be read is left out, and said in
        `flaw`."""

    @property
    def modules(self) -> list[Types]:
        """The modules' types. What cannot be read is left out; errors say so."""
        if self._modules is None:
            with self._lock:
                if self._modules is None:
                    found: list[Types] = []
                    try:
                        self.read_modules(found)
                    except KvmError as e:
                        self.flaw = self.flaw or f"{self.what}: {e}"
                    self._modules = found
        return self._modules

    @property
    def all(self) -> list[Types]:
        """The kernel's, then the modules' types."""
        return [self.kernel, *self.modules]

    def struct(self, name: str) -> Struct:
        found = self.get(checked(name))
        if found is None:
            try:
                return self.kernel.struct(name)
            except KvmError as e:
                beside = f", nor of its {len(self.modules)} modules" if self.modules else ""
                raise KvmError(f"{e}{beside}{f' ({self.flaw})' if self.flaw else ''}") from None
        return found

    def same_named(self, name: str) -> list[Struct]:
        return self.kernel.same_named(name) or [s for types in self.modules for s in types.same_named(name)]

    def enumerators(self, name: str) -> Mapping[str, int]:
        found = self.kernel.enumerators(name)
        return found or next((told for types in self.modules if (told := types.enumerators(name))), {})

    def constant(self, name: str, default: int | None = None) -> int | None:
        found = self.kernel.constant(name)
        if found is None:
            told = (types.constant(name) for types in self.modules)
            found = next((value for value in told if value is not None), default)
        return found

    def bodies(self, names: Iterable[str] | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
        for name in self if names is None else names:
            where = next((types for types in self.all if name in types), self.kernel)
            yield from where.bodies([name])

    def __getitem__(self, name: str) -> Struct:
        found = self.kernel.get(name)
        if found is not None:
            return found
        for types in self.modules:
            if name in types:
                return types[name]
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return name in self.kernel or any(name in types for types in self.modules)

    def __iter__(self) -> Iterator[str]:
        seen = set()
        for types in self.all:
            for name in types:
                if name not in seen:
                    seen.add(name)
                    yield name

    def __len__(self) -> int:
        return sum(1 for _ in self)
