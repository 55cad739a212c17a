"""pykvm layout"""

from __future__ import annotations

import argparse
import json

from pykvm.types import kernel_types


def setup(parser: argparse.ArgumentParser) -> None:
    """The flags."""
    parser.add_argument(
        "kernel",
        metavar="KERNEL",
        help="a kernel with BTF, CTF or DWARF, or a file of BTF or CTF alone (all structures of a DWARF take long)",
    )
    parser.add_argument("names", metavar="STRUCT", nargs="*", help="only these structures")


def run(arguments: argparse.Namespace) -> None:
    """The command: a member a line, so that one can find and change it; one structure is in memory at a time."""
    types = kernel_types(arguments.kernel, arguments.names or None)
    mark = "{"
    for name, body in types.bodies():
        fields = (f"  {json.dumps(member)}: {json.dumps(entry)}" for member, entry in body["fields"].items())
        print(f'{mark}\n{json.dumps(name)}: {{"size": {body["size"]}, "fields": {{')
        print(",\n".join(fields), end="}}")
        mark = ","
    print("}" if mark == "," else "{}")
