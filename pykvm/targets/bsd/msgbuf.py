"""The message buffer: NetBSD's struct kern_msgbuf, OpenBSD's struct msgbuf (<sys/msgbuf.h>).

Its words are longs: msg_magic, msg_bufx (where the next byte goes), msg_bufr, msg_bufs (its size), on OpenBSD one more
(msg_bufl, how much of it was written; since 6.8 msg_bufd); then the text.
"""

from __future__ import annotations

from pykvm.errors import AddressError, FormatError
from pykvm.targets.base import Parts

MSG_MAGIC = 0x063061
MAX_MSGBUF = 16 << 20


def read(parts: Parts, word: int, byteorder: str, words: int) -> bytes:
    """The text, oldest line first. words: how many longs are before it."""
    at = parts.memory.read_ptr(parts.address_of("msgbufp"))
    raw = parts.memory.read(at, words * word)
    order = "big" if byteorder == "big" else "little"
    values = [int.from_bytes(raw[i : i + word], order, signed=True) for i in range(0, len(raw), word)]  # type: ignore[arg-type]
    magic, bufx, size = values[0], values[1], values[3]
    if magic != MSG_MAGIC:
        raise FormatError(f"msgbufp: msg_magic is {magic:#x}, must be {MSG_MAGIC:#x}")
    if not (0 < size <= MAX_MSGBUF and 0 <= bufx <= size):
        raise FormatError(f"msgbufp: msg_bufx {bufx}, msg_bufs {size} make no sense")
    try:
        ring = parts.memory.read(at + words * word, size)
    except AddressError as e:
        raise AddressError(f"msgbufp: can't read all of msg_bufs, {size} bytes: {e}", e.address) from e
    # What was not written yet is zeros, as the buffer was cleared when it was made.
    return (ring[bufx:] + ring[:bufx]).replace(b"\0", b"")
