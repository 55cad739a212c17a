"""arm of 32 bits: NetBSD's, of either byte order, and OpenBSD's.

Sources: sys/arch/arm/include/kcore.h, arm/arm32/pmap.c and arm32/include/pmap.h of NetBSD (2003 and later), arm/pmap.c
and pmap.h of OpenBSD, which come from there. A type 3 of first-level entries is taken as a section (ARMv7's, that the
kernel may not execute): neither system has ever had fine tables.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

from pykvm.errors import AddressError, FormatError, KvmError
from pykvm.images.base import Image
from pykvm.images.kcore_cpu.arm import NetbsdArm, OpenbsdArm
from pykvm.machines import arm, mmu
from pykvm.machines.mmu import Root, Translation
from pykvm.symbols.base import Symbols
from pykvm.targets.bsd import machines
from pykvm.targets.bsd.pmap import Pmap
from pykvm.types.decode import element

L1_SIZE, SECTION = 4096, 20  # entries, and the shift of what one serves
L1_ALIGN = 0x4000
PAGE_SIZES = (4096, 8192)
TTABLE = 128  # bytes of a struct l1_ttable that are looked through


@dataclass(frozen=True)
class ArmTables:
    """table: the physical address of the kernel's first one, None if only `linear` is known, its image."""

    table: int | None
    byteorder: str
    linear: Root | None = None
    page_size: int = 4096

    def translation(self) -> Translation:
        """Of the kernel."""
        if self.table is not None:
            roots = [Root(0, arm.VA_MASK, self.table)]
        else:
            roots = [] if self.linear is None else [self.linear]
        levels = arm.BSD_LEVELS if self.table is not None else ()
        return Translation(mmu.radix(roots, levels, self.byteorder), arm.VA_MASK)

    def user(self, pmap: Pmap) -> Translation:
        """Of a process: by pm_l2. First tables are shared by processes, each of which fills in its own entries when it
        faults, so that they are not what is asked."""
        roots = [Root(i << SECTION, (i + 1 << SECTION) - 1, table) for i, table in _second(pmap)]
        return Translation(mmu.radix(roots, arm.BSD_LEVELS[1:], self.byteorder), arm.VA_MASK)


def _second(pmap: Pmap) -> Iterator[tuple[int, int]]:
    """The second-level tables of a process: the number of the megabyte, the physical address. They are in buckets, so
    many in each struct l2_dtable."""
    outer, bucket = pmap.types.struct("l2_dtable"), pmap.types.struct("l2_bucket")
    field, inner = pmap.types.struct("pmap").field("pm_l2"), outer.field("l2_bucket")
    slots, buckets = (element(f.type)[1] or 0 for f in (field, inner))
    where = bucket.field("l2b_pa" if "l2b_pa" in bucket else "l2b_phys")
    if slots * buckets != L1_SIZE or field.size != 4 * slots or inner.size != buckets * bucket.size or where.size != 4:
        raise FormatError(
            f"struct pmap: pm_l2 is {field.type!r}, l2_bucket {inner.type!r}: they do not serve {L1_SIZE} megabytes"
        )
    word = "<I" if pmap.byteorder == "little" else ">I"
    for i, (at,) in enumerate(struct.iter_unpack(word, pmap.memory.read(pmap.at + field.offset, field.size))):
        if not at:
            continue
        try:
            raw = pmap.memory.read(at + inner.offset, inner.size)
        except AddressError as e:
            raise AddressError(f"can't read l2_dtable at {at:#x}: {e}", at) from e
        for j in range(buckets):
            (table,) = struct.unpack_from(word, raw, j * bucket.size + where.offset)
            if table:
                yield i * buckets + j, table


def netbsd(image: Image, symbols: Symbols) -> ArmTables | None:
    """The header has the first table."""
    cpu = machines.cpu(image)
    if isinstance(cpu, OpenbsdArm):
        raise FormatError(f"{image.path}: cpu_kcore_hdr: version is {cpu.base:#x}, must be 1: the header is OpenBSD's")
    if not isinstance(cpu, NetbsdArm):
        return None
    if cpu.table % L1_ALIGN:
        raise FormatError(f"{image.path}: cpu_kcore_hdr: PAKernelL1Table is {cpu.table:#x}, which is none")
    found = ArmTables(cpu.table, image.byteorder or "little")
    return replace(found, page_size=machines.page_size(found, image, symbols, PAGE_SIZES))


def openbsd(image: Image, symbols: Symbols) -> ArmTables | None:
    """The header has the range that the kernel's image is in, and the address of a structure there in which the first
    table's is. Where that is in it, the types say, which need memory first: but only one leads back to the structure.
    """
    cpu = machines.cpu(image)
    if isinstance(cpu, NetbsdArm):
        raise FormatError(f"{image.path}: cpu_kcore_hdr: kernelbase is 1: the header is NetBSD's")
    if not isinstance(cpu, OpenbsdArm):
        return None
    if not cpu.memory:
        raise FormatError(f"{image.path}: cpu_kcore_hdr: there are no ram_segs")
    start, first = cpu.base + cpu.offset, cpu.memory[0]
    last = start + cpu.size - 1
    static = ArmTables(None, "little", Root(start, last, first + cpu.offset, linear=True) if cpu.size else None)
    if not start <= cpu.l1 <= last:
        return static
    where = cpu.l1 - cpu.base + first
    try:
        words = struct.unpack(f"<{TTABLE // 4}I", image.read(where, TTABLE))
    except KvmError:
        return static
    for word in words:
        found = ArmTables(word, "little")
        if word and word % L1_ALIGN == 0 and machines.leads(found, image, cpu.l1, where):
            return found
    return static
