"""Timing, and how a figure is printed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def best(call: Callable[[], Any], rounds: int = 7) -> float:
    """Seconds of the fastest of some rounds."""
    found = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        found = min(found, time.perf_counter() - start)
    return found


def line(what: str, value: float, unit: str, goal: float, *, at_least: bool) -> None:
    """One figure and its goal."""
    good = value >= goal if at_least else value <= goal
    sign = ">=" if at_least else "<="
    print(f"{what:<58} {value:>9.3g} {unit:<8} goal {sign} {goal:g}{'' if good else '   MISSED'}", flush=True)
