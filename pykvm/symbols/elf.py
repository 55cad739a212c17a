"""ELF kernels (elf(5)): the first SHT_SYMTAB section; what the file says of itself."""

from __future__ import annotations

import mmap
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from elftools.common.exceptions import DWARFError, ELFError
from elftools.construct import ConstructError
from elftools.elf.elffile import ELFFile

from pykvm.errors import FormatError, KvmError
from pykvm.images.hostfile import HostFile
from pykvm.images.notes import MAX_ID_NOTES, build_id
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
    "EM_RISCV": "riscv32",
    "EM_PPC": "powerpc",
    "EM_PPC64": "powerpc64",
    "EM_MIPS": "mips",
    "EM_S390": "s390",
    "EM_68K": "m68k",
    "EM_ALPHA": "alpha",
}
WIDE = {"riscv32": "riscv64", "s390": "s390x", "mips": "mips64"}  # where ELFCLASS64 makes another machine
OLF_MAGIC = b"\x7fOLF"  # OpenBSD's spelling of ELF, <sys/exec_olf.h>
# symbol_at: NOTYPE, OBJECT, FUNC, GNU_IFUNC; defined in a section (not SHN_UNDEF, SHN_ABS, SHN_COMMON).
_ADDR_TYPES = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 10
STT_OBJECT, STT_FUNC, STT_SECTION, STT_FILE = 1, 2, 3, 4
SHN_UNDEF, SHN_LORESERVE, SHN_ABS, SHN_COMMON = 0, 0xFF00, 0xFFF1, 0xFFF2
N_UNDF, N_EXT, N_ABS, N_TEXT, N_DATA, N_COMM, N_FN = 0, 1, 2, 4, 6, 0x12, 0x1E


# What pyelftools raises on damaged files is not always an ELFError.
DAMAGED = (
    ELFError, DWARFError, ConstructError, struct.error, zlib.error, ArithmeticError, AssertionError, AttributeError,
    LookupError, NotImplementedError, RecursionError, TypeError, ValueError,
)  # fmt: skip
MAX_SECTIONS = 1 << 14
SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR = 1, 2, 4
# nm(1)'s letters for what is in no section of the file, and for weak and other special symbols.
_NO_SECTION = {SHN_UNDEF: "u", SHN_ABS: "a", SHN_COMMON: "c"}
STB_GLOBAL, STB_WEAK, STT_GNU_IFUNC = 1, 2, 10


def layout(bits: int, big_endian: bool) -> SymbolLayout:
    """Elf32_Sym or Elf64_Sym."""
    if bits == 32:
        fields = (16, 0, 4, 4, 8, 4, 12, 13, 14)
    else:
        fields = (24, 0, 8, 8, 16, 8, 4, 5, 6)
    return SymbolLayout(*fields, 0, 0xF, 0xF0, int(big_endian), _ADDR_TYPES, 1, 0xFEFF, 1)


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
    ident = file.pread(4, 2)
    if ident[1] not in (1, 2):
        raise FormatError(f"{file.path}: unsupported ELF data encoding for kernel: EI_DATA is {ident[1]}")
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
    if bits == 64:
        machine = WIDE.get(machine, machine)
    big_endian = not elf.little_endian
    count = _bounded(file, "e_shnum", elf.num_sections(), elf["e_shentsize"])
    sections = [elf._get_section_header(i) for i in range(count)]
    symbols = Symbols(file.path, machine, "big" if big_endian else "little", n_type, _letters(sections))
    symbols.format = "ELF"
    symbols.flags = elf["e_flags"]
    symbols.contents = _contents(file, sections)
    symbols.build_id = _build_id(file, sections, ">" if big_endian else "<")
    for header in sections:
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


def _letters(sections: Sequence[Any]) -> Callable[[int, int], str]:
    """nm(1)'s letter of st_info and st_shndx, by the flags of the section that the symbol is in."""
    kinds = []
    for header in sections:
        flags = header["sh_flags"]
        if flags & SHF_EXECINSTR:
            kinds.append("t")
        elif header["sh_type"] == "SHT_NOBITS" and flags & SHF_ALLOC:
            kinds.append("b")
        else:
            kinds.append("d" if flags & SHF_WRITE else "r" if flags & SHF_ALLOC else "n")

    def letter(info: int, shndx: int) -> str:
        kind, binding = info & 0xF, info >> 4
        if binding == STB_WEAK:
            weak = "v" if kind == STT_OBJECT else "w"
            return weak if shndx == SHN_UNDEF else weak.upper()
        if kind == STT_GNU_IFUNC:
            return "i"
        found = kinds[shndx] if shndx < len(kinds) else "?"
        found = _NO_SECTION.get(shndx, found)
        return found.upper() if binding == STB_GLOBAL or shndx in (SHN_UNDEF, SHN_COMMON) else found

    return letter


def _contents(file: HostFile, sections: Sequence[Any]) -> Callable[[int, int], bytes | None]:
    """What the file holds for an address of its memory image: up to n bytes, None if it holds none."""
    held = [
        (header["sh_addr"], header["sh_size"], header["sh_offset"])
        for header in sections
        if header["sh_flags"] & SHF_ALLOC and header["sh_type"] != "SHT_NOBITS" and header["sh_addr"]
    ]

    def contents(addr: int, n: int) -> bytes | None:
        for start, size, offset in held:
            if start <= addr < start + size:
                return file.pread(offset + addr - start, min(n, start + size - addr))
        return None

    return contents


def _build_id(file: HostFile, sections: Sequence[Any], order: str) -> str | None:
    for header in sections:
        if header["sh_type"] == "SHT_NOTE":
            found = build_id(file.pread(header["sh_offset"], min(header["sh_size"], MAX_ID_NOTES)), order)
            if found is not None:
                return found
    return None


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
