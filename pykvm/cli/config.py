"""pykvm config"""

from __future__ import annotations

import argparse
from pathlib import Path

from pykvm.cli.common import put
from pykvm.errors import KvmError

PACKAGE = Path(__file__).resolve().parent.parent


def setup(parser: argparse.ArgumentParser) -> None:
    """The flags."""
    parser.add_argument("--cflags", action="store_true", help="where the headers are")
    parser.add_argument("--libs", action="store_true", help="where the library is, also when the program runs")
    parser.add_argument("--pkgconfigdir", action="store_true", help="where libkvm.pc is, for PKG_CONFIG_PATH")


def run(arguments: argparse.Namespace) -> None:
    """The command: one line."""
    library = PACKAGE / "libkvm"
    if not (library / "libkvm.so").exists():
        raise KvmError(f"{library}: libkvm.so is not there: it was not built")
    words = []
    if arguments.cflags:
        words.append(f"-I{PACKAGE / 'include'}")
    if arguments.libs:
        words += [f"-L{library}", "-lkvm", f"-Wl,-rpath,{library}"]
    if arguments.pkgconfigdir:
        words.append(str(library))
    if not words:
        raise KvmError("config: say --cflags, --libs or --pkgconfigdir")
    put(" ".join(words))
