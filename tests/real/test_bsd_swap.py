"""User memory of real NetBSD and OpenBSD dumps that is not in page tables: anons, and swap."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import pykvm

PAGE = 4096
CASES = {
    "netbsd": ("netbsd/netbsd-amd64-full.core", "netbsd/netbsd-amd64.kernel", 5),
    "openbsd": ("openbsd-amd64/openbsd73-amd64.core", "openbsd-amd64/openbsd73-amd64.kernel", 55131),
}


def around(kd: pykvm.Kvm, pid: int) -> tuple[int, range]:
    """The vmspace of a process, and its pages around its ps_strings."""
    (p,) = kd.processes(pykvm.KERN_PROC_PID, pid)
    where = kd.target.ps_strings(kd.parts, p)  # type: ignore[attr-defined]
    last = where.at - where.at % PAGE
    return where.vmspace, range(last - 8 * PAGE, last + PAGE, PAGE)


@pytest.mark.parametrize("system", CASES)
def test_anons_and_page_tables_agree(real: Any, system: str) -> None:
    core, kernel, _ = CASES[system]
    with pykvm.Kvm(real(core), real(kernel)) as kd:
        target: Any = kd.target
        compared = 0
        for p in kd.processes(pykvm.KERN_PROC_ALL):
            if target.ps_strings(kd.parts, p) is None:
                continue
            vmspace, pages = around(kd, p.pid)
            mapped, anons = target.space(kd.parts, vmspace), target.anons(kd.parts, vmspace)
            for va in pages:
                try:
                    data = mapped.read(va, PAGE)
                except pykvm.AddressError:
                    with pytest.raises(pykvm.AddressError):
                        anons.page(va)
                    continue
                assert anons.page(va) == data
                compared += 1
        assert compared >= 15


def entry_of(image: Any, root: int, va: int) -> int:
    """Where the page table entry of an address is in physical memory (amd64, 4 levels)."""
    table = root
    for shift in (39, 30, 21, 12):
        at = table + (va >> shift & 511) * 8
        table = int.from_bytes(image.read(at, 8), "little") & 0x000FFFFFFFFFF000
    return int(at)


@pytest.mark.parametrize("system", CASES)
def test_swapped_out(real: Any, tmp_path: Path, system: str) -> None:
    """The stack's pages one after another leave the page tables, then memory: the arguments come from anons, from swap,
    or it is said that they are nowhere."""
    core, kernel, pid = CASES[system]
    copy, swap = tmp_path / "core", tmp_path / "swap"
    shutil.copyfile(real(core), copy)
    with pykvm.Kvm(copy, real(kernel)) as kd:
        target: Any = kd.target
        (p,) = kd.processes(pykvm.KERN_PROC_PID, pid)
        expected = kd.argv(p), kd.environ(p)
        vmspace, pages = around(kd, pid)
        mapped, anons, image = target.space(kd.parts, vmspace), target.anons(kd.parts, vmspace), kd.image
        pmap = kd.read_ptr(vmspace)  # of both, struct vm_map comes first, and pmap in it
        root = kd.read_u64(pmap + target.types.struct("pmap").offset("pm_pdirpa"))
        there = [va for va in pages if is_there(mapped, va)]
        entries = [entry_of(image, root, va) for va in there]
        anon = [anons.anon(e.amap, (va - e.start) // PAGE + e.pageoff) for va in there for e in [anons.entry(va)]]
        data = [mapped.read(va, PAGE) for va in there]
        extents = image.held.extents
        layout = target.types.struct("vm_anon")
    assert len(there) >= 3

    def put(physical: int, value: bytes) -> None:
        (e,) = (e for e in extents if e.addr <= physical < e.addr + e.size)
        with open(copy, "r+b") as file:
            file.seek(e.offset + physical - e.addr)
            file.write(value)

    for at in entries:
        put(at, bytes(8))
    with pykvm.Kvm(copy, real(kernel)) as kd:
        (p,) = kd.processes(pykvm.KERN_PROC_PID, pid)
        assert (kd.argv(p), kd.environ(p)) == expected
    with pykvm.Kvm(copy, real(kernel), writable=True) as kd:
        for number, at in enumerate(anon, start=1):
            kd.write(at + layout.offset("an_page"), bytes(8))
            kd.write(at + layout.offset("an_swslot"), number.to_bytes(4, "little"))
    with pykvm.Kvm(copy, real(kernel)) as kd:
        (p,) = kd.processes(pykvm.KERN_PROC_PID, pid)
        with pytest.raises(pykvm.AddressError, match=f"process {pid}: arguments: user memory at .* is not in memory"):
            kd.argv(p)
    swap.write_bytes(b"".join(data))
    with pykvm.Kvm(copy, real(kernel), swap) as kd:
        (p,) = kd.processes(pykvm.KERN_PROC_PID, pid)
        assert (kd.argv(p), kd.environ(p)) == expected
    swap.write_bytes(b"".join(data)[:PAGE])
    with pykvm.Kvm(copy, real(kernel), swap) as kd:
        (p,) = kd.processes(pykvm.KERN_PROC_PID, pid)
        with pytest.raises(pykvm.AddressError, match="is not in memory"):
            kd.argv(p)


def is_there(memory: Any, va: int) -> bool:
    try:
        memory.read(va, 1)
    except pykvm.AddressError:
        return False
    return True
