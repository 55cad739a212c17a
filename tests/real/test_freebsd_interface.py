"""FreeBSD's further functions on real dumps: what the running kernel and FreeBSD's own libraries said."""

from __future__ import annotations

import json
import os
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pykvm
from pykvm import KvmNlist, KvmPage, kvm_geterr

KERNEL = "freebsd-full/kernel-12.1-amd64"
KINDS = ("minidump", "full")
Find = Callable[[str], Path]


@pytest.fixture(scope="module", params=KINDS)
def whole(request: pytest.FixtureRequest, real: Find) -> Iterator[tuple[pykvm.Kvm, dict[str, Any], dict[str, Any]]]:
    """The 12.1 dump, what the running kernel said, and what FreeBSD 12.1's own libkvm said of the dump."""
    kind = request.param
    truth = json.loads(real(f"freebsd-full/truth-12.1-amd64-{kind}.json").read_text())
    lines = real(f"freebsd-full/libkvm-12.1-amd64-{kind}.log").read_text().splitlines()
    oracle = {"cp": [int(line.split()[2]) for line in lines if line.startswith("cp ")]}
    oracle |= {line.split()[0]: line.split()[1:] for line in lines if line.startswith(("maxcpu ", "nlist "))}
    core = real(f"freebsd-full/vmcore-12.1-amd64-{kind}")
    kd = pykvm.kvm_open2(real(KERNEL), core, os.O_RDONLY)
    assert kd is not None
    yield kd, truth, oracle
    pykvm.kvm_close(kd)


def test_cpus(whole: Any) -> None:
    kd, truth, oracle = whole
    assert [str(pykvm.kvm_getmaxcpu(kd)), str(pykvm.kvm_getncpus(kd))] == oracle["maxcpu"]
    assert pykvm.kvm_getncpus(kd) == truth["hw.ncpu"]
    pcpus = [pykvm.kvm_getpcpu(kd, cpu) for cpu in range(pykvm.kvm_getmaxcpu(kd))]
    assert [cpu for cpu, found in enumerate(pcpus) if found is not None] == [0, 1]
    assert truth["kern.smp.maxid"] == 1
    pcpu = kd.types.struct("pcpu")
    for cpu, found in enumerate(pcpus[:2]):
        assert isinstance(found, bytes)
        assert len(found) == pcpu.size == 4096
        assert struct.unpack_from("<I", found, pcpu.offset("pc_cpuid")) == (cpu,)
        assert found == kd.read(kd.symbol("__pcpu") + 4096 * cpu, 4096)
    running = {struct.unpack_from("<Q", found, pcpu.offset("pc_curthread"))[0] for found in pcpus[:2]}  # type: ignore[arg-type]
    tids = {kd.read_i32(thread + kd.types.struct("thread").offset("td_tid")) for thread in running}
    assert kd.read_i32(kd.symbol("dumptid")) in tids


def test_times(whole: Any) -> None:
    """Those that libkvm sums up; some hundredths of seconds more than the kernel had said."""
    kd, truth, oracle = whole
    found = pykvm.kvm_getcptime(kd)
    assert found == oracle["cp"]
    assert isinstance(found, list)
    assert all(said <= now <= said + 20 for said, now in zip(truth["kern.cp_time"], found, strict=True))


def test_swap(whole: Any) -> None:
    """As the kernel's sysctl vm.swap_info.0: struct xswdev (version, device, flags, blocks, used)."""
    kd, truth, _ = whole
    version, device, flags, blocks, used = struct.unpack("<I4xQ3i4x", bytes.fromhex(truth["vm.swap_info.0_raw"]))
    assert (version, device) == (2, 0x41)
    assert pykvm.kvm_getswapinfo(kd, 16, 0) == [("vtbd2", used, blocks, flags), ("", used, blocks, 0)]
    assert pykvm.kvm_getswapinfo(kd, 2, pykvm.SWIF_DEV_PREFIX) == [
        ("/dev/vtbd2", used, blocks, flags), ("", used, blocks, 0)
    ]  # fmt: skip
    assert blocks * 4096 == 12 << 20


def test_names(whole: Any) -> None:
    kd, _, oracle = whole
    nl = [KvmNlist("_allproc"), KvmNlist("_nosuchname"), KvmNlist("_pcputicks"), KvmNlist("timerstate")]
    assert pykvm.kvm_nlist2(kd, nl) == 1
    assert oracle["nlist"][0] == "1"
    assert nl[0].n_value == kd.symbol("allproc")
    of_first = [entry.n_value for entry in nl[2:]]
    assert pykvm.kvm_dpcpu_setcpu(kd, 1) == 0
    assert pykvm.kvm_nlist2(kd, nl) == 1
    offsets = [kd.read_u64(kd.symbol("dpcpu_off") + 8 * cpu) for cpu in (0, 1)]
    for entry, first in zip(nl[2:], of_first, strict=True):
        assert (entry.n_value - first) % (1 << 64) == (offsets[1] - offsets[0]) % (1 << 64)
        link = kd.symbol("pcpu_entry_" + str(entry.n_name).lstrip("_"))
        assert kd.symbol("__start_set_pcpu") <= link < kd.symbol("__stop_set_pcpu")
        assert entry.n_value == (link + offsets[1]) % (1 << 64)
    # Each CPU has its own nws (struct netisr_workstream), which says whose it is.
    member = kd.types.struct("netisr_workstream").offset("nws_cpu")
    for cpu in (1, 0):
        assert pykvm.kvm_dpcpu_setcpu(kd, cpu) == 0
        assert kd.read_u32(kd.symbol("nws") + member) in (0, cpu)
    assert pykvm.kvm_dpcpu_setcpu(kd, 2) == -1
    assert kvm_geterr(kd) == "kvm_dpcpu_setcpu: CPU 2 not found"


