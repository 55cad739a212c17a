"""`pykvm info` of Linux: a kernel's clocks, CPUs, tasks and last words, as the fixtures write them; and lies."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from arena import FORMS, Arena, target, types
from hypothesis import given, settings
from hypothesis import strategies as st
from pykvm_fixtures.linux import log as writer
from pykvm_fixtures.linux.crash import State, crash
from pykvm_fixtures.linux.log import Form, Record

from pykvm.cli import main
from pykvm.targets.linux import facts

SAID = [
    Record(b"Linux version 6.12"),
    Record(b"Kernel command line: told by the log"),
    Record(b"Kernel panic - not syncing: a reason"),
    Record(b"CPU: 2 PID: 4242 Comm: told by log Not tainted 6.12 #1"),
]
CPUS, TASK = {"cpus", "cpus online", "cpus possible"}, {"panic pid", "panic command"}
HOLDERS = ["tk_core", "tk_core, rt", "tk_data", "timekeeper"]


def build(
    form: Form, state: State, *, holder: str = "tk_core", said: Any = (), by_types: bool = True,
    told: dict[str, str] | None = None, without: Any = (), symbols: dict[str, int] | None = None
) -> dict[str, Any]:  # fmt: skip
    """What facts() says of a kernel with this state and log. without: symbols that are not known."""
    arena = Arena(form)
    found, s = crash(arena.define, arena.write, form, state, holder=holder)
    lines = writer.ring(arena.define, form, said, count_bits=5, size_bits=11).lines if said else {}
    found = {name: at for name, at in (found | (symbols or {})).items() if name not in without}
    return facts.facts(*target(arena, lines | (told or {}), known=types(s) if by_types else None, symbols=found))


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("holder", HOLDERS)
def test_clocks(form: Form, holder: str) -> None:
    state = State()
    found = build(form, state, holder=holder)
    assert found["boot time"] == pytest.approx(state.boot / 1e9, abs=1e-6)
    assert found["uptime"] == pytest.approx(state.uptime / 1e9, abs=1e-6)
    assert found["dump time"] == pytest.approx((state.boot + state.uptime) / 1e9, abs=1e-6)
    told = build(form, state, holder=holder, told={"CRASHTIME": "1700093785"})
    assert told["dump time"] == 1700093785
    assert told["uptime"] == found["uptime"]
    assert not {"boot time", "dump time", "uptime"} & set(build(form, state, holder=holder, by_types=False))


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_what_there_is(form: Form) -> None:
    found = build(form, State(tainted=1 << 9 | 1 << 12), told={"BUILD-ID": "ab" * 20, "KERNELOFFSET": "1d600000"})
    del found["boot time"], found["uptime"], found["dump time"]
    assert found == {
        "command line": "root=/dev/vda ro quiet",
        "cpus": 3,
        "cpus online": 1,
        "cpus possible": 4,
        "load averages": [0.5, 1.0, 2.25],
        "processes": 2,
        "threads": 5,
        "build id": "ab" * 20,
        "KASLR offset": 0x1D600000,
        "page table levels": 3,
        "tainted": 0x1200,
        "taint flags": "WO",
        "panic cpu": 1,
        "panic pid": 77,
        "panic command": "a task, odd",
    }


def test_many_cpus() -> None:
    for form in FORMS.values():
        state = State(
            possible=range(200), present=range(0, 200, 2), online=[199], nr_cpu_ids=200, masks="cpu_{}_bits",
            running=[0] * 199 + [2], panic_cpu=None, crashing_cpu=199,
        )  # fmt: skip
        found = build(form, state)
        assert [found[k] for k in ("cpus", "cpus online", "cpus possible")] == [100, 1, 200]
        assert [found[f"panic {k}"] for k in ("cpu", "pid", "command")] == [199, 77, "a task, odd"]
        assert build(form, replace(state, nr_cpu_ids=None))["cpus"] == 100  # by the size of struct cpumask


def test_no_panic() -> None:
    for state in (State(panic_cpu=-1), State(panic_cpu=None, crashing_cpu=-1), State(panic_cpu=None)):
        assert not [key for key in build(FORMS["64"], state) if key.startswith(("panic", "oops"))]


@pytest.mark.parametrize(
    ("state", "without", "where"),
    [
        (State(), (), (1, 77, "a task, odd")),  # the CPU's run queue knows best
        (State(panic_cpu=2), (), (2, 1, "init")),
        (State(panic_cpu=-1, crashing_cpu=2), (), (2, 1, "init")),
        (State(panic_cpu=-1), (), (2, 1, "init")),  # the CPU by the log, the task by the CPU
        (State(), ("runqueues",), (1, None, None)),  # the log tells of another CPU
        (State(panic_cpu=2), ("runqueues",), (2, 4242, "told by log")),
        (State(panic_cpu=-1), ("runqueues",), (2, 4242, "told by log")),
    ],
)
def test_panic(state: State, without: Any, where: Any) -> None:
    for form in FORMS.values():
        found = build(form, state, said=SAID, without=without)
        assert found["panic"] == "a reason"
        assert tuple(found.get(f"panic {k}") for k in ("cpu", "pid", "command")) == where
        assert found["command line"] == "root=/dev/vda ro quiet"


def test_without_symbols() -> None:
    """All that is left is VMCOREINFO and the log that it leads to."""
    everything = set(crash(Arena(FORMS["64"]).define, lambda at, data: None, FORMS["64"], State())[0])
    for form in FORMS.values():
        found = build(form, State(), said=SAID, without=everything, by_types=False)
        assert found == {
            "command line": "told by the log",
            "load averages": [0.5, 1.0, 2.25],
            "page table levels": 3,
            "panic": "a reason",
            "panic cpu": 2,
            "panic pid": 4242,
            "panic command": "told by log",
        }


@pytest.mark.parametrize(
    ("lie", "gone"),
    [
        ({"nr_cpu_ids": 0}, CPUS | TASK),
        ({"nr_cpu_ids": 0xFFFFFFFF}, CPUS | TASK),
        ({"nr_cpu_ids": 1}, TASK),  # and CPU 1 is not one of them
        ({"panic_cpu": 0x7FFFFFFF}, {"panic cpu"} | TASK),
        ({"nr_threads": 0x80000000}, {"threads"}),
        ({"saved_command_line": 0}, {"command line"}),
        ({"init_task": 0}, {"processes"}),
    ],
)
def test_lies(lie: dict[str, int], gone: set[str]) -> None:
    """What makes no sense is not shown; the rest is."""
    form = FORMS["64"]
    arena = Arena(form)
    symbols, s = crash(arena.define, arena.write, form, State())
    right = facts.facts(*target(arena, {}, known=types(s), symbols=symbols))
    for name, value in lie.items():
        arena.poke(symbols[name] + (s.offsets["task_struct", "tasks"] if name == "init_task" else 0), value, 4)
        if value == 0:
            arena.poke(symbols[name] + 4, 0, 4)
    found = facts.facts(*target(arena, {}, known=types(s), symbols=symbols))
    assert set(right) - set(found) == gone
    assert {key for key in found if found[key] != right[key]} <= CPUS


def test_a_dump_without_a_log(linux_dump_factory: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """dmesg says in one line what is wrong; info does without."""
    arena = Arena(FORMS["64"])
    lies: dict[str, str | None] = dict(writer.ring(arena.define, arena.form, [], count_bits=4, size_bits=8).lines)
    for changes, message in (
        ({}, "has none of prb, log_first_idx, log_end"),
        (lies, "invalid address"),
        (lies | {"SYMBOL(prb)": None, "SYMBOL(log_first_idx)": "0"}, "log_buf: no such symbol"),
    ):
        dump = linux_dump_factory(container="kdump", vmcoreinfo_changes=changes)
        assert main(["dmesg", "-M", str(dump.paths[0])]) == 1
        out = capfd.readouterr()
        assert out.out == ""
        assert message in out.err
        assert out.err.count("\n") == 1
        assert main(["info", "--json", "-M", str(dump.paths[0])]) == 0
        found = json.loads(capfd.readouterr().out)
        assert found["hostname"] == "fixture"
        assert found["dump time"] == 1700000500
        assert found["memory in the image"] == dump.pages * 4096
        assert found["processes"] == len(dump.tasks)
        assert found["kinds left out"] == ["zero", "cache", "private cache", "user", "free"]


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_fuzz(data: Any) -> None:
    form = FORMS[data.draw(st.sampled_from(sorted(FORMS)))]
    arena = Arena(form)
    symbols, s = crash(arena.define, arena.write, form, State(), holder=data.draw(st.sampled_from(HOLDERS)))
    lines = writer.ring(arena.define, form, SAID, count_bits=4, size_bits=10).lines
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(arena.data) - 9))
        arena.data[at : at + 8] = data.draw(st.sampled_from([bytes(8), b"\xff" * 8, b"\1\0\0\0" * 2]))
    for name in data.draw(st.lists(st.sampled_from(sorted(symbols)), max_size=3)):
        symbols[name] = data.draw(st.sampled_from([0, 1 << 63, (1 << 64) - 4, symbols[name] + 4]))
    found = facts.facts(*target(arena, lines, known=types(s), symbols=symbols))
    assert len(str(found)) < 100000
