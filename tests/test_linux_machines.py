"""Linux on every machine that there are page tables for: dumps of the writer, which knows the manuals, not pykvm."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import linux_truth as truth
import pytest
from pykvm_fixtures.linux import MACHINES, write_linux

import pykvm
from pykvm.memory import Memory

GB = 1 << 30
CASES: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in MACHINES),
    # The kernel below its link address, where it was linked to, above it, and behind 4 GB.
    ("x86_64", {"phys_base": -0xFE00000}),
    ("x86_64", {"phys_base": 0x1000000, "kernel_offset": 0}),
    ("x86_64", {"phys_base": 0x2E00000, "kernel_offset": 0}),
    ("x86_64", {"phys_base": 4 * GB}),
    ("x86_64", {"percpu_absolute": False}),  # since Linux 6.15
    ("x86_64", {"phys_base": (1 << 45) - 4 * GB}),
    ("x86_64-la57", {"phys_base": (1 << 51) + (1 << 46)}),
    ("x86_64-la57", {"phys_base": 5 * GB - 0x20000000, "sme_bit": 51, "pti": True}),
    ("x86_64-sme", {"sme_bit": 51, "phys_base": 4 * GB}),
    *(("i386", {"page_offset": offset}) for offset in (0xB0000000, 0x80000000, 0x78000000, 0x40000000)),
    ("i386", {"kernel_offset": 0x1800000}),
    *(("i386-pae", {"page_offset": offset}) for offset in (0x80000000, 0x40000000)),
    *(("arm", {"page_offset": offset}) for offset in (0xB0000000, 0x80000000, 0x40000000)),
    *(("arm", {"memory_start": start}) for start in (0, 0x10000000, 0x40000000, 0x60000000, 0x80200000, 0xA1000000)),
    ("arm", {"page_offset": 0x80000000, "memory_start": 0x80000000}),
    ("arm", {"page_offset": 0x80000000, "memory_start": 0x20200000}),
    *(("arm-lpae", {"page_offset": offset}) for offset in (0x80000000, 0x40000000)),
    ("arm-lpae", {"memory_start": 0x40000000}),
    ("arm-lpae", {"memory_start": 0xE000000000}),
    *(("riscv64", {"memory_start": start}) for start in (0, 0x40000000, 0x8000000000, 0x200000000000)),
    ("riscv64-sv39", {"memory_start": 0x1000000000, "kernel_offset": 0}),
    ("riscv64-sv57", {"memory_start": 0xA0000000000000}),
    *(("riscv64-sv48", {"told": "kernel", "loaded_at": at}) for at in (0, 2 << 20)),
    ("riscv64-sv39", {"told": "memory"}),
    ("riscv64-sv57", {"told": "memory", "memory_start": 0x1080000000}),
    *(("aarch64", {"memory_start": start}) for start in (0, 0x80000000, 0x2000000000)),
    ("aarch64-4k-39", {"memory_start": 0x8000000000, "kernel_offset": 0}),
    ("aarch64-4k-52", {"memory_start": 0x40000000}),
    ("aarch64-4k-52", {"memory_start": 0x4000000000000}),
    ("aarch64-16k-52", {"memory_start": 0x8000000000000}),
    ("aarch64-64k-52", {"memory_start": 0x40000000}),
    ("aarch64-64k-52-as-48", {"memory_start": 0x1000000000000}),
]


@pytest.fixture(
    scope="module",
    params=CASES,
    ids=lambda c: "-".join([c[0], *(f"{k}={v if isinstance(v, str) else hex(v)}" for k, v in c[1].items())]),
)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    name, options = request.param
    dump = write_linux(tmp_path_factory.mktemp("linux"), name, seed=11, **options)
    with pykvm.Kvm(dump.paths) as kd:
        yield kd, dump


def test_info(both: Any) -> None:
    truth.info(*both, "elf")


def test_names(both: Any) -> None:
    truth.names(*both)


def test_processes(both: Any) -> None:
    truth.processes(*both)


def test_arguments(both: Any) -> None:
    truth.arguments(*both)


def test_borders(both: Any) -> None:
    truth.borders(*both)


def test_physical(both: Any) -> None:
    truth.physical(*both)


def test_tables(both: Any) -> None:
    truth.tables(*both)


@pytest.mark.parametrize("width", ["sv39", "sv48", "sv57"])
def test_pages_of_64_kb_on_riscv(tmp_path: Path, width: str) -> None:
    """Svnapot: what is read there is right, or it is an error."""
    dump = write_linux(tmp_path, f"riscv64-{width}", napot=True)
    wide = [p for p in dump.probes if "1 << 16" in p.name]
    assert len(wide) == 5
    with pykvm.Kvm(dump.paths) as kd:
        for probe in dump.probes:
            with contextlib.suppress(pykvm.AddressError) if probe in wide else contextlib.nullcontext():
                assert kd.read(probe.va, len(probe.data)) == probe.data, probe.name


@pytest.mark.parametrize("levels", [4, 5])
def test_page_table_isolation(tmp_path: Path, levels: int) -> None:
    """A CPU in user mode has tables without the kernel; the process's own are another root beside them."""
    dump = write_linux(tmp_path, "x86_64-pti", levels=levels, container="qemu-elf")
    with pykvm.Kvm(dump.paths) as kd:
        truth.everything(kd, dump, "elf")
        target, image = kd.target, kd.image
        for pid, (root, second) in dump.roots.items():
            assert second == root + 4096
            mm = kd.read_ptr(dump.task_addrs[pid] + kd.types.struct("task_struct").offset("mm"))
            layout = kd.types.struct("mm_struct")
            assert kd.translate(kd.read_ptr(mm + layout.offset("pgd"))) == root
            start = kd.read_ptr(mm + layout.offset("arg_start"))
            first = next(t for t in dump.tasks if t.pid == pid).argv[0]
            for table in (root, second):
                memory = Memory()
                memory.attach(image, target.platform.user(target.tables(image), table), "little", 8)
                assert memory.read(start, len(first)) == first
            memory = Memory()
            tables = dataclasses.replace(target.tables(image), root=second)
            memory.attach(image, target.platform.kernel(tables, image), "little", 8)
            with pytest.raises(pykvm.AddressError):
                memory.read(dump.symbols["init_uts_ns"], 1)
        assert image.cpus[0].cr3 == dump.roots[1][1]


