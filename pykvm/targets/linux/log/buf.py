"""printk's older buffers in log_buf: records (Linux 3.5 to 5.9), and plain text before that (kernel/printk.c)."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

from pykvm.errors import FormatError
from pykvm.targets.base import Message
from pykvm.targets.linux.log.prb import level
from pykvm.targets.linux.places import Places

NEWLINE, CONT = 2, 8  # enum log_flags
LINE = re.compile(rb"(?:<(\d{1,4})>)?(?:\[ *(\d{1,10})\.(\d{6})\] ?)?(.*)", re.DOTALL)


def _buffer(places: Places, room: int) -> tuple[int, int]:
    """(address, size) of log_buf, which has `room` bytes at most."""
    address = places.memory.read_ptr(places.address("log_buf"))
    size = places.memory.read_u32(places.address("log_buf_len"))
    if not 0 < size <= room:
        raise FormatError(f"log_buf_len {size} makes no sense")
    return address, size


def records(places: Places) -> Iterator[Message]:
    """Records of a header (struct printk_log, called struct log before Linux 3.11), text and dictionary, from
    log_first_idx to log_next_idx; a length of 0 says that the next one is at the start of the buffer.

    Fragments of a line are put together, as the kernels do that store them (until 4.8).
    """
    memory = places.memory
    buffer, size = _buffer(places, places.room())
    name = "printk_log" if places.describes("printk_log") else "log"
    head = places.size(name)
    stamp_at = places.member(name, "ts_nsec", 8)
    len_at, text_len_at = (places.member(name, member, 2) for member in ("len", "text_len"))
    dict_len_at = places.member(name, "dict_len", 4)  # and behind it facility; flags, level
    u64, u16 = places.integer(8), places.integer(2)
    at, end = (memory.read_u32(places.address(f"log_{which}_idx")) for which in ("first", "next"))
    wrapped = at <= end
    pieces: list[Message] = []  # of a line that is not at its end
    if end > size:
        raise FormatError(f"log_next_idx {end} is beyond log_buf_len {size}")
    while at != end:
        if at + head > (end if wrapped else size):
            raise FormatError(f"log_buf: the records do not lead to log_next_idx {end}, but to {at} of {size} bytes")
        raw = memory.read(buffer + at, head)
        (length,), (text_len,), (dict_len,) = (u16.unpack_from(raw, o) for o in (len_at, text_len_at, dict_len_at))
        if length == 0 and not wrapped:
            at, wrapped = 0, True
            continue
        if length < head + text_len + dict_len:
            raise FormatError(f"log_buf: record at {at}: len {length}, text_len {text_len}, dict_len {dict_len}")
        text = memory.read(buffer + at + head, text_len)
        (nanoseconds,) = u64.unpack_from(raw, stamp_at)
        facility, bits = raw[dict_len_at + 2], raw[dict_len_at + 3]
        flags = bits & 31 if places.order == "<" else bits >> 3
        if pieces and not flags & CONT:
            yield _joined(pieces)
            pieces = []
        pieces.append(Message(nanoseconds, facility << 3 | level(bits, places.order), text))
        if flags & (CONT | NEWLINE) != CONT:
            yield _joined(pieces)
            pieces = []
        at += length
    if pieces:
        yield _joined(pieces)


def _joined(pieces: list[Message]) -> Message:
    return pieces[0]._replace(text=b"".join(piece.text for piece in pieces))


def lines(places: Places) -> Iterator[Message]:
    """Text, of which log_end counts all bytes ever written: `<6>[    0.000000] text`, with a time if printk.time was
    set. The first line may have lost its beginning."""
    buffer, size = _buffer(places, places.room() // 8)
    end = places.memory.read_u32(places.address("log_end"))
    if end <= size:
        raw = places.memory.read(buffer, end)
    else:
        at = end % size
        raw = places.memory.read(buffer + at, size - at) + places.memory.read(buffer, at)
    for line in io.BytesIO(raw):
        priority, seconds, micros, text = LINE.match(line.rstrip(b"\n")).groups()  # type: ignore[union-attr]
        nanoseconds = None if seconds is None else int(seconds) * 10**9 + int(micros) * 1000
        yield Message(nanoseconds, None if priority is None else int(priority), text)
