"""Where a Linux kernel's types come from: the dump, the kernel file, the modules, a layout file."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import struct
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from btf_maker import PTR, TYPEDEF, Maker

import pykvm
from pykvm.cli import main
from pykvm.targets.linux.types import AllTypes, KernelTypes
from pykvm.types.view import view

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")

# -- which of them ------------------------------------------------------------------------------------------


@pytest.fixture
def without_btf(linux_dump_factory: Any) -> Any:
    """A dump whose BTF is damaged."""
    dump = linux_dump_factory(container="elf", machine="x86_64")
    with pykvm.Kvm(dump.paths[0], writable=True) as kd:
        kd.write(dump.symbols["__start_BTF"], b"\x11\x22")
    return dump


def kernel_file(dump: Any, room: Path, source: str, *flags: str) -> Path:
    """An object with the names of the dump's kernel, where the linker put them, and of these types."""
    moved = 0x10000000  # KERNELOFFSET
    names = ("init_uts_ns", "init_task", "avenrun", "tk_core", "__start_BTF", "__stop_BTF", "_stext")
    lines = [f'asm(".globl {n}; .set {n}, {dump.symbols[n] - moved:#x}");' for n in names]
    (room / "vmlinux.c").write_text("\n".join(lines) + source)
    subprocess.run(["gcc", *flags, "-c", "-o", "vmlinux", "vmlinux.c"], cwd=room, check=True)
    return room / "vmlinux"


STRUCTS = """
struct list_head { struct list_head *next, *prev; };
struct task_struct { char before[200]; struct list_head tasks; };
enum pid_type { PIDTYPE_PID, PIDTYPE_TGID, PIDTYPE_PGID };
struct task_struct t; enum pid_type p;
"""


def test_no_types(without_btf: Any) -> None:
    path = without_btf.paths[0]
    with pykvm.Kvm(path) as kd:
        with pytest.raises(pykvm.KvmError) as caught:
            kd.types.struct("task_struct")
        assert str(caught.value) == (
            f"struct task_struct: the kernel's types cannot be read: {path}: BTF magic is 0x1122, must be 0xeb9f; "
            "name a kernel file that has them (kernel, -N), or a layout file (--layout)"
        )
        with pytest.raises(pykvm.KvmError, match="the kernel's types cannot be read"):
            kd.processes()
        assert "task_struct" not in kd.types
        assert kd.types.constant("PIDTYPE_PGID", 2) == 2
        assert kd.read_u32(without_btf.symbols["avenrun"]) == 1024
        assert list(kd.types) == ["kinfo_proc2"]


@needs_gcc
@pytest.mark.parametrize("flag", ["-gdwarf-5", "-gbtf"])
def test_types_of_the_kernel_file(without_btf: Any, tmp_path: Path, flag: str) -> None:
    kernel = kernel_file(without_btf, tmp_path, STRUCTS, flag)
    with pykvm.Kvm(without_btf.paths[0], kernel) as kd:
        assert kd.types.struct("task_struct").offset("tasks.prev") == 208
        assert kd.types.enum("pid_type")["PIDTYPE_PGID"] == kd.types.constant("PIDTYPE_PGID") == 2
        with pytest.raises(pykvm.KvmError, match=f"struct nosuch: not in the types of {kernel}$"):
            kd.types.struct("nosuch")


@needs_gcc
def test_kernel_file_without_types(without_btf: Any, tmp_path: Path) -> None:
    kernel = kernel_file(without_btf, tmp_path, "")
    told = rf"must be 0xeb9f; {kernel} carries none \(BTF, DWARF\); name a kernel file that has"
    with pykvm.Kvm(without_btf.paths[0], kernel) as kd, pytest.raises(pykvm.KvmError, match=told):
        kd.types.struct("task_struct")


@needs_gcc
def test_the_dumps_own_come_first(linux_dump_factory: Any, tmp_path: Path) -> None:
    dump = linux_dump_factory(container="elf", machine="x86_64")
    with pykvm.Kvm(dump.paths[0], kernel_file(dump, tmp_path, STRUCTS, "-gdwarf-5")) as kd:
        assert kd.types.struct("task_struct").size == 1000
        assert "signal_struct" in kd.types


def test_closed(linux_dump_factory: Any) -> None:
    dump = linux_dump_factory(container="elf")
    kd = pykvm.Kvm(dump.paths)
    types, early = kd.types, pykvm.Kvm(dump.paths)
    early_types = early.types
    assert early_types.struct("pid").size == 112
    for handle in (kd, early):
        handle.close()
        with pytest.raises(pykvm.KvmError, match="handle is closed"):
            _ = handle.types
    assert early_types.struct("pid").size == 112
    with pytest.raises(pykvm.KvmError, match="handle is closed"):
        types.struct("pid")


