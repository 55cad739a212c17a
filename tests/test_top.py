"""pykvm top and write, as far as they need no kernel of another machine."""

from __future__ import annotations

import io
import json
import os
import sys
from argparse import Namespace
from types import SimpleNamespace
from typing import Any

import pytest

from pykvm.cli import main, top, write


def process(pid: int, start: float, cpu: float, faults: int = 0) -> Any:
    return SimpleNamespace(pid=pid, start_time=start, utime=cpu / 2, stime=cpu / 2, p_uru_minflt=faults, p_uru_majflt=0)


def look(when: float, *processes: Any) -> top.Look:
    kd: Any = SimpleNamespace(refresh=lambda: None, processes=lambda: list(processes))
    return top.look(kd)._replace(when=when)


def test_rates() -> None:
    before = look(10.0, process(1, 1000.0, 5.0, 7), process(2, 1010.0, 1.0), process(3, 1020.0, 9.0))
    # The clock is an hour ahead now, and 3 is another process.
    now = look(12.0, process(1, 4600.0, 5.5, 27), process(2, 4610.0, 3.0), process(3, 4700.0, 0.5))
    found = {rate.p.pid: (rate.cpu, rate.faults) for rate in top.rates(before, now)}
    assert found == {1: (0.25, 10.0), 2: (1.0, 0.0), 3: (0.25, 0.0)}
    assert [rate.p.pid for rate in top.rates(before, now)] == [2, 1, 3]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="no /proc")
def test_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "--json", "-s", "0.05", "-d", "2"]) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["time"] < second["time"]
    (own,) = (row for row in second["processes"] if row["pid"] == os.getpid())
    assert (own["ppid"], own["uid"]) == (os.getppid(), os.geteuid())
    assert own["cpu"] >= 0
    assert len(second["loadavg"]) == 3


@pytest.mark.parametrize("words", ["-s inf", "-s 1e10", "-s nan", "-s 0", "-d 0", "-d -1", "-n 0", "-n -1"])
def test_flags_that_make_no_sense(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", *words.split()]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"pykvm: {words.split()[0]} ")
    assert said.count("\n") == 1


def test_text_from_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    for string, expected in ((True, b"ab\0"), (False, b"ab")):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"ab")))
        assert write._data(Namespace(data="-", string=string)) == expected
