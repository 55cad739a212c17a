"""What README says."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from consumer_maker import BARE, build, visible, words
from pykvm_fixtures import FreebsdDump, LinuxDump, MirbsdDump

import pykvm

README = Path(__file__).resolve().parent.parent / "README.md"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C program, compiled."""
    found = re.findall(r"^```c\n(.*?)^```", README.read_text(), flags=re.M | re.S)
    assert len(found) == 1
    assert len(found[0].splitlines()) <= 32
    source = tmp_path_factory.mktemp("readme") / "prog.c"
    source.write_text(found[0])
    return build(source, source.with_suffix(""))


def test_the_c_program(
    program: Path, mirbsd_dump: MirbsdDump, linux_dump: LinuxDump, freebsd_dump: FreebsdDump
) -> None:
    """It lists the processes of three systems."""
    for paths in (
        (mirbsd_dump.core, mirbsd_dump.kernel, mirbsd_dump.swap),
        (linux_dump.paths[0],),
        (freebsd_dump.core, freebsd_dump.kernel),
    ):
        out = subprocess.run([program, *paths], capture_output=True, check=True, env=BARE).stdout
        with pykvm.Kvm(*paths) as kd:
            expected = [f"{p.pid:5} {p.uid:5} {p.stat} {p.comm}{words(kd, p)}" for p in kd.processes()]
        assert len(expected) > 4
        assert [visible(line) for line in out.split(b"\n")[:-1]] == expected


def test_the_c_program_without_a_dump(program: Path) -> None:
    done = subprocess.run([program, "/no/such"], capture_output=True, text=True, check=False, env=BARE)
    assert (done.returncode, done.stderr) == (1, "prog: /no/such: No such file or directory\n")
