"""The command `pykvm` (interface.md, section 3); each file here is one subcommand."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import pykvm
from pykvm.cli.terminal import columns
from pykvm.errors import KvmError
from pykvm.loading import load

# A new subcommand is a file of its name with setup(parser) and run(arguments), and a line here. It is loaded when it is
# called.
COMMANDS = {
    "info": "what a dump is: which kernel, when, how much memory, why it died",
    "ps": "processes, as ps(1) shows them",
    "top": "the processes of a system that runs, with what each has used between two looks",
    "nm": "symbols: the addresses of names, or all of them",
    "read": "memory, as a hex dump or raw",
    "write": "change memory, of a dump or of a system that runs",
    "dmesg": "the kernel's message buffer",
    "layout": "structure layouts from a kernel's type information, as a file for --layout",
    "config": "what a compiler needs for C programs with <kvm.h>: cc prog.c $(pykvm config --cflags --libs)",
}


class Parser(argparse.ArgumentParser):
    """Wrong usage is one line on stderr and exit status 1, as every other error."""

    def __init__(self, **how: Any) -> None:
        super().__init__(**{"formatter_class": formatter, **how})

    def error(self, message: str) -> NoReturn:
        print(f"pykvm: {message} ({self.prog} -h tells more)", file=sys.stderr)
        sys.exit(1)


def formatter(prog: str) -> argparse.HelpFormatter:
    """argparse's own, which it makes for every argument: with the width."""
    return argparse.HelpFormatter(prog, width=columns() - 2)


def parser_of(words: Sequence[str]) -> Parser:
    """The parser for these words: what belongs to a subcommand only if it is theirs."""
    parser = Parser(prog="pykvm", description="Look into a kernel's memory: of a crash dump, or a system that runs.")
    parser.add_argument("--version", action="version", version=f"pykvm {pykvm.__version__}")
    # With `prog` it does not format a usage for it, which takes longer than all the rest.
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, prog="pykvm")
    for name, text in COMMANDS.items():
        sub = commands.add_parser(name, help=text, description=text)
        if name in words[:1]:
            module = load(f"pykvm.cli.{name}")
            module.setup(sub)
            sub.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command: 0, or 1 after one line on stderr."""
    words = sys.argv[1:] if argv is None else list(argv)
    arguments = parser_of(words).parse_args(words)
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
        return 128 + 2  # SIGINT
    return 0
