"""<kvm/*.h> of libkvm.so: structures of the targets, as the layout tables of pykvm have them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from consumer_maker import BARE, build

import pykvm
from pykvm.types import layout

ROOT = Path(pykvm.__file__).parent
STRUCTURES = [
    ("mirbsd.h", "struct kinfo_proc2_i386", "mirbsd-i386", "kinfo_proc2"),
    ("mirbsd.h", "struct kinfo_proc2_sparc", "mirbsd-sparc", "kinfo_proc2"),
    ("mirbsd.h", "struct kinfo_proc2_lp64", "kinfo_proc2", "kinfo_proc2"),
    *(
        ("mirbsd_proc.h", f"struct {c}_{target}", f"mirbsd-{target}", name)
        for target in ("i386", "sparc")
        for c, name in (
            ("proc", "proc"),
            ("eproc", "eproc"),
            ("kinfo_proc_mirbsd", "kinfo_proc"),
            ("file", "file"),
            ("kvm_mirbsd_rusage", "rusage"),
        )
    ),
    *(
        ("freebsd.h", f"struct {c}_{target}", f"freebsd-{target}", name)
        for target in ("lp64", "i386", "ilp32")
        for c, name in (("kinfo_proc", "kinfo_proc"), ("kvm_timeval", "timeval"), ("kvm_rusage", "rusage"))
    ),
    *(
        ("openbsd.h", f"struct kinfo_proc_openbsd_{target}", table, "kinfo_proc")
        for target, table in (("lp64", "openbsd"), ("i386", "openbsd-i386"))
    ),
    ("netbsd.h", "struct kinfo_proc2", "netbsd", "kinfo_proc2"),
    ("netbsd.h", "struct kinfo_lwp", "netbsd", "kinfo_lwp"),
    ("freebsd.h", "struct kvm_sigset", "freebsd-lp64", "__sigset"),
    ("freebsd.h", "struct kvm_priority", "freebsd-lp64", "priority"),
]
# What a program gets that knows but one.
CHOICES = [
    ("mirbsd.h", "", "mirbsd-i386", "kinfo_proc2"),
    ("mirbsd.h", "-DKVM_TARGET_SPARC", "mirbsd-sparc", "kinfo_proc2"),
    *(
        ("mirbsd_proc.h", more, f"mirbsd-{target}", name)
        for more, target in (("", "i386"), ("-DKVM_TARGET_SPARC", "sparc"))
        for name in ("proc", "eproc", "kinfo_proc", "file")
    ),
    ("linux.h", "", "kinfo_proc2", "kinfo_proc2"),
    ("openbsd.h", "", "openbsd", "kinfo_proc"),
    ("openbsd.h", "-DKVM_TARGET_I386", "openbsd-i386", "kinfo_proc"),
    ("openbsd.h", "-DKVM_OPENBSD", "openbsd", "kinfo_proc"),
    ("freebsd.h", "", "freebsd-lp64", "kinfo_proc"),
    ("freebsd.h", "-DKVM_TARGET_I386", "freebsd-i386", "kinfo_proc"),
    ("freebsd.h", "-DKVM_TARGET_ILP32", "freebsd-ilp32", "kinfo_proc"),
]


def table(name: str, struct: str) -> tuple[int, dict[str, tuple[int, int]]]:
    """Size, and offset and size of each member."""
    found = json.loads((ROOT / "types" / "data" / f"{name}.json").read_text())[struct]
    return found["size"], {member: (at, size) for member, (at, size, _) in found["fields"].items()}


def program(header: str, structures: list[tuple[str, str, str]]) -> str:
    """One that prints them."""
    lines = [
        f"#include <kvm/{header}>",
        "#include <kvm.h>",
        "#include <stddef.h>",
        "#include <stdio.h>",
        "int main(void) {",
    ]
    for c, name, struct in structures:
        lines.append(f'printf("{c} %zu\\n", sizeof({c}));')
        for member in table(name, struct)[1]:
            lines.append(f'printf("{c} {member} %zu %zu\\n", offsetof({c}, {member}), sizeof((({c} *)0)->{member}));')
    return "\n".join([*lines, "return 0; }", ""])


def printed(source: str, directory: Path, *more: str) -> dict[str, list[int]]:
    """What a program prints, by the words before its numbers."""
    path = directory / "layout.c"
    path.write_text(source)
    run = subprocess.run(
        [build(path, directory / "layout", *more)], capture_output=True, text=True, check=True, env=BARE
    )
    found: dict[str, list[int]] = {}
    for line in run.stdout.splitlines():
        words = line.split()
        numbers = [int(word) for word in words if word.isdecimal()]
        found[" ".join(words[: len(words) - len(numbers)])] = numbers
    return found


def expected(structures: list[tuple[str, str, str]]) -> dict[str, list[int]]:
    found = {}
    for c, name, struct in structures:
        size, members = table(name, struct)
        found[c] = [size]
        found |= {f"{c} {member}": [*place] for member, place in members.items()}
    return found


@pytest.mark.parametrize("header", ["mirbsd.h", "mirbsd_proc.h", "freebsd.h", "openbsd.h", "netbsd.h"])
def test_all_structures(header: str, tmp_path: Path) -> None:
    structures = [row[1:] for row in STRUCTURES if row[0] == header]
    assert printed(program(header, structures), tmp_path) == expected(structures)


@pytest.mark.parametrize(("header", "define", "name", "struct"), CHOICES)
def test_the_one_that_a_program_knows(header: str, define: str, name: str, struct: str, tmp_path: Path) -> None:
    structures = [(f"struct {struct}", name, struct)]
    more = [define] if define else []
    assert printed(program(header, structures), tmp_path, *more) == expected(structures)


@pytest.mark.parametrize(
    "headers",
    [
        ["kvm.h", "nlist.h", "kvm/mirbsd_proc.h"],
        ["kvm.h", "nlist.h", "kvm/linux.h", "kvm/freebsd.h"],
        ["kvm.h", "nlist.h", "kvm/openbsd.h", "kvm/netbsd.h"],
    ],
)
def test_with_cxx(headers: list[str], tmp_path: Path) -> None:
    """All headers in C++, and twice."""
    source = "".join(f"#include <{name}>\n" for name in headers * 2)
    path = tmp_path / "all.cc"
    path.write_text(source + "int main() { return kvm_close(nullptr) == -1 ? 0 : 1; }\n")
    subprocess.run([build(path, tmp_path / "all")], check=True, env=BARE)


def test_kvm_h_has_nlist(tmp_path: Path) -> None:
    """As on the BSDs, <kvm.h> alone declares struct nlist, and ours, whatever <nlist.h> else is found first."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "nlist.h").write_text("#ifndef OTHER_H\n#define OTHER_H\nstruct nlist { long other; };\n#endif\n")
    source = (
        "#include <kvm.h>\n"
        'int main(void) { struct nlist nl[] = { { "_a", 0, 0, 0, 0 }, { NULL, 0, 0, 0, 0 } };\n'
        'kvm_t *kd = kvm_openfiles(NULL, NULL, NULL, (int)KVM_NO_FILES, NULL); printf("size %zu\\n", sizeof(nl[0]));\n'
        'printf("answer %d\\n", kvm_nlist(kd, nl) + 1); return kvm_close(kd); }\n'
    )
    assert printed(source, tmp_path, f"-I{other}") == {"size": [24], "answer": [0]}


