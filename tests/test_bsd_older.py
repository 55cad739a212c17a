"""NetBSD and OpenBSD on machines of the 1980s and 1990s: what is theirs alone, and headers that lie."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bsd_truth import check_identity, check_memory, check_vectors, newest_first, nm_list
from bsd_victim import made
from pykvm_fixtures.bsd import write_netbsd, write_openbsd
from triage import poke, triage

import pykvm

SIZES = (0, 680, 648, 644, 1020, 984)  # 0: a record that cannot be made
SUN2_PAGE, SUN2_SEGMENT = 2048, 32768


def said(call: Callable[[], Any], kind: type[Exception] = pykvm.KvmError) -> str:
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value)


# -- headers --------------------------------------------------------------------------------------------------------


def word(value: int) -> bytes:
    return struct.pack(">I", value & 0xFFFFFFFF)


@pytest.mark.parametrize(
    ("system", "machine", "offset", "data", "why"),
    [
        ("NetBSD", "m68k", 16, word(0), "page_size is 0"),
        ("NetBSD", "m68k", 16, word(12345), "page_size is 12345"),
        ("NetBSD", "m68k", 16, word(1 << 31), "page_size is 2147483648"),
        ("NetBSD", "m68k", 28, word(0), "sg_ishift 24, sg_pmask 0xffe000, sg_v 0x0, pg_v 0x1 make no sense"),
        ("NetBSD", "m68k", 36, word(32), "sg_ishift 32, sg_pmask 0xffe000, .* with pages of 8192 bytes"),
        ("NetBSD", "m68k", 36, word(13), "sg_ishift 13, sg_pmask 0xffe000, .* make no sense"),
        ("NetBSD", "m68k", 40, word(-1), "sg_pmask 0xffffffff, .* make no sense"),
        ("NetBSD", "m68k", 72, word(0), "pg_v 0x0 make no sense"),
        ("NetBSD", "m68k", 24, word(-3), "there is nothing at 0x|is not the kernel of|make no sense"),
        ("NetBSD", "m68k-040", 44, word(77), "sg40_shift1 77, .* make no sense"),
        ("NetBSD", "m68k-040", 48, word(0), "sg40_mask2 0x0 and 18, .* make no sense"),
        ("NetBSD", "m68k-040", 60, word(13), "sg40_mask3 0x3f000 and 13, .* make no sense"),
        ("NetBSD", "m68k-sun3", 24, word(16), "segshift is 16, with pages of 8192 bytes"),
        ("NetBSD", "m68k-sun3", 24, word(49), "segshift is 49, with pages of 8192 bytes"),
        ("NetBSD", "m68k-sun3", 16, word(1 << 14), "segshift is 17, with pages of 16384 bytes"),
        ("NetBSD", "m68k-sun3x", 16, word(4096), "kernbase 0xf8000000, page_size 4096 make no sense on a sun3x"),
        ("NetBSD", "m68k-sun3x", 20, word(0xF7000000), "kernbase 0xf7000000, page_size 8192 make no sense"),
        ("NetBSD", "m68k-sun3x", 32, word(0xF8000000), "kernCbase is 0xf8088000, which is not from kernbase"),
        ("NetBSD", "m68k-sun3x", 36, word(0xF8088002), "kernCbase is 0xf8088002"),
        ("OpenBSD", "m68k", 4, word(0x1234), "sysseg_pa 0x1234, mmutype -1 make no sense"),
        ("OpenBSD", "m68k", 8, word(-9), "mmutype -9 make no sense"),
        ("NetBSD", "sparc-4c", 0, word(9), "Unsupported CPU type 9"),
        ("NetBSD", "sparc-4c", 4, word(0xF8000000), "nsegmap: 1024 segments do not go with a kernbase of 0xf8000000"),
        ("NetBSD", "sparc-4c", 8, word(-1), "nmemseg: 4294967295 entries at offset 32 do not fit"),
        ("NetBSD", "sparc-4c", 16, word(0), "nsegmap: 0 segments do not go with a kernbase of 0xf0000000"),
        ("NetBSD", "sparc-4c", 20, word(-1), "pmegoffset: .* must be 8 or 16"),
        ("NetBSD", "sparc-4c", 24, word(-1), "npmeg: 4294967295 entries at offset"),
        ("NetBSD", "sparc-4m", 28, word(0), "pmegoffset: 0, which makes -1 bytes of each of the 1024 segments"),
        ("OpenBSD", "sparc-4c", 4, word(-1), "nmemseg: 4294967295 entries at offset 32792 do not fit"),
        ("OpenBSD", "sparc-4c", 12, word(1 << 20), "npmeg: 1048576 entries at offset"),
        ("OpenBSD", "m88k", 16, bytes(8), "there is no kernel_pmap_store, or no segment table in it"),
        ("OpenBSD", "vax", 0, struct.pack("<I", 0x7FFFFFFC), "sysmap is 0x7ffffffc, which is not in memory of 0x"),
        ("OpenBSD", "vax", 0, struct.pack("<I", 0x80000001), "sysmap is 0x80000001"),
        ("OpenBSD", "vax", 12, bytes(8), "ram_segs 0x[0-9a-f]+ and 0x[0-9a-f]+ make no sense"),
    ],
)  # fmt: skip
def test_headers_that_lie(tmp_path: Path, system: str, machine: str, offset: int, data: bytes, why: str) -> None:
    victim = made(tmp_path, system, machine)

    def use() -> None:
        with victim.lying(victim.dump.placed.cpu + offset, data):
            pass

    text = said(use, pykvm.FormatError)
    assert str(victim.dump.core) in text
    assert "\n" not in text
    assert re.search(why, text), text


@pytest.mark.parametrize(("machine", "size"), [("m68k", 100), ("m68k", 91), ("m68k-sun3", 8184), ("m68k-sun3x", 39)])
def test_cut_headers(tmp_path: Path, machine: str, size: int) -> None:
    """The segment of the machine's own data is shorter than these are."""
    dump = write_netbsd(tmp_path, machine)
    raw = dump.core.read_bytes()
    at = dump.placed.cpu
    cut = raw[: at - 4] + struct.pack(">I", size) + raw[at : at + size] + raw[dump.placed.memory - 8 :]
    dump.core.write_bytes(cut)
    text = said(lambda: pykvm.Kvm(dump.core, dump.kernel), pykvm.FormatError)
    assert re.search("only .* bytes are there|PMEGs at offset 8184 do not fit 8184 bytes|there is nothing", text)


