"""savecore(8) files and dump devices of the kcore format (MirBSD, OpenBSD and NetBSD <sys/kcore.h>).

A file is a kcore_hdr, then two segments, each with a kcore_seg before it: CORE_CPU (the machine's own data)
and CORE_DATA (physical memory). On a dump device there is no kcore_hdr and no header before the memory.
The first word of each header ("midmag") is big-endian on every machine, all else in the machine's own order.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pykvm.errors import FormatError, KvmError
from pykvm.images import kcore_cpu
from pykvm.images.base import Image
from pykvm.images.held import Extent, Extents, Segments
from pykvm.images.hostfile import HostFile

KCORE_MAGIC, KCORESEG_MAGIC = 0x8FCA, 0x8FAC
CORE_CPU, CORE_DATA = 1, 2
HDR_SIZE, SEG_SIZE = 12, 8
MAX_CPU = 4 << 20  # of cpu data; a sun4 with all its PMEGs has 70 KB


@dataclass(frozen=True)
class Machine:
    """A machine id of <sys/exec_aout.h>, and how its dumps are written; `align` is its ALIGN(). either: kernels of both
    byte orders write it."""

    mid: int
    name: str
    byteorder: str
    align: int
    either: bool = False

    @property
    def order(self) -> str:
        """The byte order as struct's format character."""
        return "<" if self.byteorder == "little" else ">"

    def ordered(self, word: bytes) -> Machine:
        """The machine of the byte order in which a word that holds a small number is smaller."""
        if not self.either:
            return self
        orders = sorted(("little", "big"), key=lambda order: order != self.byteorder)
        return replace(self, byteorder=min(orders, key=lambda order: int.from_bytes(word, order)))  # type: ignore[arg-type]

    def aligned(self, n: int) -> int:
        """n rounded up as the machine's ALIGN() does."""
        return (n + self.align - 1) & -self.align


# i386 and sparc are MirBSD's, too. From 151 on OpenBSD's are its own; what 151 (mips1) and 159 (ia64) are to NetBSD
# writes no dumps there. 243 is ELF's number of riscv64.
MACHINES = {
    m.mid: m
    for m in (
        Machine(134, "i386", "little", 4),
        Machine(135, "m68k", "big", 4),
        Machine(136, "m68k", "big", 4),
        Machine(138, "sparc", "big", 8),
        Machine(139, "mips", "little", 8, True),
        Machine(141, "alpha", "little", 8),
        Machine(142, "mips", "big", 8, True),  # and of little-endian cobalt
        Machine(143, "arm", "little", 8, True),
        Machine(144, "m68k", "big", 4),  # NetBSD/sun2
        Machine(145, "sh", "little", 4),
        Machine(150, "vax", "little", 4),
        Machine(151, "sparc64", "big", 16),  # OpenBSD's
        Machine(153, "m88k", "big", 8),
        Machine(154, "hppa", "big", 8),
        Machine(156, "sparc64", "big", 16),  # NetBSD's
        Machine(157, "x86_64", "little", 8),
        Machine(159, "aarch64", "little", 8),  # OpenBSD's
        Machine(161, "riscv64", "little", 8),  # OpenBSD's
        Machine(183, "aarch64", "little", 8),
        Machine(243, "riscv64", "little", 8),
    )
}


@dataclass(frozen=True)
class KcoreHeader:
    """What the headers said: enough to write them again. `cpu` is what kcore_cpu made of the cpu data, None where it
    says nothing (i386 of MirBSD and OpenBSD)."""

    machine: Machine
    cpu_data: bytes
    cpu: Any
    dump_off: int


def midmag(word: bytes) -> tuple[int, int, int]:
    """(flag, machine id, magic) of a midmag word."""
    value = int.from_bytes(word, "big")
    return value >> 26, value >> 16 & 0x3FF, value & 0xFFFF


def make_midmag(flag: int, mid: int, magic: int) -> bytes:
    """The inverse of midmag()."""
    return (flag << 26 | mid << 16 | magic).to_bytes(4, "big")


def probe(files: Sequence[HostFile]) -> Image | None:
    """A savecore file; None without its magic.

    With the magic but a header that MirBSD's reader would not take, a raw image whose `flaw` says what is
    wrong: such a core opens, and reads fail (kvm_openfiles(3) does the same).
    """
    if len(files) != 1:
        return None
    file = files[0]
    start = file.pread(0, HDR_SIZE)
    if len(start) < 4 or midmag(start[:4])[2] != KCORE_MAGIC:
        return None
    machine = MACHINES.get(midmag(start[:4])[1])
    if machine is None:
        flaw = f"{file.path}: midmag: machine id {midmag(start[:4])[1]} is not known"
    else:
        try:
            return _read_file(file, machine, start)
        except _Flaw as e:
            flaw = f"{file.path}: {e}"
    return Image("raw", files, Extents([Extent(0, file.size, 0)]), flaw=flaw)


class _Flaw(Exception):
    """A header that is none."""


