"""Files of kernel modules on the host, beside the kernel's: their names, where a dump has not those of a module.

A relocatable module is what the kernel's linker (sys/kern/link_elf_obj.c) or the loader (stand/common/load_elf_obj.c)
made of it: both put the allocated sections one behind the other, in the file's order, each aligned; the loader puts the
tables behind them. In a shared object (link_elf.c) addresses count from where the module is.

A file is the module's if it fits: sections that nothing relocates hold what memory holds there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pykvm.errors import FormatError, KvmError
from pykvm.images.elf import (
    ET_DYN,
    ET_REL,
    PT_LOAD,
    SHF_ALLOC,
    SHF_WRITE,
    SHN_ABS,
    SHN_LORESERVE,
    SHT_NOBITS,
    SHT_REL,
    SHT_RELA,
    SHT_STRTAB,
    Elf,
    Shdr,
)
from pykvm.images.hostfile import HostFile
from pykvm.symbols import elf as elf_symbols
from pykvm.symbols.base import Symbols
from pykvm.symbols.modules import Budget
from pykvm.targets.base import Parts

if TYPE_CHECKING:
    from pykvm.targets.freebsd.family import Family

SUFFIXES = ("", ".debug")
MAX_FILES = 1 << 10  # that are opened for one dump
# What is laid out of a relocatable file; since 14 also the arrays. Files with only debugging information have NOBITS
# in place of the others, with the same sizes.
LAID = (1, SHT_NOBITS, 0x70000001)  # SHT_PROGBITS; SHT_X86_64_UNWIND
ARRAYS = (14, 15)  # SHT_INIT_ARRAY, SHT_FINI_ARRAY
SAME = (SHT_STRTAB, 5, 11)  # and SHT_HASH, SHT_DYNSYM: of a shared object, what no relocation changes
COMPARED = 4096  # bytes of a section
MAX_SPAN = 1 << 32


class Row(NamedTuple):
    """A symbol: its name, address, size, st_info, st_shndx, and nm(1)'s letter."""

    name: bytes
    value: int
    size: int
    info: int
    section: int
    letter: str


class Layout(NamedTuple):
    """Where a file's sections are, by number, counted from the module's address; how much memory they take, and how
    much the kernel says if it put them there; whether symbols count from their sections, as in a relocatable file."""

    places: Mapping[int, int]
    size: int
    said: int
    by_section: bool


class ModuleFile:
    """A module's file, which fits a module at an address: size is what it takes of memory."""

    def __init__(self, symbols: Symbols, layout: Layout, address: int, mask: int) -> None:
        self.path = symbols.path
        self.symbols = symbols
        self.layout = layout
        self.address = address
        self.size = layout.size
        self._mask = mask

    def rows(self, budget: Budget) -> Iterator[Row]:
        """Its symbols."""
        for symbol in self.symbols.all():
            budget.take("symbols", 1)
            section = symbol.desc
            if section != SHN_ABS and (section >= SHN_LORESERVE or section not in self.layout.places):
                continue
            value = symbol.value
            if section != SHN_ABS:
                base = self.layout.places[section] if self.layout.by_section else 0
                value = self.address + base + value & self._mask
            name = symbol.name.encode("utf-8", "surrogateescape")
            yield Row(name, value, symbol.size, symbol.type, section, self.symbols.letter(symbol))


