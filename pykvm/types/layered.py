"""The types of one kernel in two layers: what is given, and behind it what the kernel or its file carries."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pykvm.errors import KvmError
from pykvm.types.graph import GraphTypes
from pykvm.types.layout import Struct, Types, checked


class LayeredTypes(Types):
    """What is given (add(), update(): pykvm's own records, a user's layout file), then what is carried: that is read
    when something is asked of it first.

    A system's own class says how to read it, and in `why` what error is to be given where nothing is carried.
    """

    def __init__(self, source: str) -> None:
        super().__init__(source)
        self.why = ""
        self._carried: Types | None = None
        self._lock = threading.Lock()

    @abstractmethod
    def read(self) -> Types:
        """The types that are carried; without any, and with `why` said, if there are none."""

    @property
    def carried(self) -> Types:
        """The types that the kernel or its file carries."""
        if self._carried is None:
            with self._lock:
                if self._carried is None:
                    found = self.read()
                    if isinstance(found, GraphTypes):
                        found.given = self._structs
                    self._carried = found
        return self._carried

    def struct(self, name: str) -> Struct:
        found = self.get(checked(name))
        if found is None:
            source = self.carried.source
            raise KvmError(f"struct {name}: {self.why or f'not in the types of {source}'}")
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
        return sum(1 for _ in self)
