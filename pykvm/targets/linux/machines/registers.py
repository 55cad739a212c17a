"""Linux without VMCOREINFO: QEMU notes the registers of each CPU, which lead to its page tables. kallsyms is found
through these by its looks, and what VMCOREINFO would have said follows from names and memory.

A CPU's page tables may be those of user mode (page table isolation), which have hardly any of the kernel: the right
ones are those that have most of it. Sources: Intel SDM volume 3, chapters 2.5 and 4 (CR3, CR4);
Documentation/arch/x86/pti.rst (the user's table is the second of a pair), x86_64/mm.rst.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import NamedTuple

from pykvm.errors import KvmError
from pykvm.images.base import Image
from pykvm.images.notes import MAX_ID_NOTES, Cpu, build_id
from pykvm.images.vmcoreinfo import VmcoreInfo
from pykvm.machines import i386, x86_64
from pykvm.memory import Memory
from pykvm.records import text
from pykvm.symbols import scan
from pykvm.symbols.base import Symbols
from pykvm.symbols.kallsyms import Kernel
from pykvm.targets.linux.machines import x86
from pykvm.targets.linux.machines.platform import Platform, Tables
from pykvm.targets.linux.symbols import carried

PAE, LA57 = 1 << 5, 1 << 12  # of CR4
SECOND = 0x1000  # of CR3: the second table of a pair
PAGE = 4096
MAX_CPUS = 64
MAX_TABLES = 8  # that are looked at: of so many CPUs, or half
TRIED = 4  # in which a kernel is looked for
MAX_PAGES = 640  # of one top table's tables: 1 GB has 512, and what leads to them
PATIENCE = 6
LOW = (1 << 20, 16 << 20)  # physical memory that is always mapped directly
NAME_OFFSETS = (0, 4, 8)  # of the name in struct uts_namespace: a reference count came before it up to Linux 5.10
RELEASE = 2 * 65  # of struct new_utsname
TOPS = ("swapper_pg_dir", "init_top_pgt", "init_level4_pgt")


class Way(NamedTuple):
    """How a machine's registers lead to the kernel. tables: those that a CPU may have used; image: the addresses
    among which the kernel's image is; lines: of VMCOREINFO, by where the image begins."""

    tables: Callable[[Cpu, Platform, Image], Iterator[Tables]]
    image: Callable[[Tables], range]
    lines: Callable[[Cpu, Memory, int], dict[str, str]]


def _x86_64(cpu: Cpu, platform: Platform, image: Image) -> Iterator[Tables]:
    count = 5 if cpu.cr4 & LA57 else 4
    half = x86_64.user_end(count) + 1
    for root in (cpu.cr3 & x86_64.FRAME, cpu.cr3 & x86_64.FRAME & ~SECOND):
        yield Tables(x86_64.levels(count), root, (1 << 64) - half, half - 1)


def _x86_64_lines(cpu: Cpu, memory: Memory, start: int) -> dict[str, str]:
    phys_base = memory.translate(start) - (start - x86.TEXT_START)
    return {"NUMBER(phys_base)": str(phys_base), "NUMBER(pgtable_l5_enabled)": str(int(bool(cpu.cr4 & LA57)))}


def _i386(cpu: Cpu, platform: Platform, image: Image) -> Iterator[Tables]:
    """With how the address space is split, by where physical memory is mapped directly."""
    levels, frame = (i386.PAE_LEVELS, 0xFFFFFFE0) if cpu.cr4 & PAE else (i386.LEVELS, 0xFFFFF000)
    for root in (cpu.cr3 & frame, cpu.cr3 & frame & ~SECOND):
        for offset in x86.PAGE_OFFSETS:
            tables = Tables(levels, root, offset, offset - 1)
            memory = platform.memory(tables, image)
            try:
                if all(memory.translate(offset + low) == low for low in LOW):
                    yield tables
                    break
            except KvmError:
                continue
            finally:
                memory.detach()