def test_layout_file_wins(linux_dump_factory: Any, tmp_path: Path) -> None:
    """Also where another structure holds it, or points at it."""
    dump = linux_dump_factory(container="elf")
    path = tmp_path / "layout.json"
    layout = {
        "mm_struct": {"size": 600, "fields": {"arg_start": [8, 8, "u64"]}},
        "list_head": {"size": 16, "fields": {"mine": [8, 8, "struct list_head *"]}},
    }
    path.write_text(json.dumps(layout))
    with pykvm.Kvm(dump.paths, layout=path) as kd:
        task = kd.types.struct("task_struct")
        assert task.offset("mm.arg_start") == 8
        assert task.offset("tasks.mine") == 208
        assert "tasks.next" not in task
        init = view(kd, "task_struct", dump.symbols["init_task"])
        assert init.tasks.mine == kd.read_ptr(dump.symbols["init_task"] + 208)
        assert kd.types.as_json()["list_head"]["fields"] == {"mine": [8, 8, "struct list_head *"]}


def test_layout_file_instead(without_btf: Any, linux_dump_factory: Any, tmp_path: Path) -> None:
    """What one dump's types say serves another without any."""
    whole = linux_dump_factory(container="elf", machine="x86_64")
    path = tmp_path / "layout.json"
    with pykvm.Kvm(whole.paths) as kd:
        raw = kd.read(whole.symbols["__start_BTF"], whole.symbols["__stop_BTF"] - whole.symbols["__start_BTF"])
    (tmp_path / "btf").write_bytes(raw)
    path.write_text(layout_of(tmp_path / "btf"))
    with pykvm.Kvm(without_btf.paths[0], layout=path) as kd:
        assert [p.pid for p in kd.processes()] == [t.pid for t in without_btf.tasks]
        assert [p.comm for p in kd.processes()] == [t.comm.decode() for t in without_btf.tasks]


def layout_of(path: Path) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main(["layout", str(path)]) == 0
    return out.getvalue()


# -- modules ------------------------------------------------------------------------------------------------

HEAD, FIRST = 0x1000, 0x2000


class Flat:
    """Kernel memory of a few pages: what the modules' types are read with."""

    def __init__(self, order: str) -> None:
        self.order = order
        self.data = bytearray(1 << 20)

    def read(self, addr: int, n: int) -> bytes:
        if addr + n > len(self.data):
            raise pykvm.AddressError(f"invalid address ({addr:x})", addr)
        return bytes(self.data[addr : addr + n])

    def read_u32(self, addr: int) -> int:
        return int(struct.unpack(self.order + "I", self.read(addr, 4))[0])

    def read_ptr(self, addr: int) -> int:
        return int(struct.unpack(self.order + "Q", self.read(addr, 8))[0])

    def read_cstr(self, addr: int, limit: int) -> bytes:
        return self.read(addr, limit).split(b"\0")[0]

    def walk_list(self, head: int, following: int, limit: int) -> list[int]:
        found, at = [head], self.read_ptr(head + following)
        while at != head:
            if at in found:
                raise pykvm.KvmError("list loops")
            found.append(at)
            at = self.read_ptr(at + following)
        return found

    def put(self, at: int, *words: int) -> None:
        struct.pack_into(f"{self.order}{len(words)}Q", self.data, at, *words)


class Kernel:
    """A kernel with types of its own, and modules on its list (their BTF as `change` made it)."""

    def __init__(self, order: str, modules: list[tuple[str, Maker]], base: Maker) -> None:
        self.memory = Flat(order)
        blob = base.data()
        self.symbols = {"__start_BTF": 0x80000, "__stop_BTF": 0x80000 + len(blob), "btf_modules": HEAD}
        self.memory.data[0x80000 : 0x80000 + len(blob)] = blob
        nodes = [FIRST + 0x100 * i for i in range(len(modules))]
        for i, (name, m) in enumerate(modules):
            data, at, btf = m.data(), 0x20000 + 0x1000 * i, 0x10000 + 0x100 * i
            # struct btf_module: other, list, btf; struct btf: data, data_size, start_id, start_str_off, name
            self.memory.put(nodes[i], 0, (nodes[i + 1 :] or [HEAD - 8])[0] + 8, 0, btf)
            self.memory.put(btf, at)
            sizes = len(data), base.number + 1, len(base.strings)
            struct.pack_into(order + "3I", self.memory.data, btf + 8, *sizes)
            self.memory.data[btf + 20 : btf + 20 + len(name)] = name.encode()
            self.memory.data[at : at + len(data)] = data
        self.memory.put(HEAD, (nodes or [HEAD - 8])[0] + 8, 0)

    def types(self) -> AllTypes:
        found = {name: SimpleNamespace(value=value) for name, value in self.symbols.items()}
        parts: Any = SimpleNamespace(
            memory=self.memory,
            image=SimpleNamespace(path="a dump", release=lambda: None),
            kernel=None,
            symbols=SimpleNamespace(find=found.get, flaw=None),
        )
        return AllTypes(KernelTypes(parts, 8), parts)


