"""Running systems: a guest of tests/live with 1,000 processes, from inside by /proc/kcore and from outside by its RAM.

What is measured inside runs under QEMU's emulation: the ratios count, not the figures.
"""

from __future__ import annotations

import compileall
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import Any

import pykvm
from bench.figures import best, line
from bench.libkvm import compiled

LIVE = Path(__file__).resolve().parent.parent / "tests" / "live"
TASKS = 1000
# Sleeping processes, as many as are missing, until they are killed.
CROWD = """
import os, signal, sys
for _ in range(int(sys.argv[1])):
    if os.fork() == 0:
        break
signal.pause()
"""
READS = """
import json, os, time
import pykvm
from pykvm.images.elf import PT_LOAD, Elf
from pykvm.images.hostfile import HostFile

COUNT = 20000

def rate(call, where):
    found = 0.0
    for _ in range(5):
        start = time.perf_counter()
        for at in where:
            call(at)
        found = max(found, len(where) / (time.perf_counter() - start))
    return found

file = HostFile("/proc/kcore")
with pykvm.Kvm() as kd:
    task = kd.processes()[0].paddr
    (segment,) = [p for p in Elf(file).segments() if p.type == PT_LOAD and p.vaddr <= task < p.vaddr + p.memsz]
    places = [task + i % 512 * 8 for i in range(COUNT)]
    offsets = [segment.offset + at - segment.vaddr for at in places]
    fd, read, buf, pread = file.fd, pykvm.kvm_read, bytearray(8), os.pread
    print(json.dumps({
        "kvm_read": rate(lambda at: read(kd, at, buf, 8), places),
        "kd.read": rate(lambda at: kd.read(at, 8), places),
        "kd.read_u64": rate(kd.read_u64, places),
        "os.pread": rate(lambda at: pread(fd, 8, at), offsets),
        "offset": offsets[0],
        "address": places[0],
        "one": kd.read(places[0], 8) == os.pread(fd, 8, offsets[0]),
    }))
"""
WHOLE = """
import json, subprocess, sys, time

def took(command):
    found = 1e9
    for _ in range(5):
        start = time.perf_counter()
        out = subprocess.run(command, capture_output=True, check=True).stdout
        found = min(found, time.perf_counter() - start)
    return found, out.count(b"\\n")

print(json.dumps({name: took(command) for name, command in {
    "ps": ["ps", "-ef"],
    "kcore": [sys.argv[1], "ps", "-M", "/dev/mem"],
    "none": [sys.argv[1], "ps"],
    "start": [sys.argv[1], "--version"],
    "python": [sys.argv[2], "-c", "pass"],
}.items()}))
"""

# What the programs need, which a guest whose root is the host's would fetch over virtiofs each time: a system has it on
# a disk of its own, and then in memory.
LOCAL = """
mkdir /tmp/local
tar -C /tmp/local -xf "$1"
shift
for path do mount --bind "/tmp/local$path" "$path"; done
"""
LEFT_OUT = ("test", "idlelib", "ensurepip", "config-*", "hypothesis", "mypy", "mypyc", "pip", "*.a")


SOURCE = Path(__file__).resolve().parent / "c" / "live.c"


def libraries(program: str) -> list[str]:
    """The shared objects that a program is linked with."""
    out = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    return [word for word in out.split() if word.startswith("/")]


def localise(guest: Any) -> None:
    """Give the guest files of its own where the programs that are measured have theirs."""
    programs = [os.path.realpath(path) for path in (sys.executable, str(shutil.which("ps")))]
    files = sorted({os.path.realpath(path) for program in programs for path in (program, *libraries(program))})
    folders = [sysconfig.get_path("stdlib"), sys.prefix, str(Path(pykvm.__file__).resolve().parent)]
    compileall.compile_dir(folders[-1], quiet=2)
    # Not in /tmp, which is another one in the guest.
    with tempfile.NamedTemporaryFile(suffix=".tar", dir=LIVE.parent.parent) as archive:
        left = [f"--exclude={name}" for name in LEFT_OUT]
        subprocess.run(
            ["tar", "-C", "/", "-cPf", archive.name, "--transform", "s,^/,,S", *left, *files, *folders], check=True
        )
        guest.run(["sh", "-ec", LOCAL, "local", archive.name, *folders, *files], timeout=300).text  # noqa: B018


def measure(guest: Any) -> None:
    """All figures of one guest."""
    pykvm_command = str(Path(sys.executable).with_name("pykvm"))
    found = json.loads(guest.python(READS).text)
    assert found["one"]
    for name in ("kvm_read", "kd.read", "kd.read_u64"):
        line(
            f"{name} of 8 bytes, times os.pread of /proc/kcore", found[name] / found["os.pread"], "", 0.8, at_least=True
        )
    # The guest has a /tmp of its own.
    run_it = "cat >/tmp/live && chmod +x /tmp/live && exec /tmp/live $0 $1"
    places = hex(found["offset"]), hex(found["address"])
    words = guest.run(["sh", "-c", run_it, *places], input=compiled(SOURCE).read_bytes()).text.split()
    assert words[2] == "1"
    line(
        "kvm_read of 8 bytes in C, times pread(2) of /proc/kcore", int(words[0]) / int(words[1]), "", 0.8, at_least=True
    )
    line("  pread(2) itself", int(words[1]) / 1e3, "k/s")
    line("  os.pread itself", found["os.pread"] / 1e3, "k/s")
    have = len(guest.run(["ps", "-e", "-o", "pid="]).text.split())
    crowd = guest.start([sys.executable, "-c", CROWD, str(TASKS - have)], timeout=600)
    while len(guest.run(["ps", "-e", "-o", "pid="]).text.split()) < TASKS:
        time.sleep(1)
    with pykvm.Kvm(guest.ram) as kd:
        offset = kd.types.struct("task_struct").offset("tasks")
        head = kd.symbol("init_task") + offset
        tasks = len(kd.processes())
        line(f"walk_list of {tasks} tasks on its RAM file", best(lambda: kd.walk_list(head, 0)) * 1e3, "ms", 20)
        line("  kd.processes(), all of each of them", best(kd.processes) * 1e3, "ms")
        line("  their count by kvm_getprocs", best(lambda: pykvm.kvm_getprocs(kd, pykvm.KERN_PROC_ALL, 0)) * 1e3, "ms")
    localise(guest)
    whole = json.loads(guest.python(WHOLE, pykvm_command, sys.executable, timeout=300).text)
    ps = whole["ps"][0]
    line(f"pykvm ps -M /dev/mem of {whole['kcore'][1]}, times ps -ef", whole["kcore"][0] / ps, "", 1)
    line(f"pykvm ps of {whole['none'][1]}, times ps -ef", whole["none"][0] / ps, "", 1)
    line("  pykvm --version, times ps -ef", whole["start"][0] / ps, "")
    line("  python -c pass, times ps -ef", whole["python"][0] / ps, "")
    line(f"  ps -ef of {whole['ps'][1]} itself, emulated", ps * 1e3, "ms")
    guest.run(["pkill", "-f", "signal.pause"])
    guest.wait(crowd)


def run() -> None:
    """The figures, where QEMU and a kernel are."""
    sys.path.insert(0, str(LIVE))
    from guest import Guest, Unavailable

    try:
        with Guest(memory=2048) as guest:
            measure(guest)
    except Unavailable as e:
        print(f"live: {e}")
    except subprocess.SubprocessError as e:
        print(f"live: {e}", file=sys.stderr)
