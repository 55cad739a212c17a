"""A Linux guest in QEMU whose root is the host's, read-only: tests run programs in it, and see its RAM from outside.

The kernel is one of Debian's cloud kernels, which have virtiofs built in: no initramfs, no disk. Its memory is a file
that QEMU shares, a memfd or one of a name.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
VIRTIOFSD = ("/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd", "/usr/lib/virtiofsd")
QEMU = "qemu-system-x86_64"
STARTS = 3
BOOT = 120.0  # seconds, on a busy host: QEMU emulates, as /dev/kvm is not everywhere, nor does it work wherever it is
HOW = "get it with: sh tools/live.sh"


class Unavailable(Exception):
    """What it takes is not there; the text says how to get it."""


class Done(NamedTuple):
    """What a program in the guest has said."""

    rc: int
    out: bytes
    err: bytes

    @property
    def text(self) -> str:
        """Its output; AssertionError if it failed."""
        assert self.rc == 0, f"exit {self.rc}: {self.err.decode(errors='replace')}"
        return self.out.decode("utf-8", "surrogateescape")


def cache() -> Path:
    """Where tools/live.sh puts the kernel."""
    return Path(os.environ.get("PYKVM_LIVE") or Path.home() / ".cache" / "pykvm-live")


def kernel() -> Path:
    """The newest kernel that is there."""
    found = sorted(cache().glob("boot/vmlinuz-*-cloud-amd64"), key=lambda path: [int(n) for n in _numbers(path.name)])
    if not found:
        raise Unavailable(f"no cloud kernel in {cache()}: {HOW}")
    return found[-1]


def _numbers(name: str) -> list[str]:
    return "".join(c if c.isdigit() else " " for c in name).split()


def virtiofsd() -> str:
    """The daemon that serves the root."""
    found = shutil.which("virtiofsd") or next((path for path in VIRTIOFSD if Path(path).exists()), None)
    if found is None:
        raise Unavailable(f"no virtiofsd: {HOW}")
    return found


class Guest:
    """A guest that runs. memory: MB; ram: a file to have its memory in (None: a memfd); append: kernel arguments;
    plug: MB of memory that plug() can add."""

    def __init__(
        self,
        memory: int = 512,
        cpus: int = 2,
        ram: Path | None = None,
        append: str = "",
        machine: str = "q35",
        plug: int = 0,
    ) -> None:
        if shutil.which(QEMU) is None:
            raise Unavailable(f"no {QEMU}: {HOW}")
        for place in ("/tmp", "/run"):
            if ROOT.is_relative_to(place):
                raise Unavailable(f"the guest has a {place} of its own: the project must be elsewhere")
        self.kernel = kernel()
        self.memory = memory
        self._file = ram
        self._plug = plug
        # QEMU's emulation of several CPUs now and then fails a kernel that changes its own code while it starts.
        for turn in range(STARTS):
            self._room = Path(tempfile.mkdtemp(prefix="pykvm-live-"))
            self._daemon: subprocess.Popen[bytes] | None = None
            self._qemu: subprocess.Popen[bytes] | None = None
            self._channel: socket.socket | None = None
            self._answers: dict[int, Any] = {}
            self._changed = threading.Condition()
            self._next = 1
            self._lost = ""
            try:
                self._start(cpus, append, machine)
                return
            except BaseException as e:
                self.close()
                if turn == STARTS - 1 or not isinstance(e, RuntimeError):
                    raise

    # -- starting and stopping ------------------------------------------------------------------------------

    def _start(self, cpus: int, append: str, machine: str) -> None:
        fs, channel, monitor, console = (self._room / name for name in ("fs", "channel", "monitor", "console"))
        sandbox = ["-o", "sandbox=chroot"] if os.geteuid() == 0 else []
        with open(self._room / "virtiofsd", "wb") as log:
            self._daemon = subprocess.Popen(
                [virtiofsd(), f"--socket-path={fs}", "-o", "source=/", "-o", "cache=auto", *sandbox],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._until(fs.exists, "virtiofsd")
        if self._file is None:
            backend = f"memory-backend-memfd,id=ram,size={self.memory}M,share=on"
        else:
            backend = f"memory-backend-file,id=ram,size={self.memory}M,mem-path={self._file},share=on"
        size = f"{self.memory}M" + (f",slots=1,maxmem={self.memory + self._plug}M" if self._plug else "")
        words = f"console=ttyS0 panic=-1 quiet rootfstype=virtiofs root=host ro {append} init={interpreter()}"
        command = [
            QEMU, "-machine", f"{machine},memory-backend=ram", "-accel", "tcg",
            "-object", backend, "-m", size,
            "-smp", str(cpus), "-cpu", "max", "-nodefaults", "-display", "none", "-no-reboot",
            "-chardev", f"file,id=con,path={console}", "-serial", "chardev:con",
            "-chardev", f"socket,id=fs,path={fs}", "-device", "vhost-user-fs-pci,chardev=fs,tag=host",
            "-device", "virtio-serial-pci",
            "-chardev", f"socket,id=chan,path={channel},server=on,wait=off",
            "-device", "virtserialport,chardev=chan,name=pykvm",
            "-qmp", f"unix:{monitor},server=on,wait=off",
            "-kernel", str(self.kernel), "-append", f"{words} -- {HERE / 'init.py'}",
        ]  # fmt: skip
        with open(self._room / "qemu", "wb") as log:
            self._qemu = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._until(channel.exists, "QEMU")
        self._channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._channel.connect(str(channel))
        threading.Thread(target=self._listen, daemon=True).start()
        self._answer(0, BOOT)

    def _until(self, there: Any, what: str) -> None:
        end = time.monotonic() + 20
        while not there():
            if time.monotonic() > end or self._dead():
                raise RuntimeError(f"{what} does not start: {self._said()}")
            time.sleep(0.02)

    def _dead(self) -> bool:
        return any(p is not None and p.poll() is not None for p in (self._daemon, self._qemu))

    def _said(self) -> str:
        logs = [self._room / name for name in ("console", "qemu", "virtiofsd")]
        return "\n".join(path.read_text(errors="replace")[-2000:] for path in logs if path.exists())

    def close(self) -> None:
        """Stop it, and remove what it left."""
        if self._channel is not None:
            self._channel.close()
        for process in (self._qemu, self._daemon):
            if process is not None:
                process.send_signal(signal.SIGKILL)
                process.wait()
        shutil.rmtree(self._room, ignore_errors=True)

    def __enter__(self) -> Guest:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- what is done in it ---------------------------------------------------------------------------------

    def _listen(self) -> None:
        buffer = b""
        assert self._channel is not None
        while True:
            try:
                part = self._channel.recv(1 << 16)
            except OSError:
                part = b""
            with self._changed:
                if not part:
                    self._lost = "the guest is gone"
                    self._changed.notify_all()
                    return
                *lines, buffer = (buffer + part).split(b"\n")
                for line in lines:
                    answer = json.loads(line)
                    self._answers[answer["id"]] = answer
                self._changed.notify_all()

    def _answer(self, number: int, timeout: float) -> dict[str, Any]:
        end = time.monotonic() + timeout
        with self._changed:
            while number not in self._answers:
                self._changed.wait(0.5)
                if number in self._answers:
                    break
                if self._lost or self._dead() or time.monotonic() > end:
                    raise RuntimeError(f"the guest does not answer: {self._lost or 'in time'}\n{self._said()}")
            found: dict[str, Any] = self._answers.pop(number)
            return found

    def start(
        self,
        argv: Sequence[str | Path],
        *,
        input: bytes = b"",
        uid: int | None = None,
        timeout: float | None = None,
        env: Mapping[str, str] | None = None,
    ) -> int:
        """Begin to run a program, as root or another user; a number for wait()."""
        assert self._channel is not None
        with self._changed:
            number, self._next = self._next, self._next + 1
        request = {"id": number, "argv": [str(word) for word in argv], "uid": uid, "timeout": timeout}
        request |= {"input": base64.b64encode(input).decode(), "env": dict(env or {}), "cwd": str(ROOT)}
        self._channel.sendall(json.dumps(request).encode() + b"\n")
        return number

    def wait(self, number: int, timeout: float = 120) -> Done:
        """What a program that was started has said when it has ended."""
        answer = self._answer(number, timeout + 10)
        return Done(answer["rc"], base64.b64decode(answer["out"]), base64.b64decode(answer["err"]))

    def run(self, argv: Sequence[str | Path], *, timeout: float = 120, **how: Any) -> Done:
        """Run a program to its end."""
        return self.wait(self.start(argv, timeout=timeout, **how), timeout)

    def python(self, source: str, *arguments: str, **how: Any) -> Done:
        """Run Python, of the environment that the tests run in."""
        return self.run([sys.executable, "-c", source, *arguments], **how)

    # -- from outside ---------------------------------------------------------------------------------------

    @property
    def ram(self) -> Path:
        """Where its memory is, for who opens it from outside."""
        if self._file is not None:
            return self._file
        assert self._qemu is not None
        for fd in Path(f"/proc/{self._qemu.pid}/fd").iterdir():
            if "memfd:memory-backend-memfd" in str(fd.readlink()):
                return fd
        raise RuntimeError("QEMU has no memfd of the guest's memory")

    def plug(self) -> None:
        """Add the memory."""
        size = self._plug << 20
        self.monitor("object-add", {"qom-type": "memory-backend-memfd", "id": "more", "size": size, "share": True})
        self.monitor("device_add", {"driver": "pc-dimm", "id": "dimm", "memdev": "more"})

    def monitor(self, command: str, arguments: Mapping[str, Any] | None = None) -> Any:
        """A command of QEMU's machine protocol: stop, cont ..."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
            s.connect(str(self._room / "monitor"))
            lines = s.makefile("rw")
            lines.readline()
            for name, how in (("qmp_capabilities", None), (command, arguments)):
                lines.write(json.dumps({"execute": name, **({"arguments": how} if how else {})}) + "\n")
                lines.flush()
                while True:
                    answer = json.loads(lines.readline())
                    if "return" in answer or "error" in answer:
                        break
            return answer


def interpreter() -> Path:
    """The interpreter itself: of a virtual environment it is only a link."""
    return Path(os.path.realpath(sys.executable))
