"""A user's function from names to addresses, as kvm_open2(3) takes one."""

from __future__ import annotations

from collections.abc import Callable
from operator import index
from typing import Any

from pykvm.symbols.base import ResolverError, Symbols


class Resolver:
    """What it is asked becomes an address, None (it does not know the name), or one clear error."""

    def __init__(self, ask: Callable[[str], Any]) -> None:
        self._ask = ask

    def __call__(self, name: str) -> int | None:
        """An address of 64 bits at most, or None."""
        try:
            answer = self._ask(name)
        except Exception as e:
            raise ResolverError(f"resolver: {name}: {type(e).__name__}: {e}") from e
        if answer is None:
            return None
        kind = type(answer).__name__
        try:
            address = index(answer)
        except Exception:
            raise ResolverError(f"resolver: {name}: a {kind} is no address") from None
        if isinstance(answer, bool) or address < 0 or address.bit_length() > 64:
            shown = hex(address) if address.bit_length() <= 64 else f"of {address.bit_length()} bits"
            raise ResolverError(f"resolver: {name}: the {kind} {shown} is no address")
        return address

    def symbols(self) -> Symbols:
        """A table that has only what the function knows."""
        found = Symbols("resolver", None, None, lambda kind, desc: 0, lambda kind, desc: "?")
        found.resolver = self
        return found
