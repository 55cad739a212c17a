"""Hypothesis breaks dumps and namelists: whatever it does, a full triage gives values or KvmErrors."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from triage import triage

import pykvm

SETTINGS = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
WORDS = st.one_of(st.sampled_from([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]), st.integers(0, 2**32 - 1))
POKES = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), WORDS, st.sampled_from("<>")), min_size=1, max_size=12)


@pytest.fixture(scope="module", params=["i386-elf", "i386-zmagic", "sun4m-elf", "sun4c-qmagic", "sun4-elf"])
def victim(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    from pykvm_fixtures import write_mirbsd

    machine, namelist = request.param.split("-")
    room = tmp_path_factory.mktemp("fuzz")
    dump = write_mirbsd(room, machine=machine, namelist=namelist, awkward=True)
    return dump, dump.core.read_bytes(), dump.kernel.read_bytes(), room


def broken(raw: bytes, pokes: list[tuple[float, int, str]], start: int, end: int) -> bytes:
    out = bytearray(raw)
    for where, value, order in pokes:
        at = start + int(where * max(1, end - start - 4))
        out[at : at + 4] = struct.pack(order + "I", value)[: max(0, len(out) - at)]
    return bytes(out)


@SETTINGS
@given(pokes=POKES)
def test_headers(victim: Any, pokes: Any) -> None:
    dump, core, _, room = victim
    path = room / "core"
    path.write_bytes(broken(core, pokes, 0, dump.dump_offset))
    triage(path, dump.kernel, dump.swap)


@SETTINGS
@given(pokes=POKES, near=st.booleans())
def test_namelists(victim: Any, pokes: Any, near: bool) -> None:
    dump, _, kernel, room = victim
    path = room / "kernel"
    path.write_bytes(broken(kernel, pokes, 0, 64 if near else len(kernel)))
    triage(dump.core, path, dump.swap)


@SETTINGS
@given(pokes=POKES, which=st.integers(0, 10**6))
def test_kernel_objects(victim: Any, pokes: Any, which: int) -> None:
    """Words of the structures themselves, near what the walks start from."""
    dump, core, _, room = victim
    starts = [*dump.proc_addrs.values(), *(dump.symbols[n] for n in ("nprocs", "allproc", "filehead", "msgbufp"))]
    address = starts[which % len(starts)]
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        at = dump.file_offset(kd.translate(address))
    path = room / "core"
    path.write_bytes(broken(core, pokes, at, at + 340))
    triage(path, dump.kernel, dump.swap)


@SETTINGS
@given(size=st.floats(0, 1), kernel=st.booleans())
def test_cut_anywhere(victim: Any, size: float, kernel: bool) -> None:
    dump, core, namelist, room = victim
    path = room / "cut"
    raw = namelist if kernel else core
    path.write_bytes(raw[: int(size * len(raw))])
    triage(dump.core if kernel else path, path if kernel else dump.kernel, dump.swap)
