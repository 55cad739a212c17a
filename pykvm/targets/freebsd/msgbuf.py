"""The message buffer: struct msgbuf of <sys/msgbuf.h>, or the copy of its text in a minidump."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykvm.errors import FormatError, KvmError
from pykvm.images.minidump import Minidump
from pykvm.targets.base import Parts

if TYPE_CHECKING:
    from pykvm.targets.freebsd.family import Family

MSG_MAGIC = 0x063062
MAX_SIZE = 64 << 20  # kern.msgbufsize is some 100 KB


def read(target: Family, parts: Parts) -> bytes:
    """The text, oldest line first, as the kernel keeps it: lines of other facilities than the kernel's begin with
    <priority>."""
    try:
        data, at = _in_memory(target, parts)
    except KvmError as e:
        header = parts.image.header
        if not isinstance(header, Minidump) or not header.values["msgbufsize"]:
            raise
        size = header.values["msgbufsize"]
        if size > MAX_SIZE:
            raise FormatError(f"{parts.image.path}: minidump header: msgbufsize {size} is no message buffer's") from e
        # Where the ring begins is not known: it does at the start, unless it has been filled once.
        data, at = parts.image.files[0].pread(header.msgbuf, size), 0
    return (data[at:] + data[:at]).replace(b"\0", b"")


def _in_memory(target: Family, parts: Parts) -> tuple[bytes, int]:
    """The ring, and where its oldest byte is."""
    at = parts.memory.read_ptr(parts.address_of("msgbufp"))
    if not at:
        raise KvmError(f"{parts.image.path}: msgbufp is NULL: no message buffer")
    word = target.pointer_size
    # msg_ptr, then u_int msg_magic, msg_size, msg_wseq ... since FreeBSD 5; other kernels' types say otherwise.
    text, *places = 0, word, word + 4, word + 8
    if "msgbuf" in target.types:
        struct = target.types.struct("msgbuf")
        position = "msg_wseq" if "msg_wseq" in struct else "msg_bufx"
        text, *places = (struct.offset(name) for name in ("msg_ptr", "msg_magic", "msg_size", position))
    magic, size, written = (parts.memory.read_u32(at + place) for place in places)
    if magic != MSG_MAGIC:
        raise FormatError(f"{parts.image.path}: msgbufp: msg_magic is {magic:#x}, must be {MSG_MAGIC:#x}")
    if not 0 < size <= MAX_SIZE:
        raise FormatError(f"{parts.image.path}: msgbufp: msg_size {size} is no message buffer's")
    return parts.memory.read(parts.memory.read_ptr(at + text), size), written % size
