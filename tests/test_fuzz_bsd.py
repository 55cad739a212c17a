"""Hypothesis breaks NetBSD and OpenBSD dumps, kernels and types: a triage gives values or KvmErrors."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from bsd_victim import Victim, made
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from triage import poke, triage

SETTINGS = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
WORDS = st.one_of(st.sampled_from([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]), st.integers(0, 2**32 - 1))
POKES = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), WORDS, st.sampled_from("<>")), min_size=1, max_size=12)
SIZES = (0, 680, 648, 644, 1020, 984)  # 0: a record that cannot be made
MACHINES = [
    ("NetBSD", "amd64"), ("NetBSD", "i386"), ("NetBSD", "i386-pae"), ("NetBSD", "aarch64"),
    ("OpenBSD", "amd64"), ("OpenBSD", "i386"), ("OpenBSD", "i386-pae"), ("OpenBSD", "arm64"), ("OpenBSD", "riscv64"),
    ("NetBSD", "m68k"), ("NetBSD", "m68k-040"), ("NetBSD", "m68k-sun3"), ("NetBSD", "m68k-sun3x"), ("OpenBSD", "m68k"),
    ("NetBSD", "sparc-4"), ("NetBSD", "sparc-4m"), ("OpenBSD", "sparc-4c"), ("OpenBSD", "sparc-4m"),
    ("NetBSD", "hppa"), ("OpenBSD", "m88k"), ("OpenBSD", "vax"),
    ("NetBSD", "mips"), ("NetBSD", "mips-r3k"), ("NetBSD", "mips64"), ("NetBSD", "arm"), ("OpenBSD", "arm"),
    ("OpenBSD", "sh"), ("NetBSD", "sparc64"), ("OpenBSD", "sparc64-sun4v"), ("NetBSD", "alpha"),
]  # fmt: skip


@pytest.fixture(scope="module", params=MACHINES, ids="-".join)
def victim(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Victim:
    return made(tmp_path_factory.mktemp("fuzz"), *request.param)


@contextmanager
def broken(path: Path, pokes: Any, start: int, size: int) -> Iterator[None]:
    """A file with other words in a range of it, for a while."""
    with open(path, "rb") as f:
        f.seek(start)
        raw = f.read(size)
    out = bytearray(raw)
    for where, value, order in pokes:
        at = int(where * max(1, len(raw) - 4))
        out[at : at + 4] = struct.pack(order + "I", value)[: len(raw) - at]
    poke(path, start, bytes(out))
    try:
        yield
    finally:
        poke(path, start, raw)


@SETTINGS
@given(pokes=POKES)
def test_any_header(victim: Victim, pokes: Any) -> None:
    with broken(victim.dump.core, pokes, 0, 160):
        triage(victim.dump.core, victim.dump.kernel, sizes=SIZES)


@SETTINGS
@given(pokes=POKES, which=st.integers(0, 10**6), kind=st.sampled_from(["procs", "threads", "vmspaces", "creds"]))
def test_any_object(victim: Victim, pokes: Any, which: int, kind: str) -> None:
    """Words of the structures that lists and vectors are followed through."""
    places = list(getattr(victim.a, kind).values())
    at = victim.offset(victim.pa[places[which % len(places)]])
    with broken(victim.dump.core, pokes, at, 700):
        triage(victim.dump.core, victim.dump.kernel, sizes=SIZES)


@SETTINGS
@given(pokes=POKES, pid=st.sampled_from([0, 700, 701, 800]))
def test_any_page_table(victim: Victim, pokes: Any, pid: int) -> None:
    """Of the kernel (0) and of processes."""
    root = victim.dump.roots[1].get(pid, victim.dump.roots[0])
    with broken(victim.dump.core, pokes, victim.offset(root & -4096), 4096):
        triage(victim.dump.core, victim.dump.kernel, sizes=SIZES)


@SETTINGS
@given(pokes=POKES)
def test_any_kernel(victim: Victim, pokes: Any) -> None:
    """The kernel's file: sections and names."""
    kernel = copied(victim)
    size = kernel.stat().st_size
    with broken(kernel, pokes, max(0, size - 0x4000), 0x4000):
        triage(victim.dump.core, kernel, sizes=SIZES)


@SETTINGS
@given(pokes=POKES)
def test_any_types(victim: Victim, pokes: Any) -> None:
    """Structures of other sizes, with members elsewhere."""
    kernel = copied(victim)
    raw = kernel.read_bytes()
    start = raw.index(b"\xf1\xcf\x02\x00" if victim.dump.order == "little" else b"\xcf\xf1\x02\x00")
    with broken(kernel, pokes, start + 36, len(raw) - start - 0x400):
        triage(victim.dump.core, kernel, sizes=SIZES)


def copied(victim: Victim) -> Path:
    """A kernel file to break."""
    kernel = victim.dump.core.with_name("broken")
    shutil.copyfile(victim.dump.kernel, kernel)
    return kernel
