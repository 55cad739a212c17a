"""Hypothesis breaks FreeBSD dumps, kernels' objects in them and their types: a triage gives values or KvmErrors."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pykvm_fixtures.freebsd import write_freebsd
from triage import triage

import pykvm

SETTINGS = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
WORDS = st.one_of(st.sampled_from([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]), st.integers(0, 2**32 - 1))
POKES = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), WORDS, st.sampled_from("<>")), min_size=1, max_size=12)
SIZES = (0, 1088, 768)  # 0: a record that cannot be made
OBJECTS = ("proc", "thread", "vmspace", "pargs")


@pytest.fixture(
    scope="module", params=[("amd64", "minidump"), ("amd64", "full"), ("i386-pae", "full"), ("arm64", "minidump")]
)
def victim(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    machine, container = request.param
    options = {"high": False} if machine == "i386-pae" else {}
    return write_freebsd(tmp_path_factory.mktemp("fuzz"), machine=machine, container=container, **options)


@contextmanager
def broken(path: Path, pokes: Sequence[tuple[float, int, str]], start: int, size: int) -> Iterator[None]:
    """A file with other words in a range of it, for a while."""
    with open(path, "r+b") as f:
        f.seek(start)
        raw = f.read(size)
        out = bytearray(raw)
        for where, value, order in pokes:
            at = int(where * max(1, len(raw) - 4))
            out[at : at + 4] = struct.pack(order + "I", value)[: len(raw) - at]
        f.seek(start)
        f.write(out)
        f.flush()
        try:
            yield
        finally:
            f.seek(start)
            f.write(raw)


@SETTINGS
@given(pokes=POKES)
def test_headers(victim: Any, pokes: Any) -> None:
    with broken(victim.core, pokes, 0, 256):
        triage(victim.core, victim.kernel, sizes=SIZES)


@SETTINGS
@given(pokes=POKES, which=st.integers(0, 10**6), kind=st.sampled_from(OBJECTS))
def test_kernel_objects(victim: Any, pokes: Any, which: int, kind: str) -> None:
    """Words of the structures that lists and vectors are followed through."""
    a = victim.addresses
    places = list({"proc": a.procs, "thread": a.threads, "vmspace": a.vmspaces, "pargs": a.args}[kind].values())
    address = places[which % len(places)]
    with pykvm.Kvm(victim.core, victim.kernel) as kd:
        raw = kd.read(address, 64)
    at = victim.core.read_bytes().find(raw)
    assert at > 0
    with broken(victim.core, pokes, at, victim.layouts[kind][0]):
        triage(victim.core, victim.kernel, sizes=SIZES)


@SETTINGS
@given(pokes=POKES)
def test_types(victim: Any, pokes: Any) -> None:
    """Words of the kernel's CTF."""
    with open(victim.kernel, "rb") as f:
        section = ELFFile(f).get_section_by_name(".SUNW_ctf")
        start, size = section["sh_offset"], section["sh_size"]
    with broken(victim.kernel, pokes, start, size):
        triage(victim.core, victim.kernel, sizes=(*SIZES, 816))
