"""pykvm read"""

from __future__ import annotations

import argparse
import string
import sys

from pykvm.cli.common import json_flag, kernel_flags, open_any, open_kernel, put, put_json
from pykvm.errors import KvmError
from pykvm.handle import Kvm

CHUNK = 1 << 20
PRINTABLE = frozenset(string.printable.encode()) - frozenset(string.whitespace.encode()) | {0x20}


def setup(parser: argparse.ArgumentParser) -> None:
    """The flags."""
    kernel_flags(parser)
    json_flag(parser)
    parser.add_argument("--raw", action="store_true", help="the bytes themselves, to a file or pipe")
    parser.add_argument("--phys", action="store_true", help="ADDR is a physical address")
    parser.add_argument(
        "where",
        metavar="ADDR|NAME[+OFF]",
        help="address (hexadecimal, with or without 0x) or symbol; OFF is decimal, or hexadecimal with 0x",
    )
    parser.add_argument(
        "length", metavar="LEN", nargs="?", default="64", help="bytes, decimal or hexadecimal with 0x (default 64)"
    )


def address(kd: Kvm, where: str, names: bool) -> int:
    """ADDR, NAME or either with +OFF; a name is taken before a number that is spelt like it."""
    base, _, offset = where.partition("+")
    try:
        plus = int(offset, 0) if offset else 0
    except ValueError:
        raise KvmError(f"{where}: {offset!r} is not an offset") from None
    if names:
        symbol = kd.symbols.loose(base)
        if symbol is not None:
            return symbol.value + plus
    try:
        return int(base, 16) + plus
    except ValueError:
        raise KvmError(f"{base}: no such symbol, and not an address") from None


def number(text: str) -> int:
    """LEN."""
    try:
        value = int(text, 0)
    except ValueError:
        value = -1
    if value < 0:
        raise KvmError(f"{text}: not a length")
    return value


def hexdump(addr: int, data: bytes) -> list[str]:
    """Lines of 16 bytes, as hexdump -C shows them."""
    lines = []
    for i in range(0, len(data), 16):
        row = data[i : i + 16]
        left, right = row[:8].hex(" "), row[8:].hex(" ")
        text = "".join(chr(b) if b in PRINTABLE else "." for b in row)
        lines.append(f"{addr + i:08x}  {left:<23}  {right:<23}  |{text}|")
    return lines


def run(arguments: argparse.Namespace) -> None:
    """The command."""
    if arguments.raw and sys.stdout.isatty():
        raise KvmError("--raw: standard output is a terminal: name a file or pipe")
    length = number(arguments.length)
    with open_any(arguments) if arguments.phys else open_kernel(arguments) as kd:
        at = address(kd, arguments.where, not arguments.phys)
        fetch = kd.read_phys if arguments.phys else kd.read
        if arguments.json:
            put_json({"address": at, "length": length, "hex": fetch(at, length).hex()})
            return
        for done in range(0, length, CHUNK):
            data = fetch(at + done, min(CHUNK, length - done))
            if arguments.raw:
                sys.stdout.buffer.write(data)
            else:
                for line in hexdump(at + done, data):
                    put(line)
