"""BTF: what it says, in either byte order, and what damaged BTF may cost."""

from __future__ import annotations

import contextlib
import json
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import btf_maker
import pytest
from bounds import SLOW
from btf_maker import CONST, FWD, PTR, RESTRICT, TYPE_TAG, TYPEDEF, VOLATILE, Maker
from hypothesis import given, settings
from hypothesis import strategies as st

import pykvm
from pykvm.cli import main
from pykvm.types import kernel_types
from pykvm.types.btf import BtfTypes
from pykvm.types.layout import Types, load
from pykvm.types.view import StructView

ORDERS = {"<": "little", ">": "big"}


@pytest.fixture(params=ORDERS)
def m(request: pytest.FixtureRequest) -> Maker:
    return Maker(request.param)


def read(m: Maker, pointer_size: int | None = 8, base: BtfTypes | None = None) -> BtfTypes:
    return BtfTypes(m.data(), "a dump", pointer_size, base)


def view(types: Types, name: str, data: bytes, m: Maker) -> StructView:
    return StructView(types.struct(name), data, 0, ORDERS[m.order])


def test_spelling(m: Maker) -> None:
    char, u32 = m.integer("char", 1), m.integer("unsigned int", 4)
    fwd, fwd_union = m.add(FWD, "later"), m.add(FWD, "later_union", flag=1)
    s = m.struct("s", 8, [])
    proto = m.add(btf_maker.FUNC_PROTO, last=u32)
    const_char = m.add(CONST, last=char)
    kinds = {
        "unsigned int": u32,
        "struct s": s,
        "struct s *": m.add(PTR, last=s),
        "const char *": m.add(PTR, last=const_char),
        "char *const": m.add(CONST, last=m.add(PTR, last=char)),
        "const char **": m.add(PTR, last=m.add(PTR, last=const_char)),
        "volatile unsigned int": m.add(VOLATILE, last=u32),
        "char *restrict": m.add(RESTRICT, last=m.add(PTR, last=char)),
        "void *": m.add(PTR),
        "const void *": m.add(PTR, last=m.add(CONST)),
        "unsigned int (*)()": m.add(PTR, last=proto),
        "int_t": m.add(TYPEDEF, "int_t", u32),
        "struct later *": m.add(PTR, last=fwd),
        "union later_union *": m.add(PTR, last=fwd_union),
        "char *": m.add(PTR, last=m.add(TYPE_TAG, "user", char)),
        "char [16]": m.array(char, 16),
        "char [2][16]": m.array(m.array(char, 16), 2),
        "struct s * [3]": m.array(m.add(PTR, last=s), 3),
        "unsigned int []": m.array(u32, 0),
        "enum e": m.enum("e", {"ONE": 1}),
        "enum {...}": m.enum("", {"TWO": 2}),
        "struct {...}": m.struct("", 4, [("x", u32, 0)]),
        "union {...}": m.union("", 4, [("x", u32, 0)]),
        "double": m.add(btf_maker.FLOAT, "double", 8),
    }
    m.struct("all", 4096, [(f"m{i}", number, 64 * 8 * i) for i, number in enumerate(kinds.values())])
    types = read(m)
    assert [f.type for f in types.struct("all").fields.values()] == list(kinds)
    sizes = [f.size for f in types.struct("all").fields.values()]
    assert sizes == [4, 8, 8, 8, 8, 8, 4, 8, 8, 8, 8, 4, 8, 8, 8, 16, 32, 24, 0, 4, 4, 4, 4, 8]
    assert types.struct("all").size == 4096


