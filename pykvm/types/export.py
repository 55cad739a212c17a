"""Layout files out of a graph of types.

Such a file knows types by name only. So members of a structure without a name become `outer.inner`, an array of such
structures gets an entry `structure.member` of its own, and a type whose name would not tell what it is (ktime_t is
signed) is spelled with one that does. A structure whose name means another one (drivers of Linux have a `struct
console` of their own) goes in like one without.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from pykvm.errors import FormatError
from pykvm.types import graph
from pykvm.types.decode import SIGNED, bare, dimensions, is_address
from pykvm.types.layout import MAX_TYPE, Struct

if TYPE_CHECKING:
    from pykvm.types.graph import GraphTypes

Body = dict[str, Any]
MAX_FIELDS = 1 << 14  # of one entry
MAX_ENTRIES = 64  # for the nameless parts of one structure
DEPTH = 16


def bodies(types: GraphTypes, names: Iterable[str] | None = None) -> Iterator[tuple[str, Body]]:
    """The entries of a layout file: of all structures, or those named. What makes no sense is left out."""
    for name in types if names is None else names:
        parts = [(name, types.number_of(name))]
        for outer, number in parts:  # which grows
            try:
                yield outer, _Entry(types, outer, types.struct_of(number, outer), parts).body
            except FormatError:
                continue
        types.forget()


class _Entry:
    """One structure's entry; what needs entries of its own is added to `parts`."""

    def __init__(self, types: GraphTypes, name: str, struct: Struct, parts: list[tuple[str, int]]) -> None:
        self.types = types
        self.name = name
        self.parts = parts
        self.fields: dict[str, list[Any]] = {}
        self.body = {"size": struct.size, "fields": self.fields}
        self._add(struct, "", 0, 0)

    def _add(self, struct: Struct, prefix: str, base: int, depth: int) -> None:
        for member, field in struct.fields.items():
            if field.source is None or len(self.fields) >= MAX_FIELDS:
                return
            path, offset, number = prefix + member, base + field.offset, field.source[1]
            dims, inner, typedef = self.types.resolve(number)
            node = self.types.node(inner)
            spelling, colon, bits = field.type.partition(" : ")
            if node.kind not in (graph.STRUCT, graph.UNION):
                self.fields[path] = [offset, field.size, self._spelling(spelling, dims, inner) + colon + bits]
                continue
            name = node.name or typedef
            tag = graph.TAGS[node.kind] if node.name else ""
            if not name or not self.types.is_same(self.types.meant(name), inner):
                tag, name = graph.TAGS[node.kind], graph.NAMELESS
                if dims and len(self.parts) < MAX_ENTRIES:
                    name = f"{self.name}.{path}"
                    self.parts.append((name, inner))
            self.fields[path] = [offset, field.size, _array(tag + name, dims)]
            if not dims and name == graph.NAMELESS and depth < DEPTH:
                self._add(self.types.struct_of(inner), path + ".", offset, depth + 1)

    def _spelling(self, spelling: str, dims: tuple[int, ...], inner: int) -> str:
        """A type that is no structure, as a name from which a reader without the graph learns the same."""
        node = self.types.node(inner)
        base, told = dimensions(bare(spelling))
        is_char = node.kind == graph.INT and node.name == "char"
        if told == dims and len(spelling) <= MAX_TYPE and (is_address(base) or not self.types.meant(base)):
            if node.kind == graph.PTR and self._is_another(bare(base)[:-1].rstrip(), node.target):
                return _array("void *", dims)
            if node.kind not in (graph.INT, graph.ENUM):
                return spelling
            if (base in SIGNED) == node.signed and (base == "char") == is_char:
                return spelling
        if node.kind == graph.PTR:
            return _array("void *", dims)
        if is_char and dims:
            return _array("char", dims)
        if node.kind in (graph.INT, graph.ENUM):
            return _array(f"{'' if node.signed else 'u'}int{8 * node.size}_t", dims)
        return _array("void", dims)

    def _is_another(self, name: str, number: int) -> bool:
        """Whether a reader would take the structure of that name for what is pointed at, which is another one."""
        found = self.types.meant(name)
        _, inner, _ = self.types.resolve(number)
        declared = self.types.node(inner).kind in graph.DECLARED
        return found != 0 and not declared and not self.types.is_same(found, inner)


def _array(base: str, dims: tuple[int, ...]) -> str:
    return f"{base} {''.join(f'[{n}]' if n else '[]' for n in dims)}".rstrip()
