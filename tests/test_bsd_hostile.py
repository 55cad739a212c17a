"""NetBSD and OpenBSD dumps that lie: headers, lists, counts, tables, types: KvmErrors, no crashes, no hangs."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bsd_victim import Victim, made
from pykvm_fixtures.bsd import write_netbsd, write_openbsd
from triage import poke, triage

import pykvm

SIZES = (0, 680, 648, 644, 1020, 984)  # 0: a record that cannot be made


@pytest.fixture(scope="module")
def netbsd(tmp_path_factory: pytest.TempPathFactory) -> Victim:
    return made(tmp_path_factory.mktemp("netbsd"), "NetBSD", "amd64")


@pytest.fixture(scope="module")
def openbsd(tmp_path_factory: pytest.TempPathFactory) -> Victim:
    return made(tmp_path_factory.mktemp("openbsd"), "OpenBSD", "amd64")


@pytest.fixture(scope="module", params=["NetBSD", "OpenBSD"])
def both(request: pytest.FixtureRequest, netbsd: Victim, openbsd: Victim) -> Victim:
    return netbsd if request.param == "NetBSD" else openbsd


def one(kd: Any, pid: int) -> Any:
    (p,) = kd.processes(pykvm.KERN_PROC_PID, pid)
    return p


def said(call: Callable[[], Any], kind: type[Exception] = pykvm.KvmError) -> str:
    with pytest.raises(kind) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    return text


# -- headers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offset", "data", "why"),
    [
        (1, b"\x01", "midmag: machine id 1 is not known"),
        (4, b"\x14\0", "kcore_seg CORE_CPU at offset 20: flag 62 magic 0x0, must be 1 and 0x8fac"),
        (4, b"\xff\xff", r"kcore_seg CORE_CPU at offset 65535: .*must be 1 and 0x8fac"),
        (6, b"\x09\0", "kcore_seg CORE_DATA at offset 529: .*, must be 2 and 0x8fac"),
        (8, b"\x03", "c_nseg is 3, must be 2"),
        (8, b"\xff\xff\xff\xff", "c_nseg is 4294967295, must be 2"),
        (16, b"\x08", "kcore_seg CORE_CPU at offset 16: flag 2 magic 0x8fac, must be 1 and 0x8fac"),
        (20, b"\xff\xff\xff\xff", r"c_size of the CORE_CPU segment is 4294967295, beyond the end of the file \(\d+\)"),
        (20, b"\0\0\0\x03", r"c_size of the CORE_CPU segment is 50331648, more than any machine has"),
        (20, b"\x08\0\0\0", "kcore_seg CORE_DATA at offset 32: .*, must be 2 and 0x8fac"),
        (20, b"\0\0\0\0", "kcore_seg CORE_DATA at offset 24: .*, must be 2 and 0x8fac"),
        (528, b"\x04", "kcore_seg CORE_DATA at offset 528: flag 1 magic 0x8fac, must be 2 and 0x8fac"),
    ],
)
def test_flaws_of_headers(both: Victim, offset: int, data: bytes, why: str) -> None:
    """The core opens, as with the original, and every read says what is wrong."""
    with both.lying(offset, data) as kd:
        assert kd.info.format == "raw"
        for call in (kd.processes, kd.dmesg, kd.loadavg, lambda: kd.read(both.symbols["version"], 4)):
            text = said(call)
            assert text.startswith(f"no valid dump header: {both.dump.core}: ")
            assert re.search(why, text)
        assert pykvm.kvm_dump_wrtheader(kd, io.BytesIO(), 0) == -1


@pytest.mark.parametrize(
    ("offset", "value", "why"),
    [
        (8, 31, "nmemsegs: 31 segments do not fit the cpu data of 504 bytes"),
        (8, 1 << 63, "nmemsegs: 9223372036854775808 segments do not fit the cpu data of 504 bytes"),
        (24, (1 << 64) - 1, "memory segment 0 overlaps another, wraps around, or is too large"),
        (40, 1 << 62, "memory segment 2 overlaps another, wraps around, or is too large"),
        (32, 0, "memory segment 1 overlaps another, wraps around, or is too large"),
        (0, 0xFFF0000, "there is nothing at 0xffffffff8"),
        (0, (1 << 64) - 1, "there is nothing at 0xffffffff8"),
        (8, 0, "there is nothing at 0xffffffff8"),
    ],
)
def test_cpu_data(both: Victim, offset: int, value: int, why: str) -> None:
    """The first table, the number of segments, the segments."""
    at = both.dump.placed.cpu + offset
    if offset == 32:  # where another one is
        raw = both.dump.core.read_bytes()[both.dump.placed.cpu :][16:24]
        value = int.from_bytes(raw, "little")

    def use() -> None:
        with both.lying(at, struct.pack("<Q", value)):
            pass

    text = said(use, pykvm.FormatError)
    assert str(both.dump.core) in text
    assert why in text


@pytest.mark.parametrize(
    ("system", "machine", "offset", "data", "why"),
    [
        ("NetBSD", "i386", 0, struct.pack("<I", 0x1234), "there is nothing at 0xc04"),
        ("NetBSD", "i386", 4, struct.pack("<I", 0), "pdppaddr 0x[0-9a-f]+, nmemsegs 0, or the segments make no sense"),
        ("NetBSD", "i386", 4, struct.pack("<I", 0xFFFFFFFF), "nmemsegs 4294967295, or the segments make no sense"),
        ("NetBSD", "i386", 8, struct.pack("<Q", 5), "nmemsegs 4, or the segments make no sense"),
        ("NetBSD", "i386-pae", 0, struct.pack("<I", 0x200), "pdppaddr 0x200, nmemsegs 4"),
        ("NetBSD", "aarch64", 0, struct.pack("<Q", 0), "TCR_EL1 is 0x0: TG1 and T1SZ make no sense"),
        ("NetBSD", "aarch64", 0, struct.pack("<Q", 2 << 30 | 63 << 16), "TCR_EL1 is 0x803f0000: TG1 and T1SZ"),
        ("NetBSD", "aarch64", 0, struct.pack("<Q", 0xFFFF << 48), "0xffff000000000000 is no TCR_EL1"),
        ("NetBSD", "aarch64", 8, struct.pack("<Q", 0), "there is nothing at 0xffffc"),
        ("NetBSD", "aarch64", 24, struct.pack("<Q", 0), "there is nothing at 0xffffc"),
        ("OpenBSD", "arm64", 0, struct.pack("<Q", 7), "0x7 is no KERNEL_BASE"),
    ],
)
def test_cpu_data_of_other_machines(
    tmp_path: Path, system: str, machine: str, offset: int, data: bytes, why: str
) -> None:
    victim = made(tmp_path, system, machine)

    def use() -> None:
        with victim.lying(victim.dump.placed.cpu + offset, data):
            pass

    text = said(use, pykvm.FormatError)
    assert str(victim.dump.core) in text
    assert re.search(why, text)


@pytest.mark.parametrize("machine", ["arm64", "riscv64"])
@pytest.mark.parametrize(
    ("offset", "value"), [(8, 1 << 63), (16, 1 << 63), (16, 0), (24, 7), (24, (1 << 64) - 1), (136, 0)]
)
def test_static_range(tmp_path: Path, machine: str, offset: int, value: int) -> None:
    """Its place, its size, the tables, the first segment: values or errors."""
    victim = made(tmp_path, "OpenBSD", machine)
    with open(victim.dump.core, "rb") as f:
        f.seek(victim.dump.placed.cpu + offset)
        was = f.read(8)
    assert was != struct.pack("<Q", value)
    poke(victim.dump.core, victim.dump.placed.cpu + offset, struct.pack("<Q", value))
    messages = triage(victim.dump.core, victim.dump.kernel, sizes=SIZES)
    assert messages or (offset, value) in ((16, 1 << 63), (16, 0))


@pytest.mark.parametrize("length", [0, 3, 4, 11, 12, 20, 24, 32, 527, 531, 536, 537, 0x4000, 0x300000])
def test_cut(both: Victim, tmp_path: Path, length: int) -> None:
    core = tmp_path / "core"
    core.write_bytes(both.dump.core.read_bytes()[:length])
    assert triage(core, both.dump.kernel, sizes=SIZES)


@pytest.mark.parametrize("system", ["NetBSD", "OpenBSD"])
@pytest.mark.parametrize(
    ("offset", "data", "why"),
    [
        (0, b"\x08", "invalid magic in cpu_hdr"),
        (1, b"\x01", "invalid magic in cpu_hdr"),
        (2, b"\0\0", "invalid magic in cpu_hdr"),
        (4, b"\xff\xff\xff\xff", "invalid size in cpu_hdr"),
        (4, b"\0\0\x50\0", "invalid size in cpu_hdr"),
        (4, b"\0\0\0\0", "cpu_kcore_hdr: only 0 of 16 bytes are there"),
        (16, b"\xff" * 8, "nmemsegs: 18446744073709551615 segments do not fit"),
        (32, b"\xff" * 8, "memory segment 0 overlaps another"),
    ],
)
def test_device(tmp_path: Path, system: str, offset: int, data: bytes, why: str) -> None:
    write = write_netbsd if system == "NetBSD" else write_openbsd
    dump = write(tmp_path, container="device")
    assert dump.placed.device is not None
    poke(dump.core, dump.placed.device + offset, data)
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        assert pykvm.kvm_dump_mkheader(kd, dump.placed.device) == -1
        assert why in pykvm.kvm_geterr(kd)


# -- lists ----------------------------------------------------------------------------------------------------------


def test_loops(both: Victim) -> None:
    netbsd = both.dump.name == "NetBSD"
    struct_, link = ("proc", "p_list") if netbsd else ("process", "ps_list")
    head, a = "allproc" if netbsd else "allprocess", both.a
    next_of = both.member(struct_, link)
    first, last = a.procs[802], a.procs[1]
    for at, target in ((last, first), (last, last), (first, first)):
        with both.lying(both.where(at + next_of), both.word(target)) as kd:
            assert said(lambda kd=kd: kd.processes(pykvm.KERN_PROC_KTHREAD)).startswith(
                f"{head}: list at {first:x} loops"
            )
            assert pykvm.kvm_getprocs(kd, pykvm.KERN_PROC_ALL, 0) is None
    with both.lying(both.where(last + next_of), both.word(0x1234)) as kd:
        assert f"can't read {struct_} at 0x1234" in said(kd.processes, pykvm.AddressError)
    with both.lying(both.where(both.symbols[head]), both.word(first + 1)) as kd:
        said(kd.processes)
    # A zombie that leads into the list of the living: each is listed once.
    with both.lying(both.where(a.procs[703] + next_of), both.word(first)) as kd:
        found = [p.pid for p in kd.processes(pykvm.KERN_PROC_KTHREAD)]
        assert len(found) == len(set(found))


def test_loops_of_threads(both: Victim) -> None:
    netbsd = both.dump.name == "NetBSD"
    struct_, link = ("lwp", "l_sibling") if netbsd else ("proc", "p_thr_link")
    first, last = (305, 303) if netbsd else (303, 305)
    a, at = both.a, both.where(both.a.threads[last] + both.member(struct_, link))
    for target in (a.threads[first], a.threads[last]):
        with both.lying(at, both.word(target)) as kd:
            why = f"{struct_} at {target:#x} is on its list twice, or on two lists"
            assert said(lambda kd=kd: kd.threads(one(kd, 701)), pykvm.FormatError) == why
            assert said(lambda kd=kd: kd.processes()[0].threads) == why
    # Two processes with the same threads.
    kind, member = ("proc", "p_lwps") if netbsd else ("process", "ps_threads")
    with both.lying(both.where(a.procs[700] + both.member(kind, member)), both.word(a.threads[first])) as kd:
        assert "on two lists" in said(lambda: [p.threads for p in kd.processes()])
    with both.lying(at, both.word(0x10)) as kd:
        assert f"can't read {struct_} at 0x10" in said(lambda: kd.threads(one(kd, 701)), pykvm.AddressError)


def test_loop_of_cpus(netbsd: Victim) -> None:
    first = netbsd.symbols["cpu_info_primary"]
    with netbsd.lying(netbsd.where(first + netbsd.member("cpu_info", "ci_next")), netbsd.word(first)) as kd:
        assert one(kd, 701).p_cpuid == 0  # its CPU cannot be reached


# -- counts and pointers --------------------------------------------------------------------------------------------


def test_groups(both: Victim) -> None:
    netbsd = both.dump.name == "NetBSD"
    at = both.a.creds[700] + both.member("kauth_cred" if netbsd else "ucred", "cr_ngroups")
    for value in (17, 0x7FFF, 0xFFFF):
        with both.lying(both.where(at), struct.pack("<H", value)) as kd:
            shown = value if netbsd or value < 0x8000 else value - 0x10000
            assert f"cr_ngroups is {shown} " in said(lambda kd=kd: one(kd, 700).groups, pykvm.FormatError)
            assert len(kd.processes()) > 8


@pytest.mark.parametrize(
    ("word", "value", "why"),
    [
        (0, 1, "msgbufp: msg_magic is 0x1, must be 0x63061"),
        (1, 5001, "msgbufp: msg_bufx 5001, msg_bufs 5000 make no sense"),
        (1, 1 << 63, "msgbufp: msg_bufx -9223372036854775808, msg_bufs 5000 make no sense"),
        (3, 0, r"msgbufp: msg_bufx \d+, msg_bufs 0 make no sense"),
        (3, 1 << 40, r"msgbufp: msg_bufx \d+, msg_bufs 1099511627776 make no sense"),
        (3, (1 << 64) - 1, r"msgbufp: msg_bufx \d+, msg_bufs -1 make no sense"),
        (3, 16 << 20, "msgbufp: can't read all of msg_bufs, 16777216 bytes: "),
    ],
)
def test_messages(both: Victim, word: int, value: int, why: str) -> None:
    with both.lying(both.where(both.dump.facts.msgbuf + 8 * word), struct.pack("<Q", value)) as kd:
        assert re.search(why, said(kd.dmesg))


@pytest.mark.parametrize("value", [0, 1 << 31, 0xFFFFFFFF])
def test_load(both: Victim, value: int) -> None:
    with both.lying(both.where(both.symbols["fscale"]), struct.pack("<I", value)) as kd:
        shown = value - (1 << 32) if value >= 1 << 31 else value
        assert said(kd.loadavg) == f"can't read averunnable: fscale is {shown}"
        assert pykvm.kvm_getloadavg(kd, 3) == -1


def test_vector_counts(both: Victim) -> None:
    strings = both.user(701, both.a.strings[701])
    for value in (0x7FFFFFFF, 0xFFFFFFFF, 65537):
        with both.lying(strings + 8, struct.pack("<I", value)) as kd:
            shown = value - (1 << 32) if value >= 1 << 31 else value
            why = f"process 701: arguments: ps_nargvstr is {shown}, beyond ARG_MAX (524288)"
            assert said(lambda kd=kd: kd.argv(one(kd, 701))) == why
            assert len(kd.environ(one(kd, 701))) == 4
        with both.lying(strings + 24, struct.pack("<I", value)) as kd:
            assert "environment: ps_nenvstr is " in said(lambda kd=kd: kd.environ(one(kd, 701)))
    with both.lying(strings + 8, struct.pack("<I", 65536)) as kd:
        assert "is not in memory" in said(lambda: kd.argv(one(kd, 701)), pykvm.AddressError)
    with both.lying(strings + 8, struct.pack("<I", 0)) as kd:
        assert kd.argv(one(kd, 701)) == []
    # Beyond its end is a NULL.
    with both.lying(strings + 8, struct.pack("<I", 402)) as kd:
        assert kd.argv(one(kd, 701)) == list(both.dump.process(701).args)


def test_vector_pointers(both: Victim) -> None:
    a = both.a
    strings = both.user(701, a.strings[701])
    for value in (8, (1 << 64) - 1):
        with both.lying(strings, struct.pack("<Q", value)) as kd:
            why = f"process 701: arguments: user memory at {value:#x} is not in memory"
            assert said(lambda kd=kd: kd.argv(one(kd, 701)), pykvm.AddressError) == why
    netbsd = both.dump.name == "NetBSD"
    kind, place, space = ("proc", "p_psstrp", "p_vmspace") if netbsd else ("process", "ps_strings", "ps_vmspace")
    with both.lying(both.where(a.procs[700] + both.member(kind, place)), both.word(-8)) as kd:
        assert "user memory at 0xfffffffffffffff8" in said(lambda: kd.argv(one(kd, 700)))
    with both.lying(both.where(a.procs[700] + both.member(kind, space)), both.word(0x8)) as kd:
        assert "process 700: arguments: can't read its vmspace at 0x8: " in said(lambda: kd.argv(one(kd, 700)))
        assert one(kd, 700).rssize is None
    with pykvm.Kvm(both.dump.core, both.dump.kernel) as kd:
        pmap = kd.read_ptr(a.vmspaces[700] + both.member("vmspace", "vm_map") + both.member("vm_map", "pmap"))
    for value in (0, (1 << 64) - 1):
        with both.lying(both.where(pmap + both.member("pmap", "pm_pdirpa")), both.word(value)) as kd:
            assert "process 700: arguments: " in said(lambda kd=kd: kd.argv(one(kd, 700)), pykvm.AddressError)


def test_page_tables(both: Victim) -> None:
    """A table that is its own child, one that is nowhere, one that is another process's."""
    slot = (0xFFFFFFFF80000000 >> 39) & 511
    root = both.dump.roots[0]
    for entry in (root | 3, 0xFF << 40 | 3, 0, (1 << 64) - 1):
        poked = both.offset(root + 8 * slot)
        with open(both.dump.core, "rb") as f:
            f.seek(poked)
            was = f.read(8)
        poke(both.dump.core, poked, struct.pack("<Q", entry))
        try:
            assert triage(both.dump.core, both.dump.kernel, sizes=SIZES)
        finally:
            poke(both.dump.core, poked, was)
    users = both.dump.roots[1][700]
    with both.lying(both.offset(users), struct.pack("<512Q", *[users | 7] * 512)) as kd:
        said(lambda: kd.argv(one(kd, 700)))
        assert kd.argv(one(kd, 702)) == [b"vi", b"two words", b"", b"last"]


