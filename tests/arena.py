"""A piece of a kernel's memory, and no dump around it: for parsers that take all they need from the memory."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from pykvm_fixtures.linux.log import Form, Structures

import pykvm
from pykvm.images.vmcoreinfo import VmcoreInfo
from pykvm.types.layout import Field, Types

FORMS = {
    "64": Form(8, 8, "little"),
    "64-spare": Form(8, 8, "little", spare=24),
    "64-big": Form(8, 8, "big", spare=8),
    "i386": Form(4, 4, "little"),
    "arm": Form(4, 8, "little", spare=4),
    "32-big": Form(4, 4, "big"),
}


class Arena:
    """What is defined lies together; it is read as a handle reads memory, and one error for what is not there."""

    base = 0xC0100000
    unreadable = None

    def __init__(self, form: Form) -> None:
        self.form = form
        self.data = bytearray(64)
        for kind in ("u32", "u64", "i32", "i64"):
            setattr(self, f"read_{kind}", self._reader(int(kind[1:]) // 8, kind[0] == "i"))
        self.read_ptr = self._reader(form.word, False)

    def _reader(self, size: int, signed: bool) -> Any:
        order: Any = self.form.byteorder
        return lambda addr: int.from_bytes(self.read(addr, size), order, signed=signed)

    def define(self, name: str, data: bytes) -> int:
        self.data += bytes(-len(self.data) % 8)
        at = self.base + len(self.data)
        self.data += data
        return at

    def write(self, addr: int, data: bytes) -> None:
        self.data[addr - self.base : addr - self.base + len(data)] = data

    def poke(self, addr: int, value: int, size: int) -> None:
        self.write(addr, self.form.integer(value, size))

    def read(self, addr: int, n: int) -> bytes:
        if not self.base <= addr <= addr + n <= self.base + len(self.data):
            raise pykvm.AddressError(f"invalid address ({addr:x})", addr)
        return bytes(self.data[addr - self.base : addr - self.base + n])

    def read_cstr(self, addr: int, limit: int) -> bytes:
        self.read(addr, 1)
        return bytes(self.data[addr - self.base : addr - self.base + limit]).split(b"\0", 1)[0]

    def walk_list(self, head: int, next_offset: int, limit: int) -> list[int]:
        found = [head]
        while (following := self.read_ptr(found[-1] + next_offset)) != head:
            if following in found or len(found) > limit:
                raise pykvm.KvmError(f"list at {head:x} loops")
            found.append(following)
        return found


def types(structures: Structures) -> Types:
    """Layouts as the kernel's types give them."""
    known = Types("arena")
    for name, size in structures.sizes.items():
        members = {m: (at, structures.widths[s, m]) for (s, m), at in structures.offsets.items() if s == name}
        known.add(name, size, {m: Field(at, width, "long") for m, (at, width) in members.items()})
    return known


def target(
    arena: Arena, lines: dict[str, str], *, known: Types | None = None, symbols: dict[str, int] | None = None
) -> tuple[Any, Any]:
    """A target and its parts as far as parsers look at them: what VMCOREINFO, types and symbols say."""
    info = VmcoreInfo("".join(f"{k}={v}\n" for k, v in lines.items()).encode())
    found = {name: SimpleNamespace(value=value) for name, value in (symbols or {}).items()}
    image = SimpleNamespace(path="vmcore", files=[SimpleNamespace(size=1 << 20)], live=False)
    parts = SimpleNamespace(memory=arena, image=image, symbols=SimpleNamespace(find=found.get, flaw=None))
    kernel = SimpleNamespace(
        types=known if known is not None else Types(),
        vmcoreinfo=info,
        pointer_size=arena.form.word,
        byteorder=arena.form.byteorder,
        tables=lambda image: SimpleNamespace(levels=(1, 2, 3)),
        loadavg=lambda parts: [0.5, 1.0, 2.25],
    )
    return kernel, parts
