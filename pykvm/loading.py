"""Loading files of pykvm when they are needed first, in any program: with threads that fork, or without a free
descriptor."""

from __future__ import annotations

import os
import threading
from importlib import import_module
from types import ModuleType, TracebackType

from pykvm.errors import KvmError


class Loading:
    """`with loading:` stands around each import within a function.

    A child of fork(2) has the import locks that other threads of its parent held, and nobody to let go of them: while
    a file is being loaded, nobody forks. What cannot be loaded is a KvmError, as everything that fails.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self._lock.acquire, after_in_parent=self._lock.release, after_in_child=self._lock.release
            )

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._lock.release()
        if isinstance(value, OSError):
            raise KvmError(f"can't load {value.filename or 'a file of pykvm'}: {value.strerror}") from value
        if isinstance(value, ImportError):  # the directory is gone (chroot(2)), or not for this user any more
            raise KvmError(f"can't load a file of pykvm: {value}") from value


loading = Loading()


def load(name: str) -> ModuleType:
    """A module."""
    with loading:
        return import_module(name)
