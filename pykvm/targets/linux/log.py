"""The kernel log: printk's ring buffer (kernel/printk/printk_ringbuffer.h, since Linux 5.10)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from pykvm.errors import FormatError
from pykvm.targets.base import Parts
from pykvm.types.layout import Struct

if TYPE_CHECKING:
    from pykvm.targets.linux.kernel import Linux

MAX_BITS = 28
MAX_BYTES = 128 << 20  # of the descriptors, and of the records
# desc_state(): the top two bits of a descriptor's state; 1 and 2 are records that can be read.
COMMITTED, FINALIZED = 1, 2


def read(target: Linux, parts: Parts) -> bytes:
    """All records as dmesg(1) shows them, oldest first; FormatError if the buffer makes no sense."""
    memory, types = parts.memory, target.types
    ring = types.struct("printk_ringbuffer")
    prb = memory.read_ptr(parts.address_of("prb"))
    word = target.pointer_size
    count_bits = memory.read_u32(prb + ring.offset("desc_ring.count_bits"))
    size_bits = memory.read_u32(prb + ring.offset("text_data_ring.size_bits"))
    if not (0 < count_bits <= MAX_BITS and 0 < size_bits <= MAX_BITS):
        raise FormatError(f"prb: count_bits {count_bits}, size_bits {size_bits} make no sense")
    desc, info = types.struct("prb_desc"), types.struct("printk_info")
    if max(desc.size, info.size) << count_bits > MAX_BYTES:
        raise FormatError(f"prb: count_bits {count_bits}: more records than any kernel keeps")
    state_var, begin_at, next_at = (
        _member(desc, path, word) for path in ("state_var", "text_blk_lpos.begin", "text_blk_lpos.next")
    )
    ts_nsec, text_len = _member(info, "ts_nsec", 8), _member(info, "text_len", 2)
    descs = memory.read_ptr(prb + ring.offset("desc_ring.descs"))
    infos = memory.read_ptr(prb + ring.offset("desc_ring.infos"))
    raw_descs = memory.read(descs, desc.size << count_bits)
    raw_infos = memory.read(infos, info.size << count_bits)
    text = memory.read(memory.read_ptr(prb + ring.offset("text_data_ring.data")), 1 << size_bits)
    head = memory.read_ptr(prb + ring.offset("desc_ring.head_id"))
    tail = memory.read_ptr(prb + ring.offset("desc_ring.tail_id"))
    order = "<" if target.byteorder == "little" else ">"
    pointer = struct.Struct(order + ("Q" if word == 8 else "I"))
    id_mask = (1 << word * 8 - 2) - 1
    lines, left = [], len(text)
    for step in range(min((head - tail & id_mask) + 1, 1 << count_bits)):
        number = tail + step & id_mask
        at = (number & (1 << count_bits) - 1) * desc.size
        (state,) = pointer.unpack_from(raw_descs, at + state_var)
        if state & id_mask != number or state >> word * 8 - 2 not in (COMMITTED, FINALIZED):
            continue
        (begin,) = pointer.unpack_from(raw_descs, at + begin_at)
        (end,) = pointer.unpack_from(raw_descs, at + next_at)
        where = (number & (1 << count_bits) - 1) * info.size
        (nanoseconds,) = struct.unpack_from(order + "Q", raw_infos, where + ts_nsec)
        (length,) = struct.unpack_from(order + "H", raw_infos, where + text_len)
        first = begin & (1 << size_bits) - 1
        if begin & 1:  # no text (an empty line, or one that did not fit)
            body = b""
        else:
            if begin >> size_bits != end - 1 >> size_bits:  # wrapped: the whole block is at the start
                first = 0
            body = text[first + word : first + word + length]
        left -= len(body)
        if left < 0:
            raise FormatError(f"prb: the records' text is longer than the buffer of {len(text)} bytes")
        stamp = b"[%5d.%06d] " % (nanoseconds // 10**9, nanoseconds % 10**9 // 1000)
        lines += [stamp + line for line in body.split(b"\n")]
    return b"".join(line + b"\n" for line in lines)


def _member(layout: Struct, path: str, size: int) -> int:
    """Offset of a member, at which so many bytes lie within the structure."""
    offset = layout.offset(path)
    if offset + size > layout.size:
        raise FormatError(f"struct {layout.name}: {path} at {offset} is beyond its {layout.size} bytes")
    return offset
