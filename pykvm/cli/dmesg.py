"""pykvm dmesg"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Iterable, Iterator

from pykvm.cli.common import day, json_flag, kernel_flags, open_kernel, put
from pykvm.errors import KvmError
from pykvm.handle import Kvm
from pykvm.targets.base import Message

# syslog(3)
FACILITIES = "kern user mail daemon auth syslog lpr news uucp cron authpriv ftp".split()
LEVELS = "emerg alert crit err warn notice info debug".split()


def setup(parser: argparse.ArgumentParser) -> None:
    """The flags."""
    kernel_flags(parser)
    json_flag(parser)
    parser.add_argument("-r", "--raw", action="store_true", help="with <priority>, as the kernel prints it")
    parser.add_argument("-x", "--decode", action="store_true", help="with facility and level in words")
    parser.add_argument(
        "-T", "--ctime", action="store_true", help="with the time of day, UTC (off by the time that was slept)"
    )


def run(arguments: argparse.Namespace) -> None:
    """The command. Lines are put out as they come: a log may be large."""
    with open_kernel(arguments) as kd:
        special = arguments.raw or arguments.decode or arguments.ctime
        lines = _special(kd, arguments) if special else _plain(kd)
        shown = (part for line in lines for part in line.decode("utf-8", "surrogateescape").splitlines())
        if arguments.json:
            _put_json(shown)
            return
        for line in shown:
            put(line)


def _plain(kd: Kvm) -> Iterable[bytes]:
    """As dmesg(8) shows them: without priorities, where the buffer has such."""
    try:
        return [m.stamp() + line + b"\n" for m in kd.messages() for line in m.text.split(b"\n")]
    except KvmError:
        return io.BytesIO(kd.dmesg())


def _put_json(lines: Iterator[str]) -> None:
    """As put_json() of the list."""
    before = "[\n "
    for line in lines:
        print(before + json.dumps(line), end="")
        before = ",\n "
    print("\n]" if before[0] == "," else "[]")


def _special(kd: Kvm, arguments: argparse.Namespace) -> Iterable[bytes]:
    """The lines of all records with what is asked for before each."""
    messages = kd.messages()
    boot = kd.facts().get("boot time") if arguments.ctime else None
    if arguments.ctime and boot is None:
        raise KvmError(f"{kd.image.path}: does not tell when the system was booted (-T)")
    for message in messages:
        if arguments.ctime and message.time is None:
            raise KvmError(f"{kd.image.path}: its message buffer has no times (-T)")
        before = _priority(message, arguments.raw, arguments.decode)
        if boot is None or message.time is None:
            before += message.stamp()
        else:
            before += f"[{day(boot + message.time / 1e9)}] ".encode()
        for line in message.text.split(b"\n"):
            yield before + line + b"\n"


def _priority(message: Message, raw: bool, decode: bool) -> bytes:
    if message.priority is None:
        return b""
    if not decode:
        return b"<%d>" % message.priority if raw else b""
    facility, level = message.priority >> 3, message.priority & 7
    name = FACILITIES[facility] if facility < len(FACILITIES) else str(facility)
    return f"{name:<6}:{LEVELS[level]:<6}: ".encode()
