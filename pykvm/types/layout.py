"""Structure layouts: name -> offset, size, type; also as the JSON files of `--layout`."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from pykvm.errors import FormatError, KvmError
from pykvm.loading import loading
from pykvm.types.decode import CODES, FLOATS, SIGNED, Form, bare, dimensions, is_address, spelled_bits

MAX_STRUCT = 1 << 24  # Linux built for 8192 CPUs has structures of some megabytes
MAX_FILE = 64 << 20
MAX_TYPE = 1024  # characters of a C type
MAX_DIGITS = 10  # of an index
DATA = os.path.join(os.path.dirname(__file__), "data")  # noqa: PTH118, PTH120 - pathlib takes longer to load than all


class Field(NamedTuple):
    """A member: offset and size in bytes from the start of its structure, and its C type.

    A bit field's bytes are those that hold any of its bits, its type is "int : 3@5": three bits, the last of which is
    bit 5 of these bytes read as one integer of the target's byte order. A type without a name is "struct {...}".
    """

    offset: int
    size: int
    type: str
    source: tuple[Types, int] | None = None  # whose type it is, and its number there, where that is known


def checked(name: str) -> str:
    """A name that a user gave."""
    if not isinstance(name, str):
        raise TypeError(f"a name is a str, not {type(name).__name__}")
    return name


class Struct:
    """One structure or union: `name` (of a nameless one "{...}"), `size` in bytes, `fields` by name.

    Members of nameless members are its own, as in C. Members of structures that have a layout of their own are found
    through it; where a file has none for them they are fields here, as `outer.inner`.
    """

    def __init__(self, name: str, size: int, fields: Mapping[str, Field], types: Types) -> None:
        self.name = name
        self.size = size
        self.fields = fields
        self.types = types
        self.plan: dict[str, Any] = {}  # what a StructView has worked out for it

    def field(self, path: str) -> Field:
        """The member at a dotted path, followed into structures and to elements of arrays (`numbers[0].nr`); through
        a pointer (task_struct's mm.arg_start) the offset is that in the structure pointed at.

        KvmError if there is no such member.
        """
        found = self._follow(checked(path))
        if found is None:
            raise KvmError(f"struct {self.name} has no member {path}")
        return found

    def offset(self, path: str) -> int:
        """Offset in bytes of a member, as field() finds it; of a bit field, of the first byte with a bit of it."""
        return self.field(path).offset

    def __contains__(self, path: str) -> bool:
        return self._follow(path) is not None

    def _follow(self, path: str) -> Field | None:
        direct = self._element(path)
        if direct is not None:
            return direct
        head = path
        while "." in head:
            head = head.rpartition(".")[0]
            outer = self._element(head)
            if outer is None:
                continue
            form, rest = self.types.form(outer), path[len(head) + 1 :]
            if form.struct is not None and not form.dims and form.struct is not self:
                found = form.struct._follow(rest)
                if found is not None:
                    return found._replace(offset=outer.offset + found.offset)
            elif form.struct is None and not form.dims:
                # Through a pointer: where the member lies in what it points at.
                pointed = self.types.pointee(outer)
                found = pointed._follow(rest) if pointed is not None else None
                if found is not None:
                    return found
        return None

    def _element(self, path: str) -> Field | None:
        """A field of this structure, or (`name[2]`) an element of one that is an array."""
        direct = self.fields.get(path)
        if direct is not None or not path.endswith("]"):
            return direct
        array, _, index = path[:-1].rpartition("[")
        if not index.isdecimal() or len(index) > MAX_DIGITS:
            return None
        outer = self._element(array)
        return self.types.element(outer, int(index)) if outer is not None else None

    def __repr__(self) -> str:
        return f"<struct {self.name}, {self.size} bytes, {len(self.fields)} members>"


class Types(Mapping[str, Struct]):
    """The structures of one kernel, by name: a structure's or union's tag, or a typedef of a structure."""

    def __init__(self, source: str = "") -> None:
        self.source = source
        self._structs: dict[str, Struct] = {}

    def struct(self, name: str) -> Struct:
        """A structure; KvmError if it is not known.

        name: a tag ("task_struct", "struct task_struct", "union thread_union") or a typedef ("atomic_t"). Of several
        with one name, a structure comes before a union and that before a typedef.
        """
        found = self.get(checked(name))
        if found is None:
            raise KvmError(f"struct {name}: no layout of it is known for this kernel")
        return found

    def same_named(self, name: str) -> list[Struct]:
        """All structures with this tag: a kernel's files may have one each, which only they know."""
        found = self.get(name)
        return [found] if found is not None else []

    def enum(self, name: str) -> Mapping[str, int]:
        """The constants of an enum, by its tag or typedef; KvmError if it is not known."""
        found = self.enumerators(name)
        if not found:
            raise KvmError(f"enum {name}: not known for this kernel")
        return found

    def enumerators(self, name: str) -> Mapping[str, int]:
        """As enum(), but empty if it is not known."""
        return {}

    def constant(self, name: str, default: int | None = None) -> int | None:
        """The value of a constant of whatever enum; default if none has it."""
        return default

    def structure_of(self, c_type: str) -> Struct | None:
        """The structure that a C type such as "struct proc" names, if it is known."""
        return None if is_address(c_type) else self.get(c_type)

    def form(self, field: Field) -> Form:
        """What a member's type comes to."""
        if field.source is not None:
            types, number = field.source
            return types.form_of(number, spelled_bits(field.type)[1])
        c_type, bits = spelled_bits(field.type)
        base, dims = dimensions(bare(c_type))
        struct = self.structure_of(base)
        plain = is_address(base) or not (base.startswith(("struct", "union")) or base in FLOATS)
        return Form(struct, dims, base in SIGNED, base == "char", plain and struct is None, bits)

    def form_of(self, number: int, bits: tuple[int, int] | None) -> Form:
        """What the type of that number comes to: where types have numbers."""
        raise NotImplementedError

    def pointee(self, field: Field) -> Struct | None:
        """The structure that a member points at, if it is known."""
        if field.source is not None:
            return field.source[0].pointee_of(field.source[1])
        c_type = bare(field.type)
        return self.structure_of(c_type[:-1].rstrip()) if c_type.endswith("*") else None

    def pointee_of(self, number: int) -> Struct | None:
        """The structure that the type of that number points at."""
        raise NotImplementedError

    def element(self, field: Field, index: int) -> Field | None:
        """An element of a member that is an array; None if it is none, or has not so many elements. Of a flexible
        array there is any."""
        if field.source is not None:
            return field.source[0].element_of(field, index)
        base, dims = dimensions(bare(field.type))
        if not dims or (dims[0] and index >= dims[0]):
            return None
        inner = self.structure_of(base)
        size = field.size // dims[0] if dims[0] else inner.size if inner is not None and len(dims) == 1 else 0
        rest = "".join(f"[{n}]" for n in dims[1:])
        return Field(field.offset + index * size, size, f"{base} {rest}".rstrip()) if size else None

    def element_of(self, field: Field, index: int) -> Field | None:
        """As element(), of a field whose type has a number here."""
        raise NotImplementedError

    def add(self, name: str, size: int, fields: Mapping[str, Field]) -> None:
        """Add a structure, or replace the one of that name."""
        self._structs[name] = Struct(name, size, fields, self)

    def update(self, other: Types) -> None:
        """Take over all structures of another set: they win. FormatError if a member that was known before is now of
        another kind."""
        before = {name: self._structs[name] for name in other if name in self._structs}
        for struct in other.values():
            self.add(struct.name, struct.size, struct.fields)
        for name, struct in before.items():
            for member, given in other[name].fields.items():
                field = struct.fields.get(member)
                if field is not None and not _alike(field, given):
                    raise FormatError(
                        f"{other.source}: struct {name}: {member}: {list(given[:3])!r:.200} cannot stand for "
                        f"{list(field[:3])}"
                    )

    def bodies(self, names: Iterable[str] | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
        """The entries of a layout file, one after another, of all structures or of those named."""
        for name in self if names is None else names:
            struct = self[name]
            yield name, {"size": struct.size, "fields": {n: list(f[:3]) for n, f in struct.fields.items()}}

    def as_json(self) -> dict[str, Any]:
        """The form of a layout file."""
        return dict(self.bodies())

    def __getitem__(self, name: str) -> Struct:
        found = self._structs.get(name)
        if found is None:
            found = self._structs[name.removeprefix("struct ").removeprefix("union ")]
        return found

    def __contains__(self, name: object) -> bool:
        try:
            return isinstance(name, str) and self[name] is not None
        except KeyError:
            return False

    def __iter__(self) -> Iterator[str]:
        return iter(self._structs)

    def __len__(self) -> int:
        return len(self._structs)

    def __bool__(self) -> bool:
        return next(iter(self), None) is not None  # len() looks at every type of a kernel


def _alike(old: Field, new: Field) -> bool:
    """Whether both are a number, text, an array of as many numbers, or the same structure."""
    (base, dims), (new_base, new_dims) = dimensions(old.type), dimensions(new.type)
    if base.startswith("struct ") and not base.endswith(("*", "}")):
        return old.type == new.type
    if old.size // (math.prod(dims) or 1) not in CODES:
        return True  # what is no number is not looked into
    if base == "char" and dims:
        return new_base == "char" and new_dims != ()
    if new_base.startswith("struct ") and not new_base.endswith("*"):
        return False
    width = new.size // (math.prod(new_dims) or 1)
    return dims == new_dims and width in CODES and not (is_address(old.type) and new_base in SIGNED)


def from_json(data: Any, source: str) -> Types:
    """Types from a layout file's contents; FormatError names the structure and member that make no sense."""
    types = Types(source)
    if not isinstance(data, dict):
        raise FormatError(f"{source}: a layout file is an object of structures")
    for name, body in data.items():
        if not (isinstance(body, dict) and isinstance(body.get("fields"), dict) and _number(body.get("size"))):
            raise FormatError(f"{source}: struct {name}: needs a size and fields")
        fields = {}
        for member, entry in body["fields"].items():
            if not (
                isinstance(entry, list)
                and len(entry) == 3
                and _number(entry[0])
                and _number(entry[1])
                and isinstance(entry[2], str)
                and len(entry[2]) <= MAX_TYPE
                and entry[0] + entry[1] <= body["size"]
            ):
                raise FormatError(
                    f"{source}: struct {name}: {member:.200}: {entry!r:.200} is not [offset, size, type] inside it"
                )
            fields[member] = Field(*entry)
        types.add(name, body["size"], fields)
    return types


def _number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_STRUCT


def load(path: str | bytes | os.PathLike[str] | os.PathLike[bytes]) -> Types:
    """A layout file; KvmError if it cannot be read, FormatError if it is no such file."""
    with loading:
        import json

    with loading:
        from pykvm.images.hostfile import HostFile  # which refuses what is no file

    name = os.fsdecode(path)
    file = HostFile(name)
    try:
        raw = file.pread(0, MAX_FILE + 1)
    finally:
        file.close()
    if len(raw) > MAX_FILE:
        raise FormatError(f"{name}: larger than a layout file can be ({MAX_FILE} bytes)")
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError) as e:
        raise FormatError(f"{name}: not a layout file: {e}") from e
    return from_json(data, name)


def builtin(name: str) -> Types:
    """One of pykvm's own tables for known releases."""
    with loading:
        import json  # takes its time, and few kernels need a table

    try:
        with open(f"{DATA}/{name}.json", encoding="utf-8") as file:
            text = file.read()
    except OSError as e:  # no more files may be open
        raise KvmError(f"pykvm's own {name}.json: {e.strerror}") from e
    return from_json(json.loads(text), name)
