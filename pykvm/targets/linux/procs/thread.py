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
        self.tid = tid
        self.name = name
        self.stat = stat
        self.addr = addr
        self._wait = wait

    def __getattr__(self, name: str) -> Any:
        if name not in ("wmesg", "wchan"):
            raise AttributeError(name)
        self.wmesg, self.wchan = self._wait()
        return self.__dict__[name]
