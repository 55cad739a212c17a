"""FreeBSD dumps from the fixture writer: every machine's page map is translated."""

from __future__ import annotations

from typing import Any

import pytest
from pykvm_fixtures.freebsd import MACHINES, write_freebsd

import pykvm

# powerpc64's page map is the hardware's hash table: only the direct map is read.
READ = [name for name in MACHINES if not name.startswith(("powerpc", "dragonfly"))]


@pytest.mark.parametrize("machine", READ)
def test_memory(tmp_path: Any, machine: str) -> None:
    dump = write_freebsd(tmp_path, machine=machine)
    with pykvm.Kvm(dump.core, dump.kernel) as kd:
        info = kd.info
        assert (info.system, info.format) == ("FreeBSD", "minidump")
        assert kd.read_i32(kd.symbol("nprocs")) == len(dump.processes)
        assert kd.read_cstr(kd.symbol("version")).startswith(b"FreeBSD ")
        nl = [pykvm.Nlist("_allproc"), pykvm.Nlist("_nosuch")]
        assert pykvm.kvm_nlist(kd, nl) == 1
        assert kd.read_ptr(nl[0].n_value) != 0
        with pytest.raises(pykvm.KvmError, match="FreeBSD"):
            kd.processes()
