"""What the subcommands share: the flags that name a kernel, and output."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pykvm.constants import KVM_NO_FILES
from pykvm.errors import KvmError
from pykvm.handle import ERRBUF, Kvm
from pykvm.open import kvm_openfiles

if TYPE_CHECKING:
    import argparse


def kernel_flags(parser: argparse.ArgumentParser) -> None:
    """BSD's -M, -N and -W, and --layout."""
    parser.add_argument(
        "-M",
        metavar="CORE",
        dest="core",
        action="append",
        help="the dump, once for each part of a split one (default: this system)",
    )
    parser.add_argument("-N", metavar="KERNEL", dest="kernel", help="the kernel file it is of")
    parser.add_argument("-W", metavar="SWAP", dest="swap", help="the swap device's contents")
    parser.add_argument(
        "--zero-excluded", action="store_true", help="read memory that the dump leaves out as zeros, not as an error"
    )
    parser.add_argument(
        "--live", action="store_true", default=None,
        help="the dump is the memory of a virtual machine that runs (else that is seen by its owner and root only)",
    )  # fmt: skip
    parser.add_argument("--layout", metavar="FILE", help="structure layouts, as `pykvm layout` writes them")


def json_flag(parser: argparse.ArgumentParser) -> None:
    """--json"""
    parser.add_argument("--json", action="store_true", help="output for programs")


def open_kernel(arguments: argparse.Namespace) -> Kvm:
    """The handle that the flags ask for, of which kernel memory can be read."""
    kd = open_any(arguments)
    why = kd.unreadable
    if why is not None:
        kd.close()
        raise KvmError(f"{arguments.core[0]}: {why}" if arguments.core else why)
    return kd


def open_live(arguments: argparse.Namespace) -> Kvm:
    """As open_kernel(), for who asks for processes only: without -M the system that runs is asked, as ps(1) does, not
    its memory."""
    if arguments.core is not None or arguments.kernel is not None:
        return open_kernel(arguments)
    errbuf = bytearray(ERRBUF)
    kd = kvm_openfiles(None, None, None, KVM_NO_FILES, errbuf)
    if kd is None:
        raise KvmError(errbuf.split(b"\0")[0].decode("utf-8", "surrogateescape"))
    return kd


def core(arguments: argparse.Namespace) -> str | list[str] | None:
    """The dump of -M, or the parts of one; None: the live system."""
    given: list[str] | None = arguments.core
    return given[0] if given is not None and len(given) == 1 else given


def open_any(arguments: argparse.Namespace) -> Kvm:
    """The handle that the flags ask for."""
    return Kvm(
        core(arguments),
        arguments.kernel,
        arguments.swap,
        layout=arguments.layout,
        zero_excluded=arguments.zero_excluded,
        live=arguments.live,
    )


def put_json(value: Any) -> None:
    """One JSON document; bytes and undecodable names as text with surrogates escaped."""
    import json

    print(json.dumps(value, indent=1, default=_plain))


def put(line: str, limit: int | None = None) -> None:
    """A line of text, of whatever bytes the target's names had, cut at `limit` columns; control characters do not
    reach the terminal."""
    put_lines((line,), limit)


def put_lines(lines: Iterable[str], limit: int | None = None) -> None:
    """As put(), of many."""
    terminal = sys.stdout.isatty()
    sys.stdout.flush()
    write = sys.stdout.buffer.write
    for line in lines:
        clean = line
        if not line.isprintable():
            clean = "".join(c if c.isprintable() or c == "\t" or _undecoded(c) else _escape(c) for c in line)
        raw = clean[:limit].encode("utf-8", "surrogateescape") + b"\n"
        write(raw.decode("utf-8", "replace").encode() if terminal else raw)


def _escape(c: str) -> str:
    return f"\\x{ord(c):02x}" if ord(c) < 0x100 else f"\\u{ord(c):04x}" if ord(c) < 0x10000 else f"\\U{ord(c):08x}"


def _undecoded(c: str) -> bool:
    return "\udc80" <= c <= "\udcff"


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def day(seconds: float) -> str:
    """Seconds since 1970 as a date, UTC."""
    try:
        date = time.gmtime(round(seconds))
        if not 1 <= date.tm_year <= 9999:
            raise ValueError("no year of a date")
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", date)
    except (OverflowError, ValueError, OSError):
        return f"{seconds} s after 1970"
