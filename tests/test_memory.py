"""The object: reading, gathering, lists (interface.md, section 2)."""

from __future__ import annotations

import random
import struct
import subprocess
import sys
import threading
from array import array
from typing import Any

import pytest

import pykvm


@pytest.fixture(scope="module", params=["i386", "sun4m"])
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    from pykvm_fixtures import write_mirbsd

    dump = write_mirbsd(tmp_path_factory.mktemp("memory"), machine=request.param, processes=400)
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        yield kd, dump


def test_values(both: Any) -> None:
    kd, dump = both
    order: Any = kd.info.byteorder
    at = dump.symbols["version"]
    raw = kd.read(at, 16)
    for bits in (8, 16, 32, 64):
        size = bits // 8
        assert getattr(kd, f"read_u{bits}")(at) == int.from_bytes(raw[:size], order)
        assert getattr(kd, f"read_i{bits}")(at + 3) == int.from_bytes(raw[3 : 3 + size], order, signed=True)
    assert kd.read_ptr(at) == kd.read_u32(at)
    assert kd.read_i32(dump.symbols["nprocs"]) == 400
    assert kd.read_cstr(at) == dump.version
    assert kd.read_cstr(at, 6) == b"MirBSD"
    assert kd.read_cstr(at, 0) == b""
    buf = bytearray(6)
    assert kd.readinto(at, buf) == 6
    assert buf == b"MirBSD"
    words = array("I", [0, 0])
    assert kd.readinto(at, words) == 8
    assert words.tobytes() == raw[:8]


def test_across_pages(both: Any) -> None:
    kd, dump = both
    va = dump.pages[0][0]
    page = dump.page_size
    whole = kd.read(va, 2 * page)
    assert whole == kd.read_phys(dump.pages[0][1], page) + kd.read_phys(dump.pages[1][1], page)
    for start in range(page - 9, page + 2):
        assert kd.read(va + start, 16) == whole[start : start + 16]
        assert kd.read_u64(va + start) == int.from_bytes(whole[start : start + 8], kd.info.byteorder)


def test_gather(both: Any) -> None:
    kd, dump = both
    addrs = [a + random.Random(1).randrange(300) for a in dump.proc_addrs.values()]
    expected = b"".join(kd.read(a, 12) for a in addrs)
    for form in (addrs, tuple(addrs), array("Q", addrs), memoryview(array("Q", addrs)), (a for a in addrs)):
        got = kd.gather(form, 12)
        assert isinstance(got, memoryview)
        assert bytes(got) == expected
    assert bytes(kd.gather([], 8)) == b""
    with pytest.raises(pykvm.AddressError) as caught:
        kd.gather([addrs[0], dump.hole[0], addrs[1]], 4)
    assert caught.value.address == dump.hole[0]
    for bad in (-1, 1 << 64):
        with pytest.raises(pykvm.AddressError):
            kd.gather([bad], 4)
    with pytest.raises(TypeError):
        kd.gather(b"12345678", 4)
    with pytest.raises(ValueError, match="negative"):
        kd.gather(addrs, -1)


def test_walk_list(both: Any) -> None:
    kd, dump = both
    head = kd.read_ptr(kd.symbol("allproc"))
    next_offset = kd.types.struct("proc").offset("p_list.le_next")
    walked = kd.walk_list(head, next_offset)
    assert walked.format == "Q"
    alive = [dump.proc_addrs[p.pid] for p in dump.processes if not p.zombie]
    assert list(walked) == alive
    pids = struct.unpack(
        f"{'<' if kd.info.byteorder == 'little' else '>'}{len(alive)}I",
        kd.gather([a + kd.types.struct("proc").offset("p_pid") for a in walked], 4),
    )
    assert list(pids) == [p.pid for p in dump.processes if not p.zombie]
    assert list(kd.walk_list(0, next_offset)) == []
    with pytest.raises(pykvm.KvmError, match="more than 10 elements"):
        kd.walk_list(head, next_offset, limit=10)
    with pytest.raises(pykvm.AddressError) as caught:
        kd.walk_list(dump.hole[0], 0)
    assert caught.value.address == dump.hole[0]


