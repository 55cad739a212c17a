"""pykvm write"""

from __future__ import annotations

import argparse
import sys

from pykvm.cli.common import core, kernel_flags, put
from pykvm.cli.read import address, hexdump
from pykvm.errors import KvmError
from pykvm.handle import Kvm

MOST = 1 << 20


def setup(parser: argparse.ArgumentParser) -> None:
    """The flags."""
    kernel_flags(parser)
    parser.add_argument("-w", action="store_true", dest="write", help="do it: without this flag nothing is written")
    parser.add_argument("--string", action="store_true", help="DATA is text, and a NUL is written behind it")
    parser.add_argument("where", metavar="ADDR|NAME[+OFF]", help="as pykvm read takes it")
    parser.add_argument("data", metavar="DATA", help="bytes in hexadecimal, in their order in memory; -: stdin")


def run(arguments: argparse.Namespace) -> None:
    """The command."""
    data = _data(arguments)
    kd = Kvm(
        core(arguments),
        arguments.kernel,
        arguments.swap,
        layout=arguments.layout,
        writable=arguments.write,
        live=arguments.live,
    )
    with kd:
        at = address(kd, arguments.where, True)
        before = kd.read(at, len(data))
        for line in hexdump(at, before):
            put(line)
        if not arguments.write:
            raise KvmError("nothing was written: that takes -w")
        kd.write(at, data)
        for line in hexdump(at, kd.read(at, len(data))):
            put(line)


def _data(arguments: argparse.Namespace) -> bytes:
    if arguments.data == "-":
        data = sys.stdin.buffer.read(MOST + 1) + (b"\0" if arguments.string else b"")
    elif arguments.string:
        data = arguments.data.encode("utf-8", "surrogateescape") + b"\0"
    else:
        try:
            data = bytes.fromhex(arguments.data)
        except ValueError:
            raise KvmError(f"{arguments.data}: not bytes in hexadecimal") from None
    if not 0 < len(data) <= MOST:
        raise KvmError(f"{len(data)} bytes to write (1 to {MOST} are)")
    return data
