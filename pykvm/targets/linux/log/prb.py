"""printk's ring buffer of descriptors and text (kernel/printk/printk_ringbuffer.h, since Linux 5.10)."""

from __future__ import annotations

from collections.abc import Iterator

from pykvm.errors import FormatError
from pykvm.targets.base import Message
from pykvm.targets.linux.places import Places

# desc_state(): the top two bits of a descriptor's state; 1 and 2 are records that can be read.
COMMITTED, FINALIZED = 1, 2
# Places of text that is none: of an empty line, and of a record whose text did not fit or is gone.
NO_DATA, LOST = 1, 1
STEP = 4096  # descriptors read at once


def messages(places: Places) -> Iterator[Message]:
    """The records from tail_id to head_id that were written to their end and still have their text."""
    memory, word = places.memory, places.word
    prb = memory.read_ptr(places.address("prb"))
    ring = prb + places.member("printk_ringbuffer", "desc_ring", 0)
    data = prb + places.member("printk_ringbuffer", "text_data_ring", 0)
    count_bits = memory.read_u32(ring + places.member("prb_desc_ring", "count_bits", 4))
    size_bits = memory.read_u32(data + places.member("prb_data_ring", "size_bits", 4))
    desc_size, info_size = places.size("prb_desc"), places.size("printk_info")
    room = places.room()
    if not (0 < count_bits < 32 and 0 < size_bits < 32):
        raise FormatError(f"prb: count_bits {count_bits}, size_bits {size_bits} make no sense")
    # Descriptors and text are in proportion, about 100 bytes and 32 for each record.
    if 1 << size_bits > room or desc_size + info_size << count_bits > 4 * room:
        raise FormatError(f"prb: count_bits {count_bits}, size_bits {size_bits}: larger than any kernel's log")
    state_at = places.member("prb_desc", "state_var", word)
    lpos = places.member("prb_desc", "text_blk_lpos", places.size("prb_data_blk_lpos"))
    begin_at, next_at = (lpos + places.member("prb_data_blk_lpos", name, word) for name in ("begin", "next"))
    stamp_at = places.member("printk_info", "ts_nsec", 8)
    length_at = places.member("printk_info", "text_len", 4)  # and behind it facility; flags, level
    descs = memory.read_ptr(ring + places.member("prb_desc_ring", "descs", word))
    infos = memory.read_ptr(ring + places.member("prb_desc_ring", "infos", word))
    head = memory.read_ptr(ring + places.member("prb_desc_ring", "head_id", word))
    tail = memory.read_ptr(ring + places.member("prb_desc_ring", "tail_id", word))
    text = memory.read_ptr(data + places.member("prb_data_ring", "data", word))
    pointer, u64, u16 = places.integer(word), places.integer(8), places.integer(2)
    id_mask = (1 << word * 8 - 2) - 1
    left = 1 << size_bits
    done, total = 0, min((head - tail & id_mask) + 1, 1 << count_bits)
    while done < total:
        index = tail + done & (1 << count_bits) - 1
        step = min(STEP, total - done, (1 << count_bits) - index)
        raw = memory.read(descs + index * desc_size, step * desc_size)
        raw_infos = b""
        for i in range(step):
            number = tail + done + i & id_mask
            (state,) = pointer.unpack_from(raw, i * desc_size + state_at)
            if state & id_mask != number or state >> word * 8 - 2 not in (COMMITTED, FINALIZED):
                continue
            raw_infos = raw_infos or memory.read(infos + index * info_size, step * info_size)
            info = i * info_size
            (begin,) = pointer.unpack_from(raw, i * desc_size + begin_at)
            (end,) = pointer.unpack_from(raw, i * desc_size + next_at)
            (length,) = u16.unpack_from(raw_infos, info + length_at)
            if begin == end == LOST:
                continue
            if begin & NO_DATA:
                body = b""
            else:
                first, room_for_text = _block(begin, end, size_bits, word)
                left -= length
                if places.live and length > room_for_text:  # it is another's by now
                    continue
                if length > room_for_text or left < 0:
                    raise FormatError(
                        f"prb: record {number:#x}: text_len {length} is more than its block ({begin:#x} to {end:#x}) "
                        f"or the buffer of {1 << size_bits} bytes can hold"
                    )
                body = memory.read(text + first + word, length)
            if (
                places.live
                and pointer.unpack(memory.read(descs + (index + i) * desc_size + state_at, word))[0] != state
            ):
                continue  # it was written over meanwhile, as prb_read() sees it
            (nanoseconds,) = u64.unpack_from(raw_infos, info + stamp_at)
            facility, flags = raw_infos[info + length_at + 2], raw_infos[info + length_at + 3]
            yield Message(nanoseconds, facility << 3 | level(flags, places.order), body)
        done += step


def _block(begin: int, end: int, size_bits: int, word: int) -> tuple[int, int]:
    """(offset, bytes of text) of the block at this logical position: one that would wrap is at the start, whole. It
    begins with its descriptor's id."""
    final = end - 1 & (1 << word * 8) - 1
    if begin >> size_bits == final >> size_bits:
        first, last = begin & (1 << size_bits) - 1, (final & (1 << size_bits) - 1) + 1
    else:
        first, last = 0, end & (1 << size_bits) - 1
    return first, max(-1, last - first - word)


def level(flags: int, order: str) -> int:
    """`u8 flags:5, level:3`: level is in the last three bits that the compiler gave out."""
    return flags >> 5 if order == "<" else flags & 7
