"""What the tests of Linux names share."""

from __future__ import annotations

from collections.abc import Callable

from pykvm_fixtures.linux.names import NamesDump

from pykvm.symbols.base import Symbols

Write = Callable[..., NamesDump]


def listed(symbols: Symbols) -> list[tuple[str, str, int]]:
    return [(chr(s.type), s.name, s.value) for s in symbols.all()]


def by_module(symbols: Symbols) -> dict[str, list[tuple[str, str, int]]]:
    found: dict[str, list[tuple[str, str, int]]] = {}
    for s in symbols.all(modules=True):
        if s.module is not None:
            found.setdefault(s.module, []).append((chr(s.type), s.name, s.value))
    return found
