"""The first process of a guest: mounts what a system has, then runs what it is told over a virtio-serial port.

A request is a line of JSON, and so is its answer; each is served by a thread. Only the standard library is used.
"""

from __future__ import annotations

import base64
import ctypes
import json
import os
import pathlib
import subprocess
import sys
import threading
from typing import Any

MOUNTS = (
    ("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("tmpfs", "/tmp"), ("tmpfs", "/run"),
    ("devpts", "/dev/pts"), ("tmpfs", "/dev/shm"),
)  # fmt: skip
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
}
PORT = "pykvm"


def mount_all() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    for kind, where in MOUNTS:
        if where.count("/") > 1:
            pathlib.Path(where).mkdir(exist_ok=True)
        libc.mount(kind.encode(), where.encode(), kind.encode(), 0, None)


def port() -> str:
    """The device of the port that the host speaks through."""
    for path in pathlib.Path("/sys/class/virtio-ports").iterdir():
        if (path / "name").read_text().strip() == PORT:
            return f"/dev/{path.name}"
    raise SystemExit(f"no virtio-serial port {PORT}")


def serve(request: dict[str, Any]) -> dict[str, Any]:
    def become() -> None:
        if request.get("uid") is not None:
            os.setgroups([])
            os.setgid(request["uid"])
            os.setuid(request["uid"])

    try:
        done = subprocess.run(
            request["argv"],
            input=base64.b64decode(request.get("input") or ""),
            capture_output=True,
            timeout=request.get("timeout"),
            env={**ENVIRONMENT, **(request.get("env") or {})},
            cwd=request.get("cwd") or "/",
            preexec_fn=become,
            check=False,
        )
    except subprocess.TimeoutExpired as e:
        return {"rc": -1, "out": encoded(e.stdout), "err": encoded(b"timed out")}
    except Exception as e:
        return {"rc": -2, "out": "", "err": encoded(str(e).encode())}
    return {"rc": done.returncode, "out": encoded(done.stdout), "err": encoded(done.stderr)}


def encoded(raw: bytes | None) -> str:
    return base64.b64encode(raw or b"").decode()


def main() -> None:
    mount_all()
    os.environ.update(ENVIRONMENT)
    channel = os.open(port(), os.O_RDWR)
    lock = threading.Lock()

    def answer(message: dict[str, Any]) -> None:
        raw = json.dumps(message).encode() + b"\n"
        with lock:
            while raw:
                raw = raw[os.write(channel, raw) :]

    answer({"id": 0})
    lines = os.fdopen(os.dup(channel), "rb", buffering=0)
    buffer = b""
    while True:
        part = lines.read(65536)
        if not part:
            threading.Event().wait(0.05)
            continue
        buffer += part
        *whole, buffer = buffer.split(b"\n")
        for line in whole:
            request = json.loads(line)
            threading.Thread(target=lambda r=request: answer({"id": r["id"], **serve(r)}), daemon=True).start()


if __name__ == "__main__":
    try:
        main()
    except BaseException as e:
        print(f"init: {type(e).__name__}: {e}", file=sys.stderr, flush=True)
        threading.Event().wait(5)
        raise
