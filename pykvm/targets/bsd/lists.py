"""Whether a list of processes is whole: the kernel counts them."""

from __future__ import annotations

from collections.abc import Sequence

from pykvm.errors import FormatError
from pykvm.targets.base import Parts
from pykvm.targets.bsd.variables import number

UNDER_WAY = 2  # processes that are counted and not on the list yet, or no more


def whole(parts: Parts, found: Sequence[int], name: str) -> None:
    """FormatError if there are fewer than the variable of this name says, or none. A damaged dump, or a list of names
    of another kernel's, must not look like a quiet system."""
    count = number(parts, name, 4, signed=True)
    if not found or (count is not None and count - len(found) > UNDER_WAY):
        told = "" if count is None else f", where {name} is {count}"
        raise FormatError(f"{parts.image.path}: {len(found)} processes on the kernel's lists{told}: they are damaged")
