"""What the ports' files share: words, and the segments that memory is in."""

from __future__ import annotations

import struct
import sys
from array import array
from typing import NamedTuple

from pykvm.errors import FormatError

RAM = {"little": struct.Struct("<QQ"), "big": struct.Struct(">QQ")}  # phys_ram_seg_t: start and size, on every port
PAGE = 4096


class Tables(NamedTuple):
    """The physical address of the first page table (with what bits a port keeps there), and memory: the start and size
    of each segment."""

    root: int
    memory: array[int]


def need(path: str, cpu: bytes, size: int) -> None:
    """FormatError if the header is not whole."""
    if len(cpu) < size:
        raise FormatError(f"{path}: cpu_kcore_hdr: only {len(cpu)} of {size} bytes are there")


def part(path: str, cpu: bytes, name: str, offset: int, count: int, size: int) -> bytes:
    """So many entries of one size; FormatError if there is no room for them."""
    if offset > len(cpu) or count * size > len(cpu) - offset:
        raise FormatError(
            f"{path}: {name}: {count} entries at offset {offset} do not fit the cpu header of {len(cpu)} bytes"
        )
    return cpu[offset : offset + count * size]


def counted(path: str, cpu: bytes, offset: int, count: int, byteorder: str = "little") -> array[int]:
    """So many segments; FormatError if they are more than there is room for."""
    size = RAM[byteorder].size
    if count > (len(cpu) - offset) // size:
        raise FormatError(f"{path}: nmemsegs: {count} segments do not fit the cpu data of {len(cpu)} bytes")
    return words(cpu[offset : offset + count * size], byteorder)


def ended(cpu: bytes, offset: int, most: int, byteorder: str = "little") -> array[int]:
    """Segments up to one without a size."""
    ram = RAM[byteorder]
    found = array("Q")
    for start, size in ram.iter_unpack(cpu[offset : offset + (len(cpu) - offset) // ram.size * ram.size]):
        if not size or len(found) == 2 * most:
            break
        found.extend((start, size))
    return found


def words(raw: bytes, byteorder: str) -> array[int]:
    """Words of 64 bits."""
    found = array("Q", raw)
    if byteorder != sys.byteorder:
        found.byteswap()
    return found
