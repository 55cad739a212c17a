"""Whether the kernel in the memory of a virtual machine is still the one that was found there.

A machine that starts again leaves the old kernel's memory where it lay, until something else is put there: it looks as
a kernel whose clock stands still. So does one that is paused.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pykvm.errors import KvmError
from pykvm.images.base import Image
from pykvm.images.held import Extent, Extents
from pykvm.targets.base import Parts
from pykvm.targets.linux.machines import search

if TYPE_CHECKING:
    from pykvm.targets.linux.kernel import Linux

STILL = 0.5  # seconds in which a kernel that runs has ticked


class Alive:
    """Looks at the clock of one kernel, and for another one when it stands still."""

    def __init__(self) -> None:
        self._when = 0.0
        self._ticks: int | None = None

    def look(self, target: Linux, parts: Parts) -> None:
        """KvmError if another kernel runs there now. Searching all memory for one takes long: that is done when the
        clock has stood still, once until it goes on."""
        if parts.image.format != "raw" or not parts.image.live:
            return
        ticks, now = _ticks(target, parts), time.monotonic()
        if ticks is not None and ticks == self._ticks and now - self._when > STILL:
            search_again(target, parts)
            self._when = float("inf")
        elif ticks is None or ticks != self._ticks:
            self._when, self._ticks = now, ticks


def _ticks(target: Linux, parts: Parts) -> int | None:
    found = parts.symbols.find("jiffies")
    try:
        return None if found is None else target.quiet(parts.image).read_ptr(found.value)
    except KvmError:
        return None


def search_again(target: Linux, parts: Parts) -> None:
    """KvmError if there is another kernel in a virtual machine's memory than the target."""
    image = parts.image
    if image.format != "raw" or not image.live:
        return
    # Placed as it is found, which must not happen to the image that is read.
    again = Image("raw", image.files, Extents([Extent(0, image.files[0].size, 0)]), live=True)
    found = search.kernel(again, [target.platform], [])
    if found is None:
        raise KvmError(f"{image.path}: no kernel runs there any more: open it again when one does")
    if found[1].values != target.vmcoreinfo.values:
        release = found[1].text("OSRELEASE")
        raise KvmError(f"{image.path}: another kernel runs there now ({release}): open it again")
