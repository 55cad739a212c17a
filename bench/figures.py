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


def line(what: str, value: float, unit: str, goal: float | None = None, *, at_least: bool = False) -> None:
    """One figure and its goal, if it has one."""
    if goal is None:
        print(f"{what:<58} {value:>9.3g} {unit}", flush=True)
        return
    good = value >= goal if at_least else value <= goal
    sign = ">=" if at_least else "<="
    print(f"{what:<58} {value:>9.3g} {unit:<8} goal {sign} {goal:g}{'' if good else '   MISSED'}", flush=True)


def against(what: str, ours: float, peers: dict[str, float], unit: str, goal: float | None = None) -> None:
    """One figure that should be high, and how many times the best peer's it is. Without a peer it stands alone."""
    print(f"{what:<58} {ours:>9.3g} {unit:<8}", end="")
    best = max(peers, key=lambda name: peers[name], default=None)
    if best is not None:
        ratio = ours / peers[best]
        rest = "".join(f", {name} {value:.3g}" for name, value in peers.items() if name != best)
        print(f" {ratio:.2f} times {best} {peers[best]:.3g}{rest}", end="")
        if goal is not None:
            print(f"; goal >= {goal:g}{'' if ratio >= goal else '   MISSED'}", end="")
    elif goal is not None:
        print(f" goal >= {goal:g} times the best peer: there is none", end="")
    print(flush=True)
