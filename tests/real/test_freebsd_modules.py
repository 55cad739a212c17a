"""The kernel's linker on a real dump. It has loaded no module, but the kernel itself is a linker file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import pykvm
from pykvm.symbols.modules import ModuleSymbols
from pykvm.targets.freebsd import modules


@pytest.mark.parametrize("kind", ["full", "minidump"])
def test_the_kernels_own_table(kind: str, real: Any) -> None:
    """It is found by its class among two structures of one name, and has what the kernel's file has."""
    core: Path = real(f"freebsd-full/vmcore-12.1-amd64-{kind}")
    with pykvm.Kvm(core, real("freebsd-full/kernel-12.1-amd64")) as kd:
        target: Any = kd.target
        assert target.facts(kd.parts)["modules"] == []
        table = kd.symbols.modules
        assert isinstance(table, ModuleSymbols)
        assert (len(table), table.flaw) == (0, None)
        at = kd.read_ptr(kd.symbol("linker_kernel_file"))
        offsets = modules.offsets_of(target, kd.parts)
        assert offsets is not None
        kernel = modules._module(kd.parts, offsets, at)
        assert kernel[1:] == ("kernel", "/boot/kernel/kernel", 0xFFFFFFFF80200000, 0xAB7000, 1, 1)
        reader = modules._Reader(table, target, kd.parts)
        (shape,) = reader.shapes(kernel)
        assert (shape.size, "dynamic" in shape) == (448, True)
        rows = list(reader.carried(kernel))
        own = [s for s in kd.symbols.all() if s.desc]
        assert len(rows) == len(own) == 20336
        for row, symbol in zip(rows, own, strict=True):
            assert (row.name.decode(), row.value, row.size, row.section) == (
                symbol.name, symbol.value, symbol.size, symbol.desc,
            )  # fmt: skip
