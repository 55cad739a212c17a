"""BTF and DWARF that compilers wrote, of machines of both byte orders: an object's initial values are what views show.

Compilers for other machines take part where they are installed.
"""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

import pykvm
from pykvm.types import kernel_types
from pykvm.types.btf import BtfTypes
from pykvm.types.layout import Types, load
from pykvm.types.view import StructView

SOURCE = """
typedef unsigned char u8;
typedef long long s64;
typedef s64 ktime_t;
enum colour { RED, GREEN = 7, NEGATIVE = -2 };
enum unsigned_one { LAST = 0xfffffff0u };
enum wide { FAR = 0x123456789aLL, BELOW = -5 };
typedef enum { NAMELESS_ONE = 3 } nameless_t;
typedef struct { int counter; } atomic_t;
typedef struct { atomic_t refs; } refcount_t;
typedef union { unsigned int whole; u8 byte[4]; } word_t;
union word { unsigned int whole; u8 byte[4]; };
struct list { struct list *next, **prev; };
struct bits { u8 before; unsigned int a : 3, b : 7; int c : 5; unsigned long long d : 33; int e : 9; _Bool f : 1;
              enum colour g : 4; unsigned int : 0; unsigned short h : 11; };
struct __attribute__((packed)) tight { u8 x; unsigned int y : 20, z : 15; s64 w; };
struct outer {
  struct list entry;
  const char name[8];
  volatile s64 when;
  ktime_t later;
  struct bits bits;
  struct tight tight;
  union { struct { short low, high; }; struct { union { struct { int deepest; }; }; }; };
  struct { int deep; struct { atomic_t count; } more[2]; } inner;
  union word words[3];
  word_t named;
  short grid[2][3];
  char lines[2][4];
  atomic_t counters[2];
  refcount_t usage;
  enum colour colour;
  enum wide wide;
  u8 flag;
  signed char tiny;
  int (*call)(int);
  struct list *const fixed;
  struct { } nothing;
  struct list lists[0];
  int tail[];
};
struct outer an_outer = {
  .entry = { (void *)0x1234, (void *)0x5678 }, .name = "fixture", .when = -77, .later = -5,
  .bits = { 255, 5, 100, -3, 0x123456789ULL, -200, 1, GREEN, 1025 },
  .tight = { 9, 0xabcde, 0x7654, -2 },
  .low = -1, .high = 2, .inner = { 6, { { { 11 } }, { { 12 } } } },
  .words = { { 0x01020304 }, { 0 }, { 0xffffffff } }, .named = { 0x01020304 },
  .grid = { { 1, -2, 3 }, { 4, 5, -6 } }, .lines = { "abc", "d" }, .counters = { { 21 }, { -22 } },
  .usage = { { 4 } }, .colour = NEGATIVE, .wide = FAR, .flag = 200, .tiny = -100, .call = (void *)0x42,
  .fixed = (void *)0x43, .tail = { 1, 2 },
};
enum unsigned_one a; nameless_t b;
"""
COMPILERS = [
    "gcc", "aarch64-linux-gnu-gcc", "arm-linux-gnueabihf-gcc", "s390x-linux-gnu-gcc", "s390x-linux-gnu-gcc-12",
    "powerpc64-linux-gnu-gcc", "powerpc-linux-gnu-gcc", "riscv64-linux-gnu-gcc", "i686-linux-gnu-gcc",
]  # fmt: skip
FLAGS = {
    "btf": ["-gbtf"],
    "dwarf2": ["-gdwarf-2", "-gstrict-dwarf"],
    "dwarf3": ["-gdwarf-3", "-gstrict-dwarf"],
    "dwarf4": ["-gdwarf-4"],
    "dwarf5": ["-gdwarf-5"],
    "zlib": ["-gdwarf-5", "-gz=zlib"],
    "zlib-gnu": ["-gdwarf-4", "-gz=zlib-gnu"],
}


@pytest.fixture(scope="module", params=[c for c in COMPILERS if shutil.which(c)] or COMPILERS[:1])
def compiler(request: pytest.FixtureRequest) -> str:
    if shutil.which(request.param) is None:
        pytest.skip("no gcc")
    return str(request.param)


