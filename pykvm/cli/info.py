"""pykvm info"""

from __future__ import annotations

import argparse
import contextlib
from dataclasses import asdict
from typing import Any

from pykvm.cli.common import day, json_flag, kernel_flags, open_kernel, put, put_json
from pykvm.errors import KvmError
from pykvm.handle import Kvm

HELP = "what a dump is: which kernel, when, how much memory"
TIMES = ("boot time", "dump time")
SIZES = ("physical memory", "memory in the image", "missing at the end")


def setup(parser: argparse.ArgumentParser) -> None:
    """The flags."""
    kernel_flags(parser)
    json_flag(parser)


def gather(kd: Kvm) -> dict[str, Any]:
    """All that is shown, in order; times in seconds since 1970, sizes in bytes."""
    found = {name.replace("_", " "): value for name, value in asdict(kd.info).items()}
    found["core"] = kd.image.path
    compressed = kd.image.files[0].compressed
    if compressed:
        found["compressed"] = compressed
    found["memory in the image"] = kd.image.memory_size
    with contextlib.suppress(KvmError):
        found.update(kd.target.facts(kd.parts))
    if kd.image.missing:
        found["missing at the end"] = kd.image.missing
    return {name: value for name, value in found.items() if value is not None}


def run(arguments: argparse.Namespace) -> None:
    """The command."""
    with open_kernel(arguments) as kd:
        found = gather(kd)
    if arguments.json:
        put_json(found)
        return
    for name, value in found.items():
        if name in TIMES:
            shown = day(value)
        elif name in SIZES:
            shown = f"{value} ({value / (1 << 20):.1f} MB)"
        else:
            shown = str(value)
        put(f"{name + ':':<21} {'; '.join(line.strip() for line in shown.splitlines())}")