# A new machine is a line here, and its registers in images/notes.py.
WAYS = {
    "x86_64": Way(_x86_64, lambda tables: range(x86.TEXT_START, x86.TEXT_START + (1 << 30)), _x86_64_lines),
    "i386": Way(
        _i386,
        lambda tables: range(tables.kernel_start, min(tables.kernel_start + carried.IMAGE_SIZE, 1 << 32)),
        lambda cpu, memory, start: {"CONFIG_X86_PAE": "y"} if cpu.cr4 & PAE else {},
    ),
}


def kernel(
    image: Image, platforms: Mapping[str, Platform], file: Symbols | None
) -> tuple[Platform, VmcoreInfo, Tables] | None:
    """The machine, what VMCOREINFO would have said, and page tables; None if registers lead to no Linux.

    file: the symbols of a kernel file, for kernels without kallsyms.
    """
    patience = iter(range(PATIENCE))
    for machine, way in WAYS.items():
        if image.machine not in (None, machine):
            continue
        platform = platforms[machine]
        for where, cpu, tables in _candidates(image, platform, way):
            memory = platform.memory(tables, image)
            try:
                found = _Names(image, platform, memory, where, patience).lines(file)
                if found is None:
                    continue
                lines = found | way.lines(cpu, memory, where.start)
            except KvmError:
                continue
            finally:
                memory.detach()
            told = "".join(f"{key}={value}\n" for key, value in lines.items())
            info = VmcoreInfo(told.encode("utf-8", "surrogateescape"))
            # The kernel's own tables have all of it: those of a process may lack what it has not needed yet.
            return platform, info, platform.proven(info, image) or tables
    return None


def _candidates(image: Image, platform: Platform, way: Way) -> list[tuple[range, Cpu, Tables]]:
    """(where the kernel's image may be, CPU, tables): those that have the most of it first."""
    found: dict[Tables, tuple[int, range, Cpu]] = {}
    for cpu in islice((cpu for cpu in image.cpus if cpu.cr3), MAX_CPUS):
        for tables in way.tables(cpu, platform, image):
            if tables not in found and len(found) < MAX_TABLES:
                mapped = sorted(_mapped(image, platform, tables, way.image(tables)))
                where = range(mapped[0][0], sum(mapped[-1])) if mapped else range(0)
                found[tables] = sum(n for _, n in mapped), where, cpu
    best = sorted(found.items(), key=lambda item: -item[1][0])
    return [(where, cpu, tables) for tables, (mapped, where, cpu) in best[:TRIED] if mapped]


