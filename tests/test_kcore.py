"""The running kernel's own view of its memory, as far as it can be tested where there is none: program headers, paths,
and how a file in use is told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import pykvm
from pykvm.images import kcore
from pykvm.images.elf import PT_LOAD, Phdr

RAM, VMALLOC, TEXT = 0xC0000000, 0xF0000000, 0xFFFF800080000000


def load(offset: int, vaddr: int, paddr: int, size: int) -> Phdr:
    return Phdr(PT_LOAD, offset, vaddr, paddr, size, size)


def test_segments_without_physical_addresses_of_32_bits() -> None:
    """fs/proc/kcore.c writes p_paddr -1, which in 32 bits is an address as others are."""
    ram = load(0x1000, RAM, 0, 0x30000000)
    others = [load(0x40000000, VMALLOC, 0xFFFFFFFF, 0x1000000), load(0x30001000, 0xBF000000, 0xFFFFFFFF, 0x1000000)]
    assert kcore.segments([others[0], ram, others[1]], wide=False) == ([ram], [others[1], others[0]])
    # In 64 bits it is one, of memory above 4 GB.
    assert kcore.segments([load(0, TEXT, 0xFFFFFFFF, 0x1000)], wide=True) == ([load(0, TEXT, 0xFFFFFFFF, 0x1000)], [])
    assert kcore.segments([load(0, TEXT, (1 << 64) - 1, 4096)], wide=True) == ([], [load(0, TEXT, (1 << 64) - 1, 4096)])


def test_segments_in_the_order_of_their_addresses() -> None:
    """Whose offsets go another way: aarch64 has its direct map behind the vmalloc area in the file."""
    first, second = load(0x8000, TEXT, 0x40000000, 0x1000), load(0x1000, TEXT + 0x1000, 0x50000000, 0x1000)
    assert kcore.segments([second, first], wide=True) == ([first, second], [])
    overlapping = load(0x2000, TEXT + 0x1800, 0x60000000, 0x1000)
    assert kcore.segments([second, overlapping, first], wide=True) == ([first, second], [])
    assert kcore.segments([load(0, (1 << 64) - 4096, 0x1000, 8192)], wide=True) == ([], [])


@pytest.mark.skipif(not Path(kcore.KCORE).exists(), reason="no /proc/kcore")
@pytest.mark.parametrize("spelled", ["/proc/./kcore", ["/proc/kcore"], "link"])
def test_other_paths_of_the_running_kernel(tmp_path: Path, spelled: str | list[str]) -> None:
    if spelled == "link":
        (tmp_path / "link").symlink_to(kcore.KCORE)
        assert kcore.is_running(tmp_path / "link")
    else:
        assert kcore.is_running(spelled)


def test_paths_that_are_not_the_running_kernel(tmp_path: Path) -> None:
    (tmp_path / "kcore").write_bytes(b"")
    for core in (tmp_path / "kcore", [str(tmp_path / "kcore")], ["/proc/kcore", "/proc/kcore"], [], 3, "a\0b"):
        assert not kcore.is_running(core)


def test_a_closed_handle_is_not_refreshed() -> None:
    kd = pykvm.kvm_openfiles(None, None, None, pykvm.KVM_NO_FILES)
    assert kd is not None
    kd.close()
    with pytest.raises(pykvm.KvmError, match="closed"):
        kd.refresh()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="leases are Linux's")
def test_a_file_that_is_opened_for_writing_while_it_is_looked_at(tmp_path: Path) -> None:
    """The kernel tells whoever has a lease by a signal, of which a program must not die."""
    path = tmp_path / "ram"
    path.write_bytes(bytes(4096))
    writer = subprocess.Popen(
        [sys.executable, "-c", "import os, sys\nwhile True: os.close(os.open(sys.argv[1], os.O_RDWR))", path]
    )
    source = (
        "import sys\nfrom pykvm.images.hostfile import HostFile\n"
        "for _ in range(3000):\n    f = HostFile(sys.argv[1])\n    f.changing()\n    f.close()\n"
    )
    try:
        done = subprocess.run([sys.executable, "-c", source, path], capture_output=True, timeout=100, check=False)
    finally:
        writer.kill()
        writer.wait()
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_file_that_is_said_to_change(tmp_path: Path) -> None:
    from pykvm.images.hostfile import HostFile

    path = tmp_path / "ram"
    path.write_bytes(bytes(4096))
    file = HostFile(path)
    assert not file.changing()
    file.runs = True
    assert file.changing()
    file.close()
    other = os.open(path, os.O_RDWR)
    file = HostFile(path)
    assert file.changing()
    file.runs = False
    assert not file.changing()
    file.close()
    os.close(other)
