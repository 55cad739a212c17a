"""Structures out of types that refer to each other by number, as BTF and DWARF hold them: what both share."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

from pykvm.errors import FormatError, KvmError
from pykvm.types import export
from pykvm.types.decode import Form
from pykvm.types.layout import MAX_STRUCT, Field, Struct, Types, checked

# Kinds of node.
OTHER, INT, FLOAT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, FWD_UNION, TYPEDEF, QUALIFIER, FUNC = range(13)
NAMELESS = "{...}"
TAGS = {STRUCT: "struct ", UNION: "union ", ENUM: "enum ", FWD: "struct ", FWD_UNION: "union "}
DECLARED = {FWD: STRUCT, FWD_UNION: UNION}
# Damaged types may hold themselves. What real kernels have: chains of up to 9 typedefs and qualifiers, nameless members
# 6 deep, some 300 members in task_struct.
DEPTH = 32
NESTED = 16
MEMBERS = 1 << 14
SAME_NAMED = 16
VISITS = 1 << 16


class Node(NamedTuple):
    """One type. target: the number of what it is made of (pointed at, an array's elements, a function's result), 0:
    void. A qualifier's name is its word. length: an array's, in elements."""

    kind: int
    name: str = ""
    size: int = 0
    target: int = 0
    length: int = 0
    signed: bool = False


class Member(NamedTuple):
    """A member of a structure: where it begins, counted in bits in the order of memory (in a big-endian byte from its
    highest bit on); bits: of a bit field, else 0."""

    name: str
    bit_offset: int
    bits: int
    target: int


VOID = Node(OTHER)


class GraphTypes(Types):
    """The structures of a graph of types, each worked out when it is asked for first.

    `given`: structures that stand for those of the same name here (a user's layout file).
    """

    def __init__(self, source: str, pointer_size: int, byteorder: str) -> None:
        super().__init__(source)
        self.pointer_size = pointer_size
        self.byteorder = byteorder
        self.given: Mapping[str, Struct] = {}
        self._by_number: dict[int, Struct] = {}

    # -- what a kind of type information answers ----------------------------------------------------------------

    @abstractmethod
    def node(self, number: int) -> Node:
        """The type of that number; VOID for 0 and for numbers that nothing has."""

    @abstractmethod
    def members(self, number: int) -> Iterable[Member]:
        """The members of a structure or union."""

    @abstractmethod
    def find(self, name: str, kind: int) -> int:
        """The number of the first STRUCT, UNION, ENUM, TYPEDEF or INT of that name, or 0."""

    def numbers(self, name: str, kind: int) -> Iterator[int]:
        """The numbers of all of that name and kind that are different types, as far as these types can hold such."""
        number = self.find(name, kind)
        if number:
            yield number

    @abstractmethod
    def names(self) -> Iterator[tuple[int, str]]:
        """(kind, name) of all that find() finds of structures, unions and typedefs; some more than once."""

    @abstractmethod
    def values_of(self, number: int) -> dict[str, int]:
        """The constants of an enum."""

    @abstractmethod
    def constant(self, name: str, default: int | None = None) -> int | None:
        """As Types.constant()."""

    def is_same(self, number: int, other: int) -> bool:
        """Whether two numbers are one type; where a type may be described more than once, this looks into them."""
        return number == other

    # -- Types --------------------------------------------------------------------------------------------------

    def bodies(self, names: Iterable[str] | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
        return export.bodies(self, names)

    def struct(self, name: str) -> Struct:
        found = self.get(checked(name))
        if found is None:
            raise KvmError(f"struct {name}: not in the types of {self.source}")
        return found

    def same_named(self, name: str) -> list[Struct]:
        if name in self.given:
            return [self.given[name]]
        return [self.struct_of(number, name) for number in islice(self.numbers(name, STRUCT), SAME_NAMED)]

    def enumerators(self, name: str) -> Mapping[str, int]:
        tag = name.removeprefix("enum ")
        number = self.find(tag, ENUM) or (self.strip(self.find(tag, TYPEDEF)) if tag == name else 0)
        return self.values_of(number) if self.node(number).kind == ENUM else {}

    def __getitem__(self, name: str) -> Struct:
        found = self._structs.get(name)
        if found is None:
            number = self.number_of(name)
            if not number:
                raise KeyError(name)
            found = self._structs[name] = self.struct_of(number, name)
        return found

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (name in self._structs or self.number_of(name) != 0)

    def __iter__(self) -> Iterator[str]:
        seen: set[str] = set()
        typedefs: set[str] = set()
        for kind, name in self.names():
            looked_at = typedefs if kind == TYPEDEF else seen
            if not name or name in looked_at or name in seen:
                continue
            looked_at.add(name)
            # Not a typedef of what has another name, nor a name that is cut.
            if (kind != TYPEDEF or self._is_own_typedef(name)) and self.number_of(name):
                seen.add(name)
                yield name

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def number_of(self, name: str) -> int:
        """The number of the structure that a name means (Types.struct says how), or 0."""
        for word, kind in (("struct ", STRUCT), ("union ", UNION)):
            if name.startswith(word):
                return self.find(name.removeprefix(word), kind)
        found = self.find(name, STRUCT) or self.find(name, UNION)
        if not found:
            found = self.strip(self.find(name, TYPEDEF))
            if self.node(found).kind not in (STRUCT, UNION):
                return 0
        return found

    def meant(self, name: str) -> int:
        """The number of the structure that a name means among all types that these belong to, or 0."""
        return self.number_of(name)

    def _is_own_typedef(self, name: str) -> bool:
        """Whether a typedef is the name of a structure that has no other."""
        node = self.node(self.strip(self.find(name, TYPEDEF)))
        return node.kind in (STRUCT, UNION) and not node.name

    # -- structures by number -----------------------------------------------------------------------------------

    def struct_of(self, number: int, name: str = "") -> Struct:
        """The structure of that number; `name` is what it is called if it has no tag."""
        found = self._by_number.get(number)
        if found is None:
            node = self.node(number)
            if node.size > MAX_STRUCT:
                raise FormatError(f"{self.source}: struct {node.name}: {node.size} bytes (at most {MAX_STRUCT})")
            found = Struct(node.name or name or NAMELESS, node.size, Fields(self, number), self)
            self._by_number[number] = found
        return found

    def _inner(self, number: int, name: str) -> Struct | None:
        """The structure that a number behind its typedefs is, if it is one; of one that is only declared there, the one
        of that name."""
        node = self.node(number)
        if node.kind in DECLARED:
            number = self.find(node.name, DECLARED[node.kind])
            node = self.node(number)
        if node.kind not in (STRUCT, UNION):
            return None
        return self.given.get(node.name or name) or self.struct_of(number, name)

    def form_of(self, number: int, bits: tuple[int, int] | None) -> Form:
        dims, inner, name = self.resolve(number)
        node = self.node(inner)
        char = node.kind == INT and node.name == "char"
        plain = node.kind in (INT, ENUM, PTR)
        return Form(self._inner(inner, name), dims, node.signed, char, plain, bits)

    def pointee_of(self, number: int) -> Struct | None:
        node = self.node(self.strip(number))
        if node.kind != PTR:
            return None
        dims, inner, name = self.resolve(node.target)
        return self._inner(inner, name) if not dims else None

    def element_of(self, field: Field, index: int) -> Field | None:
        node = self.node(self.strip(field.source[1])) if field.source is not None else VOID
        if node.kind != ARRAY or (node.length and index >= node.length):
            return None
        size = self.size(node.target)
        return Field(field.offset + index * size, size, self.spell(node.target), (self, node.target))

    def forget(self) -> None:
        """Let go of what has been worked out."""
        self._by_number.clear()

    # -- types by number ----------------------------------------------------------------------------------------

    def strip(self, number: int) -> int:
        """Behind typedefs and qualifiers."""
        for _ in range(DEPTH):
            node = self.node(number)
            if node.kind != TYPEDEF and node.kind != QUALIFIER:
                return number
            number = node.target
        return 0

    def resolve(self, number: int) -> tuple[tuple[int, ...], int, str]:
        """(dimensions, what the elements are behind typedefs and qualifiers, the first of these typedefs)."""
        dims, name = [], ""
        for _ in range(DEPTH):
            node = self.node(number)
            if node.kind == ARRAY:
                dims.append(node.length)
                name = ""
            elif node.kind == TYPEDEF:
                name = name or node.name
            elif node.kind != QUALIFIER:
                return tuple(dims), number, name
            number = node.target
        return (), 0, ""

    def size(self, number: int) -> int:
        """Bytes; FormatError for more than any structure has."""
        dims, inner, _ = self.resolve(number)
        size = math.prod(dims) * self.node(inner).size
        if size > MAX_STRUCT:
            raise FormatError(f"{self.source}: {self.spell(number):.200}: {size} bytes (at most {MAX_STRUCT})")
        return size

    def spell(self, number: int, depth: int = 0) -> str:
        """The type as C spells it; "[]" for an array of no told number of elements."""
        node = self.node(number)
        if number == 0 or depth > DEPTH:
            return "void"
        if node.kind == PTR:
            target = self.node(node.target)
            if target.kind == FUNC:
                return f"{self.spell(target.target, depth + 1)} (*)()"
            inner = self.spell(node.target, depth + 1)
            return inner + ("*" if inner.endswith("*") else " *")
        if node.kind == ARRAY:
            dims = ""
            while node.kind == ARRAY and depth <= DEPTH:
                dims += f"[{node.length or ''}]"
                number, depth = node.target, depth + 1
                node = self.node(number)
            return f"{self.spell(number, depth)} {dims}"
        if node.kind == QUALIFIER:
            inner = self.spell(node.target, depth + 1)
            return f"{inner}{node.name}" if inner.endswith("*") else f"{node.name} {inner}".strip()
        if node.kind == FUNC:
            return f"{self.spell(node.target, depth + 1)} ()"
        return TAGS.get(node.kind, "") + (node.name or (NAMELESS if node.kind in TAGS else "void"))


class Fields(Mapping[str, Field]):
    """The members of a structure of that number; sizes and types are worked out for those that are asked for."""

    def __init__(self, types: GraphTypes, number: int) -> None:
        self.types = types
        self.number = number
        self._size = types.node(number).size
        self._members: dict[str, Member] = {}
        self._known: dict[str, Field] = {}
        self._collect(number, 0, 0, iter(range(VISITS)))

    def _collect(self, number: int, base: int, depth: int, visits: Iterator[int]) -> None:
        types = self.types
        for _, member in zip(visits, types.members(number), strict=False):
            if len(self._members) >= MEMBERS:
                return
            if base:
                member = member._replace(bit_offset=base + member.bit_offset)
            if member.name:
                self._members.setdefault(member.name, member)
            elif not member.bits and depth < NESTED:
                inner = types.strip(member.target)
                if types.node(inner).kind in (STRUCT, UNION):
                    self._collect(inner, member.bit_offset, depth + 1, visits)

    def __getitem__(self, name: str) -> Field:
        found = self._known.get(name)
        if found is None:
            found = self._known[name] = self._field(self._members[name])
        return found

    def _field(self, member: Member) -> Field:
        """FormatError for a member that is not within its structure."""
        offset, first = member.bit_offset >> 3, member.bit_offset & 7
        spelling = self.types.spell(member.target)
        if member.bits:
            size = (first + member.bits + 7) // 8
            shift = first if self.types.byteorder == "little" else 8 * size - first - member.bits
            spelling += f" : {member.bits}@{shift}"
        else:
            size = self.types.size(member.target)
        if offset < 0 or offset + size > self._size:
            name = self.types.node(self.number).name
            raise FormatError(
                f"{self.types.source}: struct {name or NAMELESS}: {member.name:.200}: {size} bytes at {offset} are "
                f"not within its {self._size}"
            )
        return Field(offset, size, spelling, (self.types, member.target))

    def __contains__(self, name: object) -> bool:
        return name in self._members

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)
