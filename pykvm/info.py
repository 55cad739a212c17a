"""kd.info: what a handle is looking at."""

from __future__ import annotations

from dataclasses import dataclass


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