def test_values(m: Maker) -> None:
    char, s8, u8 = m.integer("char", 1), m.integer("signed char", 1), m.integer("unsigned char", 1)
    s64, u64 = m.integer("long long int", 8, 1), m.integer("long unsigned int", 8)
    boolean, double = m.integer("_Bool", 1, 4), m.add(btf_maker.FLOAT, "double", 8)
    ktime = m.add(TYPEDEF, "ktime_t", m.add(TYPEDEF, "s64", s64))
    comm = m.add(TYPEDEF, "comm_t", m.array(char, 8))
    inner = m.struct("inner", 2, [("a", u8, 0), ("b", s8, 8)])
    members: list[tuple[str, int, int]] = []
    where = 0
    for name, number, size in (
        ("when", ktime, 8), ("comm", comm, 8), ("lines", m.array(comm, 2), 16), ("flag", boolean, 1), ("tiny", s8, 1),
        ("small", u8, 1), ("letter", char, 1), ("pair", m.array(inner, 2), 4), ("d", double, 8), ("u", u64, 8),
        ("grid", m.array(m.array(m.array(s8, 2), 1), 3), 6), ("e", m.enum("", {"B": -1}, 1, 1), 1),
        ("wide", m.enum("wide", {"F": 1 << 40}, 8), 8), ("none", m.array(inner, 0), 0), ("text", m.array(char, 0), 0),
    ):  # fmt: skip
        members.append((name, number, where * 8))
        where += size
    m.struct("s", where, members)
    types = read(m)
    order: Any = ORDERS[m.order]

    def n(value: int) -> bytes:
        return value.to_bytes(8, order, signed=True)

    data = n(-9) + b"idle\0xxx" + b"one\0----12345678" + bytes([1, 0x9C, 200, 65, 1, 0xFF, 3, 4]) + b"8 bytes!" + n(7)
    data += bytes([1, 0xFE, 3, 4, 5, 6]) + b"\xfd" + n(1 << 40)
    found = view(types, "s", data, m)
    assert (found.when, found.comm, found.lines) == (-9, b"idle", (b"one", b"12345678"))
    assert (found.flag, found.tiny, found.small, found.letter) == (1, -100, 200, 65)
    assert [(x.a, x.b) for x in found.pair] == [(1, -1), (3, 4)]
    assert (found.d, found.u, found.e, found.wide) == (b"8 bytes!", 7, -3, 1 << 40)
    assert found.grid == (((1, -2),), ((3, 4),), ((5, 6),))
    assert (found.none, found.text) == ((), b"")
    assert types.struct("s").offset("pair[1].b") == data.index(b"\x03\x04") + 1
    assert types.struct("s").offset("none[5].b") == len(data) + 11
    assert types.struct("s").field("grid[2][0][1]")[:3] == (types.struct("s").offset("grid") + 5, 1, "signed char")
    for path in (
        "pair[2].a",
        "pair[x]",
        "pair.a",
        "grid[3]",
        "grid[0][0][0][0]",
        "when[0]",
        "pair[-1]",
        "pair[]",
        "[0]",
    ):
        assert path not in types.struct("s")


def test_bit_fields(m: Maker) -> None:
    s32, u32, u64, boolean = (
        m.integer("int", 4, 1), m.integer("unsigned int", 4), m.integer("u64", 8), m.integer("_Bool", 1, 4),
    )  # fmt: skip
    # Anything may be before the first; the last ends with the structure, which is smaller than its type.
    fields = [
        ("a", u32, 3),
        ("b", u32, 9),
        ("c", s32, 5),
        ("d", u64, 40),
        ("e", boolean, 1),
        ("", u32, 2),
        ("f", s32, 12),
    ]
    members, where = [], 8
    for name, number, bits in fields:
        members.append((name, number, where, bits))
        where += bits
    m.struct("s", 10, [("first", m.integer("u8", 1), 0), *members])
    types = read(m)
    values = {"a": 5, "b": 300, "c": -7, "d": 0xAB_CDEF_0123, "e": 1, "f": -2000}
    # All bits of memory in the order in which fields are laid: from the lowest on, or from the highest.
    pattern, at = 0, 8
    for name, _, bits in fields:
        value = values.get(name, 3) & (1 << bits) - 1
        pattern |= value << (at if m.order == "<" else 80 - at - bits)
        at += bits
    data = pattern.to_bytes(10, ORDERS[m.order])  # type: ignore[arg-type]
    found = view(types, "s", data, m)
    assert {name: getattr(found, name) for name in values} == values
    assert found.first == 0
    d = types.struct("s").field("d")
    assert (d.offset, d.size) == (3, 6)
    assert set(types.struct("s").fields) == {"first", *values}


def test_bit_fields_of_old_kernels(m: Maker) -> None:
    """Before Linux 5.0 the type says that a member is a bit field: an INT of fewer bits than its bytes have."""
    three, five = m.integer("unsigned int", 4, 0, 3), m.add(TYPEDEF, "five_t", m.integer("int", 4, 1, 5, 3))
    whole = m.integer("unsigned short", 2)
    m.struct("s", 4, [("a", three, 0), ("b", five, 0), ("c", whole, 16)], flag=0)
    types = read(m)
    found = view(
        types, "s", bytes([0b10010101 if m.order == "<" else 0b10110010, 0, *((1, 2), (2, 1))[m.order == "<"]]), m
    )
    assert (found.a, found.b, found.c) == (5, -14, 0x102)


