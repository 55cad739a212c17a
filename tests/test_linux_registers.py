"""Linux without VMCOREINFO, neither as a note nor in memory: by the registers that QEMU notes."""

from __future__ import annotations

import contextlib
import random
import struct
import time
from pathlib import Path
from typing import Any

import linux_truth as truth
import pytest
from bounds import SLOW
from hypothesis import given, settings
from hypothesis import strategies as st
from pykvm_fixtures.linux import LinuxDump, write_linux
from pykvm_fixtures.linux.elf import Load, write_elf
from pykvm_fixtures.linux.notes import note

import pykvm

CASES: list[tuple[str, dict[str, Any]]] = [
    ("x86_64", {}), ("x86_64", {"phys_base": 0x1000000, "kernel_offset": 0, "percpu_absolute": False}),
    ("x86_64-la57", {"pti": True}), ("x86_64-pti", {"container": "qemu-kdump"}), ("x86_64-pti", {"exports": "5.4"}),
    ("x86_64", {"container": "qemu-elf-paging"}), ("i386", {}), ("i386", {"page_offset": 0x40000000}),
    ("i386", {"kernel_offset": 0x1800000, "exports": "4.19"}), ("i386-pae", {}),
    ("i386-pae", {"page_offset": 0x80000000, "container": "qemu-kdump", "exports": "5.4"}),
]  # fmt: skip


def write(directory: Path, machine: str, **how: Any) -> LinuxDump:
    return write_linux(directory, machine, **{"container": "qemu-elf", "note": False, "told": False, **how})


