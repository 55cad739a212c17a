"""What a start loads: no more than is used, as most of the time of a short program is that."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import pykvm
from pykvm.cli import COMMANDS, main, terminal
from pykvm.cli.common import day

HEAVY = ("pykvm.opening", "pykvm.images.base", "pykvm.symbols.base", "elftools", "dataclasses", "tempfile", "shutil")


def loaded(source: str) -> set[str]:
    """The modules that are there at the end of a program."""
    code = f"{source}\nimport sys; print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_import_loads_nothing_else() -> None:
    found = {name for name in loaded("import pykvm") if name.startswith("pykvm")}
    assert found == {"pykvm", "pykvm.constants", "pykvm.errors", "pykvm.loading"}


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
    for wrong in ("", "0", "-3", "wide", "9" * 5000):
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


def run(source: str, *arguments: str | Path) -> str:
    """What a program of its own prints."""
    done = subprocess.run(
        [sys.executable, "-c", source, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


STARVED = """
import os, resource, sys
import pykvm
openfiles = pykvm.kvm_openfiles
left = len(os.listdir("/proc/self/fd")) - 1 if os.path.isdir("/proc/self/fd") else 3
resource.setrlimit(resource.RLIMIT_NOFILE, (left + int(sys.argv[3]),) * 2)
errbuf = bytearray(2048)
kd = openfiles(sys.argv[2], sys.argv[1], None, os.O_RDONLY, errbuf)
print(kd is not None, errbuf.split(b"\\0")[0].decode())
"""


@pytest.mark.parametrize("free", range(8))
def test_no_descriptor_to_load_by(mirbsd_dump: Any, free: int) -> None:
    """kvm_openfiles(3) raises nothing, whatever it cannot read: its own files, too."""
    opened, _, said = run(STARVED, mirbsd_dump.core, mirbsd_dump.kernel, str(free)).partition(" ")
    assert opened == "True" or "Too many open files" in said


FORKING = """
import os, signal, sys, threading, time
import pykvm
def look():
    with pykvm.Kvm(sys.argv[1], sys.argv[2]) as kd:
        return len(kd.processes())
thread = threading.Thread(target=look)
thread.start()
time.sleep(float(sys.argv[3]))
pid = os.fork()
if pid == 0:
    signal.alarm(20)
    os._exit(0 if look() else 1)
thread.join()
print(os.waitpid(pid, 0)[1])
"""


@pytest.mark.parametrize("delay", ["0", "0.002", "0.005", "0.01", "0.02"])
def test_fork_while_another_thread_loads(mirbsd_dump: Any, delay: str) -> None:
    """The child has no lock that somebody else held."""
    assert run(FORKING, mirbsd_dump.core, mirbsd_dump.kernel, delay).strip() == "0"


OUT_OF_REACH = """
import os, sys
import pykvm
if sys.argv[3] == "preload":
    pykvm.preload()
else:
    kd = pykvm.kvm_openfiles(sys.argv[2], sys.argv[1], None, os.O_RDONLY, None)
sys.meta_path.clear()
if sys.argv[3] == "preload":
    kd = pykvm.kvm_openfiles(sys.argv[2], sys.argv[1], None, os.O_RDONLY, None)
names = [pykvm.Nlist("_nprocs")]
print(kd.info.system, pykvm.kvm_nlist(kd, names), repr(pykvm.kvm_geterr(kd)), len(pykvm.kvm_getloadavg(kd)))
found = pykvm.kvm_getprocs(kd, pykvm.KERN_PROC_ALL, 0)
print(len(found), pykvm.kvm_close(kd))
"""


@pytest.mark.parametrize("how", ["open", "preload"])
def test_files_out_of_reach(mirbsd_dump: Any, how: str) -> None:
    """After chroot(2), say: who has opened a dump may ask, who has loaded all may open one, too."""
    first, second = run(OUT_OF_REACH, mirbsd_dump.core, mirbsd_dump.kernel, how).splitlines()
    assert first == "MirBSD 0 '' 3"
    assert second.endswith(" 0")
    assert int(second.split()[0]) > 3


def test_not_loadable_is_an_error_of_ours(mirbsd_dump: Any) -> None:
    said = run(
        "import pykvm, sys\nsys.meta_path.clear()\n"
        "try:\n    pykvm.Kvm\nexcept pykvm.errors.KvmError as e:\n    print(e)"
    )
    assert said.startswith("can't load a file of pykvm: ")


def test_typos_are_told(tmp_path: Path) -> None:
    """Loading names late hides none of them from a type checker."""
    pytest.importorskip("mypy")
    program = tmp_path / "user.py"
    program.write_text("import pykvm\nfrom pykvm import Kvm, kvm_opne\nprint(pykvm.KVM_NO_FILEZ, Kvm, kvm_opne)\n")
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), str(program)]
    said = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False).stdout
    assert '"kvm_opne"' in said
    assert '"KVM_NO_FILEZ"' in said
    assert "Found 2 errors" in said


def test_modules_are_attributes() -> None:
    said = run("import pykvm\nprint(pykvm.records.ProcessRecord is pykvm.ProcessRecord, pykvm.images.FORMATS[0])")
    assert said.split() == ["True", "savecore"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks the kernel that runs here")
def test_arguments_of_all_only_where_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    plain = pykvm.Kvm.processes

    def processes(kd: Any, op: int = pykvm.KERN_PROC_KTHREAD, arg: int = 0, *, argv: bool = False) -> Any:
        asked.append(argv)
        return plain(kd, op, arg, argv=argv)

    monkeypatch.setattr(pykvm.Kvm, "processes", processes)
    for words in (["-o", "args=CMD"], ["-p", str(os.getpid())], ["-o", "pid"], ["--json"]):
        assert main(["ps", *words]) == 0
    assert asked == [True, False, False, True]


@pytest.mark.parametrize("seconds", [-(1 << 40), 1 << 40, 1 << 70, float("nan")])
def test_days_that_are_none(seconds: float) -> None:
    assert day(seconds) == f"{seconds} s after 1970"


def test_day() -> None:
    assert day(1700000000.4) == "2023-11-14 22:13:20 UTC"
