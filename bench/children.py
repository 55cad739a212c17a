"""The libraries that pykvm is measured against, and pykvm: each a process of its own, under the Python that has it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PEERS = HERE / "peers"
VENV = Path(os.environ.get("PYKVM_PEERS") or HERE.parent / ".venv-peers")
OURS = "pykvm"
# At most so many rounds; so many of them in a row in which nobody got faster, by this factor, are enough.
ROUNDS, IDLE, FASTER = 25, 4, 0.98
# The Python that has it, the module, and what gets it.
KNOWN = {
    OURS: (sys.executable, "pykvm", "make all"),
    "drgn": (str(VENV / "bin" / "python"), "drgn", "sh tools/peers.sh"),
    "kdumpfile": ("/usr/bin/python3", "kdumpfile", "sh tools/peers.sh (Debian's python3-libkdumpfile)"),
}


class JobError(Exception):
    """A child could not do what it was asked to."""


class Child:
    """A library that measures itself when it is asked to."""

    def __init__(self, name: str) -> None:
        self.name = name
        command: list[str | Path] = [KNOWN[name][0], PEERS / f"on_{name}.py"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, job: str, **what: Any) -> dict[str, Any]:
        """Do a job; its answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps({"job": job, **what}, default=str) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        found: dict[str, Any] = json.loads(line) if line else {"error": "it ended"}
        if "error" in found:
            raise JobError(f"{self.name}: {job}: {found['error']}")
        return found

    def close(self) -> None:
        """End it."""
        self.process.communicate()


def present() -> list[str]:
    """Who is there, pykvm first; what is not is said, with what gets it."""
    found = []
    for name, (python, module, get) in KNOWN.items():
        try:
            ok = subprocess.run([python, "-c", f"import {module}"], stderr=subprocess.DEVNULL).returncode == 0
        except FileNotFoundError:
            ok = False
        if ok:
            found.append(name)
        else:
            print(f"  {name} is not here; what gets it: {get}")
    return found


class Best:
    """The best that was seen of each part of each run, and whether it is worth while to go on looking."""

    def __init__(self) -> None:
        self.parts: dict[str, list[float]] = {}
        self.rounds = self.idle = 0

    def go_on(self) -> bool:
        """Before each round."""
        self.rounds += 1
        self.idle += 1
        return self.rounds <= ROUNDS and self.idle <= IDLE

    def add(self, label: str, seconds: list[float]) -> None:
        """What a round took."""
        before = self.parts.get(label)
        self.parts[label] = [min(pair) for pair in zip(seconds, before or seconds, strict=True)]
        if before is None or sum(self.parts[label]) < FASTER * sum(before):
            self.idle = 0

    def seconds(self) -> dict[str, float]:
        """The results."""
        return {label: sum(parts) for label, parts in self.parts.items()}


def agree(checks: dict[str, Any]) -> None:
    """All must have found the same; None is no answer."""
    said = {label: check for label, check in checks.items() if check is not None}
    for label, check in said.items():
        first = next(iter(said))
        if check != said[first]:
            raise RuntimeError(f"{label} and {first} do not find the same: {check!r:.200} and {said[first]!r:.200}")


def race(runs: dict[str, Callable[[], dict[str, Any]]], ours: Iterable[str] = (OURS,)) -> dict[str, float]:
    """Seconds of each run {label: what answers its "seconds" and a "check"}: for each part of it the best round.

    There are rounds, each run in turn, until some in a row make nobody faster. A peer that fails is said and left out.
    RuntimeError if they do not find the same.
    """
    best = Best()
    checks: dict[str, Any] = {}
    runs = dict(runs)
    while best.go_on():
        for label, run in list(runs.items()):
            try:
                found = run()
            except JobError as error:
                if label in ours:
                    raise
                print(f"  {error}")
                del runs[label]
                continue
            best.add(label, found["seconds"])
            checks[label] = found["check"]
    agree(checks)
    return best.seconds()


def commands(runs: dict[str, list[str | Path]]) -> tuple[dict[str, float], int]:
    """Fewest seconds of some programs, run in turns, and the largest number that any says on stderr."""
    best, said = Best(), 0
    while best.go_on():
        for label, args in runs.items():
            start = time.perf_counter()
            done = subprocess.run(args, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            best.add(label, [time.perf_counter() - start])
            said = max(said, int(done.stderr or 0))
    return best.seconds(), said


class Field:
    """Those who are there, measured in turns so that the machine's moods hit all of them."""

    def __init__(self) -> None:
        self.names = present()
        self.children = {name: Child(name) for name in self.names}

    def race(self, runs: dict[str, tuple[str, str]], *, fresh: bool = False, **what: Any) -> dict[str, float]:
        """As race() with runs {label: (who, job)}; fresh: each time in a process that has done nothing yet."""
        known = {label: run for label, run in runs.items() if run[0] in self.names}
        calls = {label: partial(self._ask, name, job, fresh, what) for label, (name, job) in known.items()}
        return race(calls, [label for label, (name, _) in known.items() if name == OURS])

    def _ask(self, name: str, job: str, fresh: bool, what: dict[str, Any]) -> dict[str, Any]:
        child = Child(name) if fresh else self.children[name]
        try:
            return child.ask(job, **what)
        finally:
            if fresh:
                child.close()

    def all(self, job: str, who: Iterable[str] = KNOWN, **what: Any) -> dict[str, float]:
        """The same job for everybody."""
        return self.race({name: (name, job) for name in who}, **what)

    def __enter__(self) -> Field:
        return self

    def __exit__(self, *_: object) -> None:
        for child in self.children.values():
            child.close()
