"""Symbol tables: the names and addresses of one kernel file, indexed in C."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from pykvm._native.ffi import ffi, lib
from pykvm.errors import FormatError, KvmError
from pykvm.images.hostfile import HostFile

# More than any kernel has by far: bounds what a damaged table can cost.
MAX_SYMBOLS = 1 << 22
MAX_STRINGS = 256 << 20
TOO_MUCH = f"the names of the symbols take more than {lib.PK_NAMES_MAX} bytes, or than there is memory"
N_DATA_EXT = 0x07  # N_DATA | N_EXT of <a.out.h>: what FreeBSD's libkvm calls a symbol of a resolver
PAGE = 4096
KALLSYMS = "kallsyms"  # the format of tables that a Linux kernel has of itself
FAR = 1 << 20  # from a kernel's symbol to an address that may be a module's


class ResolverError(KvmError):
    """A resolver failed, or gave what is no address."""


class Symbol(NamedTuple):
    """One entry of the table. `type`, `other`, `desc` are the file's own; `order` is its place in the table, -1 of what
    a resolver says; `module` whose symbol it is (None: the kernel's own)."""

    name: str
    value: int
    size: int
    type: int
    other: int
    desc: int
    order: int
    module: str | None = None


class SymbolLayout(NamedTuple):
    """How one entry of a symbol table looks (pk_symlayout in decl/symtab.h)."""

    entry_size: int
    name_off: int
    value_off: int
    value_size: int
    size_off: int
    size_size: int
    type_off: int
    other_off: int
    desc_off: int
    skip_types: int
    addr_type_mask: int
    global_mask: int
    big_endian: int
    addr_types: int
    addr_desc_min: int
    addr_desc_max: int
    undefined: int = 0


class Later:
    """A table that is read when it is needed first."""

    def __init__(self) -> None:
        self._loads: list[Callable[[], Symbols | None]] = []
        self._due = False  # there are loads, and the table is to be read of them
        self._lock = threading.RLock()
        self._loading = False
        self.table: Symbols | None = None  # as far as it was read

    def add(self, load: Callable[[], Symbols | None]) -> None:
        """Where the table comes from. None: it is not to be had, and what was added before counts."""
        self._loads.append(load)
        self._due = True

    def stop(self) -> None:
        """What was not read yet never is."""
        self._loads, self._due = [], False

    def again(self) -> None:
        """The table is read again when it is asked for next."""
        self._due = bool(self._loads)

    def get(self) -> Symbols | None:
        """The table; None if there is none."""
        if self._due:
            with self._lock:
                # While it is read, its reader may look for a name of the kernel's.
                if self._due and not self._loading:
                    self._loading = True
                    try:
                        tables = (load() for load in reversed(self._loads))
                        self.table = next((table for table in tables if table is not None), None)
                        self._due = False
                    finally:
                        self._loading = False
        return self.table


class Symbols(Mapping[str, int]):
    """The symbols of one kernel: a mapping of names to addresses, in the names' own spelling.

    `machine` and `byteorder` are what the file says of its kernel (None where the format does not say).
    Names that occur more than once stand once for each time in len() and iteration; the last one is found.

    The names of modules may be chained behind the kernel's own: they are read when a name is not the kernel's, or
    all are listed. A table that has not all of the kernel's own names may be extended likewise. The mapping is of all
    of them; find() keeps to the kernel's own, and all() to this table.

    `build_id` and `contents` are set where a format has them: the linker's BUILD-ID, and the bytes that the file
    holds for an address (as linked; None where it holds none).
    """

    format = ""
    build_id: str | None = None
    flags = 0
    """e_flags of an ELF file."""
    flaw: str | None = None
    """Why this table is not complete; None if it is."""
    resolver: Callable[[str], int | None] | None = None
    """The address of a name that the file does not have (kvm_open2(3)), as the file would give it."""
    elsewhere: Callable[[str], Symbol | None] | None = None
    """The symbol that a name stands for which nobody has as it is; KvmError if it cannot be told where that is."""

    def __init__(
        self,
        path: str,
        machine: str | None,
        byteorder: str | None,
        n_type: Callable[[int, int], int],
        letter: Callable[[int, int], str],
    ) -> None:
        """n_type and letter: what nlist(3) and nm(1) call a symbol of this type and desc."""
        self.path = path
        self.machine = machine
        self.byteorder = byteorder
        self.contents: Callable[[int, int], bytes | None] = lambda addr, n: None
        self._n_type = n_type
        self._letter = letter
        table = lib.pk_symtab_new(int.from_bytes(os.urandom(8), "big"))
        if table == ffi.NULL:
            raise KvmError("out of memory")
        self._tab = ffi.gc(table, lib.pk_symtab_free)
        self._modules = Later()
        self._more = Later()
        self._moved = 0, 0

    @property
    def core(self) -> Any:
        """The C index, for readers of tables in other forms."""
        return self._tab

    def bound(self, count: int, strings: int) -> None:
        """Refuse a table that no kernel has, before it is read: FormatError."""
        if count > MAX_SYMBOLS:
            raise FormatError(f"{self.path}: symbol table of {count} entries (at most {MAX_SYMBOLS} are read)")
        if strings > MAX_STRINGS:
            raise FormatError(f"{self.path}: string table of {strings} bytes (at most {MAX_STRINGS} are read)")

    def add_table(self, entries: Any, count: int, strings: Any, layout: SymbolLayout) -> None:
        """Index `count` entries; FormatError if they are absurdly many or none of their names is in `strings`."""
        size = memoryview(strings).nbytes
        self.bound(count, size)
        c_layout = ffi.new("pk_symlayout *", layout)
        bad = lib.pk_symtab_add(
            self._tab, ffi.from_buffer(entries), count, ffi.from_buffer("char[]", strings), size, c_layout
        )
        if bad < 0:
            raise FormatError(f"{self.path}: {TOO_MUCH}")
        if bad > 0 and lib.pk_symtab_len(self._tab) == 0:
            raise FormatError(f"{self.path}: the names of all {bad} symbols lie outside the string table")

    def put(self, name: bytes, value: int, size: int, letter: int, is_addr: bool, module: bytes) -> None:
        """Add one symbol of a module, whose type is nm(1)'s letter. is_addr: at() may name it. FormatError: no room."""
        if not lib.pk_symtab_put(self._tab, name, len(name), value, size, letter, is_addr, module, len(module)):
            raise FormatError(f"{self.path}: {TOO_MUCH}")

    def chain(self, load: Callable[[], Symbols | None]) -> None:
        """Let the names that `load` gives, once they are needed, stand behind these. None: it has none, and what was
        chained before counts."""
        self._modules.add(load)

    def extend(self, load: Callable[[], Symbols | None]) -> None:
        """Let `load` give, once one is missed, more names of the kernel's own; None if there are no more."""
        self._more.add(load)

    @property
    def modules(self) -> Symbols | None:
        """What is chained behind these, read now if it was not yet; None if nothing is."""
        return self._modules.get()

    @property
    def more(self) -> Symbols | None:
        """More names of the kernel's own, read now if they were not yet; None if there are none."""
        return self._more.get()

    def slide(self, start: int, delta: int) -> None:
        """Move all symbols from an address on: a kernel that runs elsewhere than it was linked (KASLR)."""
        lib.pk_symtab_slide(self._tab, start, delta % (1 << 64))
        self._moved = start, delta

    def held(self, name: str, n: int) -> bytes | None:
        """Up to n bytes that the file holds at a symbol; None if it has no such symbol, or no bytes there."""
        found, (start, delta) = self.find(name), self._moved
        if found is None:
            return None
        return self.contents(found.value - (delta if found.value >= start + delta else 0), n)

    def typed_by(self, n_type: Callable[[int, int], int]) -> None:
        """nlist(3) calls the types as another system does from now on."""
        self._n_type = n_type

    def nlist(
        self, names: Iterable[str], trouble: Callable[[KvmError], object] = lambda error: None
    ) -> Iterator[tuple[int, int, int, int] | None]:
        """(n_value, n_type, n_other, n_desc) of each name by the rules of nlist(3); None for one that is not there.
        trouble: told why `elsewhere` could not place one."""
        out, lookup, tab, n_type = ffi.new("pk_symbol *"), lib.pk_symtab_nlist, self._tab, self._n_type
        own = self.format == "a.out"  # in ELF the last two mean something else, and nlist(3) leaves them 0
        for name in names:
            raw = _encoded(name)
            if lookup(tab, raw, len(raw), own, out):
                kind, desc = out.type, out.desc
                rest = (_signed(out.other, 8), _signed(desc, 16)) if own else (0, 0)
                yield out.value, n_type(kind, desc), *rest
            else:
                yield self._nlist_chained(name) or self._nlist_beyond(name, trouble)

    def _nlist_chained(self, name: str) -> tuple[int, int, int, int] | None:
        """As nlist(), of a name that this table does not have."""
        for later in (self._more, self._modules):
            table = later.get()
            found = None if table is None else next(table.nlist([name]))
            if found is not None:
                return found
        return None

    def again(self) -> None:
        """The names of modules are read again when they are asked for next: of a kernel that runs they change."""
        self._modules.again()

    def let_go(self) -> None:
        """The handle is closed: names that were not read yet are not to be had any more."""
        self._modules.stop()
        self._more.stop()
        self.elsewhere = None

    def _nlist_beyond(self, name: str, trouble: Callable[[KvmError], object]) -> tuple[int, int, int, int] | None:
        """As nlist(), of a name that no table has."""
        found = self._resolved(name, name[1:] if name.startswith("_") else name)
        if found is not None:
            return found.value, N_DATA_EXT, 0, 0
        try:
            found = None if self.elsewhere is None else self.elsewhere(name)
        except ResolverError:
            raise
        except KvmError as e:
            trouble(e)
            return None
        if found is None:
            return None
        return found.value, N_DATA_EXT if found.order < 0 else self._n_type(found.type, found.desc), 0, 0

    def find(self, name: str) -> Symbol | None:
        """The last symbol of exactly this name, of the kernel's own, or what the resolver says of it."""
        return self._own(name) or self._resolved(name)

    def _resolved(self, *names: str) -> Symbol | None:
        """What the resolver says, of the first of these names that it knows: moved as the file's symbols were."""
        if self.resolver is None:
            return None
        start, delta = self._moved
        for name in dict.fromkeys(names):
            value = self.resolver(name)
            if value is not None:
                return Symbol(name, (value + delta) % (1 << 64) if value >= start else value, 0, 0, 0, 0, -1)
        return None

    def _own(self, name: str) -> Symbol | None:
        raw = _encoded(name)
        out = ffi.new("pk_symbol *")
        if lib.pk_symtab_find(self._tab, raw, len(raw), out):
            return _export(out)
        more = self.more
        return None if more is None else more.find(name)

    def loose(self, name: str) -> Symbol | None:
        """The last symbol of this name; if there is none, with C's leading underscore taken off or added; if none has
        it, what the resolver or the kernel's own rules (`elsewhere`) say. KvmError if they fail."""
        bare = name[1:] if name.startswith("_") else name
        for spelling in (name, bare, "_" + name):
            found = self._own(spelling)
            if found is None and (modules := self.modules) is not None:
                found = modules.find(spelling)
            if found is not None:
                return found
        return self._resolved(name, bare) or (None if self.elsewhere is None else self.elsewhere(name))

    def letter(self, symbol: Symbol) -> str:
        """The letter that nm(1) has for one of these symbols."""
        if symbol.order < 0:
            return "D"
        if symbol.module is not None and self._modules.table is not None:
            return self._modules.table._letter(symbol.type, symbol.desc)
        return self._letter(symbol.type, symbol.desc)

    def at(self, addr: int) -> tuple[str, int] | None:
        """(name, offset) of the closest symbol at or below an address; None if there is none, or only the last of
        all, which ends more than a page before."""
        found = self._at(addr)
        if (found is None or found[1] >= PAGE) and (more := self.more) is not None:
            other = more._at(addr)
            if other is not None and (found is None or other[1] < found[1]):
                found = other
        if (found is None or found[1] >= FAR) and (modules := self.modules) is not None:
            return modules.at(addr) or found
        return found

    def _at(self, addr: int) -> tuple[str, int] | None:
        out = ffi.new("pk_symbol *")
        if not 0 <= addr < 1 << 64:
            return None
        got = lib.pk_symtab_at(self._tab, addr, out)
        if got < 0:
            raise KvmError("out of memory")
        if got == 0:
            return None
        symbol = _export(out)
        if got == 2 and addr - symbol.value >= symbol.size + PAGE:
            return None
        name = first_name(self, out) if self.format == KALLSYMS else symbol.name
        return name, addr - symbol.value

    def getter(self, missing: Callable[[str], int]) -> Callable[[str], int]:
        """A fast name -> address function; `missing` is asked for names that are not found as they are."""
        value, tab = lib.pk_symtab_value, self._tab

        def symbol(name: str) -> int:
            try:
                raw = name.encode("utf-8", "surrogateescape")
            except UnicodeEncodeError:
                return missing(name)
            except AttributeError:
                raise TypeError("a name is a str") from None
            found: int | None = value(tab, raw, len(raw))
            return found if found is not None else missing(name)

        return symbol

    def all(self, *, modules: bool = False) -> Iterator[Symbol]:
        """Every symbol of the kernel's own table, in its order; then, if asked for, what it was extended by, and those
        of modules."""
        out = ffi.new("pk_symbol *")
        for i in range(lib.pk_symtab_len(self._tab)):
            lib.pk_symtab_get(self._tab, i, out)
            yield _export(out)
        for table in (self.more, self.modules) if modules else ():
            if table is not None:
                yield from table.all()

    def __getitem__(self, name: str) -> int:
        found = self.loose(name)
        if found is None:
            raise KeyError(name)
        return found.value

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.loose(name) is not None

    def __iter__(self) -> Iterator[str]:
        return (symbol.name for symbol in self.all(modules=True))

    def __len__(self) -> int:
        behind = (table for table in (self.more, self.modules) if table is not None)
        return int(lib.pk_symtab_len(self._tab)) + sum(len(table) for table in behind)


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> bits - 1 else value


def _encoded(name: str) -> bytes:
    """A name as it stands in the file. What no file can hold (a lone surrogate) finds nothing."""
    try:
        return name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return name.encode("utf-8", "surrogatepass")


def _text(at: Any, size: int) -> str:
    return bytes(ffi.buffer(at, size)).decode("utf-8", "surrogateescape")


def _export(out: Any) -> Symbol:
    name, module = _text(out.name, out.name_len), _text(out.module, out.module_len) if out.module_len else None
    return Symbol(name, out.value, out.size, out.type, out.other, out.desc, out.order, module)


# A probe takes an open kernel file and gives its symbols, or None if the file is of another format.
Probe = Callable[[HostFile], "Symbols | None"]


def first_name(symbols: Symbols, found: Any) -> str:
    """Of the names at one place the first, in a table that is sorted by address: the one that Linux itself prints."""
    before = ffi.new("pk_symbol *")
    while found.order > 0 and lib.pk_symtab_get(symbols.core, found.order - 1, before) and before.value == found.value:
        found, before = before, found
    return _export(found).name
