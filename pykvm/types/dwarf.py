"""Structure layouts from a kernel's DWARF (pyelftools)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from elftools.elf.elffile import ELFFile

from pykvm.errors import FormatError
from pykvm.images.hostfile import HostFile
from pykvm.progress import Progress
from pykvm.symbols.elf import DAMAGED
from pykvm.types.layout import MAX_STRUCT, Field, Types

_SKIP = {"DW_TAG_const_type": "const ", "DW_TAG_volatile_type": "volatile ", "DW_TAG_restrict_type": ""}
_COMPOUND = {"DW_TAG_structure_type": "struct", "DW_TAG_union_type": "union", "DW_TAG_enumeration_type": "enum"}
_DEPTH = 16
# A 64-bit kernel's largest structures have some hundred members; nested ones are followed a few levels down.
_MEMBERS = 4096
_VISITS = 1 << 15  # members looked at for one structure: nameless ones may hold themselves in a damaged file


def read(file: HostFile, names: set[str] | None = None) -> Types | None:
    """The structures of an ELF file with DWARF, all or those named; None if it has no DWARF.

    FormatError if the file cannot be understood.
    """
    if file.pread(0, 4) != b"\x7fELF":
        return None
    types = Types()
    progress = Progress(f"reading DWARF of {Path(file.path).name}", 1)
    try:
        with os.fdopen(os.dup(file.fd), "rb") as f:
            elf = ELFFile(f)
            if not elf.has_dwarf_info():
                return None
            dwarf = elf.get_dwarf_info()
            progress.total = file.size
            for unit in dwarf.iter_CUs():
                progress.update(unit.cu_offset * 4)  # .debug_info is a good quarter of such files
                for die in unit.iter_DIEs():
                    if die.tag == "DW_TAG_structure_type":
                        _take(types, die, names)
    except DAMAGED as e:
        raise FormatError(f"{file.path}: damaged DWARF: {e}") from e
    finally:
        progress.done()
    return types


def _name(die: Any) -> str:
    attribute = die.attributes.get("DW_AT_name")
    return attribute.value.decode("utf-8", "replace") if attribute else ""


def _number(die: Any, name: str, default: int = 0) -> int:
    attribute = die.attributes.get(name)
    return attribute.value if attribute and isinstance(attribute.value, int) else default


def _target(die: Any) -> Any:
    return die.get_DIE_from_attribute("DW_AT_type") if "DW_AT_type" in die.attributes else None


def _take(types: Types, die: Any, names: set[str] | None) -> None:
    name, size = _name(die), _number(die, "DW_AT_byte_size")
    if not name or name in types or not 0 < size <= MAX_STRUCT or (names is not None and name not in names):
        return
    fields: dict[str, Field] = {}
    _members(fields, die, "", 0, 0, iter(range(_VISITS)))
    inside = {n: f for n, f in fields.items() if f.offset >= 0 and f.size >= 0 and f.offset + f.size <= size}
    types.add(name, size, inside)


def _members(fields: dict[str, Field], die: Any, prefix: str, base: int, depth: int, visits: Iterator[int]) -> None:
    for _, child in zip(visits, die.iter_children(), strict=False):
        if child.tag != "DW_TAG_member" or len(fields) >= _MEMBERS:
            continue
        target = _target(child)
        name, offset = _name(child), base + _number(child, "DW_AT_data_member_location")
        inner = _strip(target)
        nested = inner is not None and inner.tag in ("DW_TAG_structure_type", "DW_TAG_union_type")
        if name:
            fields[prefix + name] = Field(offset, _size(target, 0), _spell(target, 0))
        # Members of nameless structures belong to the outer one; of others, as outer.inner.
        if nested and depth < 3:
            _members(fields, inner, f"{prefix}{name}." if name else prefix, offset, depth + 1, visits)


def _strip(die: Any) -> Any:
    for _ in range(_DEPTH):
        if die is None or (die.tag != "DW_TAG_typedef" and die.tag not in _SKIP):
            return die
        die = _target(die)
    return None


def _counts(die: Any) -> list[int]:
    counts = []
    for child in die.iter_children():
        if child.tag == "DW_TAG_subrange_type":
            upper = _number(child, "DW_AT_upper_bound", -1)
            counts.append(_number(child, "DW_AT_count", upper + 1))
    return counts


def _size(die: Any, depth: int) -> int:
    if die is None or depth > _DEPTH:
        return 0
    if die.tag == "DW_TAG_array_type":
        total = _size(_target(die), depth + 1)
        for count in _counts(die):
            total *= count
        return total
    if die.tag == "DW_TAG_pointer_type":
        return _number(die, "DW_AT_byte_size", die.cu["address_size"])
    if "DW_AT_byte_size" in die.attributes:
        return _number(die, "DW_AT_byte_size")
    return _size(_target(die), depth + 1)


def _spell(die: Any, depth: int) -> str:
    """The type as C spells it."""
    if die is None or depth > _DEPTH:
        return "void"
    if die.tag == "DW_TAG_pointer_type":
        target = _target(die)
        if target is not None and target.tag == "DW_TAG_subroutine_type":
            return f"{_spell(_target(target), depth + 1)} (*)()"
        inner = _spell(target, depth + 1)
        return inner + ("*" if inner.endswith("*") else " *")
    if die.tag in _SKIP:
        return _SKIP[die.tag] + _spell(_target(die), depth + 1)
    if die.tag == "DW_TAG_array_type":
        return _spell(_target(die), depth + 1) + " " + "".join(f"[{n or ''}]" for n in _counts(die))
    if die.tag in _COMPOUND:
        return f"{_COMPOUND[die.tag]} {_name(die)}".strip()
    return _name(die) or "void"
