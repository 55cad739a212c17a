"""DWARF: the types that compilers describe in a kernel file (DWARF 2 to 5), read by pyelftools.

A kernel's DWARF has millions of entries, so those that are asked for are looked for: a name's offset in .debug_str
stands in .debug_info just where the entries that it names begin, and pyelftools reads an entry from there. A type that
is declared inside a function is found like the others. Types that are in files of their own (dwz, split DWARF) or in
units of their own (-fdebug-types-section) are not followed: kernels are not built so.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from itertools import islice
from typing import Any

from elftools.dwarf.abbrevtable import AbbrevTable
from elftools.dwarf.dwarfinfo import DebugSectionDescriptor, DwarfConfig, DWARFInfo

from pykvm.errors import FormatError
from pykvm.images.hostfile import HostFile
from pykvm.progress import Progress
from pykvm.types import graph, sections
from pykvm.types.graph import VOID, GraphTypes, Member, Node
from pykvm.types.sections import DAMAGED, Section

NAME = 512  # bytes of a name
MAX_NODES = 1 << 18  # that are kept
MAX_COUNT = 1 << 32  # of an array's elements; an upper bound of -1, of whatever width, is no bound
MAX_STRINGS = 1 << 14  # places of a name in .debug_str
MAX_HITS = 1 << 14  # places in .debug_info
MORE_HITS = 64  # after the first that is one
MAX_TABLES = 256  # of abbreviations, that are kept
DIMENSION = 56  # numbers of types are offsets; in their high bits, how many dimensions of an array are left out
DIMENSIONS = 16
CHILDREN = 1 << 16
INLINE = 4  # bytes of a name up to which compilers put it into the entry itself
PLUS_UCONST = 0x23  # DW_OP_plus_uconst
KINDS = {
    "DW_TAG_enumeration_type": graph.ENUM,
    "DW_TAG_structure_type": graph.STRUCT,
    "DW_TAG_class_type": graph.STRUCT,
    "DW_TAG_union_type": graph.UNION,
    "DW_TAG_typedef": graph.TYPEDEF,
    "DW_TAG_subroutine_type": graph.FUNC,
}
DECLARED = {graph.STRUCT: graph.FWD, graph.UNION: graph.FWD_UNION, graph.ENUM: graph.OTHER}
WORDS = {
    "DW_TAG_const_type": "const",
    "DW_TAG_volatile_type": "volatile",
    "DW_TAG_restrict_type": "restrict",
    "DW_TAG_atomic_type": "_Atomic",
}
POINTERS = ("DW_TAG_pointer_type", "DW_TAG_reference_type", "DW_TAG_rvalue_reference_type")
TAGS = {
    graph.STRUCT: ("DW_TAG_structure_type", "DW_TAG_class_type"),
    graph.UNION: ("DW_TAG_union_type",),
    graph.ENUM: ("DW_TAG_enumeration_type",),
    graph.TYPEDEF: ("DW_TAG_typedef",),
}
TYPES = frozenset((*KINDS, *WORDS, *POINTERS, "DW_TAG_base_type", "DW_TAG_array_type", "DW_TAG_unspecified_type"))
CONTENTS = frozenset((*KINDS, "DW_TAG_member", "DW_TAG_enumerator", "DW_TAG_template_type_param", "DW_TAG_inheritance"))
LOOKED_FOR = frozenset(("DW_TAG_enumerator", *(tag for tags in TAGS.values() for tag in tags)))
FLOATS, SIGNED = (3, 4), (5, 6)  # DW_ATE_*
LOCAL_REFERENCES = ("DW_FORM_ref1", "DW_FORM_ref2", "DW_FORM_ref4", "DW_FORM_ref8", "DW_FORM_ref_udata")
SECTIONS = ("info", "abbrev", "str", "line_str", "str_offsets")


class DwarfTypes(GraphTypes):
    """The types of DWARF. Of two with one name the first in the file is found; what refers to either gets the right
    one."""

    def __init__(self, elf: Any, source: str) -> None:
        """elf: a sections.Elf. FormatError if the units make no sense."""
        super().__init__(source, elf.pointer_size, "big" if elf.big_endian else "little")
        self._sections = {name: Section(elf.section(f".debug_{name}") or b"") for name in SECTIONS}
        self._info, self._str = self._sections["info"], self._sections["str"]
        described = {
            f"debug_{name}_sec": DebugSectionDescriptor(data.stream(), f".debug_{name}", 0, len(data), 0)
            for name, data in self._sections.items()
        }
        wanted = [name for name in inspect.signature(DWARFInfo.__init__).parameters if name not in ("self", "config")]
        config = DwarfConfig(not elf.big_endian, "", elf.pointer_size)
        self._dwarf: Any = DWARFInfo(config, **{name: described.get(name) for name in wanted})
        self._nodes: dict[int, Node] = {0: VOID}
        self._found: dict[str, dict[str, int]] = {}
        self._all_named = False
        self._abbreviations: dict[int, dict[int, str]] = {}

    def node(self, number: int) -> Node:
        found = self._nodes.get(number)
        if found is None:
            if len(self._nodes) > MAX_NODES:
                self._nodes = {0: VOID}
            found = self._nodes[number] = self._node(number)
        return found

    def members(self, number: int) -> Iterator[Member]:
        for die in self._children(number):
            if die.tag == "DW_TAG_member" and "DW_AT_declaration" not in die.attributes:
                bits = self._number(die, "DW_AT_bit_size")
                yield Member(_name(die), self._bit_offset(die, bits), bits, self._type(die))

    def find(self, name: str, kind: int) -> int:
        tags = TAGS.get(kind)
        return self._find(name, tags) if tags is not None else 0

    def numbers(self, name: str, kind: int) -> Iterator[int]:
        found: list[int] = []
        for number in self._described(name, kind):
            if not any(self.is_same(number, other) for other in found):
                found.append(number)
                yield number

    def names(self) -> Iterator[tuple[int, str]]:
        try:
            for die in self._top():
                kind = KINDS.get(die.tag, graph.OTHER)
                if kind in (graph.STRUCT, graph.UNION, graph.TYPEDEF) and "DW_AT_declaration" not in die.attributes:
                    name = _name(die)
                    if name:
                        self._found.setdefault(name, {}).setdefault(die.tag, die.offset)
                        yield kind, name
        except DAMAGED as e:
            raise self._odd(0) from e

    def values_of(self, number: int) -> dict[str, int]:
        return {
            _name(die): self._number(die, "DW_AT_const_value")
            for die in self._children(number)
            if die.tag == "DW_TAG_enumerator"
        }

    def is_same(self, number: int, other: int) -> bool:
        """Every unit describes the types that it uses: they are one if name, size and members' places are."""
        if number == other:
            return True
        return self.node(number) == self.node(other) and self._places(number) == self._places(other)

    def constant(self, name: str, default: int | None = None) -> int | None:
        number = self._find(name, ("DW_TAG_enumerator",))
        return self._number(self._die(number), "DW_AT_const_value") if number else default

    def _places(self, number: int) -> list[Member]:
        kind = self.node(number).kind
        return [m._replace(target=0) for m in self.members(number)] if kind in (graph.STRUCT, graph.UNION) else []

    # -- looking for a name ---------------------------------------------------------------------------------------

    def _find(self, name: str, tags: tuple[str, ...]) -> int:
        """The offset of the first entry of this name and one of these tags, no mere declaration; 0: none."""
        found = self._found.get(name)
        if found is None:
            if self._all_named or not name or "\0" in name:
                return 0
            try:
                if len(self._sections["str_offsets"]):  # clang tells names by numbers: there is nothing to look for
                    self._read_all()
                    return self._find(name, tags)
                found = self._found[name] = self._look_for(name.encode("utf-8", "surrogateescape") + b"\0")
            except UnicodeEncodeError:
                return 0
            except DAMAGED as e:
                raise self._odd(0) from e
        return next((found[tag] for tag in tags if tag in found), 0)

    def _read_all(self) -> None:
        """Every name at the top of every unit: minutes for a whole kernel."""
        for die in self._top():
            if die.tag in LOOKED_FOR and "DW_AT_declaration" not in die.attributes:
                self._found.setdefault(_name(die), {}).setdefault(die.tag, die.offset)
            if die.tag == "DW_TAG_enumeration_type":
                for child in die.iter_children():
                    self._found.setdefault(_name(child), {}).setdefault(child.tag, child.offset)
        self._all_named = True

    def _top(self) -> Iterator[Any]:
        """The entries at the top of all units."""
        progress = Progress(f"reading the types of {self.source}", len(self._info))
        try:
            for unit in self._dwarf.iter_CUs():
                progress.update(unit.cu_offset)
                yield from unit.get_top_DIE().iter_children()
                unit._dielist, unit._diemap = [], []  # or pyelftools keeps every entry of the file
        finally:
            progress.done()

    def _look_for(self, raw: bytes) -> dict[str, int]:
        """The first entry of each of the tags that are looked for, by its name."""
        found: dict[str, int] = {}
        left = MAX_HITS
        for at in self._places_of(raw):
            tag, offset = self._entry(at, raw)
            if tag:
                found.setdefault(tag, offset)
            left -= 1
            if found:  # most names are in thousands of units, with all that they mean in the first
                left = min(left, MORE_HITS)
            if not left:
                break
        return found

    def _described(self, name: str, kind: int) -> Iterator[int]:
        """The offsets of the entries of this name and kind, as far as they can be looked for."""
        first = self.find(name, kind)
        if not first or self._all_named:
            yield from [first] if first else []
            return
        raw = name.encode("utf-8", "surrogateescape") + b"\0"
        try:
            for at in islice(self._places_of(raw), MAX_HITS):
                tag, offset = self._entry(at, raw)
                if tag in TAGS.get(kind, ()):
                    yield offset
        except DAMAGED as e:
            raise self._odd(first) from e

    def _places_of(self, raw: bytes) -> Iterator[int]:
        """Where the name may be told in .debug_info: itself if it is short, else its offset in .debug_str. Linkers keep
        a name once, often as the end of a longer one."""
        if len(raw) <= INLINE or not len(self._str):
            yield from self._info.places(raw, MAX_HITS)
        yield from self._info.words(list(self._str.places(raw, MAX_STRINGS)), len(self._str), self.byteorder)

    def _entry(self, at: int, raw: bytes) -> tuple[str, int]:
        """(tag, offset) of the entry whose name is told here: before it is only the number of an abbreviation."""
        try:
            unit = self._dwarf.get_CU_containing(at)
        except ValueError:
            return "", 0
        for size in (3, 2, 1):
            code = self._info[at - size : at]
            # A ULEB128, in which the byte before may seem to belong.
            if at - size < unit.cu_die_offset or code[-1] & 0x80 or any(not byte & 0x80 for byte in code[:-1]):
                continue
            tag = self._tags(unit).get(sum((byte & 0x7F) << 7 * i for i, byte in enumerate(code)), "")
            if tag not in LOOKED_FOR:
                continue
            try:
                die = unit.get_DIE_from_refaddr(at - size)
            except DAMAGED:
                continue
            named = die.attributes.get("DW_AT_name")
            if named is not None and named.offset == at and named.value == raw[:-1] and self._is_whole(die):
                return ("", 0) if "DW_AT_declaration" in die.attributes else (tag, at - size)
        return "", 0

    def _is_whole(self, die: Any) -> bool:
        """Whether what follows the name is an entry's: its children are members, or it refers to a type."""
        sibling = die.attributes.get("DW_AT_sibling")
        if sibling is not None and not die.offset < sibling.value + die.cu.cu_offset < die.cu.cu_offset + die.cu.size:
            return False
        try:
            if die.tag == "DW_TAG_enumerator":
                behind = self._die(die.offset + die.size)
                return "DW_AT_const_value" in die.attributes and (behind.is_null() or behind.tag == die.tag)
            if die.tag == "DW_TAG_typedef":
                return self._type(die) == 0 or self._die(self._type(die)).tag in TYPES
            if "DW_AT_declaration" in die.attributes:
                return not die.has_children
            if not die.has_children:
                return self._number(die, "DW_AT_byte_size") == 0
            child = next(die.iter_children(), None)
            return child is not None and child.tag in CONTENTS
        except (*DAMAGED, FormatError):
            return False

    def _tags(self, unit: Any) -> dict[int, str]:
        """The tags of a unit's abbreviations whose first attribute is the name. pyelftools would keep all of them."""
        at = int(unit["debug_abbrev_offset"])
        if at not in self._abbreviations:
            if len(self._abbreviations) >= MAX_TABLES:
                self._abbreviations.clear()
            table = AbbrevTable(unit.structs, self._dwarf.debug_abbrev_sec.stream, at)
            self._abbreviations[at] = {code: str(d["tag"]) for code, d in table._abbrev_map.items()}
        return self._abbreviations[at]

    # -- entries --------------------------------------------------------------------------------------------------

    def _odd(self, offset: int) -> FormatError:
        return FormatError(f"{self.source}: DWARF at offset {offset} makes no sense, or is of a kind that is not read")

    def _die(self, number: int) -> Any:
        try:
            return self._dwarf.get_DIE_from_refaddr(number)
        except DAMAGED as e:
            raise self._odd(number) from e

    def _children(self, number: int) -> Iterator[Any]:
        try:
            for count, die in enumerate(self._die(number).iter_children()):
                if count == CHILDREN:
                    raise self._odd(number)
                yield die
        except DAMAGED as e:
            raise self._odd(number) from e

    def _number(self, die: Any, attribute: str, missing: int = 0) -> int:
        found = die.attributes.get(attribute)
        if found is None:
            return missing
        if not isinstance(found.value, int):
            raise self._odd(die.offset)
        return int(found.value)

    def _type(self, die: Any) -> int:
        """The offset of the entry of its type; 0: void."""
        found = die.attributes.get("DW_AT_type")
        if found is None:
            return 0
        if found.form in LOCAL_REFERENCES:
            return int(found.value) + int(die.cu.cu_offset)
        if found.form != "DW_FORM_ref_addr":
            raise self._odd(die.offset)
        return int(found.value)

    def _location(self, die: Any) -> int:
        """Where a member lies, in bytes: a number, or in DWARF 2 an expression that adds one."""
        found = die.attributes.get("DW_AT_data_member_location")
        if found is None or isinstance(found.value, int):
            return self._number(die, "DW_AT_data_member_location")
        code = list(found.value)
        if not code or code[0] != PLUS_UCONST or len(code) > 11:
            raise self._odd(die.offset)
        return sum((byte & 0x7F) << 7 * i for i, byte in enumerate(code[1:]))

    def _bit_offset(self, die: Any, bits: int) -> int:
        first = 8 * self._location(die)
        if "DW_AT_data_bit_offset" in die.attributes:
            return first + self._number(die, "DW_AT_data_bit_offset")
        if bits and "DW_AT_bit_offset" in die.attributes:  # DWARF 2 and 3: from the highest bit of a storage unit
            offset = self._number(die, "DW_AT_bit_offset")
            if self.byteorder == "big":
                return first + offset
            unit = self._number(die, "DW_AT_byte_size") or self.size(self._type(die))
            return first + 8 * unit - offset - bits
        return first

    def _node(self, number: int) -> Node:
        offset, left_out = number & (1 << DIMENSION) - 1, number >> DIMENSION
        die = self._die(offset)
        size = self._number(die, "DW_AT_byte_size")
        if die.tag == "DW_TAG_array_type":
            return self._array(die, left_out)
        if die.tag in POINTERS:
            return Node(graph.PTR, "", size or self.pointer_size, self._type(die))
        if die.tag in WORDS:
            return Node(graph.QUALIFIER, WORDS[die.tag], 0, self._type(die))
        name = _name(die)
        if die.tag == "DW_TAG_base_type":
            encoding = self._number(die, "DW_AT_encoding")
            return Node(graph.FLOAT if encoding in FLOATS else graph.INT, name, size, 0, 0, encoding in SIGNED)
        kind = KINDS.get(die.tag, graph.OTHER)
        if "DW_AT_declaration" in die.attributes:
            return Node(DECLARED.get(kind, kind), name)
        if kind == graph.ENUM:
            signed = any(value < 0 for value in self.values_of(offset).values())
            return Node(kind, name, size or self.node(self._type(die)).size, 0, 0, signed)
        return Node(kind, name, size, self._type(die))

    def _array(self, die: Any, left_out: int) -> Node:
        """The first dimension of an array that is not left out; what it is made of are the others."""
        offset = int(die.offset)
        counts = [self._count(child) for child in self._children(offset) if child.tag == "DW_TAG_subrange_type"]
        if len(counts) <= left_out or len(counts) > DIMENSIONS:
            raise self._odd(offset)
        element = offset | left_out + 1 << DIMENSION if left_out + 1 < len(counts) else self._type(die)
        return Node(graph.ARRAY, "", 0, element, counts[left_out])

    def _count(self, die: Any) -> int:
        """The elements of one dimension; 0: it does not say (a flexible array)."""
        for attribute, more in (("DW_AT_count", 0), ("DW_AT_upper_bound", 1)):
            found = die.attributes.get(attribute)
            if found is not None and isinstance(found.value, int):
                count = int(found.value) + more
                return count if 0 <= count < MAX_COUNT else 0
        return 0


def _name(die: Any) -> str:
    found = die.attributes.get("DW_AT_name")
    if found is None or not isinstance(found.value, bytes):
        return ""
    return found.value[:NAME].decode("utf-8", "surrogateescape")


def read(file: HostFile) -> DwarfTypes | None:
    """The DWARF of an ELF file; None if it has none. FormatError if it cannot be understood."""
    elf = sections.Elf.of(file)
    return DwarfTypes(elf, file.path) if elf is not None and ".debug_info" in elf else None