def test_the_tables_are_files_of_layouts() -> None:
    """That the tables are read as pykvm reads them."""
    types = layout.load(ROOT / "types" / "data" / "mirbsd-sparc.json")
    assert types.struct("kinfo_proc2").size == table("mirbsd-sparc", "kinfo_proc2")[0]


def test_openbsds_flavour(tmp_path: Path) -> None:
    """kvm_getprocs and kvm_getfiles of five arguments, as OpenBSD's programs call them. A host whose processes can be
    asked for has some; others say that they cannot."""
    source = (
        "#include <kvm.h>\n"
        "struct kinfo_file { int f; };\n"
        "int main(void) { int n = -7, m = -7; kvm_t *kd = kvm_openfiles(NULL, NULL, NULL, (int)KVM_NO_FILES, NULL);\n"
        "struct kinfo_proc *p = kvm_getprocs(kd, KERN_PROC_ALL, 0, 648, &n);\n"
        'printf("procs %d\\n", p == NULL ? *kvm_geterr(kd) != 0 : n > 0);\n'
        "struct kinfo_file *f = kvm_getfiles(kd, 1, -1, sizeof(*f), &m);\n"
        'printf("files %d\\n", f == NULL ? *kvm_geterr(kd) != 0 : m > 0); return kvm_close(kd); }\n'
    )
    assert printed(source, tmp_path, "-DKVM_OPENBSD", "-Werror") == {"procs": [1], "files": [1]}