class Files:
    """The module files beside a kernel file."""

    def __init__(self, parts: Parts, target: Family) -> None:
        self.parts = parts
        self.target = target
        self.mask = (1 << 8 * target.pointer_size) - 1
        self._asked: set[str] = set()

    def find(self, path: str, address: int, size: int | None) -> ModuleFile:
        """The file of the module that was loaded from this path; KvmError if there is none that fits."""
        name = path.rpartition("/")[2]
        if self.parts.kernel is None:
            raise KvmError("no kernel file was named that its file could be beside")
        if not name or name in (".", ".."):
            raise KvmError(f"{path!r:.80} is no module's path")
        if name in self._asked or len(self._asked) >= MAX_FILES:
            raise KvmError(f"{name!r:.80}: more than one module has its name, or more than {MAX_FILES} their files")
        self._asked.add(name)
        directory = Path(self.parts.kernel.path).parent
        why: list[str] = []
        for suffix in SUFFIXES:
            beside = directory / (name + suffix)
            try:
                if beside.is_file():
                    return self._open(str(beside), address, size)
            except OSError as e:  # a name that no file of the host can have
                why.append(f"{name!r:.80}: {e.strerror}")
            except KvmError as e:
                why.append(str(e))
        raise KvmError("; ".join(why) or f"no file {name} beside {self.parts.kernel.path}")

    def _open(self, path: str, address: int, size: int | None) -> ModuleFile:
        file = HostFile(path)
        try:
            symbols = elf_symbols.probe(file)
            if symbols is None:
                raise FormatError(f"{path}: is no ELF file")
            if (symbols.machine, symbols.byteorder) != (self.parts.symbols.machine, self.parts.symbols.byteorder):
                raise FormatError(f"{path}: is of {symbols.machine}, {symbols.byteorder}-endian")
            if not len(symbols):
                raise FormatError(f"{path}: has no symbols")
            return ModuleFile(symbols, self._fit(file, address, size), address, self.mask)
        finally:
            file.close()

    def _fit(self, file: HostFile, address: int, size: int | None) -> Layout:
        """How the file lies in memory; FormatError if that cannot be the module's."""
        elf = Elf(file)
        sections = elf.sections()
        layouts = _relocatable(sections) if elf.type == ET_REL else _shared(elf, sections, self.target.page_size)
        relocated = {header.info for header in sections if header.type in (SHT_REL, SHT_RELA)}
        why = ""
        for layout in layouts:
            if size is not None and layout.size > size:  # less: the loader has put tables behind
                why = f"{file.path}: takes {layout.size} bytes, but the module {size}"
                continue
            same = self._same(file, sections, layout, address, relocated if elf.type == ET_REL else None)
            if same or (same is None and layout.said == size):
                return layout
            why = f"{file.path}: " + (
                "is another build: it has not what memory has" if same is False else "nothing says whether it fits"
            )
        raise FormatError(why or f"{file.path}: e_type {elf.type} is no module's")

    def _same(
        self, file: HostFile, sections: Sequence[Shdr], layout: Layout, address: int, relocated: set[int] | None
    ) -> bool | None:
        """Whether memory has what the file has in sections that do not change; None: there is none to compare."""
        found = None
        for number, place in layout.places.items():
            header = sections[number]
            if header.flags & SHF_WRITE or header.type == SHT_NOBITS:
                continue
            if header.type not in SAME if relocated is None else number in relocated:
                continue
            held = file.pread(header.offset, min(header.size, COMPARED))
            try:
                there = self.parts.memory.read(address + place & self.mask, len(held))
            except KvmError:
                continue
            if there != held:
                return False
            found = found or bool(held)
        return found or None


def _relocatable(sections: Sequence[Shdr]) -> list[Layout]:
    """The layouts that a relocatable file can have: with the arrays and without."""
    found: list[Layout] = []
    for kinds in ((*LAID, *ARRAYS), LAID):
        places: dict[int, int] = {}
        end = 0
        for number, header in enumerate(sections):
            if header.type in kinds and header.flags & SHF_ALLOC and header.size:
                align = max(header.align, 1)
                end = -(-end // align) * align
                places[number] = end
                end += header.size
            if end > MAX_SPAN:
                return []
        layout = Layout(places, end, end, True)
        if places and layout not in found:
            found.append(layout)
    return found


def _shared(elf: Elf, sections: Sequence[Shdr], page: int) -> list[Layout]:
    """The layout of a shared object: addresses as they are."""
    if elf.type != ET_DYN:
        return []
    end = max((segment.vaddr + segment.memsz for segment in elf.segments() if segment.type == PT_LOAD), default=0)
    places = {i: h.addr for i, h in enumerate(sections) if h.flags & SHF_ALLOC}
    return [Layout(places, end, -(-end // page) * page, False)] if 0 < end <= MAX_SPAN else []