@pytest.mark.parametrize("addr", [-1, -(1 << 70), 1 << 32, (1 << 64) - 1, 1 << 64, 1 << 80])
def test_addresses_that_cannot_be(both: Any, addr: int) -> None:
    kd, _ = both
    buf = bytearray(4)
    for call in (kd.read_u8, kd.read_i16, kd.read_u32, kd.read_i64, kd.read_ptr, kd.translate, kd.read_cstr):
        with pytest.raises(pykvm.AddressError) as caught:
            call(addr)
        assert caught.value.address == addr
    with pytest.raises(pykvm.AddressError):
        kd.read(addr, 4)
    with pytest.raises(pykvm.AddressError):
        kd.readinto(addr, buf)
    with pytest.raises(pykvm.AddressError):
        kd.read_phys(addr if addr >= 1 << 60 or addr < 0 else 1 << 62, 4)
    assert pykvm.kvm_read(kd, addr, buf, 4) == -1
    assert pykvm.kvm_geterr(kd) == f"invalid address ({addr:x})"


def test_lengths_that_cannot_be(both: Any) -> None:
    kd, dump = both
    at = dump.symbols["version"]
    with pytest.raises(ValueError, match="negative"):
        kd.read(at, -1)
    with pytest.raises(pykvm.AddressError):
        kd.read(at, 1 << 60)
    with pytest.raises(pykvm.AddressError):
        kd.read_phys(0, 1 << 60)
    for n in (-1, 5):
        with pytest.raises(ValueError, match="does not fit"):
            pykvm.kvm_read(kd, at, bytearray(4), n)
    with pytest.raises(TypeError):
        pykvm.kvm_read(kd, at, b"1234", 4)
    with pytest.raises(TypeError):
        kd.read_u32("nprocs")
    assert pykvm.kvm_read(kd, 0, bytearray(4), 0) == 0  # no translation for nothing


def test_reads_wrap_at_the_top(both: Any) -> None:
    kd, _ = both
    if kd.info.machine != "i386":
        pytest.skip("maps nothing at the top")
    assert pykvm.kvm_read(kd, 0xFFFFFFFF, bytearray(8), 8) == -1


def test_threads_on_one_handle(both: Any) -> None:
    kd, dump = both
    expected = {a: kd.read(a, 64) for a in dump.proc_addrs.values()}
    wrong: list[int] = []

    def work(seed: int) -> None:
        rng = random.Random(seed)
        for a in rng.sample(list(expected), len(expected)):
            if kd.read(a, 64) != expected[a] or bytes(kd.gather([a], 64)) != expected[a]:
                wrong.append(a)
        if len(kd.processes()) != len(dump.processes):
            wrong.append(0)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == []


def test_closing_while_others_read(mirbsd_dump: Any) -> None:
    """A thread that is reading when the handle is closed gets its bytes or an error, never a crash."""
    for _ in range(5):
        kd = pykvm.Kvm(mirbsd_dump.core, mirbsd_dump.kernel)
        at, read = mirbsd_dump.symbols["version"], kd.read_u32
        outcome: list[str] = []

        def work(at: int = at, read: Any = read, outcome: list[str] = outcome) -> None:
            try:
                while True:
                    read(at)
            except pykvm.KvmError as e:
                outcome.append(str(e))

        threads = [threading.Thread(target=work) for _ in range(3)]
        for t in threads:
            t.start()
        kd.close()
        for t in threads:
            t.join(10)
        assert outcome == ["handle is closed"] * 3


def test_gather_refuses(mirbsd_dump: Any) -> None:
    with pykvm.Kvm(mirbsd_dump.core, mirbsd_dump.kernel) as kd:
        at = kd.symbol("nprocs")
        with pytest.raises(pykvm.AddressError) as caught:
            kd.gather((x for x in [at, -1]), 4)
        assert caught.value.address == -1
        assert pykvm.kvm_geterr(kd) == "invalid address (-1)"
        with pytest.raises(TypeError):
            kd.gather(array("d", [1.0]), 4)


def test_a_word_that_looks_like_a_miss(mirbsd_dump_factory: Any) -> None:
    dump = mirbsd_dump_factory()
    with pykvm.Kvm(dump.core, dump.kernel, writable=True) as kd:
        at = kd.symbol("nprocs")
        kd.write(at, (0x2BADC0DE).to_bytes(4, "little"))
        assert kd.read_u32(at) == kd.read_i32(at) == 0x2BADC0DE
        with pytest.raises(pykvm.AddressError) as caught:
            kd.walk_list(at, 0)
        assert caught.value.address == 0x2BADC0DE


def test_rooms_by_themselves() -> None:
    """Each module can be imported first."""
    names = ["memory", "handle", "machines.mmu", "images", "symbols", "types", "targets", "targets.linux", "cli"]
    code = "; ".join(["import importlib, sys", *(f"importlib.import_module('pykvm.{n}')" for n in names[:1])])
    for name in names:
        subprocess.run([sys.executable, "-c", code.replace(names[0], name)], check=True)
    assert "annotations" not in pykvm.__all__