def test_nameless(m: Maker) -> None:
    """Members of nameless members are the structure's own, however deep; those of nameless types behind a name not."""
    u32 = m.integer("u32", 4)
    inner = m.struct("", 8, [("x", u32, 0), ("y", u32, 32)])
    for _ in range(8):
        inner = m.union("", 8, [("", m.add(CONST, last=inner), 0)])
    named = m.struct("", 4, [("z", u32, 0)])
    m.struct("s", 24, [("", inner, 0), ("n", named, 64), ("v", m.array(named, 3), 96), ("x", u32, 64)])
    s = read(m).struct("s")
    assert list(s.fields) == ["x", "y", "n", "v"]
    assert [s.offset(path) for path in ("x", "y", "n.z", "v[2].z")] == [0, 4, 8, 20]
    assert "z" not in s


def test_through_pointers(m: Maker) -> None:
    u32 = m.integer("u32", 4)
    mm = m.struct("mm", 8, [("start", u32, 32)])
    mm_t = m.add(TYPEDEF, "mm_t", m.add(CONST, last=m.add(PTR, last=m.add(VOLATILE, last=mm))))
    nameless = m.add(TYPEDEF, "odd_t", m.struct("", 8, [("q", u32, 0)]))
    later = m.add(FWD, "later")
    m.struct("later", 12, [("l", u32, 64)])
    rows = [("mm", mm_t, 0), ("odd", m.add(PTR, last=nameless), 64), ("later", m.add(PTR, last=later), 128)]
    m.struct(
        "task", 40, [*rows, ("none", m.add(PTR, last=m.add(FWD, "nowhere")), 192), ("pp", m.add(PTR, last=mm_t), 256)]
    )
    task = read(m).struct("task")
    assert [task.offset(path) for path in ("mm.start", "odd.q", "later.l")] == [4, 0, 8]
    for path in ("none.x", "pp.start", "mm.nosuch", "mm[0].start"):
        assert path not in task
        with pytest.raises(pykvm.KvmError, match="struct task has no member"):
            task.offset(path)


def test_one_name_more_than_once(m: Maker) -> None:
    """A structure before a union before a typedef, and of each the first; who refers to one gets the right one."""
    u32 = m.integer("u32", 4)
    m.add(TYPEDEF, "a", m.struct("", 1, []))
    m.union("a", 2, [])
    first, second = m.struct("a", 4, [("p", u32, 0)]), m.struct("a", 8, [("q", u32, 32)])
    m.union("b", 12, [])
    m.add(TYPEDEF, "b", first)
    m.add(TYPEDEF, "u", u32)
    both = [
        ("one", first, 0),
        ("two", second, 32),
        ("to", m.add(PTR, last=second), 96),
        ("many", m.array(second, 2), 160),
    ]
    m.struct("both", 40, both)
    types = read(m)
    assert (types.struct("a").size, types.struct("union a").size, types.struct("b").size) == (4, 2, 12)
    for t in (types.struct("both"), from_layout(types).struct("both")):
        assert (t.offset("one.p"), t.offset("two.q")) == (0, 8)
        assert t.offset("many[1].q") == 32
        assert "two.p" not in t
        assert "to.p" not in t
    assert types.struct("both").offset("to.q") == 4
    assert "u" not in types
    assert sorted(types) == ["a", "b", "both"]


def from_layout(types: Types) -> Types:
    from pykvm.types.layout import from_json

    return from_json(json.loads(json.dumps(types.as_json())), "again")


def test_enums_of_old_kernels(m: Maker) -> None:
    """Before Linux 6.0 enums do not say if they are signed; a value below 0 is no huge one."""
    e = m.enum("e", {"MINUS": -1, "ZERO": 0})
    m.struct("s", 4, [("e", e, 0)])
    types = read(m)
    assert types.enum("e") == {"MINUS": -1, "ZERO": 0}
    assert view(types, "s", b"\xff" * 4, m).e == -1
    m.enum("signed", {"M": -2}, flag=1)  # a new kernel: the first is unsigned then
    types = read(m)
    assert types.enum("e") == {"MINUS": 0xFFFFFFFF, "ZERO": 0}
    assert view(types, "s", b"\xff" * 4, m).e == 0xFFFFFFFF
    assert types.constant("M") == -2