@pytest.mark.parametrize("machine", ["hppa", "m88k"])
def test_variables_that_lead_to_tables(tmp_path: Path, machine: str) -> None:
    victim = made(tmp_path, "OpenBSD", machine)
    symbol = {"hppa": "hppa_vtop", "m88k": "kernel_pmap_store"}[machine]
    offset = victim.symbols[symbol] + (0 if machine == "hppa" else victim.member("pmap", "pm_stab"))
    for value in (0, 0x1002, 0xFFFFFFFC):

        def use(value: int = value) -> None:
            with victim.lying(victim.dump.placed.memory + offset, word(value)):
                pass

        assert said(use, pykvm.FormatError).startswith(
            f"bad namelist: {victim.dump.kernel} is not the kernel of {victim.dump.core}: "
        )
    names = nm_list(victim.dump, tmp_path / "bsd.nm")
    names.write_text("".join(line for line in names.read_text().splitlines(True) if symbol not in line))
    assert symbol in said(lambda: pykvm.Kvm(victim.dump.core, names), pykvm.FormatError)


@pytest.mark.parametrize(
    ("machine", "member", "values"),
    [
        ("vax", "pm_p0br", (1, 0x80000004)),
        ("vax", "pm_p1br", (0, 0x7F000000, 0xFFFFFE00)),
        ("vax", "pm_p1lr", (0x1FFFFF, 0xFFFFFFFF)),
        ("sparc-4c", "pm_regmap", (0, 4, 0xFFFFFFFC)),
        ("sparc-4m", "pm_reg_ptps_pa", (0, 0xFFFFFC00)),
        ("m68k", "pm_stpa", (0, 1, 0xFFFFFFFF)),
        ("hppa", "pm_pdir", (0, 0x44000000)),
        ("m88k", "pm_apr", (0, 0x44000001)),
    ],
)
def test_pmaps_that_lie(tmp_path: Path, machine: str, member: str, values: tuple[int, ...]) -> None:
    """One process has no memory, the others have theirs."""
    victim = made(tmp_path, "OpenBSD", machine)
    with pykvm.Kvm(victim.dump.core, victim.dump.kernel) as kd:
        at = kd.read_ptr(victim.a.vmspaces[700] + victim.member("vmspace", "vm_map") + victim.member("vm_map", "pmap"))
    where = victim.where(at + victim.member("pmap", member))
    for value in values:
        with victim.lying(where, victim.word(value)) as kd:
            (shell,) = kd.processes(pykvm.KERN_PROC_PID, 700)
            assert said(lambda kd=kd, shell=shell: kd.argv(shell)).startswith("process 700: arguments: ")
            (editor,) = kd.processes(pykvm.KERN_PROC_PID, 702)
            assert kd.argv(editor) == [b"vi", b"two words", b"", b"last"]


