"""The kernel that runs, seen from inside: /proc/kcore against what the kernel itself tells."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from guest import Guest

INSIDE = Path(__file__).resolve().parent / "inside.py"


def inside(guest: Guest, *words: str, **how: Any) -> Any:
    """The answer of one of the guest's programs."""
    return json.loads(guest.run([sys.executable, INSIDE, *words], **how).text)


def test_processes(guest: Guest) -> None:
    found = inside(guest, "processes")
    assert found["bad"] == []
    assert found["seen"] >= found["all"] - 3
    assert found["environ"] == [b"BYTES\xff=\x80\n".hex()]
    assert found["last"][:3] == [True, [7, 9], "S"]
    assert "nanosleep" in found["last"][3]
    assert found["own"][0] == [found["pid"], "R"]
    assert found["files"][0] == found["files"][1]
    assert len(found["files"][0]) >= 3


def test_a_process_that_has_ended(guest: Guest) -> None:
    found = inside(guest, "gone")
    assert found["argv"] == "[b'sleep', b'300']"
    assert found["zombie"] in "ZR"
    assert found["said"] == [f"process {found['pid']} has ended"] * 3
    assert found["left"] == []


def test_symbols(guest: Guest) -> None:
    for count, wrong, lacking, banner in inside(guest, "symbols").values():
        assert count > 100000
        assert (wrong, lacking, banner) == ([], [], True)


def test_load(guest: Guest) -> None:
    ours, theirs = inside(guest, "loadavg")
    assert all(abs(a - b) <= 0.25 for a, b in zip(ours, theirs, strict=True))


def test_every_segment(guest: Guest) -> None:
    found = inside(guest, "segments")
    assert found["wrong"] == []
    assert found["count"] >= 6
    assert found["refused"] > 40  # most of the vmalloc area is not mapped, and is not zeros therefore
    assert (found["same"], found["stack"], found["back"]) == (True, 16384, True)
    assert [said.startswith("invalid address (") for said in found["said"]] == [True, True, True, True, True]


def test_a_storm_of_forks(guest: Guest) -> None:
    found = inside(guest, "storm", "100", timeout=240)
    assert found["wrong"] == []
    assert found["began"] > 300


def test_files_that_are_opened_and_closed(guest: Guest) -> None:
    found = inside(guest, "files", "20", timeout=240)
    assert (found["wrong"], found["stdin"]) == ([], "/proc/version")
    assert found["last"] > 20


def test_a_process_that_becomes_others(guest: Guest) -> None:
    found = inside(guest, "execs", "60", timeout=240)
    assert found["wrong"] == []
    assert found["seen"] > 3
    assert found["failed"] < 50


def test_threads_and_refreshing(guest: Guest) -> None:
    found = inside(guest, "handles")
    assert found["errors"] == []
    assert found["read"] == 8
    assert found["ticks"][0] < found["ticks"][1] <= found["ticks"][2]


def test_what_the_superuser_may_not(guest: Guest) -> None:
    """Debian's kernels are built with CONFIG_STRICT_DEVMEM."""
    found = inside(guest, "errors")
    assert found["live"] == found["mem"] == "opened"
    assert found["write"].startswith("/dev/mem: Operation not permitted: ")
    assert "CONFIG_STRICT_DEVMEM" in found["write"]
    assert "lockdown" in found["write"]


def test_what_others_may_not(guest: Guest) -> None:
    found = inside(guest, "errors", "65534")
    denied = "/proc/kcore: Permission denied: only the superuser reads the kernel's memory"
    assert found["live"] == found["mem"] == found["write"] == found["errbuf"] == denied
    assert "all addresses are 0" in found["kallsyms"]
    assert "kernel.kptr_restrict" in found["kallsyms"]
    assert "errors" in found["no files"]


def test_the_command(guest: Guest) -> None:
    pykvm = [sys.executable, "-m", "pykvm"]
    for core in ([], ["-M", "/proc/kcore"]):
        shown = guest.run([*pykvm, "ps", *core, "-o", "pid,comm,command"]).text.splitlines()
        assert shown[0].split() == ["PID", "COMMAND", "COMMAND"]
        assert any(line.split()[:2] == ["2", "kthreadd"] for line in shown)
    assert "Linux version 6" in guest.run([*pykvm, "dmesg"]).text
    info = guest.run([*pykvm, "info"]).text
    assert "kcore" in info
    banner = guest.run([*pykvm, "read", "linux_banner", "32"]).text
    assert "|Linux version 6." in banner
    top = guest.run([*pykvm, "top", "-M", "/proc/kcore", "-s", "0.5"]).text.splitlines()
    assert top[0].startswith("load averages: ")
    assert top[3].split() == ["PID", "USER", "NI", "RSS", "STAT", "TIME", "%CPU", "FLT/s", "COMMAND"]
    refused = guest.run([*pykvm, "write", "init_uts_ns", "00"])
    assert (refused.rc, refused.err) == (1, b"pykvm: nothing was written: that takes -w\n")


def test_memory_that_is_added(boot: Callable[..., Guest]) -> None:
    """The kernel looks at its memory anew when /proc/kcore is opened; a handle does so when a read fails."""
    guest = boot(plug=256, append="memhp_default_state=online")
    number = guest.start([sys.executable, INSIDE, "plugged", "100"], timeout=200)
    time.sleep(12)
    guest.plug()
    found = json.loads(guest.wait(number, 200).text)
    assert found["more"] > 200000  # kB
    assert (found["refused"], found["found"], found["kvm_read"]) == (True, 1 << 20, 8)
    assert found["size"] == 256 << 20
    assert found["processes"]
    assert found["moved"]