def test_module(m: Maker) -> None:
    """A module's numbers and strings go on behind its kernel's."""
    u32 = m.integer("u32", 4)
    bits = m.integer("old", 4, 0, 5)
    head = m.struct("list_head", 16, [("next", m.add(PTR, last=u32), 0)])
    m.enum("kernels", {"ONE": 1})
    own = Maker(m.order, m)
    mine = own.struct("mine", 8, [("next", u32, 0), ("added", u32, 32)])
    own.struct("outer", 40, [("list", head, 0), ("mine", mine, 128), ("flags", bits, 192)], flag=0)
    own.enum("modules", {"TWO": 2, "ONE": 3})
    kernel = read(m)
    types = read(own, base=kernel)
    assert (types.first, types.end) == (kernel.end, kernel.end + 3)
    outer = types.struct("outer")
    assert (outer.offset("list.next"), outer.offset("mine.added")) == (0, 20)
    assert outer.field("list").type == "struct list_head"
    assert types.form(outer.field("list")).struct is kernel.struct("list_head")
    assert outer.field("flags").type == f"old : 5@{0 if m.order == '<' else 3}"
    assert set(types) == {"mine", "outer"}
    assert "list_head" not in types
    assert (types.enum("modules"), types.constant("ONE"), types.enumerators("kernels")) == ({"TWO": 2, "ONE": 3}, 3, {})
    with pytest.raises(pykvm.FormatError, match="a dump: BTF type at offset 0 makes no sense"):
        read(own)
    none = Maker(m.order, m)  # needs no strings of its own
    none.struct("list_head", 4, [("next", u32, 0)])
    assert none.strings == b""
    assert list(read(none, base=kernel)) == ["list_head"]
    assert list(read(Maker(m.order, m), base=kernel)) == []


def test_pointer_size(m: Maker) -> None:
    """BTF alone does not say it: long has it."""
    m.struct("s", 8, [("p", m.add(PTR), 0)])
    assert read(m, None).struct("s").field("p").size == 8
    m.integer("long unsigned int", 4)
    assert read(m, None).struct("s").field("p").size == 4


