"""Types of real Linux dumps, against what the kernels say of them in VMCOREINFO and the guests in /proc."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

import pykvm
from pykvm.cli import main
from pykvm.types import kernel_types
from pykvm.types.layout import load
from pykvm.types.view import StructView, view

DUMPS = {
    "x86_64-zlib": ("x86_64-6.12-kaslr.zlib-d31.kdump", "x86_64-6.12-kaslr"),
    "x86_64-la57": ("x86_64-6.12-la57-pti.none-d23.kdump", "x86_64-6.12-la57-pti"),
    "aarch64-elf": ("aarch64-6.12-kaslr.qemu-elf", "aarch64-6.12-kaslr"),
}
VMLINUX = "linux/vmlinux-6.12.117-x86_64.nodwarf"


@pytest.fixture(scope="module", params=DUMPS, ids=list(DUMPS))
def both(request: pytest.FixtureRequest, real: Any) -> Any:
    dump, name = DUMPS[request.param]
    truth = json.loads(real(f"linux/{name}.truth.json").read_text())
    with pykvm.Kvm(real(f"linux/{dump}")) as kd:
        yield kd, truth, real(f"linux/{name}.vmcoreinfo.txt").read_text()


def test_vmcoreinfo(both: Any) -> None:
    """Every size, offset, array and constant that the kernel wrote down for programs that read dumps."""
    types, told = both[0].types, both[2]
    checked = {"SIZE": 0, "OFFSET": 0, "LENGTH": 0, "NUMBER": 0}
    for kind, name, value in re.findall(r"^(SIZE|OFFSET|LENGTH|NUMBER)\(([\w.]+)\)=(-?\w+)$", told, re.M):
        tag, _, path = name.partition(".")
        number = int(value, 0)
        if kind == "SIZE" and tag in types:
            assert types.struct(tag).size == number, name
        elif kind == "OFFSET":
            assert types.struct(tag).offset(path) == number, name
        elif kind == "LENGTH" and tag in types and path:
            assert types.form(types.struct(tag).field(path)).dims[0] == number, name
        elif kind == "NUMBER" and types.constant(name) is not None:
            assert types.constant(name) == number, name
        else:
            continue
        checked[kind] += 1
    assert checked["SIZE"] >= 10
    assert checked["OFFSET"] >= 30
    assert checked["LENGTH"] >= 2
    assert checked["NUMBER"] >= 6


def test_views(both: Any) -> None:
    kd, truth, _ = both
    types = kd.types
    init = view(kd, "task_struct", kd.symbol("init_task"))
    assert (init.comm, init.pid, init.static_prio) == (b"swapper/0", 0, 120)
    assert init.real_parent == kd.symbol("init_task")
    assert bytes(init.thread_info) == bytes(init)[: types.struct("thread_info").size]
    for p in kd.processes():
        told = truth["processes"].get(str(p.pid))
        if told is None:
            continue
        task = view(kd, "task_struct", p.paddr)
        signal = view(kd, types.struct("signal_struct"), task.signal)
        assert task.tgid == p.pid
        assert task.exit_state == {"Z": 32, "X": 16}.get(told["stat"]["state"], 0)
        assert signal.rlim[5].rlim_cur == int(told["stat"]["rsslim"])
        assert signal.nr_threads == int(told["stat"]["num_threads"])
        number = types.struct("pid").offset("numbers[0].nr")
        groups = [kd.read_i32(at + number) for at in signal.pids[2:4] if at]
        assert groups == [n for n, at in zip((p.pgid, p.sid), signal.pids[2:4], strict=True) if at]
        # Bit fields, and an integer that is signed by its typedefs alone.
        assert (task.in_execve, task.sched_reset_on_fork) == (0, 0)
        assert task.prio < 0 or task.prio <= 139
        assert (task.exit_code >> 8, task.exit_code & 127) == (
            (3, 0) if p.comm == "pk-zombie" else (0, 15) if p.comm == "pk-zombie-sig" else (0, 0)
        )


def test_modules(both: Any) -> None:
    """qemu_fw_cfg is loaded: its structures are in its own BTF, which needs the kernel's."""
    kd, truth, _ = both
    assert [line.split()[0] for line in truth["modules"]] == ["qemu_fw_cfg"]
    entry = kd.types.struct("fw_cfg_sysfs_entry")
    assert "fw_cfg_sysfs_entry" not in kd.target.types
    assert [m.source.rpartition(": ")[2] for m in kd.types.modules] == ["module qemu_fw_cfg"]
    assert (entry.size, entry.offset("name"), entry.offset("list.prev")) == (144, 70, 136)
    assert entry.offset("kobj.parent") == kd.types.struct("kobject").offset("parent")
    with pytest.raises(pykvm.KvmError, match=r"struct nosuch: not in the types of .*, nor of its 1 modules"):
        kd.types.struct("nosuch")


