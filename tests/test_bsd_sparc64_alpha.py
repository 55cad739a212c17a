"""sparc64 and alpha of NetBSD and OpenBSD: pages of 8 KB, records of a big-endian machine of 64 bits, dump devices; the
ids of OpenBSD's arm64 and riscv64. What their headers say is in test_bsd_sparc64.py and test_bsd_alpha.py."""

from __future__ import annotations

import io
import re
import struct
from pathlib import Path
from typing import Any

import pytest
from bsd_header import Victims, kept, one
from bsd_truth import (
    check_identity,
    check_memory,
    check_messages,
    check_process,
    check_vectors,
    layout_file,
    newest_first,
    nm_list,
)
from pykvm_fixtures.bsd import MACHINES
from triage import poke, triage

import pykvm

ALL = [(s, m) for s in MACHINES for m in MACHINES[s] if m.partition("-")[0] in ("sparc64", "alpha")]


@pytest.fixture(scope="module")
def victims(tmp_path_factory: pytest.TempPathFactory) -> Victims:
    return kept(tmp_path_factory)


def everyone(system: str) -> int:
    return pykvm.KERN_PROC_ALL if system == "NetBSD" else pykvm.KERN_PROC_KTHREAD


@pytest.mark.parametrize(("system", "machine"), ALL)
def test_what_they_are(victims: Victims, tmp_path: Path, system: str, machine: str) -> None:
    """By the kernel's file, and with a mere list of names by the header alone."""
    dump = victims(system, machine).dump
    name = machine.partition("-")[0]
    for names in (dump.kernel, nm_list(dump, tmp_path / "names.nm")):
        with pykvm.Kvm(dump.core, names) as kd:
            info = kd.info
            order = "big" if name == "sparc64" else "little"
            assert (info.machine, info.byteorder, info.pointer_size, info.page_size) == (name, order, 8, 8192)
            check_identity(kd, dump)
            check_memory(kd, dump)
            check_messages(kd, dump)
    with pykvm.Kvm(dump.core, names, layout=layout_file(dump, tmp_path / "layout.json")) as kd:
        found = kd.processes(everyone(system))
        for p in found:
            check_process(p, dump.process(p.pid), dump)
        check_vectors(kd, dump, found)


@pytest.mark.parametrize(("system", "machine"), ALL)
def test_device(netbsd_dump_factory: Any, openbsd_dump_factory: Any, system: str, machine: str) -> None:
    """Before the cpu data are 16 bytes on sparc64, 8 on alpha; what is written is the file's header."""
    dump = (netbsd_dump_factory if system == "NetBSD" else openbsd_dump_factory)(machine=machine, container="device")
    before = 16 if machine.startswith("sparc64") else 8
    assert dump.placed.cpu == dump.placed.device + before
    assert (before + dump.placed.cpu_size) % 512 == 0
    out = io.BytesIO()
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        assert pykvm.kvm_dump_mkheader(kd, dump.placed.device) == before + dump.placed.cpu_size
        check_identity(kd, dump, "dump device")
        check_memory(kd, dump)
        check_vectors(kd, dump, kd.processes())
        assert pykvm.kvm_dump_wrtheader(kd, out, 4096) == len(out.getvalue())
    copy = dump.core.with_name("again")
    copy.write_bytes(out.getvalue() + dump.core.read_bytes()[dump.placed.memory :])
    order = ">" if before == 16 else "<"
    assert struct.unpack(order + "HHI", out.getvalue()[4:12]) == (16, before, 2)
    with pykvm.Kvm(copy, dump.kernel) as kd:
        check_identity(kd, dump)
        assert [p.pid for p in kd.processes(everyone(system))] == newest_first(dump)


@pytest.mark.parametrize("machine", ["sparc64", "alpha"])
def test_device_that_ends(netbsd_dump_factory: Any, machine: str) -> None:
    """Behind its header, and within."""
    dump = netbsd_dump_factory(machine=machine, container="device")
    raw = dump.core.read_bytes()
    for size in (dump.placed.device + 12, dump.placed.cpu + dump.placed.cpu_size - 1):
        dump.core.write_bytes(raw[:size])
        with pykvm.Kvm(dump.core, dump.kernel) as kd:
            assert pykvm.kvm_dump_mkheader(kd, dump.placed.device) == -1
            assert pykvm.kvm_geterr(kd) == "invalid size in cpu_hdr"


@pytest.mark.parametrize("machine", ["sparc64", "alpha"])
def test_swap(netbsd_dump_factory: Any, machine: str) -> None:
    """By UVM: pages of 8 KB, in memory and in swap (test_openbsd.py has OpenBSD's)."""
    dump = netbsd_dump_factory(machine=machine, swap=True)
    with pykvm.Kvm(dump.core, dump.kernel, dump.swap) as kd:
        check_vectors(kd, dump, kd.processes())
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        with pytest.raises(pykvm.AddressError, match=r"process 803: arguments: user memory at 0x.* is not in memory"):
            kd.argv(one(kd, 803))
        assert len(kd.environ(one(kd, 800))) == 150


