"""pykvm nm"""

from __future__ import annotations

import argparse

from pykvm.cli.common import json_flag, kernel_flags, open_any, put, put_json
from pykvm.errors import KvmError

HELP = "symbols: the addresses of names, or all of them"


def setup(parser: argparse.ArgumentParser) -> None:
    """The flags."""
    kernel_flags(parser)
    json_flag(parser)
    parser.add_argument("names", metavar="NAME", nargs="*", help="names to look up (default: all, by address)")


def run(arguments: argparse.Namespace) -> None:
    """The command: exit status 1 if a name is missing, after the others were shown."""
    missing: list[str] = []
    with open_any(arguments) as kd:
        found: list[tuple[str, int]] = []
        if not arguments.names:
            found = sorted(((s.name, s.value) for s in kd.symbols.all()), key=lambda pair: pair[1])
        for name in arguments.names:
            symbol = kd.symbols.loose(name)
            if symbol is None:
                missing.append(name)
            else:
                found.append((symbol.name, symbol.value))
        width = 2 * (kd.info.pointer_size or 8)
    if arguments.json:
        put_json([{"name": name, "value": value} for name, value in found])
    else:
        for name, value in found:
            put(f"{value:0{width}x} {name}")
    if missing:
        raise KvmError(f"no such symbol: {', '.join(missing)}")
