"""The names of a Linux kernel's modules: the symbol tables that they keep in memory (kernel/module/kallsyms.c).

struct module has them as struct mod_kallsyms since Linux 4.5, before as members of its own. nm(1)'s letters are in
typetab since 5.2, before in st_info. Which symbols are a module's own is what /proc/kallsyms shows: those that are
defined, with a capital letter for those that EXPORT_SYMBOL names.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pykvm.errors import FormatError, KvmError
from pykvm.memory import Memory
from pykvm.symbols.base import KALLSYMS
from pykvm.symbols.modules import Area, Budget, ModuleSymbols
from pykvm.targets.base import Parts
from pykvm.targets.linux.symbols.looks import Looks
from pykvm.types.layout import Struct, Types

if TYPE_CHECKING:
    from pykvm.targets.linux.kernel import Linux

MAX_MODULES = 1 << 14
NAME_MAX = 64  # bytes of a module's name: MODULE_NAME_LEN is 56 on 64-bit kernels, 60 on others
SYMBOL_MAX = 512  # KSYM_NAME_LEN
UNFORMED = 3  # MODULE_STATE_UNFORMED: it has been given nothing yet
STT_FUNC = 2
# Of members of struct module, where its memory lies: (address, size), by version; mem is an array.
AREAS = (
    ("core_layout.base", "core_layout.size"), ("init_layout.base", "init_layout.size"),
    ("data_layout.base", "data_layout.size"),  # up to 6.3
    ("module_core", "core_size"), ("module_init", "init_size"),  # up to 4.4
)  # fmt: skip
MAX_AREAS = 16
NOWHERE = b"aAnNU?"  # letters of what at() does not name: absolute and per-CPU values, debugging, undefined


def read(target: Linux, parts: Parts) -> ModuleSymbols | None:
    """The names of the modules on the kernel's list; None if the kernel has no modules, or their layout is unknown.

    What is damaged is left out, and said in `flaw`.
    """
    types, symbol = target.types, parts.symbols.find("modules")
    head = symbol.value if symbol is not None else Looks(target, parts, types).modules()
    if head is None or "module" not in types:
        return None
    symbols = ModuleSymbols(parts.image.path, target.machine, target.byteorder)
    symbols.format = KALLSYMS
    reader = _Reader(symbols, types, target, target.quiet(parts.image))
    try:
        for at in reader.listed(head):
            try:
                reader.add(at)
            except KvmError as e:
                symbols.flaw = symbols.flaw or f"module at {at:#x}: {e}"
    except KvmError as e:
        symbols.flaw = symbols.flaw or f"the list of modules: {e}"
    symbols.areas.sort()
    return symbols


class _Reader:
    def __init__(self, symbols: ModuleSymbols, types: Types, target: Linux, memory: Memory) -> None:
        self.symbols = symbols
        self.types = types
        self.memory = memory
        self.module = types.struct("module")
        self.thumb = target.machine == "arm"
        self.order = "<" if target.byteorder == "little" else ">"
        # Elf64_Sym, Elf32_Sym: name, info, other, section, value, size; and how to bring them into this order.
        wide = target.pointer_size == 8
        self.entry = struct.Struct(self.order + ("IBBHQQ" if wide else "IIIBBH"))
        self.wide = wide
        self.budget = Budget()

    def listed(self, head: int) -> Iterator[int]:
        """The structures on the list; KvmError where it is broken, after those before."""
        step = self.module.offset("list")
        following = self.types.struct("list_head").offset("next") if "list_head" in self.types else 0
        seen = {head}
        at = self.memory.read_ptr(head + following)
        while at != head:
            if at in seen:
                raise FormatError(f"{at:#x} leads back into it")
            if len(seen) > MAX_MODULES:
                raise FormatError(f"more than {MAX_MODULES} modules")
            seen.add(at)
            after = self.memory.read_ptr(at + following)
            yield at - step
            at = after

    def value(self, struct: Struct, at: int, member: str) -> int:
        """A member that is a number or pointer."""
        found = struct.field(member)
        read = {4: self.memory.read_u32, 8: self.memory.read_u64}.get(found.size, self.memory.read_ptr)
        return read(at + found.offset)

    def add(self, at: int) -> None:
        """All names of one module."""
        module = self.module
        if self.value(module, at, "state") == UNFORMED:
            return
        name = self.memory.read_cstr(at + module.offset("name"), min(NAME_MAX, module.field("name").size))
        areas = list(self.areas(at))
        self.symbols.areas += areas
        where, tables = module, at
        if "kallsyms" in module:
            where, tables = self.types.struct("mod_kallsyms"), self.value(module, at, "kallsyms")
        if tables == 0 or "symtab" not in where:  # it was built without KALLSYMS
            return
        count = self.value(where, tables, "num_symtab")
        self.budget.take("symbols", count)
        start = self.value(where, tables, "symtab")
        table = self.table(areas, start, count * self.entry.size, "num_symtab", count)
        letters = None
        if "typetab" in where:
            letters = self.memory.read(self.value(where, tables, "typetab"), count)
        strtab = self.value(where, tables, "strtab")
        exported = dict(self.exported(at, areas))
        self.put(name, areas, table, letters, self.strings(areas, strtab, table), exported)

    def areas(self, at: int) -> Iterator[Area]:
        """Where the module's code and data lie."""
        module = self.module
        pairs = [(at, module, base, size) for base, size in AREAS if base in module and size in module]
        if "mem" in module:
            inner, members = self.types.struct("module_memory"), module.field("mem")
            count = min(members.size // max(inner.size, 1), MAX_AREAS)
            pairs += [(at + members.offset + i * inner.size, inner, "base", "size") for i in range(count)]
        for where, struct_of, base, size in pairs:
            start, length = self.value(struct_of, where, base), self.value(struct_of, where, size)
            if start and length:
                yield Area(start, start + length)

    def room(self, areas: list[Area], start: int) -> int:
        """Bytes from an address to the end of the module's memory; 0 if it lies outside."""
        return next((area.end - start for area in areas if area.start <= start < area.end), 0)

    def table(self, areas: list[Area], start: int, size: int, what: str, count: int) -> bytes:
        """A table of the module's."""
        if size > self.room(areas, start):
            raise FormatError(f"{what} is {count}: {size} bytes at {start:#x} are not in the module's memory")
        return self.memory.read(start, size)

    def strings(self, areas: list[Area], start: int, table: bytes) -> bytes:
        """The names, as far as the table needs them."""
        last = max((self.entry.unpack_from(table, i)[0] for i in range(0, len(table), self.entry.size)), default=0)
        room = self.room(areas, start)
        if last >= max(room, 1):
            raise FormatError(f"strtab {start:#x}: the name at {last:#x} is not in the module's memory")
        size = min(room, last + SYMBOL_MAX)
        self.budget.take("bytes of names", size)
        return self.memory.read(start, size)

    def exported(self, at: int, areas: list[Area]) -> Iterator[tuple[bytes, int]]:
        """Names and addresses that EXPORT_SYMBOL names: a table of pointers, or since 4.19 of offsets from each."""
        module, memory = self.module, self.memory
        if "syms" not in module or "num_syms" not in module or "kernel_symbol" not in self.types:
            return
        count, start = self.value(module, at, "num_syms"), self.value(module, at, "syms")
        if count == 0:
            return
        self.budget.take("exports", count)
        entry = self.types.struct("kernel_symbol")
        raw = self.table(areas, start, count * entry.size, "num_syms", count)
        relative = "value_offset" in entry
        value, name = (entry.offset(m + ("_offset" if relative else "")) for m in ("value", "name"))
        number = struct.Struct(self.order + ("i" if relative else "Q" if self.wide else "I"))
        if entry.size < max(value, name) + number.size:
            raise FormatError(f"struct kernel_symbol has {entry.size} bytes")
        for i in range(0, len(raw), entry.size):
            addr, where = (
                number.unpack_from(raw, i + offset)[0] + (start + i + offset if relative else 0)
                for offset in (value, name)
            )
            yield memory.read_cstr(where, SYMBOL_MAX), addr

    def put(
        self, module: bytes, areas: list[Area], table: bytes, letters: bytes | None, strings: bytes,
        exported: dict[bytes, int],
    ) -> None:  # fmt: skip
        """Those of a table's entries that are defined and have a name."""
        for i, fields in enumerate(self.entry.iter_unpack(table)):
            start, info, _, section, value, size = fields if self.wide else (fields[0], *fields[3:], *fields[1:3])
            if section == 0:
                continue
            end = strings.find(b"\0", start, start + SYMBOL_MAX)
            if end == start:
                continue
            if end < 0:
                raise FormatError(f"symbol {i}: its name at {start:#x} of strtab does not end")
            name = strings[start:end]
            self.budget.take("bytes of names", len(name))
            letter = letters[i] if letters is not None else info
            if self.thumb and info & 0xF == STT_FUNC:
                value &= ~1
            if exported.get(name) == value:
                letter = ord(chr(letter).upper())
            placed = letter not in NOWHERE and not name.startswith((b"$", b".L", b"L0")) and self.room(areas, value) > 0
            self.symbols.put(name, value, size, letter, placed, module)