@pytest.mark.parametrize("machine", ["x86_64-la57", "i386-pae", "arm", "arm-lpae", "aarch64-64k-52", "riscv64-sv57"])
def test_lies_in_vmcoreinfo(tmp_path: Path, machine: str) -> None:
    """Each value in turn is wrong: an answer or one clear line, and no answer that is another process list."""
    dump = write_linux(tmp_path, machine)
    path = dump.paths[0]
    raw = path.read_bytes()
    at = raw.index(dump.vmcoreinfo)
    answers, said = set(), []
    for line in dump.vmcoreinfo.splitlines():
        start = dump.vmcoreinfo.index(line) + line.index(b"=") + 1
        size = len(line) - line.index(b"=") - 1
        for lie in (b"0" * size, b"f" * size, b"9" * size, b"-1".ljust(size), b"z" * size, b"0x7".ljust(size, b"f")):
            damaged = bytearray(raw)
            damaged[at + start : at + start + size] = lie[:size]
            path.write_bytes(damaged)
            try:
                with pykvm.Kvm(path) as kd:
                    answers.add(tuple(p.pid for p in kd.processes()))
                    kd.argv(kd.processes()[0])
            except pykvm.KvmError as e:
                said.append(str(e))
    assert said
    assert all(text and "\n" not in text for text in said)
    assert answers == {tuple(t.pid for t in dump.tasks)}
