"""Kernel modules (linker files): the list of them, and their names.

A module keeps its symbol table in memory, as its file has it. There are two kinds of files, each with a struct elf_file
of its own: relocatable ones (sys/kern/link_elf_obj.c; amd64, mips), whose symbols' values the linker has made
addresses, and shared objects (link_elf.c; other machines), whose values count from where the module is. Where a table
is not to be had, the module's file is looked for beside the kernel's.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from pykvm.errors import FormatError, KvmError
from pykvm.images.elf import SHN_ABS, SHN_LORESERVE, SHN_UNDEF
from pykvm.records import text
from pykvm.symbols import elf
from pykvm.symbols.modules import Area, Budget, ModuleSymbols
from pykvm.targets.base import Parts
from pykvm.targets.freebsd import kofile
from pykvm.targets.freebsd.kofile import Row
from pykvm.types.layout import Struct

if TYPE_CHECKING:
    from pykvm.targets.freebsd.family import Family

MAX_MODULES = 1 << 12
MAX_SIZE = 1 << 32
PATH_MAX = 1024
CLASS_NAME = 32
SYMBOL_MAX = 1024
# struct linker_file's members; and the constants that say the same (since 10.3) to debuggers without types.
MEMBERS = {
    "next": "link.tqe_next", "address": "address", "filename": "filename", "pathname": "pathname", "size": "size",
    "id": "id", "refs": "refs",
}  # fmt: skip
CONSTANTS = {name: f"kld_off_{name}" for name in ("next", "address", "filename", "pathname")}
MAX_OFFSET = 1 << 16
TABLE = ("ddbsymtab", "ddbsymcnt", "ddbstrtab", "ddbstrcnt")  # of struct elf_file


class Module(NamedTuple):
    """A struct linker_file at `at`: kldstat(8)'s name, address and size; None: the kernel's types do not tell."""

    at: int
    name: str
    path: str
    address: int
    size: int | None
    id: int | None
    refs: int | None


def offsets_of(target: Family, parts: Parts) -> Mapping[str, int] | None:
    """Where the members of struct linker_file are, by the names of MEMBERS: by the types, or else the constants; None
    if this kernel has no linker files, or says nothing of them."""
    if parts.symbols.find("linker_files") is None:
        return None
    if "linker_file" in target.types:
        layout = target.types.struct("linker_file")
        found = {name: layout.offset(path) for name, path in MEMBERS.items() if path in layout}
    else:
        at = {name: parts.symbols.find(symbol) for name, symbol in CONSTANTS.items()}
        found = {name: parts.memory.read_u32(s.value) for name, s in at.items() if s is not None}
        bad = next((name for name, offset in found.items() if offset >= MAX_OFFSET), None)
        if bad is not None:
            raise FormatError(f"{CONSTANTS[bad]} is {found[bad]}, which is in no struct linker_file")
        if not any(found.values()):  # their page is not in the dump, but reads as zeros
            return None
    return found if {"next", "address", "filename"} <= found.keys() else None


def listed(parts: Parts, offsets: Mapping[str, int]) -> Iterator[Module]:
    """The modules that are loaded, in the order of loading, without the kernel itself; offsets: as offsets_of() says.

    KvmError where the list is broken, after those before.
    """
    memory = parts.memory
    kernel = parts.symbols.find("linker_kernel_file")
    own = memory.read_ptr(kernel.value) if kernel is not None else None
    seen: set[int] = set()
    at = memory.read_ptr(parts.address_of("linker_files"))
    while at:
        if at in seen:
            raise FormatError(f"linker_files: {at:#x} leads back into it")
        if len(seen) >= MAX_MODULES:
            raise FormatError(f"linker_files: more than {MAX_MODULES} modules")
        seen.add(at)
        following = memory.read_ptr(at + offsets["next"])
        if own is None:  # the kernel is the first that is made
            own = at
        if at != own:
            yield _module(parts, offsets, at)
        at = following


def _module(parts: Parts, offsets: Mapping[str, int], at: int) -> Module:
    memory = parts.memory

    def string(member: str) -> str:
        where = memory.read_ptr(at + offsets[member]) if member in offsets else 0
        return text(memory.read_cstr(where, PATH_MAX)) if where else ""

    def number(member: str) -> int | None:
        return memory.read_i32(at + offsets[member]) if member in offsets else None

    name, path = string("filename"), string("pathname")
    size = memory.read_ptr(at + offsets["size"]) if "size" in offsets else None
    return Module(
        at, name.rpartition("/")[2], path or name, memory.read_ptr(at + offsets["address"]), size, number("id"),
        number("refs"),
    )  # fmt: skip


def read(target: Family, parts: Parts) -> ModuleSymbols | None:
    """The names of all modules; None if the kernel does not say where they are.

    What is damaged, or nowhere to be had, is left out and said in `flaw`.
    """
    try:
        offsets, flaw = offsets_of(target, parts), None
    except KvmError as e:
        offsets, flaw = {}, str(e)
    if offsets is None:
        return None
    symbols = ModuleSymbols(parts.image.path, target.machine, target.byteorder)
    symbols.format, symbols.flaw = "linker files", flaw
    reader = _Reader(symbols, target, parts)
    try:
        for module in listed(parts, offsets) if offsets else ():
            try:
                reader.add(module)
            except KvmError as e:
                symbols.flaw = symbols.flaw or f"{module.name}: {e}"
    except KvmError as e:
        symbols.flaw = symbols.flaw or str(e)
    symbols.areas.sort()
    return symbols


class _Reader:
    def __init__(self, symbols: ModuleSymbols, target: Family, parts: Parts) -> None:
        self.symbols = symbols
        self.target = target
        self.parts = parts
        self.memory = parts.memory
        self.wide = target.pointer_size == 8
        order = "<" if target.byteorder == "little" else ">"
        # Elf64_Sym: name, info, other, section, value, size; Elf32_Sym: name, value, size, info, other, section.
        self.entry = struct.Struct(order + ("IBBHQQ" if self.wide else "IIIBBH"))
        self.budget = Budget()
        self.files = kofile.Files(parts, target)
        self._shapes: list[Struct] | None = None

    def add(self, module: Module) -> None:
        """All names of a module: from memory, else from its file."""
        size = module.size
        if size is not None and not 0 < size <= MAX_SIZE:
            raise FormatError(f"size {size} is no module's")
        area = Area(module.address, module.address + size) if size is not None else None
        try:
            if area is None:
                raise FormatError("its size is not known")
            rows = self.carried(module)
        except KvmError as e:
            try:
                found = self.files.find(module.path, module.address, size)
                area = area or Area(module.address, module.address + found.size)
                self.put(module, area, found.rows(self.budget))
            except KvmError as other:
                raise KvmError(f"{e}; {other}") from None
        else:
            self.put(module, area, rows)

    # -- in memory ------------------------------------------------------------------------------------------------

    def carried(self, module: Module) -> Iterator[Row]:
        """What its symbol table in memory has."""
        flaw = None
        for shape in self.shapes(module):
            try:
                entries, strings = self.table(module, shape)
            except KvmError as e:
                flaw = flaw or e
                continue
            base = 0 if "progtab" in shape else self.number(module, shape, "address")
            return self.rows(entries, strings, base)
        raise flaw or KvmError("no types say where its symbols are")

    def shapes(self, module: Module) -> list[Struct]:
        """The structures of which the module's may be: one, if its class tells (sizeof(struct elf_file))."""
        if self._shapes is None:
            known = self.target.types.same_named("elf_file")
            self._shapes = [s for s in known if "lf" in s and all(member in s for member in TABLE)]
        try:
            size, name = self.kind(module)
        except KvmError:
            return self._shapes
        fit = [s for s in self._shapes if s.size == size] or self._shapes
        return sorted(fit, key=lambda s: ("progtab" in s) != name.endswith(b"_obj"))

    def kind(self, module: Module) -> tuple[int, bytes]:
        """Of the module's class (a kobj_class): the size of its objects, and its name: elf64, elf64_obj ..."""
        types, memory = self.target.types, self.memory
        operations = memory.read_ptr(module.at + types.struct("linker_file").offset("ops"))
        at = memory.read_ptr(operations + types.struct("kobj_ops").offset("cls"))
        layout = types.struct("kobj_class")
        size = memory.read_ptr(at + layout.offset("size"))
        try:
            return size, memory.read_cstr(memory.read_ptr(at + layout.offset("name")), CLASS_NAME)
        except KvmError:
            return size, b""

    def number(self, module: Module, shape: Struct, member: str) -> int:
        """A member that is a pointer or a long."""
        return self.memory.read_ptr(module.at + shape.offset(member))

    def table(self, module: Module, shape: Struct) -> tuple[bytes, bytes]:
        """The symbols, and the names as far as they need them."""
        start, count, names, size = (self.number(module, shape, member) for member in TABLE)
        entry = self.entry.size
        if not start or not names:
            raise KvmError(f"it has no symbol table (ddbsymtab is {start:#x}, ddbstrtab {names:#x})")
        # The first symbol and the first name are of nothing.
        if any(self.memory.read(start, entry)) or self.memory.read(names, 1) != b"\0":
            raise FormatError(f"ddbsymtab {start:#x}, ddbstrtab {names:#x}: no symbol table begins so")
        self.budget.take("symbols", count)
        entries = self.memory.read(start, count * entry)
        last = max((self.entry.unpack_from(entries, i)[0] for i in range(0, len(entries), entry)), default=0)
        if last >= size:
            raise FormatError(f"ddbstrcnt is {size}, but a symbol's name is at {last:#x}")
        size = min(size, last + SYMBOL_MAX)
        self.budget.take("bytes of names", size)
        return entries, self.memory.read(names, size)

    def rows(self, entries: bytes, strings: bytes, base: int) -> Iterator[Row]:
        """The symbols of a table; base: what their values count from."""
        mask = (1 << 8 * self.target.pointer_size) - 1
        for fields in self.entry.iter_unpack(entries):
            start, info, _, section, value, size = (
                fields if self.wide else (fields[0], *fields[3:], *fields[1:3])
            )  # fmt: skip
            if section != SHN_ABS:
                value = value + base & mask
            # __start_set_x and __stop_set_x are undefined in a relocatable file, until the linker gives them values.
            if section == SHN_UNDEF and (base or not value):
                continue
            if section == SHN_ABS or section < SHN_LORESERVE:
                end = strings.find(b"\0", start, start + SYMBOL_MAX)
                name = strings[start : end if end >= 0 else start + SYMBOL_MAX]
                yield Row(name, value, size, info, section, letter(info, section))

    # -- into the table -------------------------------------------------------------------------------------------

    def put(self, module: Module, area: Area, rows: Iterable[Row]) -> None:
        """Add what has a name and a value."""
        self.symbols.areas.append(area)
        whose = module.name.encode("utf-8", "surrogateescape")
        for row in rows:
            if not row.name or row.info & 0xF in (elf.STT_SECTION, elf.STT_FILE):
                continue
            self.budget.take("bytes of names", len(row.name))
            placed = row.section != SHN_ABS and area.start <= row.value < area.end
            placed = placed and not row.name.startswith((b"$", b".L"))
            self.symbols.put(row.name, row.value, row.size, ord(row.letter), placed, whose)


def letter(info: int, section: int) -> str:
    """nm(1)'s letter, by the symbol's type: which flags its section had is not in memory. "?": it has none."""
    kind, binding = info & 0xF, info >> 4
    if section == SHN_ABS:
        found = "a"
    elif binding == elf.STB_WEAK:
        return "V" if kind == elf.STT_OBJECT else "W"
    else:
        found = {elf.STT_OBJECT: "d", elf.STT_FUNC: "t", elf.STT_GNU_IFUNC: "i"}.get(kind, "?")
    return found.upper() if binding else found
