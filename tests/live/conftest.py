"""Guests for the live tests: one for the session, others as they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from guest import Guest, Unavailable


def start(**how: Any) -> Guest:
    try:
        return Guest(**how)
    except Unavailable as e:
        pytest.skip(str(e))


@pytest.fixture(scope="session")
def guest() -> Iterator[Guest]:
    """512 MB, two CPUs, RAM in a memfd."""
    with start() as one:
        yield one


@pytest.fixture
def boot() -> Iterator[Callable[..., Guest]]:
    """Guests of other kinds; they end with the test."""
    running: list[Guest] = []

    def one(**how: Any) -> Guest:
        running.append(start(**how))
        return running[-1]

    yield one
    for each in running:
        each.close()
