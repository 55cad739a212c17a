"""Processes that tests make, and a handle on the system that they run in (KVM_NO_FILES)."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pykvm
from pykvm.handle import Kvm

HAS_PROC = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="this host is no Linux with /proc")
ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
PF_KTHREAD = 0x00200000
SETTLED = 10.0  # seconds: whatever a test waits for has come by then
Start = Callable[..., subprocess.Popen[bytes]]


@contextlib.contextmanager
def asked() -> Iterator[Kvm]:
    """A handle without files."""
    found = pykvm.kvm_openfiles(None, None, None, pykvm.KVM_NO_FILES)
    assert found is not None
    with found:
        yield found


@contextlib.contextmanager
def children() -> Iterator[Start]:
    """A function: starts a program, which is killed in the end."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*argv: Any, **how: Any) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen(argv, stdout=subprocess.PIPE, stdin=subprocess.PIPE, **how))
        return started[-1]

    try:
        yield start
    finally:
        for child in started:
            child.kill()
            child.communicate()


@contextlib.contextmanager
def forked(run: Callable[[], Any]) -> Iterator[int]:
    """A child that has run a function, and stays until it is killed, of this program."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            run()
            os.write(writer, b"!")
            signal.pause()
        finally:
            os._exit(1)
    os.close(writer)
    try:
        assert os.read(reader, 1) == b"!"
        os.close(reader)
        until(lambda: Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2][:1] == b"S")
        yield pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def told_by(run: Callable[[], Any], uid: int | None = None) -> Any:
    """What a function gives in a child, which is of another user."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            if uid is not None:
                os.setgroups([])
                os.setgid(uid)
                os.setuid(uid)
            raw = json.dumps(run()).encode()
            while raw:
                raw = raw[os.write(writer, raw) :]
            code = 0
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        raw = file.read()
    assert os.waitpid(pid, 0)[1] == 0
    return json.loads(raw)


def process(kd: Kvm, pid: int) -> Any:
    (found,) = kd.processes(pykvm.KERN_PROC_PID, pid)
    return found


def until(true: Callable[[], Any]) -> None:
    end = time.monotonic() + SETTLED
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def sleeps(kd: Kvm, pid: int) -> Callable[[], bool]:
    """Whether a program that sleeps has begun to."""
    return lambda: process(kd, pid).comm == "sleep" and process(kd, pid).stat == "S"


def numbers(directory: str) -> list[int]:
    """The entries of a directory of /proc that are called by numbers."""
    return sorted(int(path.name) for path in Path(directory).iterdir() if path.name.isdecimal())
