"""Tables of exported symbols, as the C core sees them. Run under valgrind and the sanitizers too."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest
from bounds import SLOW
from hypothesis import given, settings
from hypothesis import strategies as st
from pykvm_fixtures.linux.exports import SHAPES, tables

from pykvm._native.ffi import ffi, lib
from pykvm.symbols import kallsyms, ksymtab
from pykvm.symbols.base import Symbols

pytestmark = pytest.mark.core
BASE = 0xC1000000
NAMES = {f"{'__' * (i % 3)}fn_{i}" + ("$rust.name" if i == 7 else ""): BASE + 0x10 * i for i in range(60)}


def shape_of(kind: str, word: int, big: bool = False) -> Any:
    fields, relative = SHAPES[kind]
    return ffi.new("pk_ksymtab_shape *", (BASE, 4 if relative else word, fields, relative, big))


def exact(data: bytes) -> Any:
    """Memory of exactly this size, so that a byte too many is seen."""
    buf = ffi.new("uint8_t[]", max(len(data), 1))
    ffi.memmove(buf, data, len(data))
    return buf


def runs(data: bytes, shape: Any, least: int = 10) -> list[tuple[int, int]]:
    """(where, how many) of all runs at multiples of the entries' size."""
    at, found, buf = ffi.new("uint64_t *"), [], exact(data)
    while count := lib.pk_ksymtab_find(buf, len(data), shape, least, at):
        found.append((at[0], count))
        at[0] += count * shape.width * shape.fields
    return found


def entries(data: bytes, shape: Any, start: int, count: int) -> dict[str, int]:
    value, name, size, buf = ffi.new("uint64_t *"), ffi.new("char **"), ffi.new("uint64_t *"), exact(data)
    found = {}
    for i in range(count):
        at = start + i * shape.width * shape.fields
        assert lib.pk_ksymtab_entry(buf, len(data), shape, at, value, name, size) == 1
        found[bytes(ffi.buffer(name[0], size[0])).decode()] = value[0]
    return found


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("word", [4, 8])
@pytest.mark.parametrize("kind", list(SHAPES))
def test_tables(kind: str, word: int, order: str) -> None:
    shape = shape_of(kind, word, order == "big")
    step = shape.width * shape.fields
    before = bytes(range(0xA0, 0xA0 + step)) * 5
    data = before + tables(BASE + len(before), NAMES, word, kind, order)
    assert runs(data, shape) == [(5 * step, 40), (45 * step, 20)]  # two tables, each sorted
    names = sorted(NAMES)
    assert list(entries(data, shape, 45 * step, 20)) == names[::3]
    assert entries(data, shape, 5 * step, 60) == NAMES
    assert not runs(data, shape, least=41)
    for other in SHAPES:
        assert other == kind or not runs(data, shape_of(other, 12 - word, order == "big"))


def test_what_is_no_entry() -> None:
    data = tables(BASE, NAMES, 8, "5.4")
    shape = shape_of("5.4", 8)
    out = ffi.new("uint64_t *"), ffi.new("char **"), ffi.new("uint64_t *")
    for at in (len(data), len(data) - 11, 1 << 63, (1 << 64) - 1, 1):
        assert lib.pk_ksymtab_entry(exact(data), len(data), shape, at, *out) == 0
    assert runs(data[:-1], shape)[0] == (0, 39)  # the last name does not end
    cut = data[: 60 * 12 + 300]  # the names end here, the last without a NUL
    assert sum(count for _, count in runs(cut, shape, 1)) < 60
    for bad in (b"\xff", b" ", b"-"):
        broken = data.replace(b"fn_30\0", b"fn" + bad + b"30\0")
        assert [count for _, count in runs(broken, shape, 1)][:2] != [40, 20]


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_fuzz(data: Any) -> None:
    """Nothing but entries whose names are there, and ascend."""
    kind = data.draw(st.sampled_from(list(SHAPES)))
    word = data.draw(st.sampled_from([4, 8]))
    raw = bytearray(tables(BASE, dict(list(NAMES.items())[: data.draw(st.integers(0, 20))]), word, kind))
    for _ in range(data.draw(st.integers(0, 6))):
        if raw:
            raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    raw = raw[: data.draw(st.integers(0, len(raw)))]
    shape = shape_of(kind, word)
    for at, count in runs(bytes(raw), shape, data.draw(st.integers(1, 5))):
        names = [name.encode() for name in entries(bytes(raw), shape, at, count)]
        assert names == sorted(set(names))
        assert len(names) == count


def test_time() -> None:
    """Entries without number, whose names are long and alike: the search ends."""
    size = 1 << 22
    data = bytearray(b"a" * size)
    data[-1] = 0
    for at in range(0, 1 << 21, 8):  # each names the last 400 bytes
        data[at : at + 8] = bytes(4) + (size - 400 - at - 4).to_bytes(4, "little")
    shape, at = shape_of("4.19", 4), ffi.new("uint64_t *")
    started = time.perf_counter()
    assert lib.pk_ksymtab_find(exact(bytes(data)), size, shape, 2, at) == 0
    assert time.perf_counter() - started < 2 * SLOW


class Flat:
    """Memory in one piece, as pieces.stretch() reads it."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def transfer(self, call: Any, addr: int, buf: Any, n: int, fault: Any) -> int:
        part = self.data[addr - BASE : addr - BASE + n] if addr >= BASE else b""
        ffi.memmove(buf, part, len(part))
        return len(part)


def symbols(values: dict[str, int]) -> Symbols:
    made = Symbols("a dump", "arm", "little", kallsyms.n_type, kallsyms.letter)
    for name, value in values.items():
        made.put(name.encode(), value, 0, ord("T"), True, b"")
    return made


def read(data: bytes, own: dict[str, int], known: dict[str, int] | None = None) -> dict[str, int] | None:
    kernel = kallsyms.Kernel("a dump", "arm", "little", 4, known or {})
    memory: Any = Flat(data)
    found = ksymtab.read(memory, kernel, symbols(own), BASE)
    return None if found is None else {s.name: s.value for s in found.all()}


def test_functions_must_be_where_kallsyms_has_them() -> None:
    names = {f"name_{i:03}": BASE + 0x100 * i for i in range(120)}
    data = bytes(4096) + tables(BASE + 4096, names, 4, "5.4-addresses")
    own = {name: value for i, (name, value) in enumerate(names.items()) if i % 2}
    assert read(data, own) == {name: value for name, value in names.items() if name not in own}
    # Of the two tables, which are judged apart, that of every third name has no function here.
    functions = {name: value for i, (name, value) in enumerate(names.items()) if i % 3}
    assert read(data, functions) is None
    thumb = {name: value | 1 for name, value in names.items()}
    assert read(bytes(64) + tables(BASE + 64, thumb, 4, "4.18"), own) is not None
    moved = {name: value + 4 for name, value in own.items()}
    assert read(data, moved) is None
    few = dict(list(own.items())[:7])
    assert read(data, few) is None
    assert read(data, own, {"name_002": names["name_002"]}) is not None
    assert read(data, own, {"name_002": names["name_002"] + 8}) is None


def test_garbage() -> None:
    rng = random.Random(3)
    own = {f"name_{i:02}": BASE + i for i in range(40)}
    assert read(rng.randbytes(1 << 16), own) is None
    assert read(b"", own) is None