def base_of(order: str) -> Maker:
    m = Maker(order)
    u32, char, void = m.integer("u32", 4), m.integer("char", 1), m.add(PTR)
    head = m.struct("list_head", 16, [("next", void, 0), ("prev", void, 64)])
    btf_rows = [("data", void, 0), ("data_size", u32, 64), ("start_id", u32, 96), ("start_str_off", u32, 128)]
    m.struct("btf", 80, [*btf_rows, ("name", m.array(char, 56), 160)])
    m.struct("btf_module", 40, [("list", head, 64), ("btf", void, 192)])
    m.enum("in_kernel", {"K": 5})
    m.struct("both", 4, [("kernel", u32, 0)])
    return m


@pytest.fixture(params="<>")
def kernel(request: pytest.FixtureRequest) -> Kernel:
    base = base_of(request.param)
    modules = []
    for name in ("one", "two"):
        m = Maker(request.param, base)
        u64 = m.integer("u64", 8)
        m.struct(f"of_{name}", 24, [("list", 4, 0), ("x", u64, 128)])
        m.struct("both", 8, [("module", u64, 0)])
        m.add(TYPEDEF, f"{name}_t", m.struct("", 8, [(name, u64, 0)]))
        m.enum(f"in_{name}", {f"IN_{name.upper()}": len(modules) + 1, "K": 6})
        modules.append((name, m))
    return Kernel(request.param, modules, base)


def test_modules(kernel: Kernel) -> None:
    types = kernel.types()
    assert types.struct("btf").size == 80
    assert types._modules is None  # nothing was asked that the kernel did not know
    assert types.struct("of_two").offset("list.prev") == 8
    assert types.struct("of_one").offset("x") == 16
    assert types.struct("one_t").offset("one") == 0
    assert "kernel" in types.struct("both")
    assert [m.source for m in types.modules] == ["a dump: module one", "a dump: module two"]
    assert types.enum("in_two") == {"IN_TWO": 2, "K": 6}
    assert (types.constant("IN_ONE"), types.constant("K"), types.constant("NO")) == (1, 5, None)
    assert set(types) == {"list_head", "btf", "btf_module", "both", "of_one", "of_two", "one_t", "two_t"}
    assert len(types) == 8
    assert types
    assert set(types.as_json()) == set(types)
    assert types.as_json()["of_two"] == {
        "size": 24,
        "fields": {"list": [0, 16, "struct list_head"], "x": [16, 8, "u64"]},
    }
    assert "of_one" not in types.kernel
    with pytest.raises(pykvm.KvmError, match=r"^struct no: not in the types of a dump, nor of its 2 modules$"):
        types.struct("no")
    with pytest.raises(pykvm.KvmError, match="enum no: not known"):
        types.enum("no")


@pytest.mark.parametrize(
    ("at", "word", "left", "message"),
    [
        (HEAD, 0x99999999, 0, "btf_modules: invalid address (99999999)"),
        (FIRST + 8, FIRST + 8, 0, "btf_modules: list loops"),
        (FIRST + 24, 0x99999999, 1, "invalid address (999999"),
        (0x10000, 0x99999999, 1, "invalid address (99999999)"),
        (0x10008, 7, 1, "a dump: module one: BTF start_id is 0, but the kernel's ends with 10"),
        (0x10008, 5 << 32 | 5, 1, "a dump: module one: BTF"),
        (0x20000, 0, 1, "a dump: module one: BTF magic is 0x0, must be 0xeb9f"),
    ],
)
def test_damaged_modules(at: int, word: int, left: int, message: str) -> None:
    """Others are still there, and an error that may have to do with it says so."""
    base = base_of("<")
    modules = []
    for name in ("one", "two"):
        m = Maker("<", base)
        m.struct(f"of_{name}", 4, [])
        modules.append((name, m))
    kernel = Kernel("<", modules, base)
    kernel.memory.put(at, word)
    types = kernel.types()
    assert ("of_two" in types) == bool(left)
    assert len(types.modules) == left
    with pytest.raises(pykvm.KvmError) as caught:
        types.struct("of_one")
    assert str(caught.value).startswith("struct of_one: not in the types of a dump")
    assert message in str(caught.value)


def test_modules_take_no_more_than_they_may() -> None:
    base = base_of("<")
    m = Maker("<", base)
    kernel = Kernel("<", [("one", m)], base)
    struct.pack_into("<I", kernel.memory.data, 0x10008, 1 << 31)
    types = kernel.types()
    with pytest.raises(pykvm.KvmError, match=r"module one: BTF of 2147483648 bytes \(at most 67108864\)"):
        types.struct("x")


def test_kernels_without_modules() -> None:
    kernel = Kernel("<", [], base_of("<"))
    for symbols in (kernel.symbols, {k: v for k, v in kernel.symbols.items() if k != "btf_modules"}):
        kernel.symbols = symbols
        with pytest.raises(pykvm.KvmError, match=r"^struct x: not in the types of a dump$"):
            kernel.types().struct("x")
    kernel.symbols = {}
    with pytest.raises(pykvm.KvmError, match=r"^struct x: a dump: this kernel carries no types \(BTF\); name a kernel"):
        kernel.types().struct("x")
