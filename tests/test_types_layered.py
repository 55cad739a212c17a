"""What is given stands before what a kernel carries, which is read when something is asked of it first."""

from __future__ import annotations

import pytest

import pykvm
from pykvm.types.layered import LayeredTypes
from pykvm.types.layout import Field, Struct, Types

MEMBER = {"a": Field(0, 4, "int")}


class Carried(Types):
    """Of one tag there are two structures."""

    def same_named(self, name: str) -> list[Struct]:
        return [self[name], Struct(name, 8, MEMBER, self)] if name == "twin" else super().same_named(name)


class Layered(LayeredTypes):
    reads = 0

    def read(self) -> Types:
        self.reads += 1
        found = Carried("kernel")
        for name in ("twin", "proc"):
            found.add(name, 4, MEMBER)
        return found


def test_layers() -> None:
    types = Layered("dump")
    types.add("proc", 12, MEMBER)
    assert types.struct("struct proc").size == 12
    assert [s.size for s in types.same_named("proc")] == [12]
    assert types.reads == 0
    assert [s.size for s in types.same_named("twin")] == [4, 8]
    assert types["union twin"].size == 4
    assert (list(types), len(types), "twin" in types, "nosuch" in types) == (["proc", "twin"], 2, True, False)
    assert types.as_json()["proc"]["size"] == 12
    with pytest.raises(pykvm.KvmError, match="struct nosuch: not in the types of kernel"):
        types.struct("nosuch")
    types.why = "there are none"
    with pytest.raises(pykvm.KvmError, match="struct nosuch: there are none"):
        types.struct("nosuch")
    assert types.reads == 1
