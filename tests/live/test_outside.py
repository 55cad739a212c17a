"""A guest that runs, seen from outside by its RAM."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from guest import Guest

import pykvm


def names(guest: Guest) -> dict[int, str]:
    """The guest's processes, as ps(1) there says."""
    lines = guest.run(["ps", "-e", "-o", "pid=,comm="]).text.splitlines()
    return {int(line.split()[0]): line.split(None, 1)[1] for line in lines}


def check(guest: Guest, kd: pykvm.Kvm) -> None:
    """The same processes, but for those that begin and end."""
    theirs, ours = names(guest), {p.pid: p for p in kd.processes()}
    both = theirs.keys() & ours.keys()
    assert len(both) > 40
    assert len(theirs.keys() ^ ours.keys()) <= 6
    for pid in both:
        if not theirs[pid].startswith("kworker/"):
            assert ours[pid].comm == theirs[pid]
    assert kd.argv(ours[1])[1].endswith(b"init.py")


def test_its_processes(guest: Guest) -> None:
    with pykvm.Kvm(guest.ram) as kd:
        assert kd.info.live
        assert kd.info.format == "raw"
        assert kd.info.release == guest.run(["uname", "-r"]).text.strip()
        check(guest, kd)
        number = guest.start(["sleep", "3"])
        for _ in range(200):
            found = [p for p in kd.processes() if kd.argv(p) == [b"sleep", b"3"]]
            if found:
                break
        assert found[0].comm == "sleep"
        guest.wait(number)
        kd.refresh()
        assert not [p for p in kd.processes() if p.pid == found[0].pid]
        with pytest.raises(pykvm.KvmError, match=f"process {found[0].pid} has ended"):
            kd.argv(found[0])
        before = kd.read_u64(kd.symbol("jiffies"))
        guest.run(["true"])
        assert kd.read_u64(kd.symbol("jiffies")) > before


def test_writing(guest: Guest) -> None:
    """The guest's name, which it then tells."""
    with pykvm.Kvm(guest.ram) as kd:
        at = kd.symbol("init_uts_ns") + kd.types.struct("uts_namespace").offset("name.nodename")
        with pytest.raises(pykvm.KvmError, match="not opened for writing"):
            kd.write(at, b"no\0")
    assert guest.run(["uname", "-n"]).text == "(none)\n"
    with pykvm.Kvm(guest.ram, writable=True) as kd:
        assert kd.info.live
        assert kd.write(at, b"seen from outside\0") == 18
    assert guest.run(["uname", "-n"]).text == "seen from outside\n"
    command = [sys.executable, "-m", "pykvm", "write", "-M", str(guest.ram), hex(at), "--string", "(none)"]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (refused.returncode, refused.stderr) == (1, "pykvm: nothing was written: that takes -w\n")
    assert guest.run(["uname", "-n"]).text == "seen from outside\n"
    subprocess.run([*command, "-w"], check=True, stdout=subprocess.DEVNULL)
    assert guest.run(["uname", "-n"]).text == "(none)\n"


def test_top(guest: Guest) -> None:
    number = guest.start(["timeout", "4", sys.executable, "-c", "while True: pass"])
    command = [sys.executable, "-m", "pykvm", "top", "-M", str(guest.ram), "-s", "1", "-d", "3", "-n", "4"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert shown.count("load averages: ") == 3
    assert shown.count("PID USER") == 3
    rows = [line.split() for line in shown.splitlines() if line.endswith(" python")]
    assert any(float(row[6]) > 20 for row in rows)
    guest.wait(number)


@pytest.mark.parametrize(
    ("memory", "machine", "append", "low"),
    [
        (3072, "q35", "nokaslr", 2 << 30),  # the kernel itself is below the hole
        (5000, "q35", "", 2 << 30),
        (4096, "pc", "", 3 << 30),
        (2600, "q35", "", None),
    ],
)
def test_around_the_hole(
    boot: Callable[..., Guest], tmp_path: Path, memory: int, machine: str, append: str, low: int | None
) -> None:
    """Memory above 4 GB follows that below the hole, in a file of a name here."""
    ram = tmp_path / "ram"
    guest = boot(memory=memory, machine=machine, append=append, ram=ram)
    size = memory << 20
    assert ram.stat().st_size == size
    with pykvm.Kvm(ram) as kd:
        assert kd.info.live
        check(guest, kd)
        held = kd.image.held.extents
        expected = [(0, size, 0)] if low is None else [(0, low, 0), (4 << 30, size - low, low)]
        assert [(e.addr, e.size, e.offset) for e in held] == expected
    guest.close()
    with pykvm.Kvm(ram) as kd:  # nobody changes it any more
        assert not kd.info.live
        assert kd.processes()[0].pid == 1


def test_another_kernel(boot: Callable[..., Guest], tmp_path: Path) -> None:
    """The machine starts again, with the same file: who still looks at the old kernel is told."""
    ram = tmp_path / "ram"
    first = boot(ram=ram)
    with pykvm.Kvm(ram) as kd:
        assert kd.info.live
        assert kd.processes()
        kd.refresh()
        first.close()
        boot(ram=ram)
        time.sleep(1)
        said = ""
        for _ in range(3):
            try:
                kd.refresh()
                kd.processes()
            except pykvm.KvmError as e:
                said = str(e)
            time.sleep(1)
        assert "another kernel runs there now" in said or "no kernel runs there any more" in said, said
    with pykvm.Kvm(ram) as kd:
        assert kd.processes()[0].pid == 1


def test_a_pause(guest: Guest) -> None:
    """A clock that stands still is no other kernel."""
    with pykvm.Kvm(guest.ram) as kd:
        guest.monitor("stop")
        try:
            for _ in range(3):
                kd.refresh()
                time.sleep(0.6)
            assert kd.processes()[0].pid == 1
        finally:
            guest.monitor("cont")


def test_who_is_not_told_that_it_runs(guest: Guest) -> None:
    for said in (True, False):
        with pykvm.Kvm(guest.ram, live=said) as kd:
            assert kd.info.live is said