@pytest.mark.parametrize("machine", ["sparc64", "sparc64-2000", "alpha"])
def test_sparse(bsd_written: Any, machine: str) -> None:
    """More segments than one block has room for (a header of alpha's is one block: real ones have 30 at most)."""
    dump = bsd_written("NetBSD", machine, sparse=True)
    assert len(dump.placed.segments) > 200
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        check_memory(kd, dump)
        for i, va in enumerate(dump.buffers):
            assert kd.read_u64(va + 8 * i % dump.page_size) == va
        assert [p.pid for p in kd.processes()] == newest_first(dump)
        with pytest.raises(pykvm.AddressError, match="is not in the dump"):
            kd.argv(one(kd, 701))


ADDRESSES = re.compile(
    r"p_(paddr|addr|fd|cwdi|stats|limit|vmspace|sigacts|sess|tsess|tracep|ru|wchan|forw|back)$|l_(laddr|addr|wchan)$"
)


@pytest.mark.parametrize("layout", [0, 1])
@pytest.mark.parametrize("system", ["NetBSD", "OpenBSD"])
@pytest.mark.parametrize("machine", ["sparc64", "alpha"])
def test_records_as_on_amd64(bsd_written: Any, system: str, machine: str, layout: int) -> None:
    """All members of all records but addresses: the same system runs there. (What of the terminal's vnode is an address
    is a flag here.)"""
    options = {"layout": layout, "seed": 1 + layout}
    here, there = (bsd_written(system, m, **options) for m in (machine, "amd64"))
    op = everyone(system) | (pykvm.KERN_PROC_SHOW_THREADS if system == "OpenBSD" else 0)
    compared = 0
    with pykvm.Kvm(here.core, here.kernel) as kd, pykvm.Kvm(there.core, there.kernel) as other:
        pairs = list(zip(kd.processes(op), other.processes(op), strict=True))
        if system == "NetBSD":
            lwps = [pykvm.kvm_getlwps(k, 0, d.addresses.procs[701], 128) for k, d in ((kd, here), (other, there))]
            pairs += list(zip(*lwps, strict=True))
        for ours, theirs in pairs:
            assert len(bytes(ours)) == len(bytes(theirs))
            for member in kd.target.types.struct(ours.structure).fields:
                if not ADDRESSES.match(member):
                    assert plain(getattr(ours, member)) == plain(getattr(theirs, member)), member
                    compared += 1
        for pid in (0, 701):
            names = [[(t.tid, t.name, t.stat, t.wmesg) for t in k.threads(one(k, pid))] for k in (kd, other)]
            assert names[0] == names[1] != []
    assert compared > 800


def plain(value: Any) -> Any:
    """A value without the byte order of what it is in."""
    if isinstance(value, (int, bytes)) or value is None:
        return value
    words = getattr(value, "__bits", None)
    return tuple(words) if words is not None else tuple(value)


def test_other_kernels(victims: Victims) -> None:
    """Of another machine."""
    for own, other in (("sparc64", "alpha"), ("alpha", "sparc64"), ("sparc64", "amd64"), ("alpha", "mips64")):
        core, kernel = victims("NetBSD", own).dump.core, victims("NetBSD", other).dump.kernel
        name = {"amd64": "x86_64"}.get(other, other)
        with pytest.raises(pykvm.FormatError, match=f"bad namelist: .* is of {name}, the dump .* of {own}"):
            pykvm.Kvm(core, kernel)


@pytest.mark.parametrize(("machine", "own", "shared"), [("arm64", 159, 183), ("riscv64", 161, 243)])
def test_ids(victims: Victims, machine: str, own: int, shared: int) -> None:
    """OpenBSD's, and those that NetBSD and ELF have."""
    dump = victims("OpenBSD", machine).dump
    assert dump.core.read_bytes()[1] == own
    for mid in (own, shared):
        poke(dump.core, 1, bytes([mid]))
        try:
            with pykvm.Kvm(dump.core, dump.kernel) as kd:
                assert kd.info.machine == {"arm64": "aarch64"}.get(machine, machine)
                check_memory(kd, dump)
        finally:
            poke(dump.core, 1, bytes([own]))


@pytest.mark.parametrize(("system", "machine"), ALL)
@pytest.mark.parametrize("length", [12, 31, 32, 200, 527, 543, 560, 0x4000, 0x300000])
def test_cut(victims: Victims, tmp_path: Path, system: str, machine: str, length: int) -> None:
    dump = victims(system, machine).dump
    core = tmp_path / "core"
    with open(dump.core, "rb") as f:
        core.write_bytes(f.read(length))
    messages = triage(core, dump.kernel, sizes=(0, 680, 648))
    assert messages
    assert not [m for m in messages if "\n" in str(m)]
