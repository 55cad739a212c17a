"""Damaged and hostile input, case by case: one clear error each, and never anything but a KvmError."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from triage import poke, triage

import pykvm

MAXIMA = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


# -- headers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("machine", ["i386", "sun4m", "sun4c"])
def test_core_cut_at_every_boundary(mirbsd_dump_factory: Any, machine: str) -> None:
    dump = mirbsd_dump_factory(machine=machine)
    start = dump.dump_offset
    whole = dump.core.read_bytes()
    for size in sorted({0, 1, 3, 4, 8, 11, 12, 15, 16, 19, 20, 24, 200, start - 9, start - 8, start - 1, start}):
        dump.core.write_bytes(whole[:size])
        messages = triage(dump.core, dump.kernel)
        assert messages, size
        if 4 <= size < start:  # it has the magic: what is missing is named
            assert any(str(dump.core) in m or "can't read nprocs" in m for m in messages), messages
    dump.core.write_bytes(whole[: start + 100])
    assert triage(dump.core, dump.kernel)


@pytest.mark.parametrize(
    ("offset", "value", "message"),
    [
        (0, b"\x02\xff\x8f\xca", "midmag: machine id 767 is not known"),
        (4, b"\xff\xff", "kcore_seg CORE_CPU at offset 65535"),
        (4, b"\0\0", "kcore_seg CORE_CPU at offset 0"),
        (6, b"\xff\xff", "kcore_seg CORE_DATA at offset"),
        (8, b"\0\0\0\0", "c_nseg is 0, must be 2"),
        (8, b"\3\0\0\0", "c_nseg is 3, must be 2"),
        (8, b"\xff\xff\xff\xff", "c_nseg is 4294967295, must be 2"),
        (12, b"\x08", "kcore_seg CORE_CPU at offset 12: flag 2"),
        (14, b"\0\0", "kcore_seg CORE_CPU at offset 12: flag 1 magic 0x0"),
        (16, b"\xff\xff\xff\xff", "c_size of the CORE_CPU segment is 4294967295"),
        (16, b"\0\0\0\0", "kcore_seg CORE_DATA at offset 20"),
        (524, b"\0\0\0\0", "kcore_seg CORE_DATA at offset 524"),
    ],
)
def test_damaged_kcore_header(mirbsd_dump_factory: Any, offset: int, value: bytes, message: str) -> None:
    """Such a core opens, as in the original; reads name what is wrong."""
    dump = mirbsd_dump_factory()
    poke(dump.core, offset, value)
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        assert pykvm.kvm_read(kd, dump.symbols["nprocs"], bytearray(4), 4) == -1
        text = pykvm.kvm_geterr(kd)
        assert text.startswith(f"no valid dump header: {dump.core}: ")
        assert message in text


SPARC_CPU = 24  # file offset of cpu_kcore_hdr


@pytest.mark.parametrize("machine", ["sun4m", "sun4c", "sun4"])
@pytest.mark.parametrize(("field", "offset"), [("cputype", 0), ("nmemseg", 4), ("memsegoffset", 8), ("npmeg", 12)])
@pytest.mark.parametrize("value", [*MAXIMA[2:], 3, 4096])
def test_damaged_sparc_header(mirbsd_dump_factory: Any, machine: str, field: str, offset: int, value: int) -> None:
    dump = mirbsd_dump_factory(machine=machine, processes=2)
    if machine == "sun4m" and field == "npmeg":
        pytest.skip("not looked at on sun4m")
    poke(dump.core, SPARC_CPU + offset, struct.pack(">I", value))
    messages = triage(dump.core, dump.kernel)
    if value in (3, 4096) and field != "cputype":  # fits the header: nonsense, but possible nonsense
        return
    word = {"cputype": "CPU type", "memsegoffset": "nmemseg"}.get(field, field)
    assert any(word in m for m in messages)


def test_overlapping_memory_segments(mirbsd_dump_factory: Any) -> None:
    dump = mirbsd_dump_factory(machine="sun4m", segments=[(0, 0x100000), (0x400000, 0)])
    memseg = SPARC_CPU + 4120
    for start, size in ((0x80000, 0x100000), (2**64 - 4096, 8192), (0, 2**64 - 1), (2**63, 2**63)):
        poke(dump.core, memseg + 16, struct.pack(">QQ", start, size))
        with pytest.raises(pykvm.FormatError, match="segment"):
            pykvm.Kvm(dump.core, dump.kernel)


# -- page tables --------------------------------------------------------------------------------------------


def test_page_directory_anywhere(mirbsd_dump_factory: Any) -> None:
    dump = mirbsd_dump_factory()
    at = dump.dump_offset + dump.symbols["PTDpaddr"] - 0xD0000000
    for value in (0, 1, 0x1000, 0x7FFFF000, 0xFFFFF000, 0xFFFFFFFF):
        poke(dump.core, at, struct.pack("<I", value))
        messages = triage(dump.core, dump.kernel)
        assert messages
        if value > 0x1000:
            assert "page directory: no memory at" in messages[0]
            assert str(dump.core) in messages[0]


def test_page_tables_that_point_at_themselves(mirbsd_dump_factory: Any) -> None:
    dump = mirbsd_dump_factory()
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        directory = kd.read_u32(dump.symbols["PTDpaddr"])
    poke(dump.core, dump.dump_offset + directory, struct.pack("<I", directory | 1) * 1024)
    assert triage(dump.core, dump.kernel)


# -- kernel objects -----------------------------------------------------------------------------------------


@pytest.fixture(params=["i386", "sun4m"])
def victim(request: pytest.FixtureRequest, mirbsd_dump_factory: Any) -> Any:
    """A dump, and a function that changes a 32-bit word of its kernel memory."""
    dump = mirbsd_dump_factory(machine=request.param)
    order = ">" if request.param != "i386" else "<"

    def change(addr: int, value: int) -> None:
        with pykvm.Kvm(dump.core, dump.kernel, writable=True) as kd:
            kd.write(addr, struct.pack(order + "I", value & 0xFFFFFFFF))

    return dump, change


def offset_of(dump: Any, struct_name: str, member: str) -> int:
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        return kd.types.struct(struct_name).offset(member)


def test_nprocs(victim: Any) -> None:
    dump, change = victim
    everyone = [p.pid for p in dump.processes]
    for value, expected in ((0, 0), (1, 1), (0x7FFFFFFF, len(everyone)), (0xFFFFFFFF, 0), (3, 3)):
        change(dump.symbols["nprocs"], value)
        with pykvm.Kvm(dump.core, dump.kernel) as kd:
            assert [p.pid for p in kd.processes()] == everyone[:expected]


@pytest.mark.parametrize("target", ["self", "first", "null", "hole", "user", "odd"])
def test_allproc_damaged(victim: Any, target: str) -> None:
    dump, change = victim
    addrs = [dump.proc_addrs[p.pid] for p in dump.processes if not p.zombie]
    third = addrs[2]
    where = {"self": third, "first": addrs[0], "null": 0, "hole": dump.hole[0], "user": 0x1000, "odd": third + 1}[
        target
    ]
    change(third + offset_of(dump, "proc", "p_list.le_next"), where)
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        if target == "null":
            assert len(kd.processes()) == 3 + sum(p.zombie for p in dump.processes)
            return
        assert pykvm.kvm_getprocs(kd, pykvm.KERN_PROC_KTHREAD, 0) is None
        text = pykvm.kvm_geterr(kd)
        if target in ("self", "first"):
            assert text.startswith("allproc: list at")
            assert "loops" in text
        elif target in ("hole", "user"):
            assert text == f"can't read proc at {where:#x}"
        with pytest.raises(pykvm.KvmError):
            kd.processes()


def test_zombproc_damaged(victim: Any) -> None:
    """Costs the zombies only, as in the original; the message is kept."""
    dump, change = victim
    change(dump.symbols["zombproc"], dump.hole[0])
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        assert [p.pid for p in kd.processes()] == [p.pid for p in dump.processes if not p.zombie]
        assert pykvm.kvm_geterr(kd) == f"can't read proc at {dump.hole[0]:#x}"


@pytest.mark.parametrize(
    ("member", "message"),
    [("p_pgrp", "can't read pgrp at"), ("p_cred", None), ("p_vmspace", None), ("p_wmesg", None), ("p_limit", None)],
)
def test_process_links(victim: Any, member: str, message: str | None) -> None:
    dump, change = victim
    p = dump.processes[0]
    change(dump.proc_addrs[p.pid] + offset_of(dump, "proc", member), dump.hole[0] + 8)
    with pykvm.Kvm(dump.core, dump.kernel, dump.swap) as kd:
        found = pykvm.kvm_getprocs(kd, pykvm.KERN_PROC_KTHREAD, 0)
        if message is not None:
            assert found is None
            assert pykvm.kvm_geterr(kd) == f"{message} {dump.hole[0] + 8:#x}"
            return
        assert [q.pid for q in found] == [q.pid for q in dump.processes]
        if member == "p_cred":
            assert (found[0].uid, found[0].ruid) == (0, 0)
        if member == "p_vmspace":
            assert pykvm.kvm_getargv(kd, found[0], 0) is None
            assert pykvm.kvm_geterr(kd).startswith("invalid address (")
        if member == "p_wmesg":
            assert found[0].wmesg == ""


def test_map_entries_that_loop(victim: Any) -> None:
    dump, change = victim
    p = next(p for p in dump.processes if p.argv and p.where == "memory")
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        vmspace = kd.read_u32(dump.proc_addrs[p.pid] + kd.types.struct("proc").offset("p_vmspace"))
        following = kd.types.struct("vm_map_entry").offset("next")
        first = kd.read_u32(vmspace + kd.types.struct("vmspace").offset("vm_map.header") + following)
    change(first + following, first)
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        record = kd.processes(pykvm.KERN_PROC_PID, p.pid)[0]
        assert pykvm.kvm_getargv(kd, record, 0) is None
        assert "loops" in pykvm.kvm_geterr(kd)


@pytest.mark.parametrize("count", [0x7FFFFFFF, 0xFFFFFFFF, 262145, 100000])
def test_argument_counts(mirbsd_dump_factory: Any, count: int) -> None:
    dump = mirbsd_dump_factory()
    p = next(p for p in dump.processes if p.argv and p.where == "memory" and not p.pageoff)
    raw = dump.core.read_bytes()
    needle = struct.pack("<i", len(p.argv))
    # ps_strings lie in the last 16 bytes of a page: {argv, nargv, envp, nenv} with both vectors near the top.
    for page in range(dump.dump_offset, len(raw) - 4095, 4096):
        argv, n = struct.unpack_from("<I4s", raw, page + 4080)
        if n == needle and 0xCFB00000 <= argv < 0xCFBFE000:
            poke(dump.core, page + 4084, struct.pack("<I", count))
    messages = triage(dump.core, dump.kernel, dump.swap)
    assert any(("ps_nargvstr" in m and "ARG_MAX" in m) or "invalid address" in m for m in messages)


def test_files(victim: Any) -> None:
    dump, change = victim
    count = len(dump.files)
    for value in (0, 1, count + 1, 0x7FFFFFFF, 0xFFFFFFFF):
        change(dump.symbols["nfiles"], value)
        with pykvm.Kvm(dump.core, dump.kernel) as kd:
            assert pykvm.kvm_getfiles(kd, 0, 0) is None
            assert pykvm.kvm_geterr(kd).startswith("inconsistent nfiles: ")
    change(dump.symbols["nfiles"], count)
    change(dump.file_addrs[1], dump.file_addrs[0])
    with pykvm.Kvm(dump.core, dump.kernel) as kd, pytest.raises(pykvm.KvmError, match="loops"):
        kd.files()
    change(dump.file_addrs[1], dump.hole[0])
    with pykvm.Kvm(dump.core, dump.kernel) as kd, pytest.raises(pykvm.KvmError, match="can't read kfp"):
        kd.files()


def test_loadavg(victim: Any) -> None:
    dump, change = victim
    for value in (0, 0xFFFFFFFF):
        change(dump.symbols["fscale"], value)
        with pykvm.Kvm(dump.core, dump.kernel) as kd:
            assert pykvm.kvm_getloadavg(kd) == -1
            assert pykvm.kvm_geterr(kd).startswith("can't read averunnable: fscale is")


@pytest.mark.parametrize("field", ["msg_magic", "msg_bufx", "msg_bufs", "msg_bufl"])
@pytest.mark.parametrize("value", [0x7FFFFFFF, 0xFFFFFFFF])
def test_message_buffer(victim: Any, field: str, value: int) -> None:
    dump, change = victim
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        at = kd.read_u32(dump.symbols["msgbufp"]) + kd.types.struct("msgbuf").offset(field)
    change(at, value)
    with pykvm.Kvm(dump.core, dump.kernel) as kd, pytest.raises(pykvm.FormatError, match=field):
        kd.dmesg()