# -- anonymous memory -----------------------------------------------------------------------------------------------


def amap_of(victim: Victim, kd: Any, pid: int) -> tuple[int, list[int]]:
    """The struct vm_map of a process, and its map entries."""
    member, vm_map = victim.member, victim.a.vmspaces[pid] + victim.member("vmspace", "vm_map")
    if victim.dump.name == "NetBSD":
        header = vm_map + member("vm_map", "header")
        entries, at = [], kd.read_ptr(header + member("vm_map_entry", "next"))
        while at != header:
            entries.append(at)
            at = kd.read_ptr(at + member("vm_map_entry", "next"))
        return vm_map, entries
    node = kd.read_ptr(vm_map + member("vm_map", "addr", "rbh_root", "rbt_root"))
    own = member("vm_map_entry", "daddrs", "addr_entry")
    right = kd.read_ptr(node + member("rb_entry", "rbt_right"))
    return vm_map, [node - own, right - own]


def test_anons(both: Victim) -> None:
    """Rings that do not close, trees without an end, amaps that lie: memory that is not there."""
    member, netbsd = both.member, both.dump.name == "NetBSD"
    with pykvm.Kvm(both.dump.core, both.dump.kernel) as kd:
        assert len(kd.environ(one(kd, 800))) == 150
        _, entries = amap_of(both, kd, 800)
        last = entries[-1]
        amap = kd.read_ptr(last + member("vm_map_entry", "aref", "ar_amap"))
        if not netbsd:
            chunks = member("vm_amap", "am_impl", "ami_normal", "amn_chunks", "tqh_first")
            chunk = kd.read_ptr(amap + chunks)
    if netbsd:
        lies = [
            (entries[0] + member("vm_map_entry", "next"), entries[0]),
            (entries[0] + member("vm_map_entry", "next"), 8),
            (amap + member("vm_amap", "am_anon"), 8),
            (amap + member("vm_amap", "am_nslot"), 0),
        ]
    else:
        node = entries[0] + member("vm_map_entry", "daddrs", "addr_entry")
        lies = [
            (node + member("rb_entry", "rbt_right"), node),
            (node + member("rb_entry", "rbt_right"), 8),
            (amap + chunks, 8),
            (chunk + member("vm_amap_chunk", "ac_baseslot"), 0xFFFF),
            (amap + member("vm_amap", "am_nslot"), 0),
        ]
    lies.append((last + member("vm_map_entry", "aref", "ar_amap"), 0))
    lies.append((last + member("vm_map_entry", "aref", "ar_amap"), 16))
    lies.append((last + member("vm_map_entry", "end"), 0))
    for at, value in lies:
        with both.lying(both.where(at), both.word(value)) as kd:
            assert "is not in memory" in said(lambda kd=kd: kd.argv(one(kd, 800)), pykvm.AddressError)
            assert kd.argv(one(kd, 702)) == [b"vi", b"two words", b"", b"last"]


def test_a_chain_of_chunks(openbsd: Victim) -> None:
    """A chunk that follows itself, of another base than any that is asked for."""
    member = openbsd.member
    with pykvm.Kvm(openbsd.dump.core, openbsd.dump.kernel) as kd:
        _, entries = amap_of(openbsd, kd, 800)
        amap = kd.read_ptr(entries[-1] + member("vm_map_entry", "aref", "ar_amap"))
        chunk = kd.read_ptr(amap + member("vm_amap", "am_impl", "ami_normal", "amn_chunks", "tqh_first"))
    poke(openbsd.dump.core, openbsd.where(chunk), openbsd.word(chunk))
    try:
        with openbsd.lying(openbsd.where(chunk + member("vm_amap_chunk", "ac_baseslot")), b"\xff\0\0\0") as kd:
            assert "is not in memory" in said(lambda: kd.argv(one(kd, 800)))
    finally:
        poke(openbsd.dump.core, openbsd.where(chunk), openbsd.word(0))
