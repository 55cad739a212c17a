"""kallsyms: the symbols that a Linux kernel keeps in its own memory (kernel/kallsyms.c, scripts/kallsyms.c)."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

from pykvm._native.ffi import ffi, lib
from pykvm.errors import FormatError
from pykvm.images.vmcoreinfo import VmcoreInfo
from pykvm.symbols.base import TOO_MUCH, Symbols

if TYPE_CHECKING:
    from pykvm.memory import Memory

MAX_COUNT = 1 << 22
NAMES_MAX = 64 << 20
CHUNK = 1 << 20
TABLES = ("names", "num_syms", "token_table", "token_index", "offsets", "relative_base")
N_TEXT, N_DATA, N_BSS, N_ABS, N_EXT = 4, 6, 8, 2, 1


def n_type(letter: int, _: int) -> int:
    """nm(1)'s letter as <a.out.h>'s type."""
    char = chr(letter)
    kind = {"t": N_TEXT, "w": N_TEXT, "b": N_BSS, "a": N_ABS}.get(char.lower(), N_DATA)
    return kind | (N_EXT if char.isupper() else 0)


def read(memory: Memory, path: str, info: VmcoreInfo, machine: str, byteorder: str, percpu: bool) -> Symbols | None:
    """The symbols at the addresses that VMCOREINFO gives (Linux 6.0 and newer); None if it gives none.

    percpu: offsets of 0 and more are absolute (per-CPU) values, as x86-64 has them. FormatError if the tables make
    no sense, AddressError if they were left out of the dump.
    """
    where = {name: info.symbol(f"kallsyms_{name}") for name in TABLES}
    if any(value is None for value in where.values()):
        return None
    at: dict[str, int] = {name: value or 0 for name, value in where.items()}
    count = memory.read_u32(at["num_syms"])
    if not 0 < count <= MAX_COUNT:
        raise FormatError(f"{path}: kallsyms_num_syms is {count}")
    index = memory.read(at["token_index"], 512)
    order = "<" if byteorder == "little" else ">"
    token_index = memoryview(array("H", [int.from_bytes(index[i : i + 2], _order(order)) for i in range(0, 512, 2)]))
    tokens = memory.read(at["token_table"], max(token_index) + 256)
    offsets = memory.read(at["offsets"], 4 * count)
    # The names' size is nowhere: they end before the next of the tables.
    limit = min((a - at["names"] for a in at.values() if a > at["names"]), default=NAMES_MAX)
    names = memory.read(at["names"], min(limit, NAMES_MAX))
    symbols = Symbols(path, machine, byteorder, n_type)
    symbols.format = "kallsyms"
    keep: list[Any] = [ffi.from_buffer(names), ffi.from_buffer("char[]", tokens), ffi.from_buffer(offsets)]
    table = ffi.new(
        "pk_kallsyms *",
        {
            "names": ffi.cast("uint8_t *", keep[0]),
            "names_size": len(names),
            "tokens": keep[1],
            "tokens_size": len(tokens),
            "count": count,
            "token_index": ffi.from_buffer("uint16_t[]", token_index),
            "offsets": ffi.cast("uint8_t *", keep[2]),
            "base": memory.read_ptr(at["relative_base"]),
            "absolute_percpu": percpu,
            "big_endian": byteorder == "big",
        },
    )
    got = lib.pk_symtab_add_kallsyms(symbols.core, table)
    if got < 0:
        raise FormatError(f"{path}: kallsyms: {TOO_MUCH}")
    if got != count:
        raise FormatError(f"{path}: kallsyms: symbol {got} of {count} (kallsyms_num_syms) makes no sense")
    return symbols


def _order(order: str) -> Any:
    return "little" if order == "<" else "big"
