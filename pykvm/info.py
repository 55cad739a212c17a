"""kd.info: what a handle is looking at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pykvm.targets.base import Parts, Target


@dataclass(frozen=True)
class Info:
    """What a handle is looking at. Sizes in bytes; None where the target does not say."""

    system: str | None
    release: str | None
    version: str | None
    machine: str | None
    byteorder: str | None
    pointer_size: int | None
    page_size: int | None
    format: str
    live: bool


def of_target(target: Target, parts: Parts, format: str, live: bool) -> Info:
    """Of a kernel that was recognised."""
    release, version = target.release(parts)
    sizes = target.pointer_size, target.page_size
    return Info(target.system, release, version, target.machine, target.byteorder, *sizes, format, live)
