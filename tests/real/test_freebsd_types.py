"""CTF of a real FreeBSD kernel, against offsets found in its dumps and what the kernel said in those structures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from freebsd_sysctl import records

from pykvm.cli import main
from pykvm.types import kernel_types
from pykvm.types.layout import Types, load
from pykvm.types.view import StructView

KERNEL = "freebsd-full/kernel-12.1-amd64"
# Found in the dumps of this kernel with another reader, and agreeing with what the kernel said of its processes.
OFFSETS = {
    "proc": {
        "p_list": 0, "p_threads": 16, "p_ucred": 64, "p_fd": 72, "p_stats": 88, "p_flag": 176, "p_state": 184,
        "p_pid": 188, "p_pptr": 224, "p_oppid": 504, "p_vmspace": 512, "p_textvp": 848, "p_osrel": 992,
        "p_comm": 996, "p_sysent": 1016, "p_args": 1024, "p_nice": 1040, "p_xexit": 1064, "p_xsig": 1068,
        "p_pgrp": 1072, "p_numthreads": 1088, "p_leader": 1200,
    },
    "thread": {
        "td_plist": 16, "td_tid": 160, "td_flags": 252, "td_inhibitors": 256, "td_wchan": 272, "td_wmesg": 280,
        "td_name": 684, "td_priority": 914, "td_pcb": 1032, "td_state": 1040, "td_kstack": 1152, "td_lastcpu": 1328,
        "td_oncpu": 1332,
    },
    "ucred": {
        "cr_uid": 4, "cr_ruid": 8, "cr_svuid": 12, "cr_ngroups": 16, "cr_rgid": 20, "cr_svgid": 24, "cr_prison": 48,
        "cr_loginclass": 56, "cr_groups": 144,
    },
    "pgrp": {"pg_session": 24, "pg_id": 40, "pg_jobc": 44},
    "session": {"s_leader": 8, "s_ttyp": 32, "s_sid": 40, "s_login": 44},
    "prison": {"pr_id": 16, "pr_name": 288},
    "vmspace": {
        "vm_map": 0, "vm_swrss": 248, "vm_tsize": 256, "vm_dsize": 264, "vm_ssize": 272, "vm_pmap": 312,
        "vm_pmap.pm_cr3": 360, "vm_pmap.pm_pml4": 344,
    },
    "sysentvec": {"sv_psstrings": 136},
    "pstats": {"p_start": 272},
    "timehands": {"th_boottime": 96},
    "tty": {"t_dev": 720},
    "cdev_priv": {"cdp_c": 0, "cdp_inode": 304},
    "pargs": {"ar_ref": 0, "ar_length": 4, "ar_args": 8},
    "ps_strings": {"ps_argvstr": 0, "ps_nargvstr": 8, "ps_envstr": 16, "ps_nenvstr": 24},
}  # fmt: skip
SIZES = {"proc": 1328, "kinfo_proc": 1088, "ps_strings": 32}


@pytest.fixture(scope="module")
def types(real: Any) -> Types:
    return kernel_types(real(KERNEL))


def test_offsets(types: Types) -> None:
    found = {name: {path: types[name].offset(path) for path in members} for name, members in OFFSETS.items()}
    assert found == OFFSETS
    assert types["proc"].offset("p_vmspace.vm_pmap.pm_cr3") == 360
    assert types["proc"].offset("p_pgrp.pg_session.s_sid") == 40
    assert {name: types[name].size for name in SIZES} == SIZES


def test_shapes(types: Types) -> None:
    proc = types["proc"]
    assert tuple(proc.field("p_comm")[1:3]) == (20, "char [20]")
    assert proc.field("p_pptr").type == "struct proc *"
    assert types.form(proc.field("p_pid")).signed
    assert types["mbuf"].field("m_type")[:3] == (28, 1, "unsigned int : 8@0")
    assert types["mbuf"].field("m_flags")[:3] == (29, 3, "unsigned int : 24@0")
    assert types["system_segment_descriptor"].field("sd_dpl")[1:3] == (1, "unsigned long : 2@5")
    assert types["mbuf"].offset("m_nextpkt") == 8  # in a union without a name
    assert types["pcpu"].size == 4096
    assert types.constant("PRS_ZOMBIE") == 2


def test_every_structure(types: Types) -> None:
    """Every member of every structure lies within it, else it is an error."""
    structures = members = 0
    for name in types:
        fields = types[name].fields
        structures += 1
        members += sum(1 for member in fields if fields[member].size >= 0)
    assert structures > 2000
    assert members > 15000


def told(value: Any) -> Any:
    """A value of a view as the truth file writes it."""
    if isinstance(value, StructView):
        return {name: told(getattr(value, name)) for name in value._struct.fields}
    if isinstance(value, bytes):
        return value.partition(b"\0")[0].decode()
    return value


@pytest.mark.parametrize("dump", ["full", "minidump"])
def test_what_the_kernel_said(types: Types, real: Any, dump: str) -> None:
    """The records of sysctl kern.proc.proc, seen through struct kinfo_proc of the kernel's CTF."""
    raw = records(real(f"freebsd-full/truth.sysctl-12.1-amd64-{dump}.bin"))["kern.proc.proc"]
    truth = json.loads(real(f"freebsd-full/truth-12.1-amd64-{dump}.json").read_text())["kern_proc_proc"]
    assert len(raw) == 1088 * len(truth)
    compared = 0
    for i, says in enumerate(truth):
        view = StructView(types.struct("kinfo_proc"), raw[1088 * i : 1088 * (i + 1)], 0, "little")
        for name, value in says.items():
            if name in ("ki_siglist", "ki_sigmask", "ki_sigignore", "ki_sigcatch"):
                seen: Any = [f"{word:08x}" for word in getattr(getattr(view, name), "__bits")]
            elif name == "ki_groups":
                seen = list(view.ki_groups)[: view.ki_ngroups]
            else:
                seen = told(getattr(view, name))
            if isinstance(value, str) and value.startswith("0x"):
                value = int(value, 16)
            assert (name, seen) == (name, value)
            compared += 1
    assert compared > 70 * len(truth)


def test_layout_file(real: Any, tmp_path: Path, types: Types, capsys: pytest.CaptureFixture[str]) -> None:
    names = [*OFFSETS, "vm_map", "pmap"]
    assert main(["layout", str(real(KERNEL)), *names]) == 0
    (tmp_path / "layout.json").write_text(capsys.readouterr().out)
    again = load(tmp_path / "layout.json")
    for name, members in OFFSETS.items():
        assert {path: again[name].offset(path) for path in members} == members
        assert again[name].size == types[name].size


def test_two_structures_of_one_name(types: Types) -> None:
    """Of link_elf.c and link_elf_obj.c; the classes in the dump say the same sizes."""
    found = {"obj" if "progtab" in s else "shared": s for s in types.same_named("elf_file")}
    assert {kind: (s.size, s.offset("ddbsymtab")) for kind, s in found.items()} == {
        "shared": (448, 336), "obj": (344, 256),
    }  # fmt: skip
