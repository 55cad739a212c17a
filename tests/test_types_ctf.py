"""CTF: what it says, in both versions and byte orders, and what damaged CTF may cost."""

from __future__ import annotations

import contextlib
import json
import struct
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bounds import SLOW
from hypothesis import given, settings
from hypothesis import strategies as st
from pykvm_fixtures.freebsd import ctf as maker
from pykvm_fixtures.freebsd.ctf import CONST, FORWARD, RESTRICT, SIGNED, TYPEDEF, UNION, VOLATILE, Ctf

import pykvm
from pykvm.cli import main
from pykvm.errors import FormatError, KvmError
from pykvm.images.hostfile import HostFile
from pykvm.types import kernel_types, of_file
from pykvm.types.ctf import CtfTypes, read
from pykvm.types.layout import load
from pykvm.types.view import StructView

ORDERS = {"<": "little", ">": "big"}
SHAPES = [(version, order) for version in (2, 3) for order in ORDERS]
INTEGERS = {"char": (1, True), "u8": (1, False), "int": (4, True), "u32": (4, False), "ulong": (0, False)}
PROC = {
    "proc": (
        1328,
        {
            "p_list": (0, "list_entry"), "p_pid": (188, "int"), "p_state": (184, "enum p_states"),
            "p_flag2": (192, "u32 : 3@2"), "p_pptr": (224, "proc *"), "p_vmspace": (512, "vmspace *"),
            "p_comm": (996, "char [20]"), "p_table": (1200, "u8 [2] [3]"), "p_u": (1240, "either"),
        },
    ),
    "list_entry": (16, {"le_next": (0, "proc *"), "le_prev": (8, "proc * *")}),
    "union either": (8, {"word": (0, "ulong"), "half": (0, "u32 [2]")}),
    "pcpu": (9000, {"pc_curthread": (0, "thread *"), "pc_last": (8996, "int")}),
    "huge": (70000, {"far": (69996, "int")}),
}  # fmt: skip
ENUMS = {"p_states": {"PRS_NEW": 0, "PRS_NORMAL": 1, "PRS_ZOMBIE": 2, "PRS_NOT": -1}}


def proc(version: int = 2, order: str = "<", word: int = 8, compressed: bool = True, linked: bytes = b"") -> bytes:
    return maker.ctf(PROC, INTEGERS, word, version, order, compressed, linked, ENUMS)


@pytest.fixture(params=SHAPES, ids=[f"v{version}{ORDERS[order]}" for version, order in SHAPES])
def c(request: pytest.FixtureRequest) -> Ctf:
    return Ctf(*request.param)


def types_of(c: Ctf, base: CtfTypes | None = None) -> CtfTypes:
    return CtfTypes(c.data(), "a kernel", 8, c.linked, base)


