"""C programs that the tests compile, as users do: with what `pykvm config` prints and nothing else of this project."""

from __future__ import annotations

import functools
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import pykvm

SOURCES = Path(__file__).resolve().parent / "consumers"
# What the sanitizers must be told where tests run under them (tools/sanitize.sh); flags for the compiler, and what
# programs are run by (tools/valgrind.sh).
PASSED = {name: os.environ[name] for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "LD_PRELOAD") if name in os.environ}
STRICT = ["-Wall", "-Wextra", "-Werror", "-g", *shlex.split(os.environ.get("PYKVM_CONSUMER_CFLAGS", ""))]
RUNNER = shlex.split(os.environ.get("PYKVM_CONSUMER_RUNNER", ""))
# No PYTHONPATH, no virtual environment, no locale: the library finds its own package.
BARE = {"PATH": "/usr/bin:/bin", **PASSED}
MICRO = 10**6


@functools.cache
def flags(*words: str) -> list[str]:
    """What `pykvm config` prints."""
    done = subprocess.run(
        [sys.executable, "-m", "pykvm", "config", *words], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.split()


def build(source: Path, program: Path, *more: str) -> Path:
    """Compile a program; the test is skipped where there is no compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    if not sysconfig.get_config_var("Py_ENABLE_SHARED"):
        pytest.skip("this Python has no library that libkvm.so could load")
    command = [compiler, *STRICT, source, "-o", program, *flags("--cflags", "--libs"), *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return program


class Programs:
    """The programs of tests/consumers, each compiled when it is first run."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def path(self, name: str, *more: str) -> Path:
        """The program; `more`: for the compiler."""
        program = self.directory / "-".join([name, *(word.strip("-").replace("/", "_") for word in more)])[:200]
        return program if program.exists() else build(SOURCES / f"{name}.c", program, *more)

    def run(
        self,
        name: str,
        *arguments: Any,
        more: Sequence[str] = (),
        env: Mapping[str, str] = BARE,
        code: int = 0,
        **options: Any,
    ) -> bytes:
        """What it prints; it must exit with `code`, and without a word on stderr if that is 0."""
        command = [*RUNNER, str(self.path(name, *more)), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, check=False, timeout=300, env={**env, **PASSED}, **options)
        assert done.returncode == code, (done.returncode, done.stdout[-500:], done.stderr)
        assert code or not done.stderr, done.stderr
        return done.stdout

    def lines(self, name: str, *arguments: Any, **options: Any) -> list[str]:
        """The same, by lines, as the library has text."""
        return self.run(name, *arguments, **options).decode("utf-8", "surrogateescape").split("\n")[:-1]


def files(core: Path, kernel: Path | None = None, swap: Path | None = None) -> list[str]:
    """BSD's flags for a dump."""
    found = ["-M", str(core)]
    for flag, path in (("-N", kernel), ("-W", swap)):
        if path is not None:
            found += [flag, str(path)]
    return found


def visible(word: bytes) -> str:
    """A word as the programs print it: control characters in octal, as ps(1) has them by vis(3)."""
    text = "".join(f"\\{byte:03o}" if byte < 0x20 or byte == 0x7F else chr(byte) for byte in word)
    return text.encode("latin-1").decode("utf-8", "surrogateescape")


def words(kd: pykvm.Kvm, p: Any, nchr: int = 0) -> str:
    """The arguments of a process as the programs print them."""
    found = pykvm.kvm_getargv(kd, p, nchr) or []
    return "".join(" " + visible(word) for word in found)


def variables(kd: pykvm.Kvm, p: Any) -> str:
    """And its environment."""
    found = pykvm.kvm_getenvv(kd, p, 0) or []
    return "".join(" +" + visible(word) for word in found)


def procinfo(kd: pykvm.Kvm, op: int = pykvm.KERN_PROC_KTHREAD, arg: int = 0) -> list[str]:
    """What procinfo.c prints of a dump, by the Python API."""

    def number(value: int | None, unknown: int = -1) -> str:
        return str(unknown if value is None else value)

    def micro(value: float | None) -> str:
        return number(None if value is None else round(value * MICRO))

    found = []
    for p in kd.processes(op, arg):
        ids = (p.pid, p.ppid, p.pgid, p.sid, p.tpgid, p.uid, p.ruid, p.svuid, p.gid, p.rgid, p.svgid, p.tdev, p.rssize)
        line = [*map(number, ids), micro(p.start_time), micro(p.utime), micro(p.stime), number(p.threads)]
        line += [number(p.nice, -128), *(f"{(value or 0) & (1 << 64) - 1:x}" for value in (p.flags, p.wchan, p.paddr))]
        line += [p.stat or "-", *(f"<{name or ''}>" for name in (p.comm, p.login, p.wmesg))]
        found.append(" ".join(line) + words(kd, p))
    return found