def test_counters(whole: Any) -> None:
    """counter(9)s of struct vmmeter: processes were forked, and no more than had numbers."""
    kd, truth, _ = whole
    member = kd.types.struct("vmmeter").offset
    value = {
        name: pykvm.kvm_counter_u64_fetch(kd, kd.read_u64(kd.symbol("vm_cnt") + member(name)))
        for name in ("v_forks", "v_vforks", "v_rforks", "v_kthreads", "v_swtch", "v_syscall", "v_swappgsin")
    }
    forks = value["v_forks"] + value["v_vforks"] + value["v_rforks"]
    assert 15 < forks <= truth["kern.lastpid"]
    assert forks + value["v_kthreads"] >= truth["kern.lastpid"]
    assert value["v_swtch"] > value["v_syscall"] > 100
    assert value["v_swappgsin"] == 0
    base = kd.read_u64(kd.symbol("vm_cnt") + member("v_swtch"))
    parts = []
    for cpu in (0, 1):
        buf = bytearray(8)
        assert pykvm.kvm_read_zpcpu(kd, base, buf, 8, cpu) == 8
        parts.append(int.from_bytes(buf, "little"))
    assert sum(parts) == value["v_swtch"]
    assert min(parts) > 0


def test_native_and_displacement(whole: Any) -> None:
    kd, _, _ = whole
    assert pykvm.kvm_kerndisp(kd) == 0
    expected = pykvm.native._host() == ("x86_64", "little")
    assert pykvm.kvm_native(kd) == int(expected)


def _check(path: Path, kd: pykvm.Kvm, pages: list[KvmPage]) -> set[int]:
    """The bytes at every page's places are the same; the numbers of the pages that are in the file."""
    seen = set()
    with path.open("rb") as f:
        for page in pages:
            assert page.kp_kmap_vaddr or page.kp_dmap_vaddr
            if page.kp_offset < 0:
                with pytest.raises(pykvm.AddressError):
                    kd.read_phys(page.kp_paddr, page.kp_len)  # of a page that the file cuts there is a beginning
                continue
            f.seek(page.kp_offset)
            data = f.read(page.kp_len)
            assert kd.read_phys(page.kp_paddr, page.kp_len) == data
            for va in (page.kp_kmap_vaddr, page.kp_dmap_vaddr):
                assert not va or kd.read(va, page.kp_len) == data
            seen.update(range(page.kp_paddr // 4096, (page.kp_paddr + page.kp_len) // 4096))
    return seen


def test_pages(real: Find) -> None:
    core = real("freebsd-full/vmcore-12.1-amd64-minidump")
    with pykvm.Kvm(core, real(KERNEL)) as kd:
        start = time.process_time()
        pages = list(kd.pages())
        assert time.process_time() - start < 1  # 0.04 s on an idle machine
        assert len(_check(core, kd, pages)) == kd.image.held.present(kd.image.core) == 6705
        by_va = {page.kp_kmap_vaddr: page for page in pages if page.kp_kmap_vaddr}
        # Text may be executed, not written to, in large pages; variables may be written to.
        text = max(va for va in by_va if va <= kd.symbol("btext"))
        assert by_va[text].kp_prot & pykvm.VM_PROT_EXECUTE
        data = max(va for va in by_va if va <= kd.symbol("allproc"))
        assert by_va[data].kp_prot & pykvm.VM_PROT_WRITE
        assert kd.translate(kd.symbol("allproc")) - by_va[data].kp_paddr == kd.symbol("allproc") - data


@pytest.mark.parametrize(
    ("machine", "entries", "size"),
    [("amd64", 4146, 27447296), ("arm64", 13, 53248)],
)
def test_pages_of_the_sparse_dumps(real: Find, machine: str, entries: int, size: int) -> None:
    """What minidump-to-elf, which uses libfbsdvmcore's walk, makes of them. For amd64 it counts the kernel's map and,
    with one small page for each of its entries, the direct map."""
    core = real(f"freebsd/vmcore-{machine}-minidump")
    with pykvm.Kvm(core, real(f"freebsd/kernel-{machine}")) as kd:
        pages: list[KvmPage] = []
        assert pykvm.kvm_walk_pages(kd, lambda page, closure: closure.append(page) or 1, pages) == 1
        mapped = [page for page in pages if page.kp_kmap_vaddr]
        if machine == "amd64":
            assert (2 * len(mapped), sum(p.kp_len for p in mapped) + 4096 * len(mapped)) == (entries, size)
        else:
            assert (len(mapped), sum(page.kp_len for page in mapped)) == (entries, size)
        seen = _check(core, kd, pages)
        in_file = (kd.image.files[0].size - kd.image.header.pages) // 4096
        assert len(seen) == min(in_file, kd.image.held.present(kd.image.core))


def test_a_resolver_for_a_full_dump(real: Find) -> None:
    """With another kernel's names missing, all come from the resolver: KPML4phys, to begin with."""
    with pykvm.Kvm(real("freebsd-full/vmcore-12.1-amd64-full"), real(KERNEL)) as kd:
        names = {symbol.name: symbol.value for symbol in kd.symbols.all()}
    asked = []

    def resolver(name: str) -> int | None:
        asked.append(name)
        return names.get(name)

    kd2 = pykvm.kvm_open2(None, real("freebsd-full/vmcore-12.1-amd64-full"), os.O_RDONLY, None, resolver)
    assert kd2 is not None
    assert "KPML4phys" in asked
    assert kd2.info.release == "12.1-RELEASE"
    assert pykvm.kvm_getncpus(kd2) == 2
    assert kd2.loadavg()[0] > 0
    kd2.close()
