"""BTF found by its looks, in the memory of kernels whose symbols do not say where it is (built without KALLSYMS_ALL).

It lies in the kernel's read-only data, behind its code, and begins with struct btf_header
(Documentation/bpf/btf.rst): magic, version 1, no flags, its own length, offsets and lengths of types and strings, which
begin with an empty one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from pykvm import pieces
from pykvm.errors import KvmError
from pykvm.types import btf
from pykvm.types.btf import BtfTypes

if TYPE_CHECKING:
    from pykvm.memory import Memory

REACH = (16 << 20, 64 << 20)  # how far from the end of a kernel's code it is: few need the second
CANDIDATES = 8
HEADER = 24
HEADER_MAX = 256
LEAST = 512  # bytes of them


def find(memory: Memory, start: int, byteorder: str, source: str, pointer_size: int, name: str) -> BtfTypes | None:
    """The types behind an address that have a structure of this name; None if there are none."""
    order = "<" if byteorder == "little" else ">"
    for far in REACH:
        image = pieces.stretch(memory, start, far)
        found, all_of_it = list(islice(_candidates(image, order), CANDIDATES)), len(image) < far
        del image  # types may take as much again
        for at, size in found:
            try:
                types = btf.from_memory(memory, start + at, start + at + size, source, pointer_size)
            except KvmError:
                continue
            if name in types:
                return types
        if all_of_it:
            break
    return None


def _candidates(image: bytearray, order: str) -> Iterator[tuple[int, int]]:
    """(offset, size) of what begins like BTF."""
    magic = struct.pack(order + "HBB", btf.MAGIC, 1, 0)
    at = image.find(magic)
    while at >= 0:
        if at % 4 == 0 and at + HEADER <= len(image):
            hdr_len, type_off, type_len, str_off, str_len = struct.unpack_from(order + "IIIII", image, at + 4)
            strings, end = at + hdr_len + str_off, hdr_len + str_off + str_len
            plausible = HEADER <= hdr_len <= HEADER_MAX and type_off + type_len <= str_off and str_len > 1
            if plausible and LEAST <= end <= btf.MAX_SIZE and (strings >= len(image) or image[strings] == 0):
                yield at, end
        at = image.find(magic, at + 1)
