"""FreeBSD dumps from the fixture writer: what every machine's page map, and full dumps, translate to."""

from __future__ import annotations

from typing import Any

import pytest
from pykvm_fixtures.freebsd import MACHINES, write_freebsd

import pykvm

VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in MACHINES),
    ("amd64", {"version": 1, "release": "10"}),
    ("amd64", {"version": 2, "release": "12"}),
    ("arm64", {"version": 2, "offset": 1 << 30}),
    ("arm", {"how": {"avail_word": 4}}),
    ("i386", {"version": 1, "release": "10"}),
    ("powerpc64", {"version": 1, "moved": 0xC000000001000000}),
    ("mips", {"version": 2, "how": {"avail_word": 4}}),
    ("mips64", {"version": 2}),
    ("dragonfly", {"version": 1}),
    ("amd64", {"container": "full"}),
    ("amd64", {"container": "full", "release": "12"}),
    ("amd64", {"container": "full", "kernphys": 0x3200000, "how": {"delta": True}}),
    ("amd64", {"container": "full", "levels": 5}),
    ("i386", {"container": "full"}),
    ("i386", {"container": "full", "release": "10"}),
    ("i386-pae", {"container": "full", "high": False}),
    ("i386-pae", {"container": "full", "high": False, "release": "10"}),
    ("arm", {"container": "full"}),
    ("arm", {"container": "full", "how": {"delta": False}}),
]


@pytest.mark.parametrize(("machine", "options"), VARIANTS, ids=lambda value: str(value))
def test_memory(tmp_path: Any, machine: str, options: dict[str, Any]) -> None:
    dump = write_freebsd(tmp_path, machine=machine, **options)
    system = "DragonFly" if machine == "dragonfly" else "FreeBSD"
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        info = kd.info
        assert (info.system, info.format) == (system, "elf" if "container" in options else "minidump")
        assert info.version == dump.facts.version.rstrip("\n")
        for probe in dump.probes:
            assert kd.read(probe.va, len(probe.data)) == probe.data, probe.name
        for va in dump.holes:
            with pytest.raises(pykvm.AddressError):
                kd.read(va, 8)
        for pfn, data in list(dump.memory.items())[::7]:
            assert kd.read_phys(pfn * dump.page_size, dump.page_size) == data
        assert kd.target.kerndisp == dump.displacement  # type: ignore[attr-defined]
        if machine == "dragonfly":
            return
        assert kd.read_i32(kd.symbol("nprocs")) == len(dump.processes)
        nl = [pykvm.Nlist("_allproc"), pykvm.Nlist("_nosuch")]
        assert pykvm.kvm_nlist(kd, nl) == 1
        assert kd.read_ptr(nl[0].n_value) != 0
        assert kd.loadavg() == [0.5, 0.25, 0.125]
        assert kd.dmesg().endswith(b"panic: fixture\ncpuid = 0\nUptime: 1h0m0s\n")
        facts = kd.facts()
        assert (facts["hostname"], facts["panic"], facts["boot time"]) == ("fixture", "fixture", 1700000000.25)


@pytest.mark.parametrize("compress", [None, "gz", "zst"])
@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_between_headers(tmp_path: Any, version: int, compress: str | None) -> None:
    if compress is not None and version < 3:
        pytest.skip("the header does not tell")
    dump = write_freebsd(tmp_path, device=version, compress=compress)
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        assert kd.info.version == dump.facts.version.rstrip("\n")
        assert (kd.image.facts["hostname"], kd.image.facts["panic"]) == ("fixture", "fixture")


@pytest.mark.parametrize(
    ("header", "why"),
    [
        ({"key_size": 600}, r"an encrypted kernel dump \(dumpkeysize 600\)"),
        ({"kind": "cleared"}, "a cleared kernel dump"),
        ({"kind": "text"}, "a textdump"),
        ({"damage_parity": True}, "parity is 0x1, must be 0"),
    ],
)
def test_headers_of_what_cannot_be_read(tmp_path: Any, header: dict[str, Any], why: str) -> None:
    dump = write_freebsd(tmp_path, device=4, header=header)
    with pytest.raises(pykvm.FormatError, match=why):
        pykvm.Kvm(dump.core, dump.kernel)
