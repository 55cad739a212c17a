"""ELF kernels (elf(5)): the first SHT_SYMTAB section."""

from __future__ import annotations

import mmap
import struct
import zlib
from typing import Any

from elftools.common.exceptions import ELFError
from elftools.construct import ConstructError
from elftools.elf.elffile import ELFFile

from pykvm.errors import FormatError, KvmError
from pykvm.images.hostfile import HostFile
from pykvm.symbols.base import SymbolLayout, Symbols

# e_machine to kd.info's machine names.
MACHINES = {
    "EM_386": "i386",
    "EM_SPARC": "sparc",
    "EM_SPARC32PLUS": "sparc",
    "EM_SPARCV9": "sparc64",
    "EM_X86_64": "x86_64",
    "EM_AARCH64": "aarch64",
    "EM_ARM": "arm",
    "EM_RISCV": "riscv",
    "EM_PPC": "powerpc",
    "EM_PPC64": "powerpc64",
    "EM_MIPS": "mips",
    "EM_S390": "s390",
    "EM_68K": "m68k",
    "EM_ALPHA": "alpha",
}
OLF_MAGIC = b"\x7fOLF"  # OpenBSD's spelling of ELF, <sys/exec_olf.h>
# symbol_at: NOTYPE, OBJECT, FUNC, GNU_IFUNC; defined in a section (not SHN_UNDEF, SHN_ABS, SHN_COMMON).
_ADDR_TYPES = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 10
STT_OBJECT, STT_FUNC, STT_SECTION, STT_FILE = 1, 2, 3, 4
SHN_UNDEF, SHN_ABS, SHN_COMMON = 0, 0xFFF1, 0xFFF2
N_UNDF, N_EXT, N_ABS, N_TEXT, N_DATA, N_COMM, N_FN = 0, 1, 2, 4, 6, 0x12, 0x1E


# What pyelftools raises on damaged files is not always an ELFError.
DAMAGED = (
    ELFError, ConstructError, struct.error, zlib.error, ArithmeticError, AssertionError, AttributeError, LookupError,
    NotImplementedError, RecursionError, TypeError, ValueError,
)  # fmt: skip
MAX_SECTIONS = 1 << 14


def layout(bits: int, big_endian: bool) -> SymbolLayout:
    """Elf32_Sym or Elf64_Sym."""
    if bits == 32:
        fields = (16, 0, 4, 4, 8, 4, 12, 13, 14)
    else:
        fields = (24, 0, 8, 8, 16, 8, 4, 5, 6)
    return SymbolLayout(*fields, 0, 0xF, 0xF0, int(big_endian), _ADDR_TYPES, 1, 0xFEFF)


def n_type(info: int, shndx: int) -> int:
    """MirBSD's nlist(3) for ELF: the type by what the symbol is; a local one is N_EXT, whatever it is."""
    kind, binding = info & 0xF, info >> 4
    if binding == 0:
        return N_EXT
    if kind == 0:
        return {SHN_UNDEF: N_UNDF, SHN_ABS: N_ABS, SHN_COMMON: N_COMM}.get(shndx, N_COMM | N_EXT)
    return {STT_OBJECT: N_DATA, STT_FUNC: N_TEXT, STT_FILE: N_FN}.get(kind, 0)


def probe(file: HostFile) -> Symbols | None:
    """The symbols of an ELF file (none if it is stripped), or None if it is no ELF."""
    magic = file.pread(0, 4)
    if magic not in (b"\x7fELF", OLF_MAGIC):
        return None
    if file.size < 52:
        raise FormatError(f"{file.path}: ELF header: the file has only {file.size} bytes")
    # Not closed here: views of it may live on in a traceback. The last of them lets it go.
    try:
        data = mmap.mmap(file.fd, file.size, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as e:  # it has been cut since it was opened
        raise KvmError(f"{file.path}: {e}") from e
    stream: Any = _Renamed(data) if magic == OLF_MAGIC else data
    try:
        return _read(file, ELFFile(stream), data)
    except DAMAGED as e:
        raise FormatError(f"{file.path}: damaged ELF file: {e}") from e


class _Renamed:
    """A mapping whose first bytes read as ELF's magic, for pyelftools."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data = data

    def __getattr__(self, name: str) -> Any:
        return getattr(self.data, name)

    def read(self, n: int = -1) -> bytes:
        at = self.data.tell()
        got = self.data.read(n) if n >= 0 else self.data.read()
        keep = b"\x7fELF"[at : at + len(got)]
        return keep + got[len(keep) :]


def _read(file: HostFile, elf: ELFFile, data: mmap.mmap) -> Symbols:
    bits = elf.elfclass
    machine = MACHINES.get(elf["e_machine"], str(elf["e_machine"]))
    big_endian = not elf.little_endian
    symbols = Symbols(file.path, machine, "big" if big_endian else "little", n_type)
    symbols.format = "ELF"
    for i in range(_bounded(file, "e_shnum", elf.num_sections(), elf["e_shentsize"])):
        header = elf._get_section_header(i)
        if header["sh_type"] != "SHT_SYMTAB":
            continue
        strings = elf._get_section_header(header["sh_link"])
        shape = layout(bits, big_endian)
        view = memoryview(data)
        table = _section(file, view, "symbol table", header)
        names = _section(file, view, "string table", strings)
        symbols.add_table(table, table.nbytes // shape.entry_size, names, shape)
        break
    return symbols


def _bounded(file: HostFile, field: str, count: int, entry_size: int) -> int:
    if count > MAX_SECTIONS:
        raise FormatError(f"{file.path}: {field} is {count} (at most {MAX_SECTIONS} are read)")
    if count * max(entry_size, 1) > file.size:
        raise FormatError(f"{file.path}: {field} is {count}, more than the file ({file.size} bytes) can hold")
    return count


def _section(file: HostFile, view: memoryview, what: str, header: Any) -> memoryview:
    offset, size = header["sh_offset"], header["sh_size"]
    if offset > len(view) or size > len(view) - offset:
        raise FormatError(
            f"{file.path}: {what}: sh_offset {offset} and sh_size {size} go beyond the end of the file ({file.size})"
        )
    return view[offset : offset + size]