@pytest.mark.parametrize("kind", ["regmap", "segmap"])
def test_structures_of_no_size(tmp_path: Path, kind: str) -> None:
    """A layout file that says of a sun4c's maps what cannot be."""
    dump = write_openbsd(tmp_path, "sparc-4c")
    layout = tmp_path / "layout.json"
    member = {"regmap": "rg_segmap", "segmap": "sg_pte"}[kind]
    layout.write_text(f'{{"{kind}": {{"size": 65536, "fields": {{"{member}": [65532, 4, "int *"]}}}}}}')
    with pykvm.Kvm(dump.core, dump.kernel, layout=layout) as kd:
        (shell,) = kd.processes(pykvm.KERN_PROC_PID, 700)
        assert f"struct {kind} is of 65536 bytes" in said(lambda: kd.argv(shell), pykvm.FormatError)


# -- what is there --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("system", "machine", "size"),
    [
        ("OpenBSD", "m68k", 644), ("OpenBSD", "vax", 644), ("OpenBSD", "sh", 644), ("OpenBSD", "sparc-4c", 648),
        ("OpenBSD", "hppa", 648), ("OpenBSD", "m88k", 648), ("NetBSD", "m68k", 680), ("NetBSD", "sparc-4m", 680),
        ("NetBSD", "hppa", 680),
    ],
)  # fmt: skip
def test_sizes_of_records(bsd_written: Any, system: str, machine: str, size: int) -> None:
    """Their integers of 64 bits are aligned as the machine does it."""
    dump = bsd_written(system, machine, layout=0, seed=1)
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        assert {len(bytes(p)) for p in kd.processes()} == {size}


@pytest.mark.parametrize(
    ("system", "machine", "page"),
    [
        ("NetBSD", "m68k", 8192), ("NetBSD", "m68k-040", 4096), ("NetBSD", "m68k-sun3x", 8192),
        ("OpenBSD", "vax", 4096), ("NetBSD", "sparc-4", 8192), ("NetBSD", "sparc-4c", 4096),
        ("OpenBSD", "sparc-4m", 4096),
    ],
)  # fmt: skip
def test_page_sizes(bsd_written: Any, system: str, machine: str, page: int) -> None:
    dump = bsd_written(system, machine, layout=0, seed=1)
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        assert (kd.info.page_size, dump.page_size) == (page, page)


@pytest.mark.parametrize(
    ("system", "machine"),
    [("NetBSD", "m68k-sun3"), ("NetBSD", "sparc-4"), ("OpenBSD", "sparc-4m"), ("OpenBSD", "hppa"), ("OpenBSD", "vax")],
)
def test_device(tmp_path: Path, system: str, machine: str) -> None:
    """savecore(8)'s part, on machines of either byte order."""
    write = write_netbsd if system == "NetBSD" else write_openbsd
    dump = write(tmp_path / "dump", machine, container="device")
    out = io.BytesIO()
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        assert pykvm.kvm_dump_mkheader(kd, dump.placed.device) == 8 + dump.placed.cpu_size
        check_identity(kd, dump, "dump device")
        check_vectors(kd, dump, kd.processes())
        assert pykvm.kvm_dump_wrtheader(kd, out, 4096) == len(out.getvalue())
    copy = tmp_path / "again.core"
    copy.write_bytes(out.getvalue() + dump.core.read_bytes()[dump.placed.memory :])
    with pykvm.Kvm(copy, dump.kernel) as kd:
        check_identity(kd, dump)
        check_memory(kd, dump)
        assert [p.pid for p in kd.processes()] == newest_first(dump)


