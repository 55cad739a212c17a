"""ELF notes of a dump: VMCOREINFO, and the CPUs' states as QEMU writes them.

Sources: elf(5); of QEMU, target/i386/arch_dump.c: notes named QEMU, for 32-bit guests too.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pykvm.images.vmcoreinfo import MAX_SIZE, VmcoreInfo

MAX_NOTES = 16 << 20  # of all segments; a CPU takes less than a KB
MAX_CPUS = 1 << 13
NT_GNU_BUILD_ID = 3
MAX_ID_NOTES = 1 << 16  # of a kernel file
# Version, size, 18 registers, 10 segments and descriptor tables of 24 bytes, CR0 to CR4.
QEMU_STATE = 8 + 18 * 8 + 10 * 24 + 5 * 8
QEMU_CR3 = QEMU_STATE - 16


class Cpu(NamedTuple):
    """Control registers of a CPU when the dump was made: which page tables it used, and how."""

    cr3: int
    cr4: int


class Notes(NamedTuple):
    """What a dump's notes say."""

    vmcoreinfo: VmcoreInfo | None
    cpus: tuple[Cpu, ...]


def read(segments: Iterable[bytes], order: str) -> Notes:
    """The notes of some note segments, in a struct byte order; what is cut short or makes no sense is left aside."""
    info = None
    cpus: list[Cpu] = []
    for raw in segments:
        for name, data in _notes(raw, order):
            if name == b"VMCOREINFO" and info is None and data.strip(b"\0"):
                info = VmcoreInfo(data[:MAX_SIZE])
            elif name == b"QEMU" and len(data) >= QEMU_STATE and len(cpus) < MAX_CPUS:
                cpus.append(Cpu(*struct.unpack_from(order + "QQ", data, QEMU_CR3)))
    return Notes(info, tuple(cpus))


def build_id(raw: bytes, order: str) -> str | None:
    """The linker's BUILD-ID among the notes of a kernel file or of its memory, in hexadecimal; None if it is not there.
    order: struct's."""
    for kind, name, data in _walk(raw, order):
        if kind == NT_GNU_BUILD_ID and name == b"GNU" and 0 < len(data) <= 64:
            return data.hex()
    return None


def _notes(raw: bytes, order: str) -> Iterator[tuple[bytes, bytes]]:
    """(name, contents) of each note."""
    for _, name, data in _walk(raw, order):
        yield name, data


def _walk(raw: bytes, order: str) -> Iterator[tuple[int, bytes, bytes]]:
    """(type, name, contents) of each note; what is cut short ends it."""
    at = 0
    while at + 12 <= len(raw):
        namesz, descsz, kind = struct.unpack_from(order + "III", raw, at)
        name_at = at + 12
        desc_at = name_at + (namesz + 3 & ~3)
        if desc_at + descsz > len(raw):
            return
        yield kind, raw[name_at : name_at + namesz].rstrip(b"\0"), raw[desc_at : desc_at + descsz]
        at = desc_at + (descsz + 3 & ~3)
