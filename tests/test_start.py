"""What a start loads: no more than is used, as most of the time of a short program is that."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import pykvm
from pykvm.cli import COMMANDS, terminal

HEAVY = ("pykvm.opening", "pykvm.images.base", "pykvm.symbols.base", "elftools", "dataclasses", "tempfile", "shutil")


def loaded(source: str) -> set[str]:
    """The modules that are there at the end of a program."""
    code = f"{source}\nimport sys; print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_import_loads_nothing_else() -> None:
    found = {name for name in loaded("import pykvm") if name.startswith("pykvm")}
    assert found == {"pykvm", "pykvm.constants"}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks the kernel that runs here")
def test_ps_of_this_system_opens_no_file() -> None:
    found = loaded("from pykvm.cli import main; main(['ps'])")
    assert "pykvm.targets.linux.procfs.processes" in found
    assert not found & set(HEAVY)


def test_every_name() -> None:
    for name in pykvm.__all__:
        assert getattr(pykvm, name) is not None
        assert name in dir(pykvm)
    assert pykvm.errors.KvmError is pykvm.KvmError
    with pytest.raises(AttributeError, match="no attribute 'kvm_nothing'"):
        pykvm.kvm_nothing  # noqa: B018
    scope: dict[str, object] = {}
    exec("from pykvm import *", scope)
    assert set(pykvm.__all__) <= scope.keys()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    done = subprocess.run([sys.executable, "-m", "pykvm", name, "-h"], capture_output=True, text=True, check=True)
    assert " ".join(done.stdout.split()).count(" ".join(COMMANDS[name].split())) == 1
    assert done.stdout.startswith(f"usage: pykvm {name} ")


def test_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "133")
    assert terminal.columns() == 133
    for wrong in ("", "0", "-3", "wide"):
        monkeypatch.setenv("COLUMNS", wrong)
        assert terminal.columns() >= 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks the kernel that runs here")
def test_arguments_read_with_the_list(tmp_path: Path) -> None:
    """What ps shows is of the moment of its list, also of who has ended since; more than a page of them is whole."""
    words = [f"argument-{i:05d}" for i in range(6000)]  # 96 KB
    short = subprocess.Popen([sys.executable, "-c", "input()", "one", "", "two words"], stdin=subprocess.PIPE)
    long = subprocess.Popen([sys.executable, "-c", "input()", *words], stdin=subprocess.PIPE)
    try:
        with pykvm.kvm_openfiles(None, None, None, pykvm.KVM_NO_FILES) as kd:
            end = time.monotonic() + 20
            while time.monotonic() < end:
                at_once = {p.pid: p for p in kd.processes(argv=True)}
                vectors = [kd.argv(at_once[p.pid]) for p in (short, long)]
                if vectors[0][-1:] == [b"two words"] and vectors[1][-1:] == [words[-1].encode()]:
                    break
            assert vectors[0][3:] == [b"one", b"", b"two words"]
            assert vectors[1][3:] == [word.encode() for word in words]
            assert kd.argv(at_once[short.pid], 4) == kd.argv(kd.processes(pykvm.KERN_PROC_PID, short.pid)[0], 4)
            short.communicate(b"\n")
            assert kd.argv(at_once[short.pid])[3:] == [b"one", b"", b"two words"]
            assert kd.argv(at_once[os.getpid()])
    finally:
        for process in (short, long):
            process.kill()
            process.wait()
            process.stdin and process.stdin.close()