def test_module_data(real: Any) -> None:
    """Values of a module's structures, found by their type alone: the entries of /sys/firmware/qemu_fw_cfg."""
    with pykvm.Kvm(real("linux/x86_64-6.12-kaslr.zlib-d31.kdump")) as kd:
        modules = view(kd, "module", kd.read_ptr(kd.symbol("modules")) - kd.types.struct("module").offset("list"))
        assert modules.name == b"qemu_fw_cfg"
        symtab = modules.kallsyms
        kallsyms = view(kd, "mod_kallsyms", symtab)
        found = {}
        for i in range(kallsyms.num_symtab):
            symbol = view(kd, "elf64_sym", kallsyms.symtab + 24 * i)
            found[kd.read_cstr(kallsyms.strtab + symbol.st_name)] = symbol.st_value
        entry = kd.types.struct("fw_cfg_sysfs_entry")
        nodes = kd.walk_list(found[b"fw_cfg_entry_cache"], 0)[1:]
        entries = [view(kd, entry, node - entry.offset("list")) for node in nodes]
        # Numbers and sizes as QEMU gives them out: struct FWCfgVMCoreInfo has 16 bytes, its files begin with 32.
        assert [e.select for e in entries] == list(range(32, 32 + len(entries)))
        assert {e.name: e.size for e in entries}[b"etc/vmcoreinfo"] == 16
        assert entries[0].name == b"bios-geometry"


def test_every_structure(both: Any) -> None:
    """Every member of every structure has a place in it, and those of task_struct do not overlap."""
    types = both[0].types
    count = 0
    for name in types:
        struct = types.struct(name)
        for field in struct.fields.values():
            assert 0 <= field.offset <= field.offset + field.size <= struct.size
            count += 1
    assert count > 50000
    at = 0
    for field in types.struct("task_struct").fields.values():
        if " : " in field.type or "union" in field.type or field.offset < at:
            continue
        at = field.offset + field.size
    assert at <= types.struct("task_struct").size


def test_layout_of_vmlinux(real: Any, tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """All of it is a layout file, by which a dump is read as by its own types."""
    kernel = real(VMLINUX)
    assert main(["layout", str(kernel)]) == 0
    path = tmp_path / "layout.json"
    path.write_text(capsys.readouterr().out)
    loaded, types = load(path), kernel_types(kernel)
    assert len(loaded) > 8000
    for name in ("task_struct", "mm_struct", "signal_struct", "inode", "sk_buff", "page", "rq", "module", "net_device"):
        theirs = types.struct(name)
        for member, field in theirs.fields.items():
            assert loaded.struct(name).field(member)[:2] == field[:2]
    dump = real("linux/x86_64-6.12-kaslr.zstd-d23.kdump")
    with pykvm.Kvm(dump) as own, pykvm.Kvm(dump, layout=path) as given:
        assert [bytes(p) for p in own.processes()] == [bytes(p) for p in given.processes()]
        at = own.symbol("init_task")
        raw = own.read(at, types.struct("task_struct").size)
        a, b = (StructView(t.struct("task_struct"), raw, 0, "little") for t in (own.types, given.types))
        for member in own.types.struct("task_struct").fields:
            one, two = getattr(a, member), getattr(b, member)
            if isinstance(one, StructView):
                assert bytes(one) == bytes(two)
            elif not isinstance(one, tuple):
                assert one == two, member
        assert a.se.sum_exec_runtime == b.se.sum_exec_runtime
        assert a.sched_task_group == b.sched_task_group


def test_kernel_file(real: Any) -> None:
    """A kernel file's BTF is what its dump has."""
    with pykvm.Kvm(real("linux/x86_64-6.12-kaslr.zlib-d31.kdump")) as kd:
        file, dump = kernel_types(real(VMLINUX)), kd.target.types.carried
        assert list(file) == list(dump)
        assert file._types == dump._types
        assert file._strings == dump._strings
