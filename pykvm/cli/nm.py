"""pykvm nm"""

from __future__ import annotations

import argparse

from pykvm.cli.common import json_flag, kernel_flags, open_any, put, put_json
from pykvm.errors import KvmError
from pykvm.symbols.base import Symbol


def setup(parser: argparse.ArgumentParser) -> None:
    """The flags."""
    kernel_flags(parser)
    json_flag(parser)
    parser.add_argument("names", metavar="NAME", nargs="*", help="names to look up (default: all, by address)")


def run(arguments: argparse.Namespace) -> None:
    """The command: exit status 1 if a name is missing, or not all could be read, after the others were shown."""
    problem = ""
    with open_any(arguments) as kd:
        symbols = kd.symbols
        if arguments.names:
            looked_up = [(name, symbols.loose(name)) for name in arguments.names]
            found: list[Symbol] = [symbol for _, symbol in looked_up if symbol is not None]
            missing = [name for name, symbol in looked_up if symbol is None]
            if missing:
                problem = f"no such symbol: {', '.join(missing)}" + (f" ({symbols.flaw})" if symbols.flaw else "")
        else:
            found = sorted(symbols.all(modules=True), key=lambda symbol: symbol.value)
        flaw = symbols.modules.flaw if symbols.modules is not None and (problem or not arguments.names) else None
        rows = [{"name": s.name, "value": s.value, "type": symbols.letter(s), "module": s.module} for s in found]
        width = 2 * (kd.info.pointer_size or 8)
    if arguments.json:
        put_json(rows)
    else:
        for symbol in found:
            put(f"{symbol.value:0{width}x} {symbol.name}")
    problem = "; ".join(text for text in (problem, flaw) if text)
    if problem:
        raise KvmError(problem)
