"""What the cpu data of a NetBSD or OpenBSD dump say, and dumps in which they say something else for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from bsd_victim import Victim, made
from triage import poke

import pykvm

Victims = Callable[[str, str], Victim]


def kept(factory: pytest.TempPathFactory) -> Victims:
    """A function: the dump of a system and a machine, written once."""
    known: dict[tuple[str, str], Victim] = {}

    def find(system: str, machine: str) -> Victim:
        key = system, machine
        if key not in known:
            known[key] = made(factory.mktemp(machine), system, machine)
        return known[key]

    return find


@contextmanager
def lying(victim: Victim, offset: int, data: bytes) -> Iterator[None]:
    """Other bytes in the cpu data for a while."""
    at = victim.dump.placed.cpu + offset
    with open(victim.dump.core, "rb") as f:
        f.seek(at)
        was = f.read(len(data))
    assert was != data
    poke(victim.dump.core, at, data)
    try:
        yield
    finally:
        poke(victim.dump.core, at, was)


def header(victim: Victim) -> bytes:
    """The cpu data."""
    return victim.dump.core.read_bytes()[victim.dump.placed.cpu :][: victim.dump.placed.cpu_size]


def one(kd: Any, pid: int) -> Any:
    """The record of a process."""
    (p,) = kd.processes(pykvm.KERN_PROC_PID, pid)
    return p