def _read_file(file: HostFile, machine: Machine, start: bytes) -> Image:
    if len(start) < HDR_SIZE:
        raise _Flaw(f"kcore_hdr: only {len(start)} of {HDR_SIZE} bytes are there")
    machine = machine.ordered(start[8:])
    hdrsize, seghdrsize, nseg = struct.unpack(machine.order + "HHI", start[4:])
    if nseg != 2:
        raise _Flaw(f"c_nseg is {nseg}, must be 2")
    size = _segment(file, hdrsize, CORE_CPU, "CORE_CPU", machine)
    offset = hdrsize + seghdrsize
    if size > file.size - offset:
        raise _Flaw(f"c_size of the CORE_CPU segment is {size}, beyond the end of the file ({file.size})")
    if size > MAX_CPU:
        raise _Flaw(f"c_size of the CORE_CPU segment is {size}, more than any machine has ({MAX_CPU})")
    cpu_data = file.pread(offset, size)
    if len(cpu_data) != size:
        raise _Flaw(f"cpu data: only {len(cpu_data)} of {size} bytes are there")
    declared = _segment(file, offset + size, CORE_DATA, "CORE_DATA", machine)
    return _image("savecore", file, machine, cpu_data, offset + size + seghdrsize, declared)


def _segment(file: HostFile, offset: int, flag: int, name: str, machine: Machine) -> int:
    raw = file.pread(offset, SEG_SIZE)
    if len(raw) != SEG_SIZE:
        raise _Flaw(f"kcore_seg {name} at offset {offset} is beyond the end of the file ({file.size})")
    found, _, magic = midmag(raw[:4])
    if magic != KCORESEG_MAGIC or found != flag:
        raise _Flaw(f"kcore_seg {name} at offset {offset}: flag {found} magic {magic:#x}, must be {flag} and 0x8fac")
    return int(struct.unpack(machine.order + "I", raw[4:])[0])


def _image(
    format: str, file: HostFile, machine: Machine, cpu_data: bytes, offset: int, declared: int | None = None
) -> Image:
    """Where memory lies is what the machine's data say; without them (i386) it is as it is, from 0 on without an end.
    What the data's header declares counts only then: it has 32 bits, and NetBSD's of a sparse dump is all memory."""
    cpu = kcore_cpu.read(machine.name, machine.byteorder, file.path, cpu_data)
    held: Extents = Extents([Extent(0, 1 << 32, offset)])
    if cpu is not None and cpu.memory is not None:
        held = segments = Segments(cpu.memory, offset)
        declared = None if declared is None else segments.total
    header = KcoreHeader(machine, cpu_data, cpu, offset)
    return Image(
        format,
        [file],
        held,
        machine=machine.name,
        byteorder=machine.byteorder,
        header=header,
        declared=declared,
    )


def from_device(file: HostFile, offset: int) -> tuple[Image, int]:
    """The dump that a kernel wrote at a byte offset of its dump device, and the size of its header there.

    KvmError with the texts of kvm_dump_mkheader(3) if there is none.
    """
    if not 0 <= offset < 1 << 62:
        raise KvmError("invalid dump offset - lseek", soft=True)
    raw = file.pread(offset, SEG_SIZE)
    flag, mid, magic = midmag(raw[:4])
    machine = MACHINES.get(mid)
    if len(raw) != SEG_SIZE or magic != KCORE_MAGIC or machine is None or flag != CORE_CPU:
        raise KvmError("invalid magic in cpu_hdr", soft=True)
    machine = machine.ordered(raw[4:])
    size = int(struct.unpack(machine.order + "I", raw[4:])[0])
    start = offset + machine.aligned(SEG_SIZE)
    if size > min(MAX_CPU, file.size - start):
        raise KvmError("invalid size in cpu_hdr", soft=True)
    cpu_data = file.pread(start, size)
    if len(cpu_data) != size:
        raise KvmError("invalid size in cpu_hdr", soft=True)
    try:
        image = _image("dump device", file, machine, cpu_data, start + size)
    except FormatError as e:
        raise KvmError(str(e), soft=True) from e
    return image, start + size - offset


def file_header(header: KcoreHeader, memory_size: int) -> bytes:
    """All that stands before the memory in a savecore file."""
    machine = header.machine
    hdrsize, seghdrsize = machine.aligned(HDR_SIZE), machine.aligned(SEG_SIZE)
    size = machine.aligned(len(header.cpu_data))
    sizes = struct.pack(machine.order + "HHI", hdrsize, seghdrsize, 2)
    parts = (
        (make_midmag(0, machine.mid, KCORE_MAGIC) + sizes, hdrsize),
        (make_midmag(CORE_CPU, 0, KCORESEG_MAGIC) + struct.pack(machine.order + "I", size), seghdrsize),
        (header.cpu_data, size),
        (make_midmag(CORE_DATA, 0, KCORESEG_MAGIC) + struct.pack(machine.order + "I", memory_size), seghdrsize),
    )
    return b"".join(data.ljust(width, b"\0") for data, width in parts)