def test_file(m: Maker, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is nothing but BTF, as /sys/kernel/btf/vmlinux."""
    ktime = m.add(TYPEDEF, "ktime_t", m.integer("long long int", 8, 1))
    e = m.enum("e", {"X": -1}, 1, 1)
    nameless = m.struct(
        "", 4, [("z", m.integer("char", 1), 0), ("a", m.add(TYPEDEF, "atomic_t", m.struct("", 2, [])), 16)]
    )
    m.struct("s", 40, [("k", ktime, 0), ("e", e, 64), ("v", m.array(nameless, 2), 96), ("n", nameless, 160)])
    m.struct("large", (1 << 24) + 1, [])
    path = tmp_path / "btf"
    path.write_bytes(m.data())
    assert set(kernel_types(path)) == {"s", "atomic_t", "large"}
    assert set(kernel_types(path, ["s"])) == {"s", "s.v"}
    assert main(["layout", str(path)]) == 0
    out = capsys.readouterr().out
    assert json.loads(out) == {
        "atomic_t": {"size": 2, "fields": {}},
        "s": {
            "size": 40,
            "fields": {
                "k": [0, 8, "int64_t"],
                "e": [8, 1, "int8_t"],
                "v": [12, 8, "struct s.v [2]"],
                "n": [20, 4, "struct {...}"],
                "n.z": [20, 1, "uint8_t"],
                "n.a": [22, 2, "atomic_t"],
            },
        },
        "s.v": {"size": 4, "fields": {"z": [0, 1, "uint8_t"], "a": [2, 2, "atomic_t"]}},
    }
    (tmp_path / "layout.json").write_text(out)
    loaded = load(tmp_path / "layout.json")
    assert loaded.struct("s").offset("v[1].a") == 18
    found = StructView(loaded.struct("s"), bytes(8) + b"\xff" * 32, 0, ORDERS[m.order])
    assert (found.k, found.e, found.v[1].z, found.n.z, bytes(found.n.a)) == (0, -1, 255, 255, b"\xff\xff")
    assert main(["layout", str(path), "nosuch", "s"]) == 1
    assert capsys.readouterr().err == f"pykvm: {path}: no struct nosuch\n"
    path.write_bytes(Maker(m.order).data())
    assert main(["layout", str(path)]) == 0
    assert json.loads(capsys.readouterr().out) == {}


# -- damage -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"magic": 0x1111}, "BTF magic is 0x1111, must be 0xeb9f"),
        ({"type_len": 1 << 31}, "BTF type_off 0, type_len 2147483648: beyond its"),
        ({"str_off": 0xFFFFFFFF}, "BTF str_off 4294967295, str_len"),
        ({"hdr_len": 0xFFFFFFFF}, "BTF type_off 0, type_len"),
        ({"type_len": 3}, "BTF type at offset 0 makes no sense"),
        ({"type_off": 1 << 20}, "BTF type_off 1048576, type_len"),
        ({"str_len": 0}, "BTF str_off 16, str_len 0: the last string has no end"),
    ],
)
def test_wrong_header(m: Maker, header: dict[str, int], message: str) -> None:
    m.integer("int", 4)
    with pytest.raises(pykvm.FormatError, match=f"^a dump: {message}"):
        BtfTypes(m.data(**header), "a dump", 8)


RECORDS: dict[str, Callable[[Maker], object]] = {
    "unknown kind": lambda m: m.add(20),
    "kind 0": lambda m: m.add(0),
    "vlen beyond the end": lambda m: m.add(btf_maker.STRUCT, "s", 4, m.words(0, 1, 0), 65535),
    "no such type": lambda m: m.add(PTR, last=99),
    "member of no such type": lambda m: m.struct("s", 4, [("x", 99, 0)]),
    "array of no such type": lambda m: m.array(99, 1),
    "cut": lambda m: setattr(m, "types", m.types + bytes(11)),
}


@pytest.mark.parametrize("make", RECORDS.values(), ids=list(RECORDS))
def test_wrong_record(m: Maker, make: Callable[[Maker], object]) -> None:
    m.integer("int", 4)
    make(m)
    with pytest.raises(pykvm.FormatError, match=r"^a dump: BTF type at offset 16 makes no sense$"):
        read(m)


def test_names_nowhere(m: Maker) -> None:
    m.types += m.words(5, btf_maker.STRUCT << 24, 4)
    with pytest.raises(pykvm.FormatError, match="makes no sense"):
        read(m)
    m.strings += b"1234x"  # now there, and without its NUL
    with pytest.raises(pykvm.FormatError, match="a dump: BTF str_off 12, str_len 6: the last string has no end"):
        read(m)
    m.strings += b"\0"
    assert list(read(m)) == ["x"]


@contextlib.contextmanager
def cheap() -> Iterator[None]:
    tracemalloc.start()
    start = time.process_time()
    try:
        yield
        assert time.process_time() - start < 5 * SLOW
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def use(types: BtfTypes) -> None:
    """Everything that can be asked of every structure."""
    for name in list(types)[:1000]:
        with contextlib.suppress(pykvm.KvmError):
            s = types.struct(name)
            found = StructView(s, bytes(min(s.size, 1 << 16)), 0, types.byteorder)
            assert repr(s)
            for path in list(s.fields)[:100]:
                with contextlib.suppress(pykvm.KvmError, IndexError):
                    field = s.fields[path]
                    assert 0 <= field.offset <= field.offset + field.size <= s.size
                    for step in ("", ".x", "[1]", ".x.x.x", "[0].x"):
                        assert (path + step in s) in (True, False)
                    if s.size <= 1 << 16:
                        getattr(found, path)
    for name in ("e", "s", "x"):
        types.enumerators(name)
        types.constant(name)
    for name, body in types.bodies():
        assert all(at + size <= body["size"] for at, size, _ in body["fields"].values()), name


def test_loops(m: Maker) -> None:
    n = m.number
    m.add(TYPEDEF, "t", n + 2)  # of each other
    m.add(TYPEDEF, "u", n + 1)
    m.add(CONST, last=n + 3)  # of itself
    m.add(PTR, last=n + 4)
    m.array(n + 5, 2)
    m.struct("s", 64, [("x", n + 6, 0), ("", n + 6, 8)])
    m.union("", 64, [("x", n + 7, 0), ("", n + 7, 0)])
    rows = [("t", n + 1, 0), ("c", n + 3, 0), ("x", n + 4, 64), ("a", n + 5, 128), ("u", n + 7, 0), ("", n + 7, 0)]
    m.struct("all", 64, rows)
    types = read(m)
    with cheap():
        use(types)
    s = types.struct("all")
    assert s.field("t").size == s.field("c").size == s.field("a").size == 0
    assert "t" not in types
    assert s.field("x").type == "void" + " *" + "*" * 32


def test_holds_itself_many_times(m: Maker) -> None:
    """A nameless union of 1000 members, each of them itself; with names and without."""
    for name in ("", "x"):
        inner = m.number + 1
        m.union("", 8, [(f"{name}{i if name else ''}", inner, 0) for i in range(1000)])
        m.struct(f"s{name}", 8, [("", inner, 0), ("n", inner, 0), ("v", m.number + 2, 0)])
        m.array(inner, 1)
    with cheap():
        use(read(m))


@pytest.mark.parametrize("count", [0xFFFFFFFF, 1 << 20, 1 << 16])
def test_huge_arrays(m: Maker, count: int) -> None:
    nothing = m.struct("nothing", 0, [])
    byte = m.integer("u8", 1)
    deep = byte
    for _ in range(20):
        deep = m.array(deep, count)
    m.struct("s", 16, [("none", m.array(nothing, count), 0), ("many", m.array(byte, count), 0), ("deep", deep, 0)])
    types = read(m)
    s = types.struct("s")
    with cheap():
        use(types)
        assert s.field("none").size == 0
        for member in ("many", "deep"):
            with pytest.raises(pykvm.FormatError, match=r"bytes \(at most 16777216\)|are not within its 16"):
                s.field(member)
        if count > 1 << 18:
            with pytest.raises(pykvm.FormatError, match="none has 0 bytes, but"):
                _ = view(types, "s", bytes(16), m).none


def test_many_names_that_are_one(m: Maker) -> None:
    """So many types of one name, or one hash, are damage: they would make every search slow."""
    record = m.words(m.text("t"), TYPEDEF << 24, 0)
    m.types += record * 500_000
    start = time.process_time()
    with pytest.raises(pykvm.FormatError, match="a dump: BTF type at offset 5987700 makes no sense"):
        read(m)
    m.types = record * 1000
    types = read(m)
    assert list(types) == []
    assert "struct t" not in types
    assert time.process_time() - start < 2 * SLOW


def test_members_outside(m: Maker) -> None:
    u64 = m.integer("u64", 8)
    rows = [("in", u64, 0), ("over", u64, 8), ("far", u64, 0xFFFFFF, 0), ("bits", u64, 60, 9)]
    m.struct("s", 8, rows)
    s = read(m).struct("s")
    assert s.offset("in") == 0
    for member in ("over", "far", "bits"):
        with pytest.raises(pykvm.FormatError, match=f"^a dump: struct s: {member}: .* are not within its 8$"):
            s.offset(member)


def sample(order: str = "<") -> bytes:
    m = Maker(order)
    u32, char = m.integer("u32", 4), m.integer("char", 1)
    e = m.enum("e", {"x": 1, "y": -1})
    head = m.struct("s", 16, [("x", m.add(PTR, last=m.number + 2), 0), ("p", m.add(PTR), 64)])
    nameless = m.union("", 8, [("a", u32, 0), ("b", m.array(char, 8), 0), ("f", u32, 3, 7)])
    members = [("h", head, 0), ("", nameless, 128), ("v", m.array(head, 2), 192), ("n", nameless, 448), ("e", e, 512)]
    m.struct("t", 68, members)
    m.add(TYPEDEF, "x", m.add(CONST, last=nameless))
    m.enum("wide", {"z": 1 << 33}, 8)
    return m.data()


SAMPLES = [sample("<"), sample(">")]


def test_samples_are_right() -> None:
    for raw in SAMPLES:
        types = BtfTypes(raw, "x", 8)
        assert sorted(types) == ["s", "t", "x"]
        use(types)


@settings(max_examples=500, deadline=None)
@given(data=st.data())
def test_damage(data: Any) -> None:
    raw = bytearray(data.draw(st.sampled_from(SAMPLES)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        new = data.draw(
            st.one_of(
                st.binary(min_size=1, max_size=6), st.sampled_from([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\1\0\0\0"])
            )
        )
        raw[at : at + len(new)] = new
    cut = data.draw(st.one_of(st.none(), st.integers(0, len(raw))))
    with contextlib.suppress(pykvm.KvmError):
        use(BtfTypes(bytes(raw[:cut]), "x", 8))