def _mapped(image: Image, platform: Platform, tables: Tables, where: range) -> Iterator[tuple[int, int]]:
    """(address, bytes) of the pages that are mapped in a range; of x86's levels, which are all alike."""
    top = tables.levels[0]
    todo = [(0, tables.root, where.start >> (top.shift + top.bits) << (top.shift + top.bits))]
    for _ in range(MAX_PAGES):
        if not todo:
            return
        number, table, base = todo.pop()
        level = tables.levels[number]
        last = number == len(tables.levels) - 1
        try:
            raw = image.read(table, level.entry_size << level.bits)
        except KvmError:
            continue
        entries = struct.unpack(f"<{1 << level.bits}{'Q' if level.entry_size == 8 else 'I'}", raw)
        size = 1 << level.shift
        first = max(0, (where.start - base) // size)
        for i in range(first, min(len(entries), -((base - where.stop) // size))):
            entry, at = entries[i], base + i * size
            if entry & level.present[0] != level.present[1]:
                continue
            if last or (level.leaf[0] and entry & level.leaf[0] == level.leaf[1]):
                yield at, size
            else:
                todo.append((number + 1, entry & level.table_mask, at))


class _Names:
    """What the names of a kernel say, that is seen through page tables."""

    def __init__(self, image: Image, platform: Platform, memory: Memory, where: range, patience: Iterator[int]) -> None:
        """where: what the image is within; patience: how often to look for what is exported, which may take long."""
        self.image = image
        self.platform = platform
        self.memory = memory
        self.start, self.stop = where.start, where.stop
        self.patience = patience
        self.name: tuple[int, int] | None = None  # of the kernel, as uts() says

    def lines(self, file: Symbols | None) -> dict[str, str] | None:
        """VMCOREINFO's, by the kernel's kallsyms or else by a kernel file; None if neither fits."""
        size = min(self.stop - self.start, carried.IMAGE_SIZE)
        found = scan.search(self.memory, self._kernel(self._wrong), self.start, size)
        if found is not None:
            tables, symbols = found
            lines = self._lines(lambda name: None if (s := symbols.find(name)) is None else s.value)
            for name, at in tables._asdict().items():
                if at is not None:
                    what = name if name != "values" else "offsets" if tables.relative_base is not None else "addresses"
                    lines[f"SYMBOL(kallsyms_{what})"] = f"{at:x}"
            return lines
        return self._by_file(file) if file is not None else None

    def _kernel(self, wrong: Callable[[Symbols], str | None] | None) -> Kernel:
        p = self.platform
        return Kernel(self.image.path, p.machine, p.byteorder, p.pointer_size, {}, wrong)

    def _wrong(self, symbols: Symbols) -> str | None:
        """Names as they were read are right if the kernel's own is where they say."""
        begin, end = symbols.find("_stext"), symbols.find("_etext")
        if begin is None or end is None or not self.start <= begin.value < end.value < self.stop:
            return f"its code is not at {self.start:#x} to {self.stop:#x}"
        carried.extend(symbols, self.memory, self.image, self._kernel(None))
        if symbols.flaw is not None and next(self.patience, None) is None:
            return "it has functions only, as too much else that looked like it"
        return None if self._uts(symbols, 0) else "there is no init_uts_ns where it says"

    def _uts(self, symbols: Symbols, moved: int) -> bool:
        """Whether the kernel's name is where these symbols say; then it is known."""
        found = symbols.find("init_uts_ns")
        if found is not None:
            for offset in NAME_OFFSETS:
                try:
                    if self.memory.read(found.value + moved + offset, 6) == b"Linux\0":
                        self.name = found.value + moved, offset
                        return True
                except KvmError:
                    continue
        return False

    def _by_file(self, file: Symbols) -> dict[str, str] | None:
        """The kernel file's symbols, moved to where the kernel's image begins, or where they are."""
        first = next((s.value for name in ("_text", "_stext") if (s := file.find(name)) is not None), self.start)
        for moved in (self.start - first, 0):
            if self._uts(file, moved):
                return self._lines(lambda name: None if (s := file.find(name)) is None else s.value + moved)  # noqa: B023
        return None

    def _lines(self, find: Callable[[str], int | None]) -> dict[str, str]:
        assert self.name is not None
        at, offset = self.name
        release = text(self.memory.read_cstr(at + offset + RELEASE, 65))
        lines = {"OSRELEASE": release, "PAGESIZE": str(PAGE)}
        start, stop = find("__start_notes"), find("__stop_notes")
        if start is not None and stop is not None and 0 < stop - start <= MAX_ID_NOTES:
            told = build_id(self.memory.read(start, stop - start), "<" if self.platform.byteorder == "little" else ">")
            lines |= {} if told is None else {"BUILD-ID": told}
        lines |= {"SYMBOL(init_uts_ns)": f"{at:x}", "OFFSET(uts_namespace.name)": str(offset)}
        top = next((found for name in TOPS if (found := find(name)) is not None), None)
        for name, value in (("_stext", find("_stext")), ("swapper_pg_dir", top)):
            if value is not None:
                lines[f"SYMBOL({name})"] = f"{value:x}"
        return lines
