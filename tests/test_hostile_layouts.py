"""Layout files of every wrong shape: one clear error each, never anything but a KvmError."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pykvm


def use(dump: Any, path: Path, layouts: Any) -> list[str]:
    """Everything that structures are used for; the messages of what failed."""
    path.write_text(json.dumps(layouts))
    messages = []
    try:
        kd = pykvm.Kvm(dump.core, dump.kernel, dump.swap, layout=path)
    except pykvm.KvmError as e:
        return [str(e)]
    with kd:
        for call in (kd.files, kd.loadavg, kd.dmesg, lambda: kd.facts()):
            try:
                call()
            except pykvm.KvmError as e:
                messages.append(str(e))
        try:
            for p in kd.processes():
                kd.argv(p)
                assert {name: getattr(p, name) for name in pykvm.records.PROCESS_NAMES}
        except pykvm.KvmError as e:
            messages.append(str(e))
        pykvm.kvm_getproc2(kd, pykvm.KERN_PROC_KTHREAD, 0)
    assert all("\n" not in message for message in messages)
    return messages


@pytest.mark.parametrize(
    ("name", "member", "entry", "message"),
    [
        ("proc", "p_pid", [52, 3, "pid_t"], "cannot stand for"),
        ("proc", "p_comm", [52, 4, "int"], "cannot stand for"),
        ("proc", "p_pid", [52, 4, "char [4]"], "cannot stand for"),
        ("proc", "p_pid", [52, 4, "int [" + "9" * 3000 + "]"], "is not [offset, size, type]"),
        ("proc", "p_pid", [0, 4, " " * 20000 + "x"], "is not [offset, size, type]"),
        ("loadavg", "fscale", [0, 4, "long"], "fscale is not behind the member before it"),
        ("eproc", "e_vm", [0, 4, "struct vmspace"], "no room for a struct vmspace"),
        ("vm_page", "phys_addr", [0, 8, "char [8]"], "cannot stand for"),
    ],
)
def test_layouts_of_another_shape(
    mirbsd_dump: Any, tmp_path: Path, name: str, member: str, entry: list[Any], message: str
) -> None:
    with pykvm.Kvm(mirbsd_dump.core, mirbsd_dump.kernel) as kd:
        layouts = kd.types.as_json()
    layouts[name]["fields"][member] = entry
    messages = use(mirbsd_dump, tmp_path / "layout.json", layouts)
    assert any(message in m for m in messages), messages


def test_a_structure_that_does_not_fit_its_place(mirbsd_dump: Any, tmp_path: Path) -> None:
    """The layout opens and can be asked; what needs the structure within another says so."""
    path = tmp_path / "layout.json"
    path.write_text(json.dumps({"proc": {"size": 656, "fields": {"p_pid": [212, 4, "pid_t"]}}}))
    with pykvm.Kvm(mirbsd_dump.core, mirbsd_dump.kernel, layout=path) as kd:
        assert kd.types.struct("proc").offset("p_pid") == 212
        with pytest.raises(pykvm.KvmError, match="struct proc"):
            kd.processes()


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32))
def test_layouts_at_random(mirbsd_dump: Any, tmp_path: Path, seed: int) -> None:
    rnd = random.Random(seed)
    with pykvm.Kvm(mirbsd_dump.core, mirbsd_dump.kernel) as kd:
        layouts = kd.types.as_json()
    for _ in range(rnd.choice((1, 2, 5))):
        body = layouts[rnd.choice(list(layouts))]
        if rnd.random() < 0.2 or not body["fields"]:
            body["size"] = rnd.choice((0, 1, body["size"] + 4, 1 << 20))
            continue
        member = rnd.choice(list(body["fields"]))
        entry = body["fields"][member]
        which = rnd.randrange(4)
        if which < 3:
            entry[which] = rnd.choice(
                ((0, 1, entry[0] + 4), (0, 1, 2, 3, 8), ("", "char [4]", "int [3]", "x *"))[which]
            )
        else:
            del body["fields"][member]
    use(mirbsd_dump, tmp_path / "layout.json", layouts)
