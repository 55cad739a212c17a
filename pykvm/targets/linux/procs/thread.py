"""A thread of Linux, of which where it waits is found when it is asked for first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pykvm.targets.base import Thread


class LazyThread(Thread):
    """A thread. wait: gives `wmesg` and `wchan`."""

    def __init__(
        self, tid: Any, name: Any, stat: Any, addr: int | None, wait: Callable[[], tuple[str | None, int | None]]
    ) -> None:
        for key, value in (("tid", tid), ("name", name), ("stat", stat), ("addr", addr), ("_wait", wait)):
            object.__setattr__(self, key, value)

    def __getattr__(self, name: str) -> Any:
        if name not in ("wmesg", "wchan"):
            raise AttributeError(name)
        for key, value in zip(("wmesg", "wchan"), self._wait(), strict=True):
            object.__setattr__(self, key, value)
        return self.__dict__[name]
