"""ELF kernels (elf(5)): the first SHT_SYMTAB section; what the file says of itself."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Sequence

from pykvm.errors import FormatError, KvmError
from pykvm.images.elf import (
    MAGIC,
    SHF_ALLOC,
    SHF_EXECINSTR,
    SHF_WRITE,
    SHN_ABS,
    SHN_COMMON,
    SHN_UNDEF,
    SHT_NOBITS,
    SHT_NOTE,
    SHT_SYMTAB,
    Elf,
    Shdr,
)
from pykvm.images.hostfile import HostFile
from pykvm.images.notes import MAX_ID_NOTES, build_id
from pykvm.symbols.base import SymbolLayout, Symbols

OLF_MAGIC = b"\x7fOLF"  # OpenBSD's spelling of ELF, <sys/exec_olf.h>
# symbol_at: NOTYPE, OBJECT, FUNC, GNU_IFUNC; defined in a section (not SHN_UNDEF, SHN_ABS, SHN_COMMON).
_ADDR_TYPES = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 10
STT_OBJECT, STT_FUNC, STT_SECTION, STT_FILE = 1, 2, 3, 4
N_UNDF, N_EXT, N_ABS, N_TEXT, N_DATA, N_COMM, N_FN = 0, 1, 2, 4, 6, 0x12, 0x1E


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


def netbsd_n_type(info: int, shndx: int) -> int:
    """NetBSD's: as MirBSD's, but what is not local has N_EXT beside its type, and what is local has not."""
    kind, binding = info & 0xF, info >> 4
    if kind == 0:
        found = {SHN_UNDEF: N_UNDF, SHN_ABS: N_ABS, SHN_COMMON: N_COMM}.get(shndx, N_COMM)
    else:
        found = {STT_OBJECT: N_DATA, STT_FUNC: N_TEXT, STT_FILE: N_FN}.get(kind, 0)
    return found | (N_EXT if binding else 0)


def probe(file: HostFile) -> Symbols | None:
    """The symbols of an ELF file (none if it is stripped), or None if it is no ELF."""
    magic = file.pread(0, 4)
    if magic not in (MAGIC, OLF_MAGIC):
        return None
    if file.size < 52:
        raise FormatError(f"{file.path}: ELF header: the file has only {file.size} bytes")
    elf = Elf(file, magic)
    sections = elf.sections()
    symbols = Symbols(file.path, elf.machine, elf.byteorder, n_type, _letters(sections))
    symbols.format = "ELF"
    symbols.flags = elf.flags
    symbols.contents = _contents(file, sections)
    symbols.build_id = _build_id(file, sections, elf.order)
    for header in sections:
        if header.type == SHT_SYMTAB:
            _add_table(symbols, file, elf, sections, header)
            break
    return symbols


def _add_table(symbols: Symbols, file: HostFile, elf: Elf, sections: Sequence[Shdr], header: Shdr) -> None:
    if header.link >= len(sections):
        raise FormatError(f"{file.path}: symbol table: sh_link is {header.link}, of {len(sections)} sections")
    # Not closed here: views of it may live on in a traceback. The last of them lets it go.
    try:
        view = memoryview(mmap.mmap(file.fd, file.size, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as e:  # it has been cut since it was opened
        raise KvmError(f"{file.path}: {e}") from e
    shape = layout(64 if elf.wide else 32, elf.order == ">")
    table = _section(file, view, "symbol table", header)
    names = _section(file, view, "string table", sections[header.link])
    symbols.add_table(table, table.nbytes // shape.entry_size, names, shape)


def _letters(sections: Sequence[Shdr]) -> Callable[[int, int], str]:
    """nm(1)'s letter of st_info and st_shndx, by the flags of the section that the symbol is in."""
    kinds = []
    for header in sections:
        flags = header.flags
        if flags & SHF_EXECINSTR:
            kinds.append("t")
        elif header.type == SHT_NOBITS and flags & SHF_ALLOC:
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


def _contents(file: HostFile, sections: Sequence[Shdr]) -> Callable[[int, int], bytes | None]:
    """What the file holds for an address of its memory image: up to n bytes, None if it holds none."""
    held = [
        (header.addr, header.size, header.offset)
        for header in sections
        if header.flags & SHF_ALLOC and header.type != SHT_NOBITS and header.addr
    ]

    def contents(addr: int, n: int) -> bytes | None:
        for start, size, offset in held:
            if start <= addr < start + size:
                return file.pread(offset + addr - start, min(n, start + size - addr))
        return None

    return contents


def _build_id(file: HostFile, sections: Sequence[Shdr], order: str) -> str | None:
    for header in sections:
        if header.type == SHT_NOTE:
            found = build_id(file.pread(header.offset, min(header.size, MAX_ID_NOTES)), order)
            if found is not None:
                return found
    return None


def _section(file: HostFile, view: memoryview, what: str, header: Shdr) -> memoryview:
    offset, size = header.offset, header.size
    if offset > len(view) or size > len(view) - offset:
        raise FormatError(
            f"{file.path}: {what}: sh_offset {offset} and sh_size {size} go beyond the end of the file ({file.size})"
        )
    return view[offset : offset + size]
