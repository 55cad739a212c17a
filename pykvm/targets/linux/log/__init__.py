"""The kernel log, in whichever of printk's buffers this kernel keeps it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pykvm.errors import FormatError, KvmError
from pykvm.targets.base import Message, Parts
from pykvm.targets.linux.log import buf, prb
from pykvm.targets.linux.places import Places

if TYPE_CHECKING:
    from pykvm.targets.linux.kernel import Linux

# A variable that only this kind of buffer has, and who reads it: the newest first.
KINDS = (("prb", prb.messages), ("log_first_idx", buf.records), ("log_end", buf.lines))


def messages(target: Linux, parts: Parts) -> Iterator[Message]:
    """All records, oldest first; KvmError if there is no buffer, FormatError if it makes no sense."""
    places = Places(target, parts)
    for symbol, read in KINDS:
        if places.symbol(symbol) is not None:
            return read(places)
    flaw = f" ({parts.symbols.flaw})" if parts.symbols.flaw else ""
    raise KvmError(f"{parts.image.path}: has none of {', '.join(symbol for symbol, _ in KINDS)}: no kernel log{flaw}")


def read(target: Linux, parts: Parts) -> bytes:
    """The log as the kernel itself gives it to the console and to syslog(2), that is as `dmesg -S` of util-linux shows
    it: every line of a record of several lines has the record's time. (dmesg(1) of /dev/kmsg indents them instead.)"""
    out = io.BytesIO()
    room = 2 * Places(target, parts).room()
    for message in messages(target, parts):
        stamp = message.stamp()
        for line in message.text.split(b"\n"):
            out.write(stamp + line + b"\n")
        if out.tell() > room:
            raise FormatError(f"{parts.image.path}: the kernel log has more lines than any kernel's")
    return out.getvalue()
