"""pykvm layout"""

from __future__ import annotations

import argparse

from pykvm.cli.common import put_json
from pykvm.types import kernel_types

HELP = "structure layouts from a kernel's debug information, as a file for --layout"


def setup(parser: argparse.ArgumentParser) -> None:
    """The flags."""
    parser.add_argument("kernel", metavar="KERNEL", help="a kernel with DWARF")
    parser.add_argument("names", metavar="STRUCT", nargs="*", help="only these structures")


def run(arguments: argparse.Namespace) -> None:
    """The command."""
    put_json(kernel_types(arguments.kernel, set(arguments.names) or None).as_json())
