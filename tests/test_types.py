"""Layouts: files, views, DWARF."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import pykvm
from pykvm.types import kernel_types
from pykvm.types.layout import builtin, from_json, load
from pykvm.types.view import StructView


@pytest.mark.parametrize(
    ("machine", "sizes"),
    [
        ("i386", {"proc": 332, "eproc": 688, "kinfo_proc": 1020, "kinfo_proc2": 596, "vmspace": 212, "user": 2128}),
        ("sparc", {"proc": 328, "eproc": 656, "kinfo_proc": 984, "kinfo_proc2": 600, "vmspace": 224, "user": 2104}),
    ],
)
def test_own_tables(machine: str, sizes: dict[str, int]) -> None:
    types = builtin(f"mirbsd-{machine}")
    assert {name: types.struct(name).size for name in sizes} == sizes
    for struct in types.values():
        for field in struct.fields.values():
            assert field.offset + field.size <= struct.size
    user = types.struct("user")
    start = user.offset("u_stats.p_start.tv_usec")
    assert start == user.offset("u_stats") + types.struct("pstats").offset("p_start.tv_usec")
    assert types.struct("kinfo_proc").offset("kp_eproc.e_ucred.cr_uid") == sizes["proc"] + 36
    with pytest.raises(pykvm.KvmError, match="struct proc has no member p_nosuch"):
        types.struct("proc").offset("p_nosuch")
    with pytest.raises(pykvm.KvmError, match="struct nosuch: no layout"):
        types.struct("nosuch")


def test_view() -> None:
    types = from_json(
        {
            "inner": {"size": 6, "fields": {"a": [0, 2, "short"], "b": [2, 4, "u_int"]}},
            "outer": {
                "size": 40,
                "fields": {
                    "i": [0, 6, "struct inner"],
                    "name": [6, 10, "char [10]"],
                    "v": [16, 12, "int [3]"],
                    "x.y": [28, 4, "void *"],
                    "odd": [32, 3, "struct unknown"],
                    "c": [35, 1, "char"],
                },
            },
        },
        "test",
    )
    raw = (
        bytes.fromhex("feff01000000")
        + b"hello\0tail"
        + bytes.fromhex("ffffffff0200000003000000")
        + b"\1\2\3\4abc\xff"
        + bytes(4)
    )
    view = StructView(types.struct("outer"), b"##" + raw, 2, "little")
    assert (view.i.a, view.i.b) == (-2, 1)
    assert view.name == b"hello"
    assert view.v == (-1, 2, 3)
    assert view.x.y == 0x04030201
    assert view.odd == b"abc"
    assert view.c == -1
    assert bytes(view) == raw
    assert bytes(view.i) == raw[:6]
    assert dir(view) == ["c", "i", "name", "odd", "v", "x"]
    with pytest.raises(AttributeError):
        _ = view.nosuch
    big = from_json({"s": {"size": 4, "fields": {"n": [0, 4, "int"]}}}, "test").struct("s")
    assert StructView(big, b"\xff\xff\xff\xfe", 0, "big").n == -2


def test_layout_file_wins(mirbsd_dump: Any, tmp_path: Path) -> None:
    path = tmp_path / "layout.json"
    proc = builtin("mirbsd-i386").as_json()["proc"]
    proc["fields"]["my_pid"] = [52, 4, "pid_t"]
    path.write_text(json.dumps({"proc": proc}))
    with pykvm.Kvm(mirbsd_dump.core, mirbsd_dump.kernel, layout=path) as kd:
        assert [p.kp_proc.my_pid for p in kd.processes()] == [p.pid for p in mirbsd_dump.processes]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{",
        '{"proc": 1}',
        '{"proc": {"size": -1, "fields": {}}}',
        '{"proc": {"size": 8, "fields": []}}',
        '{"proc": {"size": 8, "fields": {"p": [0, 9, "int"]}}}',
        '{"proc": {"size": 8, "fields": {"p": [0, 4]}}}',
        '{"proc": {"size": 8, "fields": {"p": [true, 4, "int"]}}}',
        '{"proc": {"size": 8, "fields": {"p": [0, 4, 5]}}}',
        "[" * 100000,
        "\xff\xfe",
    ],
)
def test_bad_layout_files(tmp_path: Path, content: str) -> None:
    path = tmp_path / "layout.json"
    path.write_text(content, "latin-1")
    with pytest.raises(pykvm.FormatError, match=r"layout\.json"):
        load(path)


SOURCE = """
typedef unsigned int u32;
struct list { struct list *next, **prev; };
struct inner { short a; union { long q; char w[3]; } u; struct { u32 z; }; };
struct proc { struct list entry; char comm[17]; struct inner in[2]; const char *(*f)(int); struct inner one;
              volatile u32 flags; int bits : 3; };
struct proc a_proc;
"""


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
def test_dwarf(tmp_path: Path) -> None:
    source, out, program = tmp_path / "k.c", tmp_path / "k.o", tmp_path / "offsets"
    source.write_text(SOURCE)
    subprocess.run(["gcc", "-g", "-c", "-o", out, source], check=True)
    types = kernel_types(out)
    asked = {
        "proc": ["entry.next", "entry.prev", "comm", "in", "f", "one", "one.a", "one.u.q", "one.z", "flags"],
        "inner": ["a", "u", "u.w", "z"],
    }
    lines = [
        f'printf("%zu %zu\\n", offsetof(struct {s}, {m}), sizeof(((struct {s} *)0)->{m}));'
        for s, members in asked.items()
        for m in members
    ]
    # The compiler itself is the oracle.
    check = tmp_path / "check.c"
    check.write_text(
        f"#include <stdio.h>\n#include <stddef.h>\n{SOURCE}int main(void) {{ {''.join(lines)} return 0; }}"
    )
    subprocess.run(["gcc", "-o", program, check], check=True)
    told = subprocess.run([program], check=True, capture_output=True, text=True).stdout.splitlines()
    ours = [f"{types.struct(s).field(m).offset} {types.struct(s).field(m).size}" for s, ms in asked.items() for m in ms]
    assert ours == told
    assert types.struct("proc").field("comm").type == "char [17]"
    assert types.struct("proc").field("entry.prev").type == "struct list **"
    assert types.struct("proc").field("flags").type == "volatile u32"
    assert set(kernel_types(out, {"inner"})) == {"inner"}
    with pytest.raises(pykvm.KvmError, match="no struct nosuch"):
        kernel_types(out, {"nosuch"})
    assert from_json(json.loads(json.dumps(types.as_json())), "again").as_json() == types.as_json()


def test_no_type_information(mirbsd_dump: Any) -> None:
    with pytest.raises(pykvm.FormatError, match="carries no type information"):
        kernel_types(mirbsd_dump.kernel)
