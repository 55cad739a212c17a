"""The command `pykvm` (interface.md, section 3); each file here is one subcommand."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

import pykvm
from pykvm.cli import config, dmesg, info, layout, nm, ps, read, top, write
from pykvm.errors import KvmError

# (name, module): a new subcommand is a file with setup(parser) and run(arguments), and a line here.
COMMANDS = (
    ("info", info), ("ps", ps), ("top", top), ("nm", nm), ("read", read), ("write", write), ("dmesg", dmesg),
    ("layout", layout), ("config", config),
)  # fmt: skip


class Parser(argparse.ArgumentParser):
    """Wrong usage is one line on stderr and exit status 1, as every other error."""

    def error(self, message: str) -> NoReturn:
        print(f"pykvm: {message} ({self.prog} -h tells more)", file=sys.stderr)
        sys.exit(1)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command: 0, or 1 after one line on stderr."""
    parser = Parser(prog="pykvm", description="Look into a kernel's memory: of a crash dump, or a system that runs.")
    parser.add_argument("--version", action="version", version=f"pykvm {pykvm.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, module in COMMANDS:
        sub = commands.add_parser(name, help=module.HELP, description=module.HELP)
        module.setup(sub)
        sub.set_defaults(run=module.run)
    arguments = parser.parse_args(argv)
    if sys.stdout is None:
        print("pykvm: standard output is closed", file=sys.stderr)
        return 1
    try:
        arguments.run(arguments)
        sys.stdout.flush()
    except KvmError as e:
        print(f"pykvm: {e}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever read the output has gone: not worth a message. Python would write one when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as e:
        print(f"pykvm: {e.filename or 'standard output'}: {e.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0
