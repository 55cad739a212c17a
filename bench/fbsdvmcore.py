"""libfbsdvmcore, a port of FreeBSD's libkvm, measured in a program in C: where $LIBFBSDVMCORE names the library."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from bench.children import PEERS, JobError
from bench.samples import ROOM

NAME = "libfbsdvmcore"
SOURCE = PEERS / "fbsdvmcore.c"
WARNINGS = ("-Wall", "-Wextra", "-Werror")


class Fbsdvmcore:
    """The program, compiled anew and linked with the library."""

    def __init__(self, library: Path, compiler: str) -> None:
        self.program = Path(ROOM.name) / "fbsdvmcore"
        where = library.resolve()
        command = [compiler, "-std=gnu11", "-O2", *WARNINGS, "-o", self.program, SOURCE, where]
        subprocess.run([*command, f"-Wl,-rpath,{where.parent}"], check=True)

    def ask(self, job: str, kernel: Path, dump: Path, numbers: Path | None = None) -> dict[str, Any]:
        """Do a job in a process of its own: the seconds of its parts, and what it found as one number."""
        command = [self.program, kernel, dump, job, *([numbers] if numbers else [])]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            why = f"killed by signal {-done.returncode}" if done.returncode < 0 else done.stderr.strip()
            raise JobError(f"{NAME}: {job}: {why}")
        seconds, found = done.stdout.splitlines()
        return {"seconds": [float(word) for word in seconds.split()], "check": int(found)}


def get() -> Fbsdvmcore | None:
    """The program; None, with the reason, if it cannot be had."""
    given = os.environ.get("LIBFBSDVMCORE")
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if not given or not Path(given).exists():
        print(f"  {NAME} is not here: $LIBFBSDVMCORE does not name a libfbsdvmcore.so")
        return None
    if compiler is None:
        print(f"  {NAME} needs a C compiler: there is none")
        return None
    return Fbsdvmcore(Path(given), compiler)
