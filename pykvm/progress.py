"""A progress bar for work that takes seconds: on a terminal only."""

from __future__ import annotations

import sys
import time


class Progress:
    """Counts towards `total` and draws on stderr, at most ten times a second, if stderr is a terminal."""

    def __init__(self, what: str, total: int) -> None:
        self.what = what
        self.total = max(total, 1)
        self.shown = False
        self.enabled = sys.stderr is not None and sys.stderr.isatty()
        self.next = time.monotonic() + 0.3

    def update(self, done: int) -> None:
        """Say how far it is."""
        if not self.enabled or time.monotonic() < self.next:
            return
        self.next = time.monotonic() + 0.1
        part = min(done / self.total, 1.0)
        bar = "#" * int(part * 30)
        print(f"\r{self.what} [{bar:<30}] {part:4.0%}", end="", file=sys.stderr, flush=True)
        self.shown = True

    def done(self) -> None:
        """Take the bar away."""
        if self.shown:
            print("\r" + " " * (len(self.what) + 40) + "\r", end="", file=sys.stderr, flush=True)