def elf_of(data: bytes, strings: bytes = b"\0", order: str = "<", word: int = 8, link: int = 2, **more: bytes) -> bytes:
    """An ELF file with .SUNW_ctf, which links to .symtab and that to .strtab; link: what the first says. more: further
    sections."""
    sections = [(".SUNW_ctf", 1, data, link), (".symtab", 2, bytes(24), 3), (".strtab", 3, strings, 0)]
    sections += [(f".{name}", 1, contents, 0) for name, contents in more.items()]
    names, at = b"\0", 64 if word == 8 else 52
    sections.append((".shstrtab", 3, b"", 0))
    offsets = []
    for name, *_ in sections:
        offsets.append(len(names))
        names += name.encode() + b"\0"
    sections[-1] = (".shstrtab", 3, names, 0)
    wide = "IIQQQQIIQQ" if word == 8 else "10I"
    body, table = b"", bytes(64 if word == 8 else 40)
    for offset, (_, kind, contents, linked) in zip(offsets, sections, strict=True):
        entry = 24 if kind == 2 else 0
        table += struct.pack(order + wide, offset, kind, 0, 0, at + len(body), len(contents), linked, 0, 1, entry)
        body += contents
    identity = b"\x7fELF" + bytes([word // 4, 1 if order == "<" else 2, 1]) + bytes(9)
    sizes = (64, 56, 0, 64) if word == 8 else (52, 32, 0, 40)
    fields = (2, 62, 1, 0, 0, at + len(body), 0, *sizes, len(sections) + 1, len(sections))
    return identity + struct.pack(order + ("HHIQQQI6H" if word == 8 else "HHIIIII6H"), *fields) + body + table


# -- values -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("version", "order"), SHAPES)
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("word", [4, 8])
def test_structures(version: int, order: str, compressed: bool, word: int) -> None:
    types = CtfTypes(proc(version, order, word, compressed), "a kernel", word)
    assert set(types) == {"proc", "list_entry", "either", "pcpu", "huge"}
    fields = {name: tuple(field[:3]) for name, field in types["proc"].fields.items()}
    assert types["proc"].size == 1328
    assert fields == {
        "p_list": (0, 16, "struct list_entry"),
        "p_pid": (188, 4, "int"),
        "p_state": (184, 4, "enum p_states"),
        "p_flag2": (192, 1, f"u32 : 3@{2 if order == '<' else 3}"),
        "p_pptr": (224, word, "struct proc *"),
        "p_vmspace": (512, word, "struct vmspace *"),
        "p_comm": (996, 20, "char [20]"),
        "p_table": (1200, 6, "u8 [2][3]"),
        "p_u": (1240, 8, "union either"),
    }
    assert tuple(types["pcpu"].field("pc_last")[:3]) == (8996, 4, "int")
    assert (types["huge"].size, types["huge"].offset("far")) == (70000, 69996)
    assert types["proc"].offset("p_list.le_prev") == 8
    assert types["proc"].offset("p_pptr.p_comm[3]") == 999
    assert types["proc"].field("p_table[1]").type == "u8 [3]"
    assert types.enum("p_states") == ENUMS["p_states"]
    assert (types.constant("PRS_NOT"), types.constant("PRS_LOST"), types.constant("PRS_LOST", 7)) == (-1, None, 7)


@pytest.mark.parametrize(("version", "order"), SHAPES)
def test_view(version: int, order: str) -> None:
    types = CtfTypes(proc(version, order), "a kernel", 8)
    memory = bytearray(1328)
    struct.pack_into(order + "i", memory, 188, -7)
    struct.pack_into(order + "i", memory, 184, -1)
    memory[192] = 0b101 << 2 if order == "<" else 0b101 << 3
    memory[996:1001] = b"init\0"
    memory[1200:1206] = bytes(range(6))
    view = StructView(types.struct("proc"), bytes(memory), 0, ORDERS[order])
    assert (view.p_pid, view.p_state, view.p_flag2, view.p_comm) == (-7, -1, 5, b"init")
    assert [list(row) for row in view.p_table] == [[0, 1, 2], [3, 4, 5]]


def test_spelling(c: Ctf) -> None:
    char, u32, void = c.integer("char", 1, SIGNED), c.integer("unsigned int", 4), c.integer("void", 0, SIGNED, 0)
    forwards = {kind: c.add(FORWARD, "later", kind) for kind in (0, maker.STRUCT, UNION, maker.ENUM)}
    proto = c.function(u32, [char, u32, 0])
    odd = c.function(0, [char])
    s = c.structure("s", 8, [])
    const_char = c.add(CONST, size=char)
    kinds = {
        "unsigned int": u32,
        "struct s *": c.pointer(s),
        "const char *": c.pointer(const_char),
        "char *const": c.add(CONST, size=c.pointer(char)),
        "volatile unsigned int": c.add(VOLATILE, size=u32),
        "char *restrict": c.add(RESTRICT, size=c.pointer(char)),
        "void *": c.pointer(0),
        "void **": c.pointer(c.pointer(void)),
        "unsigned int (*)()": c.pointer(proto),
        "void (*)()": c.pointer(odd),
        "int_t": c.add(TYPEDEF, "int_t", u32),
        "struct later *": c.pointer(forwards[0]),
        "struct later": forwards[maker.STRUCT],
        "union later": forwards[UNION],
        "enum later": forwards[maker.ENUM],
        "double": c.floating("double", 8),
        "char *[3][4]": c.array(c.array(c.pointer(char), 4), 3),
        "unsigned int []": c.array(u32, 0),
    }
    types = types_of(c)
    assert [types.spell(number).replace("* [", "*[") for number in kinds.values()] == list(kinds)


def test_bit_fields(c: Ctf) -> None:
    """Integers of fewer bits than their bytes have, and such as begin in the midst of theirs (cte_offset)."""
    three, late = c.integer("u32", 4, 0, 3, root=0), c.integer("u32", 4, 0, 5, 9, root=0)
    nibble, flag = c.integer("char", 1, SIGNED, 4, root=0), c.integer("_Bool", 1, maker.BOOL)
    whole = c.integer("u32", 4)
    typedef = c.add(TYPEDEF, "three_t", c.add(CONST, size=three))
    c.structure(
        "s",
        12,
        [("a", three, 0), ("b", typedef, 3), ("c", late, 32), ("d", nibble, 68), ("e", flag, 72), ("f", whole, 0)],
    )
    fields = {name: tuple(field[:3]) for name, field in types_of(c)["s"].fields.items()}
    little = c.order == "<"
    assert fields == {
        "a": (0, 1, f"u32 : 3@{0 if little else 5}"),
        "b": (0, 1, f"three_t : 3@{3 if little else 2}"),
        "c": (5, 1, f"u32 : 5@{1 if little else 2}"),
        "d": (8, 1, f"char : 4@{4 if little else 0}"),
        "e": (9, 1, "_Bool"),
        "f": (0, 4, "u32"),
    }


def test_names(c: Ctf) -> None:
    """Of two structures with one name: that at the top level, then the first. Nameless members are their outer's."""
    u32 = c.integer("u32", 4)
    c.structure("twice", 4, [("hidden", u32, 0)], root=0)
    c.structure("twice", 8, [("first", u32, 0)])
    c.structure("twice", 12, [("second", u32, 0)])
    c.structure("only", 16, [("x", u32, 0)], root=0)
    inner = c.structure("", 8, [("left", u32, 0), ("right", u32, 32)], UNION)
    c.structure("outer", 16, [("", inner, 64), ("after", u32, 32)])
    c.structure("same", 4, [("in_struct", u32, 0)])
    c.structure("same", 4, [("in_union", u32, 0)], UNION)
    c.add(TYPEDEF, "outer_t", c.structure("", 4, [("t", u32, 0)]))
    c.add(TYPEDEF, "number_t", u32)
    types = types_of(c)
    assert list(types["twice"].fields) == ["first"]
    assert types["only"].size == 16
    assert (types["outer"].offset("left"), types["outer"].offset("right")) == (8, 12)
    assert list(types["union same"].fields) == ["in_union"]
    assert list(types["same"].fields) == list(types["struct same"].fields) == ["in_struct"]
    assert types["outer_t"].offset("t") == 0
    assert "number_t" not in types
    for name in ("", "\0", "twice\0", "\ud800", "twic", "twicee"):
        assert name not in types
    assert list(types) == ["twice", "only", "outer", "same", "outer_t"]


def test_forward_declarations(c: Ctf) -> None:
    u32 = c.integer("u32", 4)
    pointer = c.pointer(c.add(FORWARD, "thread", maker.STRUCT))
    c.structure("proc", 8, [("p_thread", pointer, 0)])
    c.structure("thread", 8, [("td_tid", u32, 32)])
    assert types_of(c)["proc"].offset("p_thread.td_tid") == 4


def test_unknown_kind_holds_a_place(c: Ctf) -> None:
    """Kind 0: a number that nothing has, as ctfmerge leaves them."""
    c.add(0, root=0)
    c.structure("s", 4, [("x", c.integer("u32", 4), 0)])
    types = types_of(c)
    assert types["s"].field("x").type == "u32"
    assert types.spell(1) == "void"


def test_large_records(c: Ctf) -> None:
    """Sizes in two words, and structures at the edges of both thresholds."""
    char = c.integer("char", 1)
    sizes = [8191, 8192, 65534, 65535, 65536, 1 << 20]
    for size in sizes:
        c.structure(f"s{size}", size, [("first", char, 0), ("last", char, 8 * (size - 1))])
    u = c.integer("u32", 4)
    c.structure("behind", 4, [("x", u, 0)])
    types = types_of(c)
    assert [(types[f"s{n}"].size, types[f"s{n}"].offset("last")) for n in sizes] == [(n, n - 1) for n in sizes]
    assert types["behind"].offset("x") == 0


@pytest.mark.parametrize("order", ORDERS)
def test_many_types(order: str) -> None:
    """Version 3 has ids of more than 16 bits, in version 2 those from 0x8000 on are a parent's own too."""
    for version, count in ((3, 66000), (2, 33000)):
        c = Ctf(version, order)
        for i in range(count - 2):
            c.integer(f"i{i}", 4)
        c.structure("s", 8, [("x", c.number - 1, 0), ("y", c.pointer(c.number), 32)])
        types = CtfTypes(c.data(), "a kernel", 4)
        assert types["s"].field("x").type == f"i{count - 4}"
        assert types["s"].field("y").type == f"i{count - 3} *"


def test_enum_signs(c: Ctf) -> None:
    plain, negative = c.enum("plain", {"A": 0, "B": 1}), c.enum("negative", {"C": -2})
    c.structure("s", 8, [("p", plain, 0), ("n", negative, 32)])
    types = types_of(c)
    view = StructView(types["s"], b"\xff" * 8, 0, ORDERS[c.order])
    assert (view.p, view.n) == (0xFFFFFFFF, -1)
    assert types.enum("enum negative") == {"C": -2}
    assert types.constant("B") == 1
    with pytest.raises(KvmError, match="enum s: not known"):
        types.enum("s")


def test_pointer_size(c: Ctf) -> None:
    """Of a file of CTF alone: that of long."""
    pointer = c.pointer(0)
    c.structure("s", 8, [("p", pointer, 0)])
    c.integer("long", 4, SIGNED)
    assert CtfTypes(c.data(), "x").struct("s").field("p").size == 4


# -- parents and strings of symbols -----------------------------------------------------------------------------


def family(version: int, order: str) -> tuple[CtfTypes, Ctf]:
    parent = Ctf(version, order)
    u32 = parent.integer("u32", 4)
    bits = parent.integer("u32", 4, 0, 3, root=0)
    proc = parent.structure("proc", 8, [("p_pid", u32, 0), ("p_flag", bits, 34)])
    parent.structure("shared", 4, [("theirs", u32, 0)])
    parent.enum("states", {"IDLE": 1})
    child = Ctf(version, order, parent="kernel")
    own = child.structure("softc", 24, [("sc_proc", proc, 0), ("sc_bits", bits, 64), ("sc_unit", u32, 96)])
    child.structure("holder", 8, [("h_softc", child.pointer(own), 0)])
    child.structure("shared", 8, [("ours", u32, 32)])
    return CtfTypes(parent.data(), "kernel", 8), child


@pytest.mark.parametrize(("version", "order"), SHAPES)
def test_parent(version: int, order: str) -> None:
    base, child = family(version, order)
    types = CtfTypes(child.data(True), "if_em.ko", 8, base=base)
    assert types.first == (0x8001 if version == 2 else 0x80000001)
    assert types["softc"].offset("sc_proc.p_pid") == 0
    assert types["softc"].field("sc_proc").type == "struct proc"
    assert types["softc"].field("sc_bits")[:3] == (8, 1, f"u32 : 3@{0 if order == '<' else 5}")
    assert types["holder"].offset("h_softc.sc_unit") == 12
    assert list(types["shared"].fields) == ["ours"]
    assert list(base["shared"].fields) == ["theirs"]
    assert types["proc"] is base["proc"]
    assert types.enum("states") == {"IDLE": 1}
    assert (types.constant("IDLE"), types.constant("BUSY")) == (1, None)
    assert list(types) == ["softc", "holder", "shared", "proc"]


def test_parent_that_does_not_fit(tmp_path: Path) -> None:
    base, child = family(2, "<")
    with pytest.raises(FormatError, match=r"if_em\.ko: its CTF is not whole without that of kernel"):
        CtfTypes(child.data(), "if_em.ko", 8)
    with pytest.raises(FormatError, match="its CTF refers to no other"):
        CtfTypes(proc(), "kernel", 8, base=base)
    with pytest.raises(FormatError, match="of another version or byte order than that of kernel"):
        CtfTypes(family(3, "<")[1].data(), "if_em.ko", 8, base=base)
    path = tmp_path / "if_em.ko"
    path.write_bytes(elf_of(child.data()))
    with pytest.raises(FormatError, match="not whole without that of kernel"):
        kernel_types(path)
    file = HostFile(path)
    types = read(file, base)
    file.close()
    assert types is not None
    assert types["softc"].size == 24
    path.write_bytes(elf_of(child.data(), debug_info=b""))
    file = HostFile(path)
    assert read(file) is None
    file.close()


def test_a_childs_unknown_parent_type() -> None:
    base, child = family(2, "<")
    child.structure("lost", 4, [("x", 0x7000, 0)])
    with pytest.raises(FormatError, match=r"CTF type record at offset \d+ makes no sense"):
        CtfTypes(child.data(), "if_em.ko", 8, base=base)


@pytest.mark.parametrize(("version", "order"), SHAPES)
@pytest.mark.parametrize("link", [2, 3])
def test_names_of_symbols(version: int, order: str, link: int, tmp_path: Path) -> None:
    """Names that the file's symbols have too are in its string table, found by sh_link."""
    strings = b"\0proc\0p_pid\0PRS_NORMAL\0p_states\0"
    data = proc(version, order, linked=strings)
    assert b"p_pid" not in zlib.decompress(data[36:])
    path = tmp_path / "kernel"
    path.write_bytes(elf_of(data, strings, order, link=link))
    types = kernel_types(path)
    assert types["proc"].offset("p_pid") == 188
    assert types.constant("PRS_NORMAL") == 1
    assert types.enum("p_states")["PRS_NORMAL"] == 1
    for link in (0, 1, 99, 0xFFFFFFF0):
        path.write_bytes(elf_of(data, strings, order, link=link))
        with pytest.raises(FormatError, match=r"CTF type record at offset \d+ makes no sense|section .SUNW_ctf"):
            kernel_types(path)


def test_too_many_names_of_symbols(tmp_path: Path) -> None:
    path = tmp_path / "kernel"
    raw = bytearray(elf_of(proc(), b"\0"))
    (headers,) = struct.unpack_from("<Q", raw, 40)
    struct.pack_into("<Q", raw, headers + 3 * 64 + 32, 1 << 40)
    path.write_bytes(raw)
    with pytest.raises(FormatError, match=r"section \.SUNW_ctf: 1099511627776 bytes of strings \(at most 67108864\)"):
        kernel_types(path)


# -- files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("word", "order"), [(8, "<"), (8, ">"), (4, "<"), (4, ">")])
def test_files(word: int, order: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "kernel"
    path.write_bytes(elf_of(proc(3, order, word), order=order, word=word))
    assert main(["layout", str(path), "proc", "pcpu", "list_entry"]) == 0
    printed = capsys.readouterr().out
    assert json.loads(printed)["proc"]["fields"]["p_pptr"] == [224, word, "struct proc *"]
    (tmp_path / "layout.json").write_text(printed)
    again = load(tmp_path / "layout.json")
    assert again["proc"].offset("p_list.le_prev") == 8
    assert again["pcpu"].field("pc_last")[:3] == (8996, 4, "int")
    (tmp_path / "alone").write_bytes(proc(2, order, word, False))
    assert kernel_types(tmp_path / "alone")["proc"].offset("p_comm") == 996


def test_files_without(tmp_path: Path) -> None:
    path = tmp_path / "kernel"
    path.write_bytes(elf_of(b"").replace(b".SUNW_ctf", b".SUNW_xxx"))
    file = HostFile(path)
    assert of_file(file) is None
    file.close()
    with pytest.raises(FormatError, match=r"carries no type information \(BTF, CTF, DWARF\)"):
        kernel_types(path)
    path.write_bytes(elf_of(b""))
    with pytest.raises(FormatError, match="CTF header: only 0 bytes"):
        kernel_types(path)
    path.write_bytes(elf_of(struct.pack("<HBB", 0xDFF2, 4, 0) + bytes(60)))
    with pytest.raises(FormatError, match=r"CTF magic is 0xdff2 \(GNU's CTF, which is not read\)"):
        kernel_types(path)


def test_threads() -> None:
    """Any thread may ask."""
    types = CtfTypes(proc(), "a kernel", 8)
    found: list[Any] = []

    def ask() -> None:
        for _ in range(50):
            types._nodes.clear()
            types._by_number.clear()
            found.append([tuple(m) for number in range(types.first, types.end) for m in types.members(number)])

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 200
    assert all(one == found[0] for one in found)


# -- damage -----------------------------------------------------------------------------------------------------

HEADERS: dict[str, tuple[Callable[[bytearray], object], str]] = {
    "magic": (lambda d: d.__setitem__(0, 1), "CTF magic is 0xcf01, must be 0xcff1"),
    "version": (lambda d: d.__setitem__(2, 1), r"CTF version is 1 \(2 and 3 are read\)"),
    "typeoff": (lambda d: struct.pack_into("<I", d, 24, 1 << 31), "cth_typeoff 2147483648, cth_stroff .* no sense"),
    "stroff": (lambda d: struct.pack_into("<I", d, 28, 0xFFFFFFFF), "cth_stroff 4294967295, .* no sense"),
    "strlen": (lambda d: struct.pack_into("<I", d, 32, 0xFFFFFFFF), "cth_strlen 4294967295: no sense"),
    "beyond": (lambda d: struct.pack_into("<I", d, 32, 1 << 20), "cth_strlen 1048576: beyond its end"),
    "no strings": (lambda d: struct.pack_into("<I", d, 32, 0), "cth_strlen 0: the last string has no end"),
    "string": (lambda d: d.__setitem__(-1, 65), "the last string has no end"),
    "flag": (lambda d: d.__setitem__(3, 1), "compressed CTF"),
    "short": (lambda d: d.__delitem__(slice(35, None)), "CTF header: only 35 bytes"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_damaged_headers(name: str) -> None:
    damage, message = HEADERS[name]
    data = bytearray(proc(compressed=False))
    damage(data)
    with pytest.raises(FormatError, match=f"^a kernel: .*{message}"):
        CtfTypes(bytes(data), "a kernel", 8)


RECORDS: dict[str, Callable[[Ctf], object]] = {
    "kind": lambda c: c.add(14),
    "member's type": lambda c: c.structure("s", 4, [("x", 9, 0)]),
    "pointer": lambda c: c.pointer(3),
    "array": lambda c: c.array(77, 1),
    "function": lambda c: c.function(5),
    "name": lambda c: c.types.__setitem__(slice(4), c.pack("I", 99)),
    "linked name": lambda c: c.types.__setitem__(slice(4), c.pack("I", 1 << 31)),
    "enum's name": lambda c: c.add(maker.ENUM, "e", 4, c.pack("Ii", 12345, 0), 1),
    "members": lambda c: c.add(maker.STRUCT, "s", 4, b"", 3),
    "arguments": lambda c: c.add(maker.FUNCTION, "f", 0, b"", 1),
    "half": lambda c: c.types.pop(),
    "large": lambda c: setattr(
        c, "types", c.types + c.pack("I2" + maker.WORD[c.version], 0, 0, maker.LARGE[c.version])
    ),
}


@pytest.mark.parametrize("name", RECORDS)
def test_damaged_records(c: Ctf, name: str) -> None:
    c.integer("int", 4)
    RECORDS[name](c)
    with pytest.raises(FormatError, match=r"^a kernel: CTF type record at offset \d+ makes no sense$"):
        types_of(c)


def test_damaged_compression() -> None:
    data = bytearray(proc())
    data[60] ^= 0xFF
    with pytest.raises(FormatError, match="compressed CTF"):
        CtfTypes(bytes(data), "a kernel")
    with pytest.raises(FormatError, match="compressed CTF expands to"):
        CtfTypes(proc()[:-200], "a kernel")
    header = bytearray(proc()[:36])
    struct.pack_into("<II", header, 28, 32 << 20, 1)
    with pytest.raises(FormatError, match=r"CTF of \d+ compressed bytes cannot expand to 33554433"):
        CtfTypes(bytes(header) + zlib.compress(bytes(33554433)), "a kernel")


def test_types_of_themselves(c: Ctf) -> None:
    """Damage that makes sense record by record: what never ends, what is larger than its structure."""
    u32 = c.integer("u32", 4)
    loop = c.number + 1
    c.add(TYPEDEF, "loop", loop)
    pointers = c.number + 1
    c.pointer(pointers)
    own = c.number + 1
    c.structure("own", 4, [("", own, 0), ("x", u32, 0), ("l", loop, 0), ("p", pointers, 0)])
    array = c.number + 1
    c.array(array, 1 << 31)
    c.structure("s", 4, [("a", array, 0), ("far", u32, 64)])
    types = types_of(c)
    assert types["own"].offset("x") == 0
    assert "loop" not in types
    assert types["own"].fields["l"].size == 0
    with pytest.raises(FormatError, match="struct own: p: 8 bytes at 0 are not within its 4"):
        types["own"].field("p")
    with pytest.raises(FormatError, match="struct s: far: 4 bytes at 8 are not within its 4"):
        types["s"].field("far")
    assert len(types.spell(array)) < 1000
    assert [name for name, _ in types.bodies()] == []


def test_cost_of_hostile_types() -> None:
    """A megabyte of the smallest records, all of one name, compressed as far as it may be."""
    body = struct.pack("<IHH", 1, maker.FORWARD << 11, 0) * ((32 << 20) // 8 - 4) + b"\0x\0"
    struct_record = struct.pack("<IHH", 1, maker.STRUCT << 11, 0)
    body = body[: -3 - 8] + struct_record + b"\0x\0"
    header = struct.pack("<HBB8I", 0xCFF1, 2, 1, 0, 0, 0, 0, 0, 0, len(body) - 3, 3)
    packed = zlib.compress(body, 1)
    data = header + packed + bytes((1 << 20) - len(packed))
    tracemalloc.start()
    start = time.perf_counter()
    types = CtfTypes(data, "a kernel", 8)
    assert types["x"].size == 0
    assert "y" not in types
    assert time.perf_counter() - start < 5 * SLOW
    assert tracemalloc.get_traced_memory()[1] < 140 << 20
    tracemalloc.stop()


WHOLE = {shape: proc(*shape, compressed=False) for shape in SHAPES}


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(SHAPES), st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=6))
def test_changed_bytes(shape: tuple[int, str], changes: list[tuple[int, int]]) -> None:
    """Any bytes changed: an error of ours, or types all of which can be asked for."""
    data = bytearray(WHOLE[shape])
    for at, value in changes:
        data[at % len(data)] = value
    with contextlib.suppress(FormatError):
        types = CtfTypes(bytes(data), "x", 8)
        dict(types.bodies())
        for name in types:
            for member in types[name].fields:
                types[name].field(member)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from(SHAPES))
def test_random_structures(data: st.DataObject, shape: tuple[int, str]) -> None:
    """Whatever the writer writes comes back."""
    kinds = st.sampled_from(["int", "u8", "u32 [3]", "proc *", "u8 : 3@1", "ulong", "enum e", "either"])
    members = data.draw(st.dictionaries(st.text("abcxyz_0", min_size=1, max_size=8), kinds, max_size=6))
    size = data.draw(st.sampled_from([64, 8191, 8192, 65535, 100000]))
    places = {name: (data.draw(st.integers(0, size - 16)), kind) for name, kind in members.items()}
    structures = {"s": (size, places), "union either": (8, {"w": (0, "ulong")})}
    types = CtfTypes(maker.ctf(structures, INTEGERS, 8, *shape, True, b"", {"e": {"X": 1}}), "x", 8)
    assert types["s"].size == size
    assert {name: field.offset for name, field in types["s"].fields.items()} == {n: p for n, (p, _) in places.items()}
    sizes = {"u8 : 3@1": 1, "u8": 1, "int": 4, "enum e": 4, "u32 [3]": 12}
    for name, (_, kind) in places.items():
        assert types["s"].field(name).size == sizes.get(kind, 8)


def test_closing_a_file_leaves_its_types(tmp_path: Path) -> None:
    path = tmp_path / "kernel"
    path.write_bytes(elf_of(proc()))
    file = HostFile(path)
    types = of_file(file)
    file.close()
    path.unlink()
    assert types is not None
    assert types["proc"].offset("p_comm") == 996
    with pytest.raises(pykvm.KvmError, match="struct nothing: not in the types of"):
        types.struct("nothing")


def test_structures_of_one_name(c: Ctf) -> None:
    number = c.integer("int", 4, SIGNED)
    c.structure("twin", 4, [("first", number, 0)])
    c.structure("other", 4, [("it", number, 0)])
    c.structure("twin", 8, [("second", number, 32)], root=0)
    c.structure("twin", 12, [("third", number, 64)])
    c.add(FORWARD, "twin", maker.STRUCT)
    types = types_of(c)
    assert [(s.size, list(s.fields)) for s in types.same_named("twin")] == [
        (4, ["first"]), (12, ["third"]), (8, ["second"]),
    ]  # fmt: skip
    assert types.same_named("twin")[0].size == types["twin"].size
    assert [s.size for s in types.same_named("other")] == [4]
    assert types.same_named("int") == types.same_named("nosuch") == []