@pytest.fixture(
    scope="module",
    params=CASES,
    ids=lambda c: "-".join([c[0], *(f"{k}={v if isinstance(v, str) else hex(v)}" for k, v in c[1].items())]),
)
def dump(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LinuxDump:
    machine, how = request.param
    return write(tmp_path_factory.mktemp("registers"), machine, **how)


def test_everything(dump: LinuxDump) -> None:
    with pykvm.Kvm(dump.paths) as kd:
        assert kd.image.vmcoreinfo is None
        truth.everything(kd, dump, kd.info.format)


def test_the_kernels_own_tables(dump: LinuxDump) -> None:
    """Not those of a process, if the kernel's symbols say where they are."""
    with pykvm.Kvm(dump.paths) as kd:
        target: Any = kd.target
        own = "init_top_pgt" in dump.symbols or "swapper_pg_dir" in dump.symbols
        roots = {dump.swapper[1]} if own else {dump.swapper[1], *(root for root, _ in dump.roots.values())}
        assert target.tables(kd.image).root in roots


def names_of(dump: LinuxDump, moved: int = 0) -> str:
    known = {name: value - moved * (value >= dump.symbols["_stext"]) for name, value in dump.symbols.items()}
    return "".join(f"{value:016x} T {name}\n" for name, value in known.items())


@pytest.mark.parametrize("moved", [0, 0x10000000])
def test_a_list_of_names(tmp_path: Path, moved: int) -> None:
    """System.map, at the addresses where the kernel was linked."""
    dump = write(tmp_path, "x86_64")
    names = tmp_path / "System.map"
    names.write_text(names_of(dump, moved))
    with pykvm.Kvm(dump.paths[0], names) as kd:
        assert kd.symbol("avenrun") == dump.symbols["avenrun"]
        truth.processes(kd, dump)


@pytest.mark.parametrize("moved", [0, 0x10000000])
def test_without_kallsyms(tmp_path: Path, moved: int) -> None:
    """Then a kernel file's symbols lead to the rest."""
    dump = write(tmp_path, "x86_64")
    raw = dump.paths[0].read_bytes()
    digits = b"".join(b"%d\0" % i for i in range(10))
    assert digits in raw
    dump.paths[0].write_bytes(raw.replace(digits, bytes(len(digits))))
    with pytest.raises(pykvm.KvmError, match="registers of its CPUs that lead to one: make it with"):
        pykvm.Kvm(dump.paths)
    names = tmp_path / "System.map"
    names.write_text(names_of(dump, moved))
    with pykvm.Kvm(dump.paths[0], names) as kd:
        assert kd.symbol("avenrun") == dump.symbols["avenrun"]
        truth.processes(kd, dump)
    names.write_text(names_of(dump, moved).replace(" init_uts_ns\n", " init_uts_ms\n") + "0" * 16 + " T init_uts_ns\n")
    with pytest.raises(pykvm.KvmError, match="lead to one"):
        pykvm.Kvm(dump.paths[0], names)


@pytest.mark.parametrize("container", ["elf", "kdump", "lime", "raw"])
def test_nothing_to_go_by(tmp_path: Path, container: str) -> None:
    dump = write(tmp_path, "x86_64", container=container)
    names = tmp_path / "System.map"
    names.write_text(names_of(dump))
    for kernel in (None, names):
        with pytest.raises(pykvm.KvmError) as caught:
            pykvm.Kvm(dump.paths, kernel)
        message = str(caught.value)
        assert message.startswith(f"{dump.paths[0]}: this {container} dump carries no symbols, nor what leads to ")
        assert "VMCOREINFO, as a note or in memory, or registers of its CPUs, as QEMU notes x86's: make it" in message
        assert ("name its kernel (kernel, -N)" in message) == (kernel is None)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    path = write(tmp_path_factory.mktemp("fuzz"), "x86_64", exports="5.4").paths[0]
    return path, path.read_bytes()


@given(seed=st.integers(0, 1 << 32), count=st.integers(1, 400))
@settings(max_examples=25, deadline=None)
def test_fuzz(whole: tuple[Path, bytes], seed: int, count: int) -> None:
    """Bytes that are wrong anywhere, and words that lead astray."""
    path, raw = whole
    rng, changed = random.Random(seed), bytearray(raw)
    for _ in range(count):
        at = rng.randrange(4096, len(raw) - 8)
        if raw[at]:
            changed[at] = rng.randrange(256)
        if raw[at : at + 8] != bytes(8) and not at % 8:
            changed[at : at + 8] = raw[rng.randrange(512, len(raw) // 8) * 8 :][:8]
    path.write_bytes(changed)
    started = time.process_time()
    with contextlib.suppress(pykvm.KvmError), pykvm.Kvm(path) as kd:
        for ask in (kd.loadavg, kd.processes, kd.dmesg, lambda: len(kd.symbols), lambda: kd.types.struct("nosuch")):
            with contextlib.suppress(pykvm.KvmError):
                ask()
    assert time.process_time() - started < 10 * SLOW


def qemu_state(cr3: int, cr4: int) -> bytes:
    head = struct.pack("<II", 1, 440) + bytes(18 * 8 + 10 * 24 + 16)
    return note(b"QEMU", 0, head + struct.pack("<QQQ", 0, cr3, cr4) + bytes(8))


@pytest.mark.parametrize("machine", [62, 3])
@pytest.mark.parametrize(
    "entry", [0x1007, 0x10E7, 0x2007, 0xFFFFFFFFFFFFF7, 0], ids=["itself", "large", "digits", "outside", "none"]
)
def test_tables_that_lead_nowhere(tmp_path: Path, machine: int, entry: int) -> None:
    """Tables that are their own, pages that are all one: hours of looking, if it were not bounded."""
    digits = b"".join(b"%d\0" % i for i in range(10))
    table = entry.to_bytes(8, "little") * 512
    data = bytes(4096) + table + (digits * 205)[:4096]
    cpus = [(0x1000 + 0x1000 * (i % 3), 0x20 | 0x1000 * (i & 1)) for i in range(12)] + [(0, 0), (1 << 60, 0)]
    notes = b"".join(qemu_state(*cpu) for cpu in cpus)
    write_elf(tmp_path / "core", machine, [Load(0, 0, 0, len(data), len(data))], data, notes)
    started = time.process_time()
    with pytest.raises(pykvm.KvmError, match="carries no symbols"):
        pykvm.Kvm(tmp_path / "core")
    assert time.process_time() - started < 10 * SLOW
