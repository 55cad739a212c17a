"""kallsyms: the symbols that a Linux kernel keeps in its own memory (kernel/kallsyms.c, scripts/kallsyms.c)."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pykvm._native.ffi import ffi, lib
from pykvm.errors import FormatError
from pykvm.images.vmcoreinfo import VmcoreInfo
from pykvm.symbols.base import KALLSYMS, TOO_MUCH, Symbols

if TYPE_CHECKING:
    from pykvm.memory import Memory

MAX_COUNT = 1 << 20  # a large kernel has a fifth of it
NAMES_MAX = 32 << 20
N_TEXT, N_DATA, N_BSS, N_ABS, N_EXT = 4, 6, 8, 2, 1


def n_type(kind: int, _: int) -> int:
    """nm(1)'s letter as <a.out.h>'s type."""
    char = chr(kind)
    found = {"t": N_TEXT, "w": N_TEXT, "b": N_BSS, "a": N_ABS}.get(char.lower(), N_DATA)
    return found | (N_EXT if char.isupper() else 0)


def letter(kind: int, _: int) -> str:
    """The type is nm(1)'s letter itself."""
    return chr(kind)


class Tables(NamedTuple):
    """Where the tables lie. `values` are kallsyms_offsets, which belong to what is at `relative_base`; or, with no
    relative_base, kallsyms_addresses (kernels before 4.6, and up to 6.10 those without KALLSYMS_BASE_RELATIVE)."""

    num_syms: int
    names: int
    token_table: int
    token_index: int
    values: int
    relative_base: int | None


def told(info: VmcoreInfo) -> Tables | None:
    """What VMCOREINFO says (Linux 6.0 and newer); None if it does not."""
    names = ("num_syms", "names", "token_table", "token_index", "offsets", "relative_base", "addresses")
    at = {name: info.symbol(f"kallsyms_{name}") for name in names}
    offsets, base, addresses = at.pop("offsets"), at.pop("relative_base"), at.pop("addresses")
    found = {name: value for name, value in at.items() if value is not None}
    if len(found) < len(at):
        return None
    if offsets is not None and base is not None:
        return Tables(**found, values=offsets, relative_base=base)
    return Tables(**found, values=addresses, relative_base=None) if addresses is not None else None


class Kernel(NamedTuple):
    """The kernel whose tables are read: `path` is its dump's, for errors; `known` are addresses of some names; `wrong`,
    where nothing is known, says what is wrong with names as they were read (None: nothing)."""

    path: str
    machine: str
    byteorder: str
    pointer_size: int
    known: Mapping[str, int]
    wrong: Callable[[Symbols], str | None] | None = None


def read(memory: Memory, kernel: Kernel, tables: Tables) -> Symbols:
    """The symbols of these tables, by the rule for their values that makes those come out that are known.

    FormatError if the tables make no sense or no rule does, AddressError if they were left out of the dump.
    """
    path, order = kernel.path, _order(kernel)
    count = memory.read_u32(tables.num_syms)
    if not 0 < count <= MAX_COUNT:
        raise FormatError(f"{path}: kallsyms_num_syms is {count}")
    raw = memory.read(tables.token_index, 512)
    index = array("H", [int.from_bytes(raw[i : i + 2], order) for i in range(0, 512, 2)])
    tokens = memory.read(tables.token_table, max(index) + 256)
    if not agree(tokens, index):
        raise FormatError(f"{path}: kallsyms_token_index is not that of kallsyms_token_table")
    value_size = 4 if tables.relative_base is not None else kernel.pointer_size
    values = memory.read(tables.values, value_size * count)
    # The names' size is nowhere: they end before the next of the tables.
    limit = min((at - tables.names for at in tables if at is not None and at > tables.names), default=NAMES_MAX)
    names = memory.read(tables.names, min(limit, NAMES_MAX))
    keep: list[Any] = [ffi.from_buffer(names), ffi.from_buffer("char[]", tokens), ffi.from_buffer(values)]
    table = ffi.new(
        "pk_kallsyms *",
        {
            "names": ffi.cast("uint8_t *", keep[0]),
            "names_size": len(names),
            "tokens": keep[1],
            "tokens_size": len(tokens),
            "count": count,
            "token_index": ffi.from_buffer("uint16_t[]", index),
            "values": ffi.cast("uint8_t *", keep[2]),
            "value_size": value_size,
            "base": memory.read_ptr(tables.relative_base) if tables.relative_base is not None else 0,
            "big_endian": kernel.byteorder == "big",
        },
    )
    problem = ""
    for rule in _rules(tables, values, order):
        symbols = Symbols(path, kernel.machine, kernel.byteorder, n_type, letter)
        symbols.format = KALLSYMS
        table.rule = rule
        got = lib.pk_symtab_add_kallsyms(symbols.core, table)
        if got < 0:
            raise FormatError(f"{path}: kallsyms: {TOO_MUCH}")
        if got != count:
            raise FormatError(f"{path}: kallsyms: symbol {got} of {count} (kallsyms_num_syms) makes no sense")
        wrong = next(disagreements(symbols, kernel.known), None)
        if wrong is None and kernel.wrong is not None:
            wrong = kernel.wrong(symbols)
        if wrong is None:
            return symbols
        problem = problem or wrong
    raise FormatError(f"{path}: kallsyms: {problem}")


def agree(tokens: bytes, index: Sequence[int]) -> bool:
    """Whether the index says where each of the 256 strings of the token table begins."""
    where = 0
    strings = tokens.split(b"\0", 256)
    for start, string in zip(index, strings, strict=False):
        if start != where:
            return False
        where += len(string) + 1
    return len(strings) == 257


def _order(kernel: Kernel) -> Any:
    return kernel.byteorder


def _rules(tables: Tables, values: bytes, order: Any) -> Iterator[int]:
    """The rules for values, the likelier first. x86-64 kernels for several CPUs had KALLSYMS_ABSOLUTE_PERCPU up to
    6.14: then the values of all but per-CPU symbols are negative, and those come last."""
    if tables.relative_base is None:
        yield lib.PK_KALLSYMS_ADDRESSES
        return
    rules = [lib.PK_KALLSYMS_OFFSETS, lib.PK_KALLSYMS_PERCPU]
    yield from rules if int.from_bytes(values[-4:], order, signed=True) >= 0 else reversed(rules)


def disagreements(symbols: Symbols, known: Mapping[str, int]) -> Iterator[str]:
    """Which names that are known from elsewhere have other values."""
    for name, addr in known.items():
        found = symbols.find(name)
        if found is not None and found.value != addr:
            yield f"{name} is at {found.value:#x}, by VMCOREINFO at {addr:#x}"
