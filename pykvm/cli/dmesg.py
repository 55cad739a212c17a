"""pykvm dmesg"""

from __future__ import annotations

import argparse

from pykvm.cli.common import json_flag, kernel_flags, open_kernel, put, put_json

HELP = "the kernel's message buffer"


def setup(parser: argparse.ArgumentParser) -> None:
    """The flags."""
    kernel_flags(parser)
    json_flag(parser)


def run(arguments: argparse.Namespace) -> None:
    """The command."""
    with open_kernel(arguments) as kd:
        lines = kd.dmesg().decode("utf-8", "surrogateescape").splitlines()
    if arguments.json:
        put_json(lines)
        return
    for line in lines:
        put(line)