def test_swap(tmp_path: Path) -> None:
    """UVM's pages are the kernel's, not the machine's: 4 KB on a vax."""
    for machine in ("vax", "m68k"):
        dump = write_openbsd(tmp_path / machine, machine, swap=True)
        with pykvm.Kvm(dump.core, dump.kernel, dump.swap) as kd:
            check_vectors(kd, dump, kd.processes())


def test_both_halves_of_a_vax(bsd_written: Any) -> None:
    """P0 up to its length, P1 from its length on."""
    dump = bsd_written("OpenBSD", "vax", layout=0, seed=1)
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        memory = kd.target.space(kd.parts, dump.addresses.vmspaces[700])
        try:
            pa = memory.translate(0x2000)
            assert [memory.translate(0x2000 + i * 512 + 7) for i in range(8)] == [pa + i * 512 + 7 for i in range(8)]
            assert 32 << 20 <= pa < 36 << 20
            strings = dump.addresses.strings[700]
            assert memory.translate(strings) % 4096 == strings % 4096
            for va in (0, 0x1FFF, 0x3000, 4 << 20, 0x3FFFFFFF, 0x40000000, 0x7F7FFFFF, 0x80000000):
                with pytest.raises(pykvm.AddressError):
                    memory.translate(va)
        finally:
            memory.detach()


