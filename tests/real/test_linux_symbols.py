"""The names of real Linux dumps, against what the guests' own /proc said; and kernel files for them."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pykvm
from pykvm.images.vmcoreinfo import VmcoreInfo
from pykvm.symbols.base import Symbol

DUMPS = {
    "x86_64-elf": ("x86_64-6.12-kaslr.qemu-elf", "x86_64-6.12-kaslr"),
    "x86_64-zlib": ("x86_64-6.12-kaslr.zlib-d31.kdump", "x86_64-6.12-kaslr"),
    "x86_64-la57": ("x86_64-6.12-la57-pti.none-d23.kdump", "x86_64-6.12-la57-pti"),
    "aarch64-elf": ("aarch64-6.12-kaslr.qemu-elf", "aarch64-6.12-kaslr"),
}
VMLINUX = "linux/vmlinux-6.12.117-x86_64.nodwarf"
BUILD_ID = "7f76f39faf07f34cfa9fadd801e131bfa8cb6dc3"
Find = Callable[[str], Path]


@pytest.fixture(scope="module", params=DUMPS, ids=list(DUMPS))
def both(request: pytest.FixtureRequest, real: Find) -> Iterator[tuple[pykvm.Kvm, Any]]:
    dump, name = DUMPS[request.param]
    with pykvm.Kvm(real(f"linux/{dump}")) as kd:
        yield kd, json.loads(real(f"linux/{name}.truth.json").read_text())


def digest(symbols: list[Symbol]) -> str:
    lines = "".join(f"{s.value:016x} {chr(s.type)} {s.name}\n" for s in symbols)
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()


def test_as_many_as_in_proc_kallsyms(both: tuple[pykvm.Kvm, Any]) -> None:
    kd, truth = both
    assert len(kd.symbols) == len(list(kd.symbols)) == truth["kallsyms_count"]
    assert digest(list(kd.symbols.all())) == truth["kallsyms_sha256_without_modules"][0]
    for name, told in truth["kallsyms"].items():
        found = kd.symbols.loose(name)
        assert found is not None
        assert (found.value, kd.symbols.letter(found), found.module or "") == (
            int(told["addr"], 16), told["type"], told["module"],
        )  # fmt: skip


def test_modules(both: tuple[pykvm.Kvm, Any]) -> None:
    kd, truth = both
    told = {line.split()[0]: line.split() for line in truth["modules"]}
    rows = [s for s in kd.symbols.all(modules=True) if s.module is not None]
    assert {s.module for s in rows} == set(told)
    for s in rows:
        _, size, _, _, _, start = told[str(s.module)]
        # The size is without the holes between the parts, which are a page or more apart.
        assert int(start, 16) <= s.value < int(start, 16) + int(size) + 0x10000
    at = kd.symbol("fw_cfg_sysfs_probe")
    assert kd.symbol_at(at + 4) == ("fw_cfg_sysfs_probe", 4)
    assert "fw_cfg_rev" in kd.symbols
    assert kd.read_u32(kd.symbol("fw_cfg_rev")) in (1, 3)  # QEMU's revision of the interface, and with DMA
    this = kd.symbols.loose("__this_module")
    assert this is not None
    assert kd.read_cstr(this.value + kd.types.struct("module").offset("name"), 56) == b"qemu_fw_cfg"
    nl = [pykvm.Nlist("_fw_cfg_sysfs_probe"), pykvm.Nlist("_init_task"), pykvm.Nlist("no_such_name")]
    assert pykvm.kvm_nlist(kd, nl) == 1
    assert [n.n_value for n in nl] == [at, kd.symbol("init_task"), 0]


def test_found_by_its_looks(both: tuple[pykvm.Kvm, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """As in kernels before 6.0, whose VMCOREINFO does not name the tables."""
    kd, truth = both
    told = VmcoreInfo.symbol
    monkeypatch.setattr(VmcoreInfo, "symbol", lambda self, n: None if n.startswith("kallsyms_") else told(self, n))
    with pykvm.Kvm(kd.image.path) as searched:
        assert list(searched.symbols.all()) == list(kd.symbols.all())
        assert len(searched.symbols) == truth["kallsyms_count"]
        assert pykvm.kvm_geterr(searched) == ""


def test_system_map(both: tuple[pykvm.Kvm, Any], real: Find) -> None:
    """Every name of kallsyms is there, at the same address; a few are absolute, which kallsyms leaves out."""
    kd, truth = both
    with pykvm.Kvm(kd.image.path, real(f"linux/System.map-6.12.117-{kd.info.machine}")) as listed:
        rows = {(s.name, s.value) for s in listed.symbols.all()}
        own = {(s.name, s.value) for s in kd.symbols.all()}
        assert own <= rows
        letters = {(s.name, s.value): chr(s.type) for s in listed.symbols.all()}
        assert {letters[row] for row in rows - own} == {"A"}
        for s in kd.symbols.all():
            assert chr(s.type) in (letters[s.name, s.value], "A")
        assert len(listed.symbols) - truth["kallsyms_count"] == len(rows - own)
        assert listed.symbol("fw_cfg_rev") == kd.symbol("fw_cfg_rev")
        assert [p.pid for p in listed.processes()] == [p.pid for p in kd.processes()]


def test_saved_proc_kallsyms(both: tuple[pykvm.Kvm, Any], tmp_path: Path) -> None:
    kd, truth = both
    path = tmp_path / "kallsyms"
    with open(path, "w", encoding="utf-8", errors="surrogateescape") as f:
        for s in kd.symbols.all(modules=True):
            f.write(f"{s.value:016x} {kd.symbols.letter(s)} {s.name}" + (f"\t[{s.module}]\n" if s.module else "\n"))
    with pykvm.Kvm(kd.image.path, path) as saved:
        assert digest(list(saved.symbols.all())) == truth["kallsyms_sha256_without_modules"][0]
        assert len(saved.symbols) == truth["kallsyms_count"]


def test_another_machines_system_map(both: tuple[pykvm.Kvm, Any], real: Find) -> None:
    kd, _ = both
    other = "aarch64" if kd.info.machine == "x86_64" else "x86_64"
    with pytest.raises(
        pykvm.FormatError, match=r"bad namelist: .* is not the kernel of .*, in the dump at .*6\.12\.117"
    ):
        pykvm.Kvm(kd.image.path, real(f"linux/System.map-6.12.117-{other}"))


def test_vmlinux(real: Find, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    dump, kernel = real("linux/x86_64-6.12-kaslr.zstd-d23.kdump"), real(VMLINUX)
    with pykvm.Kvm(dump) as own, pykvm.Kvm(dump, kernel) as named:
        assert named.symbols.build_id == BUILD_ID
        values = {(s.name, s.value) for s in named.symbols.all()}
        assert {(s.name, s.value) for s in own.symbols.all() if chr(s.type) not in "aA"} <= values
        letters = {s.name: (own.symbols.letter(s), s.value) for s in own.symbols.all()}
        for name in ("init_task", "schedule", "avenrun", "kernel_init", "linux_banner"):
            found = named.symbols.loose(name)
            assert found is not None
            assert (named.symbols.letter(found), found.value) == letters[name]
        assert named.symbol("fw_cfg_rev") == own.symbol("fw_cfg_rev")
    # A wrong BUILD-ID in VMCOREINFO, as some stable kernels have it: the notes in memory are right.
    text = VmcoreInfo.text
    for wrong in ("ab" * 20, None):
        monkeypatch.setattr(VmcoreInfo, "text", lambda self, k, w=wrong: w if k == "BUILD-ID" else text(self, k))
        with pykvm.Kvm(dump, kernel) as kd:
            assert kd.symbol("init_task") == letters["init_task"][1]
    monkeypatch.undo()
    # Another build of the same version.
    copy = tmp_path / "vmlinux"
    shutil.copyfile(kernel, copy)
    raw = copy.read_bytes()
    at = raw.index(bytes.fromhex(BUILD_ID))
    with open(copy, "r+b") as f:
        f.seek(at)
        f.write(b"\xee" * 20)
    with pytest.raises(pykvm.FormatError) as caught:
        pykvm.Kvm(dump, copy)
    assert f"BUILD-ID {'ee' * 20}; the dump's is 6.12.117+deb12-cloud-amd64 #1 SMP" in str(caught.value)
    assert f"BUILD-ID {BUILD_ID}" in str(caught.value)
