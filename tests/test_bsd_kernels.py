"""NetBSD and OpenBSD: which kernel file is a dump's, and swap that the kernel encrypted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import pykvm


@pytest.mark.parametrize(("system", "name"), [("NetBSD", "uvm_swap_encrypt"), ("OpenBSD", "uvm_doswapencrypt")])
@pytest.mark.parametrize("machine", ["amd64", "sparc64"])
def test_encrypted_swap(bsd_written: Any, tmp_path: Path, system: str, name: str, machine: str) -> None:
    """NetBSD's variable is a bool, with other variables beside it; OpenBSD's an int."""
    dump = bsd_written(system, machine, layout=0, seed=1, swap=True)
    core = tmp_path / "core"
    core.write_bytes(dump.core.read_bytes())
    with pykvm.Kvm(core, dump.kernel, dump.swap, writable=True) as kd:
        (p,) = kd.processes(pykvm.KERN_PROC_PID, 803)
        assert kd.argv(p)
        at = kd.symbol(name)
        kd.write(at, b"\1" if system == "NetBSD" else (1).to_bytes(4, kd.info.byteorder))
        with pytest.raises(pykvm.AddressError, match=r"is in swap, which the kernel encrypts"):
            kd.argv(p)


@pytest.mark.parametrize("machine", ["amd64", "sparc64"])
def test_kernel_of_another_system(bsd_written: Any, tmp_path: Path, machine: str) -> None:
    """Even if its version text lies where the dump's does, and it knows the names that its system has."""
    dump = bsd_written("NetBSD", machine, layout=0, seed=1)
    raw = dump.kernel.read_bytes()
    own = b"NetBSD 9.3 (FIXTURE) #0:"
    assert own in raw
    other = tmp_path / "other"
    other.write_bytes(raw.replace(own, b"OpenBS 9.3 (FIXTURE) #0:"))
    with pytest.raises(pykvm.FormatError, match=r"^bad namelist: .*other is not the kernel of .*NetBSD 9.3"):
        pykvm.Kvm(dump.core, other)
    # Of a file that was emptied of all but its names nothing is known.
    text = raw[raw.index(own) :].partition(b"\0")[0]
    other.write_bytes(raw.replace(text, bytes(len(text))))
    with pykvm.Kvm(dump.core, other) as kd:
        assert kd.info.release == "9.3"


@pytest.mark.parametrize(
    ("system", "machine"),
    [("NetBSD", "amd64"), ("OpenBSD", "amd64"), ("NetBSD", "aarch64"), ("NetBSD", "aarch64-16k"), ("OpenBSD", "arm64"),
     ("OpenBSD", "riscv64"), ("NetBSD", "alpha"), ("NetBSD", "sparc64"), ("NetBSD", "mips64")],
)  # fmt: skip
def test_addresses_in_the_hole(bsd_written: Any, system: str, machine: str) -> None:
    """An address whose upper bits do not say the same is none, although the tables would lead somewhere."""
    dump = bsd_written(system, machine, layout=0, seed=1)
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        at = kd.symbol("version")
        assert kd.read(at, 4) == system.encode()[:4]
        for bit in (63, 60, 57, 53):
            with pytest.raises(pykvm.AddressError):
                kd.read(at ^ 1 << bit, 4)


def test_names_of_another_build(bsd_written: Any, tmp_path: Path) -> None:
    """A list of names holds no text to compare; where one of its texts is not the other's, it is another kernel's."""
    dump = bsd_written("NetBSD", "amd64", layout=0, seed=1)
    names = tmp_path / "names"

    def listed(moved: int) -> None:
        at = {**dump.symbols, "osrelease": dump.symbols["version"] + moved}
        names.write_text("".join(f"{value:016x} D {name}\n" for name, value in at.items()))

    listed(len("NetBSD "))
    with pytest.raises(pykvm.FormatError, match=r"names is not the kernel of .*: its osrelease is '9\.3 \(FIX"):
        pykvm.Kvm(dump.core, names)
    names.write_text("".join(f"{value:016x} D {name}\n" for name, value in dump.symbols.items()))
    with pykvm.Kvm(dump.core, names) as kd:
        assert kd.info.release == "9.3"
