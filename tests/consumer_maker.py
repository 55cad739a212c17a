"""C programs that the tests compile, as users do: with what `pykvm config` prints and nothing else of this project."""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCES = Path(__file__).resolve().parent / "consumers"
# No PYTHONPATH, no virtual environment: the library finds its own package.
BARE = {"PATH": "/usr/bin:/bin"}


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
    strict = ["-Wall", "-Wextra", "-Werror", "-g"]
    command = [compiler, *strict, source, "-o", program, *flags("--cflags", "--libs"), *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return program
