"""What reviews of FreeBSD dumps have found: each a test of the room that it was in."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
import zstandard
from pykvm_fixtures.freebsd import write_freebsd
from pykvm_fixtures.freebsd.system import FreebsdDump

import pykvm
from pykvm.cli import main
from pykvm.errors import AddressError, FormatError, KvmError
from pykvm.targets.freebsd.procs.times import _share, distance


@pytest.fixture(scope="module")
def dump(tmp_path_factory: Any) -> FreebsdDump:
    """Not to be changed."""
    return write_freebsd(tmp_path_factory.mktemp("mended"), machine="amd64")


@pytest.fixture
def own(tmp_path: Path) -> FreebsdDump:
    """To be changed."""
    return write_freebsd(tmp_path / "own", machine="amd64", container="full", release="12")


def member(dump: FreebsdDump, kind: str, name: str) -> int:
    return dump.layouts[kind][1][name][0]


def test_a_write_is_all_or_nothing(tmp_path: Path) -> None:
    """A page that was left out behind one that was not: the direct map is one run of addresses over both."""
    dump = write_freebsd(tmp_path, machine="amd64")
    assert dump.direct is not None
    present = sorted(dump.memory)
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        left_out = [p for p in present if kd.located(dump.direct[0] + (p + 1) * dump.page_size) is not None]
        first = next(p for p in left_out if not _is_there(kd, (p + 1) * dump.page_size))
    at = dump.direct[0] + first * dump.page_size
    for zero_excluded in (False, True):
        with pykvm.Kvm(dump.core, dump.kernel, writable=True, zero_excluded=zero_excluded) as kd:
            before = kd.read(at, dump.page_size)
            with pytest.raises(AddressError):
                kd.write(at, b"\xaa" * (2 * dump.page_size))
            assert kd.read(at, dump.page_size) == before
            assert kd.write(at, before[:16]) == 16


def _is_there(kd: pykvm.Kvm, paddr: int) -> bool:
    try:
        return len(kd.read_phys(paddr, 8)) == 8
    except KvmError:
        return False


@pytest.mark.parametrize("size", [512, 1000])
def test_a_dump_header_alone(tmp_path: Path, size: int) -> None:
    dump = write_freebsd(tmp_path, machine="amd64", device=1)
    path = tmp_path / "short"
    path.write_bytes(dump.core.read_bytes()[:size])
    with pytest.raises(KvmError) as caught:
        pykvm.Kvm(path, dump.kernel)
    assert "\n" not in str(caught.value)


def test_what_goes_on_after_close(dump: FreebsdDump) -> None:
    kd = pykvm.Kvm(dump.core, dump.kernel)
    pages = kd.pages()
    next(pages)
    kd.close()
    with pytest.raises(KvmError, match="closed"):
        list(pages)


def test_clocks_that_wrap() -> None:
    """ticks is an int that goes from 2^31 - 1 to -2^31."""
    high, low = (1 << 31) - 50, -(1 << 31) + 50
    assert distance(high, low) == 100
    plain = _share(4 << 20, 900, 100, 4, 1000, 100)
    assert plain is not None
    assert plain > 0
    shifted = _share(4 << 20, high, high - 800, 4, low, 100)
    assert shifted == plain


def test_what_gather_cannot_give(dump: FreebsdDump) -> None:
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        at = kd.symbol("allproc")
        with pytest.raises(KvmError, match="more than 4294967296 bytes in one call"):
            kd.gather([at] * 5000, 1 << 20)
        with pytest.raises(TypeError):
            kd.gather(memoryview(bytes(64)).cast("Q")[::2], 8)
        for wrong in (None, 5, b"proc"):
            with pytest.raises(TypeError, match="a name is a str"):
                kd.types.struct(wrong)  # type: ignore[arg-type]
            with pytest.raises(TypeError, match="a name is a str"):
                kd.types.struct("proc").offset(wrong)  # type: ignore[arg-type]


def test_foreign_kernels_of_a_minidump(dump: FreebsdDump, tmp_path: Path) -> None:
    """Without a version text: no kernel at all, and one whose variables lie where this one has nothing."""
    program = tmp_path / "program"
    source = tmp_path / "program.c"
    source.write_text("int main(void) { return 0; }\n")
    subprocess.run(["cc", "-o", program, source], check=True)
    with pytest.raises(FormatError, match=r"is not the kernel of .*it has no symbol allproc"):
        pykvm.Kvm(dump.core, program)
    raw = dump.kernel.read_bytes().replace(dump.facts.version.encode(), bytes(len(dump.facts.version)))
    other = tmp_path / "other"
    other.write_bytes(raw)
    with pykvm.Kvm(dump.core, other) as kd:  # as kernels that were reduced to some symbols
        assert len(kd.processes()) > 10
    # The same symbols at other addresses.
    symbols = {name: dump.symbols[name] for name in ("allproc", "hz", "ticks", "version")}
    for value in symbols.values():
        raw = raw.replace(struct.pack("<Q", value), struct.pack("<Q", value - (1 << 30)))
    other.write_bytes(raw)
    with pytest.raises(FormatError, match=r"allproc is at 0x\w+, where the dump has nothing mapped"):
        pykvm.Kvm(dump.core, other)


def test_odd_arguments(dump: FreebsdDump) -> None:
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        assert kd.processes(pykvm.KERN_PROC_PID, 1 << 40) == []
        assert pykvm.kvm_getprocs(kd, -1, 0) is None
        assert pykvm.kvm_geterr(kd) == "kvm_getprocs: op -1: Invalid argument"
        assert pykvm.kvm_getswapinfo(kd, 0) == -1
        assert pykvm.kvm_geterr(kd) == "kvm_getswapinfo: swap_max 0: no room even for the total"


def test_values_that_make_no_sense(own: FreebsdDump) -> None:
    """A state that no process has, a number of CPUs that no machine has: not known, not made up."""
    with pykvm.Kvm(own.core, own.kernel, writable=True) as kd:
        kd.write(own.addresses.procs[700] + member(own, "proc", "p_state"), struct.pack("<I", 77))
        kd.write(kd.symbol("mp_ncpus"), struct.pack("<i", -1))
        p = next(p for p in kd.processes() if p.pid == 700)
        assert (p.stat, p.ki_stat) == (None, 0)
        assert "cpus" not in kd.facts()
        jailed = next(p for p in kd.processes() if p.comm == "jailed")
        assert jailed.flags == jailed.ki_flag
        assert jailed.flags & 0x1000000


def test_a_damaged_list_beside_a_whole_one(own: FreebsdDump, capfd: pytest.CaptureFixture[str]) -> None:
    """ps shows what there is, and says what there is not."""
    with pykvm.Kvm(own.core, own.kernel, writable=True) as kd:
        kd.write(kd.symbol("zombproc"), struct.pack("<Q", 0x10))
    assert main(["ps", "-M", str(own.core), "-N", str(own.kernel)]) == 0
    out = capfd.readouterr()
    assert len(out.out.splitlines()) > 10
    assert out.err.startswith("pykvm: can't read proc at 0x10: ")


def test_constants_of_modules_that_read_as_zeros(tmp_path: Path) -> None:
    dump = write_freebsd(tmp_path, machine="amd64", container="full", types=False)
    with pykvm.Kvm(dump.core, dump.kernel, writable=True) as kd:
        for name in dump.symbols:
            if name.startswith("kld_off_"):
                kd.write(kd.symbol(name), bytes(4))
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        assert "modules" not in kd.facts()


def test_what_is_no_dump(dump: FreebsdDump, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    for core, why in ((empty, "is empty"), (dump.kernel, "is an ELF executable, not a core")):
        with pytest.raises(KvmError, match=why):
            pykvm.Kvm(core)
        assert main(["info", "-M", str(core)]) == 1
        assert why in capfd.readouterr().err
    whole = zstandard.compress(dump.core.read_bytes())
    (tmp_path / "cut.zst").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FormatError, match=r"damaged zstd stream: ."):
        pykvm.Kvm(tmp_path / "cut.zst", dump.kernel)


def test_a_full_dump_that_was_cut(own: FreebsdDump) -> None:
    size = own.core.stat().st_size
    with open(own.core, "r+b") as f:
        f.truncate(0x3000)
    with pytest.raises(FormatError, match=r"no page tables .* but \d+ bytes are missing at the end of the dump"):
        pykvm.Kvm(own.core, own.kernel)
    assert size > 0x3000


def test_dmesg_without_priorities(dump: FreebsdDump, capfd: pytest.CaptureFixture[str]) -> None:
    flags = ["-M", str(dump.core), "-N", str(dump.kernel)]
    assert main(["dmesg", *flags]) == 0
    plain = capfd.readouterr().out.splitlines()
    assert main(["dmesg", "-r", *flags]) == 0
    raw = capfd.readouterr().out.splitlines()
    assert len(plain) == len(raw) > 100
    assert raw[-5].startswith("<")
    assert raw[-5].split(">", 1)[1] == plain[-5]
    assert main(["dmesg", "-T", *flags]) == 1
    assert "its message buffer has no times (-T)" in capfd.readouterr().err


def test_undefined_symbols_are_none(tmp_path: Path) -> None:
    """What a kernel file only refers to is not in it."""
    source = tmp_path / "weak.c"
    source.write_text("extern int mfs_root __attribute__((weak)); int allproc; int *user = &mfs_root;\n")
    subprocess.run(["cc", "-c", "-o", tmp_path / "weak.o", source], check=True)
    from pykvm import symbols
    from pykvm.images.hostfile import HostFile

    found = symbols.recognise(HostFile(tmp_path / "weak.o"))
    assert found is not None
    assert "allproc" in found
    assert "mfs_root" not in found


def test_dragonfly_has_no_open_files(tmp_path: Path) -> None:
    from pykvm_fixtures.dragonfly import write_dragonfly

    dump = write_dragonfly(tmp_path)
    with pykvm.Kvm(dump.core, dump.kernel, layout=dump.layout) as kd, pytest.raises(KvmError, match="DragonFly"):
        kd.files()
