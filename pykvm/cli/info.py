"""pykvm info"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from pykvm.cli.common import day, json_flag, kernel_flags, open_kernel, put, put_json
from pykvm.errors import KvmError
from pykvm.handle import Kvm


def setup(parser: argparse.ArgumentParser) -> None:
    """The flags."""
    kernel_flags(parser)
    json_flag(parser)


def gather(kd: Kvm) -> dict[str, Any]:
    """All that is shown, in order; times in seconds (of a day: since 1970), sizes in bytes."""
    image = kd.image
    found = {name.replace("_", " "): value for name, value in asdict(kd.info).items()}
    found["core"] = image.path
    compressed = image.files[0].compressed
    if compressed:
        found["compressed"] = compressed
    found.update(image.facts)
    found["memory in the image"] = image.memory_size
    if image.left_out is not None:
        found["memory left out"] = image.left_out
    with contextlib.suppress(KvmError):
        found.update(kd.facts())
    if image.missing:
        found["missing at the end"] = image.missing
    return {name: value for name, value in found.items() if value is not None}


def _size(value: int) -> str:
    return f"{value} ({value / (1 << 20):.1f} MB)"


def _duration(value: float) -> str:
    minutes, seconds = divmod(int(value), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return (f"{days} days, " if days else "") + f"{hours}:{minutes:02}:{seconds:02}"


def _module(module: dict[str, Any]) -> str:
    size = f", {module['size']} bytes" if module["size"] is not None else ""
    return f"{module['name']} ({module['address']:#x}{size})"


# How values are shown to people that are more than text.
SHOWN: dict[str, Callable[[Any], str]] = {
    "boot time": day,
    "dump time": day,
    "uptime": _duration,
    "physical memory": _size,
    "memory in the image": _size,
    "memory left out": _size,
    "missing at the end": _size,
    "kinds left out": lambda kinds: ", ".join(kinds) or "none",
    "load averages": lambda loads: " ".join(f"{load:.2f}" for load in loads),
    "panic registers": lambda values: " ".join(f"{name}={value:x}" for name, value in values.items()),
    "modules": lambda modules: ", ".join(map(_module, modules)) or "none",
    "KASLR offset": hex,
    "kernel loaded at": hex,
}


def run(arguments: argparse.Namespace) -> None:
    """The command."""
    with open_kernel(arguments) as kd:
        found = gather(kd)
    if arguments.json:
        put_json(found)
        return
    for name, value in found.items():
        shown = SHOWN.get(name, str)(value)
        put(f"{name + ':':<21} {'; '.join(line.strip() for line in shown.splitlines())}")
