"""amd64 and i386: sys/arch/{amd64,i386}/include/kcore.h of NetBSD and OpenBSD."""

from __future__ import annotations

import struct

from pykvm.images.kcore_cpu.common import PAGE, RAM, Tables, counted, need

PDP_PAE = 0x200  # in the first word of NetBSD/i386
_PAIR, _WORDS = struct.Struct("<QQ"), struct.Struct("<2I")


def amd64(path: str, cpu: bytes, byteorder: str) -> Tables:
    """NetBSD's and OpenBSD's: two words, the physical address of the PML4 and the number of segments."""
    need(path, cpu, _PAIR.size)
    root, count = _PAIR.unpack_from(cpu)
    return Tables(root, counted(path, cpu, _PAIR.size, count))


def i386(path: str, cpu: bytes, byteorder: str) -> Tables | None:
    """NetBSD's; None of MirBSD and OpenBSD, which write no such data (what happens to lie there: on OpenBSD the
    kernel's stack) as their memory lies in the file as it is."""
    if len(cpu) < _WORDS.size:
        return None
    root, count = _WORDS.unpack_from(cpu)
    if (
        not 0 < count <= (len(cpu) - _WORDS.size) // RAM["little"].size
        or root < PAGE
        or root & (PAGE - 1) & ~PDP_PAE & ~0x7F
    ):
        return None
    memory = counted(path, cpu, _WORDS.size, count)
    end = -1
    for start, size in zip(memory[::2], memory[1::2], strict=True):
        if start < end or not size or (start | size) % PAGE or start + size > 1 << 40:
            return None
        end = start + size
    return Tables(root, memory)
