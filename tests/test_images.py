"""Containers: compressed files, cut files, dump devices."""

from __future__ import annotations

import contextlib
import gzip
import struct
import tempfile
from pathlib import Path
from typing import Any

import pytest

import pykvm
from pykvm import images
from pykvm.images.hostfile import HostFile


@pytest.mark.parametrize(("suffix", "scheme"), [("gz", "gzip"), ("bz2", "bzip2"), ("xz", "xz"), ("zst", "zstd")])
def test_compressed(mirbsd_dump_factory: Any, suffix: str, scheme: str) -> None:
    dump = mirbsd_dump_factory(compress=suffix, compress_kernel=suffix)
    with pykvm.Kvm(dump.core, dump.kernel, dump.swap) as kd:
        assert [p.pid for p in kd.processes()] == [p.pid for p in dump.processes]
        assert kd.image.files[0].compressed == scheme
    with pykvm.Kvm(dump.core, dump.kernel, writable=True) as kd:
        assert pykvm.kvm_write(kd, dump.pages[0][0], b"x", 1) == -1
        assert pykvm.kvm_geterr(kd) == f"{dump.core}: compressed with {scheme}: cannot be written to"


def test_expanded_once_and_sparse(tmp_path: Path) -> None:
    """Zeros become holes, and the temporary file has no name."""
    packed = tmp_path / "zeros.gz"
    data = bytes(32 << 20) + b"end"
    packed.write_bytes(gzip.compress(data, 1))
    before = set(Path(tempfile.gettempdir()).glob("pykvm-*"))
    file = HostFile(packed)
    assert file.size == len(data)
    assert file.pread(32 << 20, 10) == b"end"
    import os

    assert os.fstat(file.fd).st_blocks * 512 < 1 << 20
    assert os.fstat(file.fd).st_nlink == 0
    assert set(Path(tempfile.gettempdir()).glob("pykvm-*")) == before
    file.close()


def test_concatenated_streams(tmp_path: Path) -> None:
    packed = tmp_path / "two.gz"
    packed.write_bytes(gzip.compress(b"one") + gzip.compress(b"two"))
    file = HostFile(packed)
    assert file.pread(0, 10) == b"onetwo"
    file.close()


def test_damage_is_named(tmp_path: Path) -> None:
    packed = tmp_path / "core.Z"
    packed.write_bytes(b"\x1f\x9d\x90abc")
    with pytest.raises(pykvm.FormatError, match=r"core\.Z: damaged compress stream: code 433 at byte 4"):
        HostFile(packed)


def test_a_core_that_is_still_being_copied(mirbsd_dump_factory: Any) -> None:
    """What is there can be read; what is not gives a short count without a message, as the original does."""
    whole = mirbsd_dump_factory()
    size = whole.core.stat().st_size
    va, pa = max(whole.pages, key=lambda pair: pair[1])
    cut = whole.dump_offset + pa + 100
    dump = mirbsd_dump_factory(truncate=cut)
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        assert kd.image.missing == size - cut
        buf = bytearray(200)
        assert pykvm.kvm_read(kd, va, buf, 200) == 100
        assert pykvm.kvm_geterr(kd) == ""
        assert pykvm.kvm_read(kd, va + 100, buf, 50) == 0
        with pytest.raises(pykvm.AddressError) as caught:
            kd.read(va, 200)
        assert caught.value.address == va + 100
        assert str(caught.value) == f"{dump.core}: ends before physical address {pa + 100:x}"


def test_dump_device(mirbsd_dump_factory: Any) -> None:
    dump = mirbsd_dump_factory(container="device")
    with pykvm.Kvm(dump.core, dump.kernel, dump.swap) as kd:
        buf = bytearray(4)
        assert pykvm.kvm_read(kd, dump.symbols["nprocs"], buf, 4) == -1
        assert pykvm.kvm_geterr(kd) == "no valid dump header"
        for offset, message in (
            (0, "invalid magic in cpu_hdr"),
            (-1, "invalid dump offset - lseek"),
            (1 << 40, "invalid magic in cpu_hdr"),
            (dump.device_offset - 512, "invalid magic in cpu_hdr"),
        ):
            assert pykvm.kvm_dump_mkheader(kd, offset) == -1
            assert pykvm.kvm_geterr(kd) == message
        assert pykvm.kvm_dump_mkheader(kd, dump.device_offset) == 512
        assert pykvm.kvm_read(kd, dump.symbols["nprocs"], buf, 4) == 4
        assert pykvm.kvm_dump_mkheader(kd, dump.device_offset) == -1
        assert pykvm.kvm_geterr(kd) == "already has a dump header"
    with pykvm.Kvm(dump.core, dump.kernel, writable=True) as kd:
        pykvm.kvm_dump_mkheader(kd, dump.device_offset)
        assert pykvm.kvm_dump_inval(kd) == 0
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        pykvm.kvm_dump_mkheader(kd, dump.device_offset)
        assert kd.read_u32(dump.symbols["dumpmag"]) == 0


def test_raw_memory(mirbsd_dump_factory: Any) -> None:
    dump = mirbsd_dump_factory(container="raw")
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        assert kd.info.format == "raw"
        assert kd.unreadable is None
        va, pa = dump.pages[0]
        assert kd.read(va, 8) == kd.read_phys(pa, 8) == dump.core.read_bytes()[pa : pa + 8]