@pytest.fixture(scope="module", params=FLAGS)
def compiled(request: pytest.FixtureRequest, compiler: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An object with SOURCE's types, as these flags write them."""
    room = tmp_path_factory.mktemp("compiled")
    (room / "k.c").write_text(SOURCE)
    done = subprocess.run([compiler, *FLAGS[request.param], "-c", "k.c"], cwd=room, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(done.stderr.splitlines()[0])
    return room / "k.o"


def data_of(path: Path, name: str) -> tuple[bytes, str]:
    """(the bytes of an initialised object, the byte order)."""
    elf = ELFFile(io.BytesIO(path.read_bytes()))
    symbol = elf.get_section_by_name(".symtab").get_symbol_by_name(name)[0]
    section = elf.get_section(symbol["st_shndx"])
    data = section.data()[symbol["st_value"] : symbol["st_value"] + symbol["st_size"]]
    return data, "little" if elf.little_endian else "big"


def check(types: Types, path: Path) -> None:
    """A view of the object shows what it was initialised with."""
    data, order = data_of(path, "an_outer")
    outer = types.struct("outer")
    view = StructView(outer, data, 0, order)
    assert (view.entry.next, view.entry.prev) == (0x1234, 0x5678)
    assert (view.name, view.when, view.later) == (b"fixture", -77, -5)
    bits = view.bits
    assert (bits.before, bits.a, bits.b, bits.c, bits.d) == (255, 5, 100, -3, 0x123456789)
    assert (bits.e, bits.f, bits.g, bits.h) == (-200, 1, 7, 1025)
    tight = view.tight
    assert (tight.x, tight.y, tight.z, tight.w) == (9, 0xABCDE, 0x7654, -2)
    assert (view.low, view.high) == (-1, 2)
    assert view.deepest == int.from_bytes((b"\xff\xff\2\0", b"\xff\xff\0\2")[order == "big"], order, signed=True)
    assert (view.inner.deep, [m.count.counter for m in view.inner.more]) == (6, [11, 12])
    assert [w.whole for w in view.words] == [0x01020304, 0, 0xFFFFFFFF]
    assert view.words[0].byte == view.named.byte == ((4, 3, 2, 1) if order == "little" else (1, 2, 3, 4))
    if "[2][3]" in outer.field("grid").type:
        assert (view.grid, view.lines) == (((1, -2, 3), (4, 5, -6)), (b"abc", b"d"))
    else:  # gcc 12 turns the dimensions around in BTF (its bug 114186), pahole makes one of them
        assert [n for row in view.grid for n in row] == [1, -2, 3, 4, 5, -6]
    assert [c.counter for c in view.counters] == [21, -22]
    assert view.usage.refs.counter == 4
    assert (view.colour, view.wide, view.flag, view.tiny) == (-2, 0x123456789A, 200, -100)
    assert (view.call, view.fixed, view.lists, view.tail) == (0x42, 0x43, (), ())
    assert bytes(view.nothing) == b""
    assert bytes(view.bits) == data[outer.offset("bits") : outer.offset("tight")][: types.struct("bits").size]
    assert outer.offset("inner.more[1].count.counter") == outer.offset("inner.more") + 4
    assert outer.offset("words[2].byte[1]") == outer.offset("words") + 9
    assert outer.offset("counters[1]") == outer.offset("counters") + 4
    assert outer.offset("fixed.prev") == types.struct("list").size // 2
    assert "counters[2]" not in outer
    assert "counters.counter" not in outer
    assert "deep" not in outer
    assert "whole" not in outer


def test_views(compiled: Path) -> None:
    types = kernel_types(compiled)
    check(types, compiled)
    outer = types.struct("outer")
    assert outer.offset("tail[3]") == outer.offset("tail") + 12


def test_layout_file(compiled: Path, tmp_path: Path) -> None:
    """What `pykvm layout` writes says the same."""
    types = kernel_types(compiled)
    path = tmp_path / "layout.json"
    path.write_text(json.dumps(types.as_json()))
    loaded = load(path)
    check(loaded, compiled)
    assert set(loaded) == {*types, "outer.inner.more"}
    assert loaded.struct("bits").field("b").type == types.struct("bits").field("b").type


def test_names(compiled: Path) -> None:
    types = kernel_types(compiled)
    assert types.struct("atomic_t").size == types.struct("refcount_t").size == 4
    assert types.struct("word") is types.struct("union word")
    assert types.struct("struct list") is types.struct("list")
    assert {"atomic_t", "word_t", "word", "outer"} <= set(types)
    for name in ("union list", "struct word", "u8", "nosuch", "struct atomic_t", "colour", "", "a\0b", "\ud800"):
        assert name not in types
        with pytest.raises(pykvm.KvmError):
            types.struct(name)
    assert len(types) == len(set(types))


def test_enums(compiled: Path) -> None:
    types = kernel_types(compiled)
    assert types.enum("colour") == {"RED": 0, "GREEN": 7, "NEGATIVE": -2}
    assert types.enum("nameless_t") == {"NAMELESS_ONE": 3}
    assert (types.constant("GREEN"), types.constant("NEGATIVE")) == (7, -2)
    if not isinstance(types, BtfTypes):  # gcc 12 leaves out what does not fit in 32 bits
        assert types.enum("enum wide") == {"FAR": 0x123456789A, "BELOW": -5}
        assert (types.constant("FAR"), types.constant("LAST")) == (0x123456789A, 0xFFFFFFF0)
    assert (types.constant("NO_SUCH"), types.constant("NO_SUCH", 4)) == (None, 4)
    assert types.enumerators("nosuch") == {}
    for name in ("nosuch", "outer", "u8", "atomic_t"):
        with pytest.raises(pykvm.KvmError, match=f"enum {name}"):
            types.enum(name)
