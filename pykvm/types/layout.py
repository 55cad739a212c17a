"""Structure layouts: name -> offset, size, type; also as the JSON files of `--layout`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any, NamedTuple

from pykvm.errors import FormatError, KvmError
from pykvm.images.hostfile import HostFile
from pykvm.types.decode import CODES, SIGNED, element

MAX_STRUCT = 1 << 20
MAX_FILE = 64 << 20
MAX_TYPE = 1024  # characters of a C type


class Field(NamedTuple):
    """A member: offset and size in bytes from the start of its structure, and its C type."""

    offset: int
    size: int
    type: str


class Struct:
    """One structure: `name`, `size` in bytes, `fields` by name; nested members as `outer.inner`."""

    def __init__(self, name: str, size: int, fields: Mapping[str, Field], types: Types) -> None:
        self.name = name
        self.size = size
        self.fields = fields
        self.types = types
        self.plan: dict[str, Any] = {}  # what a StructView has worked out for it

    def field(self, path: str) -> Field:
        """The member at a dotted path, followed into structures that have an entry of their own; through a pointer
        (task_struct's mm.arg_start) the offset is that in the structure pointed at.

        KvmError if there is no such member.
        """
        found = self._follow(path)
        if found is None:
            raise KvmError(f"struct {self.name} has no member {path}")
        return found

    def offset(self, path: str) -> int:
        """Offset in bytes of a member, as field() finds it."""
        return self.field(path).offset

    def __contains__(self, path: str) -> bool:
        return self._follow(path) is not None

    def _follow(self, path: str) -> Field | None:
        direct = self.fields.get(path)
        if direct is not None:
            return direct
        head = path
        while "." in head:
            head = head.rpartition(".")[0]
            outer = self.fields.get(head)
            inner = self.types.structure_of(outer.type) if outer is not None else None
            if outer is not None and inner is None and outer.type.endswith(" *"):
                # Through a pointer: where the member lies in what it points at.
                pointed = self.types.structure_of(outer.type.removeprefix("const ")[:-2])
                found = pointed._follow(path[len(head) + 1 :]) if pointed is not None else None
                if found is not None:
                    return found
            if outer is not None and inner is not None and inner is not self:
                found = inner._follow(path[len(head) + 1 :])
                if found is not None:
                    return Field(outer.offset + found.offset, found.size, found.type)
        return None

    def __repr__(self) -> str:
        return f"<struct {self.name}, {self.size} bytes, {len(self.fields)} members>"


class Types(Mapping[str, Struct]):
    """The structures of one kernel, by name."""

    def __init__(self, source: str = "") -> None:
        self.source = source
        self._structs: dict[str, Struct] = {}

    def struct(self, name: str) -> Struct:
        """A structure by its tag; KvmError if it is not known."""
        found = self._structs.get(name)
        if found is None:
            raise KvmError(f"struct {name}: no layout of it is known for this kernel")
        return found

    def structure_of(self, c_type: str) -> Struct | None:
        """The structure that a C type such as "struct proc" names, if it is known."""
        return self._structs.get(c_type[7:]) if c_type.startswith("struct ") else None

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
                        f"{other.source}: struct {name}: {member}: {list(given)!r:.200} cannot stand for {list(field)}"
                    )

    def as_json(self) -> dict[str, Any]:
        """The form of a layout file."""
        return {s.name: {"size": s.size, "fields": {n: list(f) for n, f in s.fields.items()}} for s in self.values()}

    def __getitem__(self, name: str) -> Struct:
        return self._structs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._structs)

    def __len__(self) -> int:
        return len(self._structs)


def _alike(old: Field, new: Field) -> bool:
    """Whether both are a number, text, an array of as many numbers, or the same structure."""
    (base, count), (new_base, new_count) = element(old.type), element(new.type)
    if base.startswith("struct ") and not base.endswith(("*", "}")):
        return old.type == new.type
    if old.size // (count or 1) not in CODES:
        return True  # what is no number is not looked into
    if base == "char" and count is not None:
        return new_base == "char" and new_count is not None
    if new_base.startswith("struct ") and not new_base.endswith("*"):
        return False
    pointer = old.type.endswith(("*", ")"))
    return count == new_count and new.size // (new_count or 1) in CODES and not (pointer and new_base in SIGNED)


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
    name = os.fsdecode(path)
    file = HostFile(name)  # which refuses what is no file
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
    text = resources.files("pykvm.types").joinpath(f"data/{name}.json").read_text("utf-8")
    return from_json(json.loads(text), name)