def test_huge_sparse_file_opens(mirbsd_dump: Any, tmp_path: Path) -> None:
    image = tmp_path / "sparse"
    with open(image, "wb") as f:
        f.truncate(1 << 40)
        f.seek(123 << 32)
        f.write(b"far")
    with pykvm.Kvm(image, mirbsd_dump.kernel) as kd:
        assert kd.read_phys(123 << 32, 4) == b"far\0"
        assert kd.image.memory_size == 1 << 40
        with pytest.raises(pykvm.AddressError):
            kd.read_phys(1 << 40, 1)


def test_several_files(mirbsd_dump: Any) -> None:
    with pytest.raises(pykvm.FormatError, match="not the parts of one dump"):
        pykvm.Kvm([mirbsd_dump.core, mirbsd_dump.core], mirbsd_dump.kernel)
    with pykvm.Kvm([mirbsd_dump.core], mirbsd_dump.kernel) as kd:
        assert kd.info.format == "savecore"
    with pytest.raises(pykvm.KvmError, match="empty list"):
        pykvm.Kvm([], mirbsd_dump.kernel)


def lime(*ranges: tuple[int, bytes], version: int = 1) -> bytes:
    """LiME's format: a header of 32 bytes before each range (LiME's documentation)."""
    return b"".join(
        struct.pack("<IIQQQ", 0x4C694D45, version, start, start + len(data) - 1, 0) + data for start, data in ranges
    )


def test_lime(tmp_path: Path) -> None:
    path = tmp_path / "lime"
    path.write_bytes(lime((0x1000, b"a" * 4096), (0x100000000, b"b" * 100)))
    with contextlib.closing(HostFile(path)) as file:
        image = images.recognise([file])
        assert (image.format, image.memory_size, image.missing) == ("lime", 4196, 0)
        assert image.read(0x1FFF, 1) == b"a"
        assert image.read(0x100000000, 100) == b"b" * 100
        assert list(image.find(b"bb", 0, 4, lambda done: None)) == list(range(0x100000000, 0x100000000 + 97, 4))
        for addr in (0xFFF, 0x2000, 0x100000064):
            with pytest.raises(pykvm.AddressError):
                image.read(addr, 1)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (lime((0, b"x" * 9))[:31], "LiME header at 0"),
        (lime((0, b"x" * 9)) + b"y" * 40, "LiME header at 41: magic"),
        (lime((0, b"x" * 9), version=2), "version 2"),
        (lime((0, b"x" * 9), (4, b"y")), "overlaps"),
        (struct.pack("<IIQQQ", 0x4C694D45, 1, 9, 3, 0), "makes no sense"),
        (struct.pack("<IIQQQ", 0x4C694D45, 1, 0, 2**64 - 1, 0), "makes no sense"),
    ],
)
def test_damaged_lime(tmp_path: Path, raw: bytes, message: str) -> None:
    path = tmp_path / "lime"
    path.write_bytes(raw)
    with pytest.raises(pykvm.FormatError, match=message):
        pykvm.Kvm(path)


def test_lime_that_was_cut(tmp_path: Path) -> None:
    path = tmp_path / "lime"
    path.write_bytes(lime((0, b"x" * 8192))[:-10])
    with contextlib.closing(HostFile(path)) as file:
        image = images.recognise([file])
        assert image.missing == 10
        with pytest.raises(pykvm.AddressError, match="the file ends"):
            image.read(8190, 1)


def test_memory_that_an_elf_core_leaves_out(linux_dump_factory: Any) -> None:
    """makedumpfile -E: p_memsz is more than p_filesz."""
    dump = linux_dump_factory(container="elf")
    path = dump.paths[0]
    raw = bytearray(path.read_bytes())
    phoff, phnum = 64, struct.unpack_from("<H", raw, 56)[0]
    last = phoff + 56 * (phnum - 1)
    (paddr,), (filesz,) = struct.unpack_from("<Q", raw, last + 24), struct.unpack_from("<Q", raw, last + 32)
    struct.pack_into("<Q", raw, last + 40, filesz + 3 * 4096)
    first = phoff + 56  # reaches into others, which have their own
    (start,) = struct.unpack_from("<Q", raw, first + 24)
    struct.pack_into("<Q", raw, first + 40, paddr - start)
    path.write_bytes(raw)
    gap = paddr + filesz
    with pykvm.Kvm(path) as kd:
        assert kd.image.read(paddr, 8) == raw[-filesz:][:8]
        with pytest.raises(pykvm.AddressError, match="leaves out"):
            kd.read_phys(gap, 8)
        assert kd.image.left_out > 3 * 4096
        assert kd.image.left_out + kd.image.memory_size == gap + 3 * 4096 - start
        whole = kd.image.memory_size
    with pykvm.Kvm(path, zero_excluded=True) as kd:
        assert kd.read_phys(gap + 4096, 8) == bytes(8)
        assert kd.image.memory_size == whole
        with pytest.raises(pykvm.AddressError):
            kd.read_phys(gap + 3 * 4096, 8)