def test_end_of_the_system_page_table(tmp_path: Path) -> None:
    """What is behind it is no entry of it: sysptsize says where that is; without it, it goes on to the end."""
    victim = made(tmp_path, "OpenBSD", "vax")
    beyond = 0x80000000 + (48 << 20)
    at = victim.dump.roots[0] + (48 << 20) // 512 * 4
    poke(victim.dump.core, victim.offset(at), struct.pack("<I", 0x80000000 | 0x4000 // 512))
    with pykvm.Kvm(victim.dump.core, victim.dump.kernel) as kd:
        assert said(lambda: kd.translate(beyond), pykvm.AddressError) == "invalid address (83000000)"
        assert kd.translate(0x80004000) == 0x4000
    with victim.lying(victim.where(victim.symbols["sysptsize"]), bytes(4)) as kd:
        assert kd.translate(beyond) == 0x4000


def test_text_without_tables(bsd_written: Any) -> None:
    """relocend: up to there memory is found without the tables."""
    dump = bsd_written("NetBSD", "m68k", layout=0, seed=1)
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        assert kd.translate(0) == 0x7000000  # which the tables do not map
        assert kd.translate(0x4000) == 0x7004000
        text = kd.read(dump.symbols["btext"], 0x8000)
        assert text == kd.read_phys(0x7004000, 0x8000)


def test_a_kernel_that_has_no_tables_yet(tmp_path: Path) -> None:
    """sysseg_pa is 0: all is at kernel_pa."""
    victim = made(tmp_path, "OpenBSD", "m68k")
    with victim.lying(victim.dump.placed.cpu + 4, word(0)) as kd:
        assert kd.info.version == victim.dump.facts.version
        assert kd.translate(0x5000) == 0xF0005000
        assert triage(victim.dump.core, victim.dump.kernel, sizes=SIZES)


def test_seconds_of_32_bits(tmp_path: Path) -> None:
    """time_t before NetBSD 6 and OpenBSD 5.5: its word is where the upper half of 64 bits is now."""
    victim = made(tmp_path, "NetBSD", "sparc-4c")
    up = victim.where(victim.symbols["time_uptime"])
    poke(victim.dump.core, up, struct.pack(">iI", 3600, 0xDEAD))
    with victim.lying(victim.where(victim.symbols["time_second"]), struct.pack(">iI", 1700003600, 0xDEAD)) as kd:
        assert kd.facts()["dump time"] == 1700003600
    poke(victim.dump.core, victim.where(victim.symbols["boottime"]), bytes(12))
    with victim.lying(victim.where(victim.symbols["time_second"]), struct.pack(">iI", 1700003600, 0xDEAD)) as kd:
        assert kd.facts()["boot time"] == 1700000000


def test_the_kernel_of_a_sun4m_is_anywhere(bsd_written: Any) -> None:
    """NetBSD's is 16 MB up in the fixture, where there is memory at 0, too; OpenBSD's is at 0."""
    for system, base, start in (("NetBSD", 0xF0000000, 0x1000000), ("OpenBSD", 0xF8000000, 0)):
        dump = bsd_written(system, "sparc-4m", layout=0, seed=1)
        with pykvm.Kvm(dump.core, dump.kernel) as kd:
            assert kd.translate(base + 0x4010) == start + 0x4010
            with pytest.raises(pykvm.AddressError):
                kd.translate(base - 0x1000)


# -- sun2 -----------------------------------------------------------------------------------------------------------


def sun2(path: Path, *, valid: bool = True) -> tuple[Path, Path]:
    """A dump of a NetBSD/sun2 that has a version and little else, and its names. Page 0x5000 is in PMEG 7, its second
    page is where the first is, and the next of a process's is in PMEG 9."""
    version = b"NetBSD 9.3 (SUN2) #0\n\0"
    ptes = [[0] * 16 for _ in range(256)]
    ptes[7][10], ptes[7][11] = (0xF0000000 | 0x21 if valid else 0x70000021), 0xD0000030
    ptes[255][10] = 0x80000022
    segmap = bytearray([255]) * 512
    segmap[2] = 7
    head = b"sun2".ljust(16, b"\0") + struct.pack(">2I", SUN2_PAGE, 0)
    head += struct.pack(">3I", 15, 0x7FF, 0x80000000) + segmap
    pages = b"".join(struct.pack(">16I", *group) for group in ptes)
    cpu = head.ljust(SUN2_PAGE - 8, b"\0") + pages
    memory = bytearray(64 * SUN2_PAGE)
    memory[0x21 * SUN2_PAGE + 16 : 0x21 * SUN2_PAGE + 16 + len(version)] = version
    memory[0x30 * SUN2_PAGE : 0x30 * SUN2_PAGE + 4] = b"next"

    def segment(flag: int, size: int) -> bytes:
        return struct.pack(">2I", flag << 26 | 144 << 16 | 0x8FAC, size)

    core = path / "netbsd.core"
    first = struct.pack(">IHHI", 144 << 16 | 0x8FCA, 12, 8, 2)
    core.write_bytes(first + segment(1, len(cpu)) + cpu + segment(2, len(memory)) + memory)
    names = path / "netbsd.nm"
    at = 2 * SUN2_SEGMENT + 10 * SUN2_PAGE
    names.write_text(f"{at + 16:08x} D version\n{at + 2048:08x} D lwp0\n")
    return core, names


def test_sun2(tmp_path: Path) -> None:
    """Pages of 2 KB, smaller than what translations are kept of."""
    core, names = sun2(tmp_path)
    at = 2 * SUN2_SEGMENT + 10 * SUN2_PAGE
    with pykvm.Kvm(core, names) as kd:
        assert (kd.info.system, kd.info.machine, kd.info.page_size) == ("NetBSD", "m68k", SUN2_PAGE)
        assert kd.info.version == "NetBSD 9.3 (SUN2) #0\n"
        assert kd.translate(at) == 0x21 * SUN2_PAGE
        assert kd.translate(at + SUN2_PAGE) == 0x30 * SUN2_PAGE
        assert kd.read(at + SUN2_PAGE - 4, 8) == b"\0\0\0\0next"
        for va in (0, at - 1, at + 2 * SUN2_PAGE, 3 * SUN2_SEGMENT + 10 * SUN2_PAGE, 1 << 24):
            with pytest.raises(pykvm.AddressError):
                kd.translate(va)
        assert kd.read_phys(0x30 * SUN2_PAGE, 4) == b"next"
    (tmp_path / "other").mkdir()
    core, names = sun2(tmp_path / "other", valid=False)
    assert "there is nothing at 0x15010" in said(lambda: pykvm.Kvm(core, names), pykvm.FormatError)
