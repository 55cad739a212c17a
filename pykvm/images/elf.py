"""The headers of ELF files (elf(5)), of either class and byte order: kernels, modules and cores.

Headers are read where the ELF header says that they are, whatever e_ehsize is: QEMU 7.2 writes one of 8, and section
headers before the program headers.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from pykvm.errors import FormatError
from pykvm.images.hostfile import HostFile

MAGIC = b"\x7fELF"
EI_OSABI = 7
ET_REL, ET_DYN, ET_CORE = 1, 3, 4
PT_LOAD, PT_NOTE = 1, 4
PN_XNUM = 0xFFFF
SHT_SYMTAB, SHT_STRTAB, SHT_RELA, SHT_NOTE, SHT_NOBITS, SHT_REL = 2, 3, 4, 7, 8, 9
SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR, SHF_COMPRESSED = 1, 2, 4, 0x800
SHN_UNDEF, SHN_LORESERVE, SHN_ABS, SHN_COMMON = 0, 0xFF00, 0xFFF1, 0xFFF2
MAX_PHDRS = 1 << 17
MAX_SECTIONS = 1 << 14
# e_machine to kd.info's machine names: of 32 bits, of 64 bits.
MACHINES = {
    2: ("sparc", "sparc"),
    3: ("i386", "i386"),
    4: ("m68k", "m68k"),
    5: ("m88k", "m88k"),
    8: ("mips", "mips64"),
    15: ("hppa", "hppa64"),
    18: ("sparc", "sparc"),  # EM_SPARC32PLUS
    20: ("powerpc", "powerpc"),
    21: ("powerpc64", "powerpc64"),
    22: ("s390", "s390x"),
    40: ("arm", "arm"),
    42: ("sh", "sh5"),
    43: ("sparc64", "sparc64"),
    62: ("x86_64", "x86_64"),
    75: ("vax", "vax"),
    183: ("aarch64", "aarch64"),
    243: ("riscv32", "riscv64"),
    0x9026: ("alpha", "alpha"),
}


class Phdr(NamedTuple):
    """A program header."""

    type: int
    offset: int
    vaddr: int
    paddr: int
    filesz: int
    memsz: int


class Shdr(NamedTuple):
    """A section header."""

    name: int
    type: int
    flags: int
    addr: int
    offset: int
    size: int
    link: int
    info: int
    align: int
    entsize: int


class Elf:
    """The ELF header of a file; FormatError if it cannot be understood. magic: what the file begins with."""

    def __init__(self, file: HostFile, magic: bytes = MAGIC) -> None:
        self.file = file
        ident = file.exactly(0, 16, "ELF header")
        if ident[:4] != magic:
            raise FormatError(f"{file.path}: is no ELF file")
        if ident[4] not in (1, 2):
            raise FormatError(f"{file.path}: EI_CLASS is {ident[4]}, which is neither 32 nor 64 bits")
        if ident[5] not in (1, 2):
            raise FormatError(f"{file.path}: unsupported ELF data encoding for kernel: EI_DATA is {ident[5]}")
        self.osabi = ident[EI_OSABI]
        self.wide = ident[4] == 2
        self.order = "<" if ident[5] == 1 else ">"
        form = struct.Struct(self.order + ("HHIQQQIHHHHHH" if self.wide else "HHIIIIIHHHHHH"))
        fields = form.unpack(file.exactly(16, form.size, "ELF header"))
        self.type, self.e_machine = fields[0], fields[1]
        self._phoff, self._shoff, self.flags = fields[4:7]
        self._phentsize, self._phnum, self._shentsize, self._shnum = fields[8:12]

    @property
    def machine(self) -> str:
        """kd.info's name of the machine."""
        names = MACHINES.get(self.e_machine)
        return f"ELF machine {self.e_machine}" if names is None else names[self.wide]

    @property
    def byteorder(self) -> str:
        """As kd.info has it."""
        return "little" if self.order == "<" else "big"

    def segments(self) -> list[Phdr]:
        """The program headers."""
        size, count = 56 if self.wide else 32, self._phnum
        if count == PN_XNUM and self._shoff:  # more than a half-word holds: section header 0 has the number
            at = self._shoff + (44 if self.wide else 28)
            (count,) = struct.unpack(self.order + "I", self.file.exactly(at, 4, "sh_info of section 0"))
        if count and self._phentsize != size:
            raise FormatError(f"{self.file.path}: e_phentsize is {self._phentsize}, must be {size}")
        if count > MAX_PHDRS:
            field = "e_phnum" if count == self._phnum else "sh_info of section 0"
            raise FormatError(f"{self.file.path}: {count} program headers ({field}; at most {MAX_PHDRS} are read)")
        raw = self.file.exactly(self._phoff, count * size, f"{count} program headers (e_phnum)")
        if self.wide:
            return [Phdr(*row[:1], *row[2:7]) for row in struct.iter_unpack(self.order + "IIQQQQQQ", raw)]
        return [Phdr(*row[:6]) for row in struct.iter_unpack(self.order + "8I", raw)]

    def sections(self) -> list[Shdr]:
        """The section headers."""
        if not self._shoff:
            return []
        size, count = 64 if self.wide else 40, self._shnum
        if not count:  # more than a half-word holds: section header 0 has the number
            at = self._shoff + (32 if self.wide else 20)
            word = struct.Struct(self.order + ("Q" if self.wide else "I"))
            (count,) = word.unpack(self.file.exactly(at, word.size, "sh_size of section 0"))
        if count > MAX_SECTIONS:
            raise FormatError(f"{self.file.path}: e_shnum is {count} (at most {MAX_SECTIONS} are read)")
        if count and self._shentsize != size:
            raise FormatError(f"{self.file.path}: e_shentsize is {self._shentsize}, must be {size}")
        raw = self.file.exactly(self._shoff, count * size, f"{count} section headers (e_shnum)")
        form = self.order + ("IIQQQQIIQQ" if self.wide else "10I")
        return [Shdr(*row) for row in struct.iter_unpack(form, raw)]
