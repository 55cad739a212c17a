"""DWARF: against pyelftools as another reader, forms that gcc does not write, and what damaged DWARF may cost."""

from __future__ import annotations

import contextlib
import io
import re
import shutil
import struct
import subprocess
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import zstandard
from bounds import SLOW
from elftools.elf.elffile import ELFFile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pykvm
from pykvm.images.hostfile import HostFile
from pykvm.types import dwarf, kernel_types
from pykvm.types.dwarf import DwarfTypes
from pykvm.types.sections import Elf

HEADERS = """
#include <stdio.h>
#include <sys/stat.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <linux/tcp.h>
#include <linux/if_packet.h>
struct stat a; struct sockaddr_in b; pthread_mutex_t c; siginfo_t d; struct tcphdr e; FILE *f; struct tpacket_hdr_v1 g;
struct tcp_info h; struct tcp_zerocopy_receive i; union tcp_word_hdr j;
void function(void) { struct only_here { int x; } y; enum { INSIDE } z; (void)y; (void)z; }
"""
needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")


@pytest.fixture(scope="module")
def linked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A linked file: its DWARF needs no relocation."""
    room = tmp_path_factory.mktemp("linked")
    (room / "k.c").write_text(HEADERS)
    subprocess.run(
        ["gcc", "-gdwarf-5", "-fno-eliminate-unused-debug-types", "-shared", "-nostdlib", "-fPIC", "-o", "k", "k.c"],
        cwd=room,
        check=True,
    )
    return room / "k"


def reference(path: Path) -> dict[str, tuple[int, list[tuple[str, int, int]]]]:
    """pyelftools's reading: structure -> size, (member, bits from the start, bits of a bit field)."""
    found = {}
    for unit in ELFFile(io.BytesIO(path.read_bytes())).get_dwarf_info().iter_CUs():
        for die in unit.get_top_DIE().iter_children():
            if die.tag in ("DW_TAG_structure_type", "DW_TAG_union_type") and "DW_AT_name" in die.attributes:
                if "DW_AT_declaration" in die.attributes:
                    continue
                rows = []
                for child in die.iter_children():

                    def number(name: str, of: Any = child) -> int:
                        return of.attributes[name].value if name in of.attributes else 0

                    name = child.attributes["DW_AT_name"].value.decode() if "DW_AT_name" in child.attributes else ""
                    at = 8 * number("DW_AT_data_member_location") + number("DW_AT_data_bit_offset")
                    rows.append((name, at, number("DW_AT_bit_size")))
                name = die.attributes["DW_AT_name"].value.decode()
                found.setdefault(name, (die.attributes["DW_AT_byte_size"].value, rows))
    return found


@needs_gcc
def test_another_reader(linked: Path) -> None:
    types = kernel_types(linked)
    assert isinstance(types, DwarfTypes)
    told = reference(linked)
    assert len(told) > 30
    for name, (size, rows) in told.items():
        number = types.number_of(name)
        assert types.node(number).size == size
        assert [m[:3] for m in types.members(number)] == rows, name
    assert set(told) <= set(types)
    assert "only_here" not in list(types)  # not at the top: as in BTF
    assert types.constant("PTHREAD_MUTEX_RECURSIVE") == 1
    assert types.struct("sockaddr_in").offset("sin_addr.s_addr") == 4
    assert types.struct("tcphdr").field("doff").type.startswith("__u16 : 4@4")


# -- by hand ------------------------------------------------------------------------------------------------


class Sections:
    """The sections of no file: what DwarfTypes needs of an Elf."""

    def __init__(self, big_endian: bool = False, **sections: bytes) -> None:
        self.sections = sections
        self.big_endian = big_endian
        self.pointer_size = 8

    def section(self, name: str) -> bytes | None:
        return self.sections.get(name.removeprefix(".debug_"))


def read(**sections: bytes) -> DwarfTypes:
    elf: Any = Sections(**sections)
    return DwarfTypes(elf, "a kernel")


def leb(n: int) -> bytes:
    out = b""
    while n > 0x7F:
        out += bytes([n & 0x7F | 0x80])
        n >>= 7
    return out + bytes([n])


def abbrev(*rows: tuple[int, bool, Mapping[int, int]]) -> bytes:
    """(tag, children, {attribute: form}), numbered from 1."""
    out = b""
    for code, (tag, children, attributes) in enumerate(rows, 1):
        out += leb(code) + leb(tag) + bytes([children])
        out += b"".join(leb(a) + leb(f) for a, f in attributes.items()) + b"\0\0"
    return out + b"\0"


def unit(body: bytes, version: int = 5, at: int = 0, order: str = "<") -> bytes:
    head = (
        struct.pack(order + "HBBI", version, 1, 8, at) if version == 5 else struct.pack(order + "HIB", version, at, 8)
    )
    return struct.pack(order + "I", len(head) + len(body)) + head + body


NAME, SIZE, LOCATION, TYPE, BASE = 0x03, 0x0B, 0x38, 0x49, 0x72
STRING, DATA1, STRX1, STRX3, SEC_OFFSET, REF4, BLOCK1 = 0x08, 0x0B, 0x25, 0x27, 0x17, 0x13, 0x0A
ONE = abbrev((0x11, True, {}), (0x13, False, {NAME: STRING, SIZE: DATA1}))


@pytest.mark.parametrize("order", "<>")
def test_indexed_strings(order: str) -> None:
    """Names by number in .debug_str_offsets, as clang writes them."""
    table = abbrev(
        (0x11, True, {BASE: SEC_OFFSET}), (0x13, True, {NAME: STRX1, SIZE: DATA1}),
        (0x0D, False, {NAME: STRX3, LOCATION: DATA1}),
    )  # fmt: skip
    three = b"\2\0\0" if order == "<" else b"\0\0\2"
    body = b"\1" + struct.pack(order + "I", 12) + b"\2\1\x10" + b"\3" + three + b"\4" + b"\0\0"
    offsets = bytes(12) + struct.pack(order + "3I", 9, 1, 5)
    types = read(
        info=unit(body, order=order), abbrev=table, str=b"\0one\0two\0", str_offsets=offsets, big_endian=order == ">"
    )
    assert list(types) == ["one"]
    assert [m[:2] for m in types.members(types.number_of("one"))] == [("two", 32)]


def test_other_forms() -> None:
    """A place as an expression (DWARF 2), units without an end of their list."""
    table = abbrev(
        (0x11, True, {}), (0x13, True, {NAME: STRING, SIZE: DATA1}), (0x0D, False, {NAME: STRING, LOCATION: BLOCK1})
    )  # fmt: skip
    body = b"\1" + b"\2one\0\x20" + b"\3x\0\2\x23\x09" + b"\3y\0\3\x23\x81\x01" + b"\0"
    types = read(info=unit(body, 2), abbrev=table)
    assert [m[:2] for m in types.members(types.number_of("one"))] == [("x", 72), ("y", 8 * 129)]
    types = read(info=unit(body.replace(b"\x23", b"\x24"), 2), abbrev=table)
    with pytest.raises(pykvm.FormatError, match="a kernel: DWARF at offset 18 makes no sense, or is of a kind that"):
        types.struct("one")


@pytest.mark.parametrize(
    ("info", "table"),
    [
        (unit(b"\1\2x\0\1\0")[:-2], ONE),
        (unit(b"\1\2x\0\1\0") + b"\1", ONE),
        (unit(b"\1\3x"), ONE),
        (unit(b"\1\2x\0\1\0", 6), ONE),
        (unit(b"\1\2x\0\1\0", at=99), ONE),
        (unit(b"\1\2x\0\1\0"), b""),
        (unit(b"\1\2x\0\1\0"), ONE.replace(bytes([NAME, STRING]), bytes([NAME, 0x77]))),
        (b"\xff\xff\xff\xff" + b"\xff" * 8, ONE),
        (unit(b"\1"), b"\1\x11\0" + b"\x03\x19" * 65 + b"\0\0\0"),
    ],
)
def test_wrong_bytes(info: bytes, table: bytes) -> None:
    """Damage is one error, or finds nothing."""
    types = read(info=info, abbrev=table)
    try:
        found, told = list(types), "a kernel: DWARF at offset 0 makes no sense"
    except pykvm.FormatError as e:
        found, told = [], str(e)
    assert found in ([], ["x"])
    assert re.match(r"a kernel: DWARF at offset \d+ makes no sense", told)
    with contextlib.suppress(pykvm.FormatError):
        assert types.number_of("nosuch") == 0


@pytest.mark.parametrize("kind", ["names", "tables", "empty units", "nothing in entries"])
def test_cost(kind: str) -> None:
    """A megabyte of whatever costs the most."""
    if kind == "names":
        body = b"\1" + b"".join(b"\2%x\0\1" % i for i in range(120_000)) + b"\0"
        sections = {"info": unit(body), "abbrev": ONE}
    elif kind == "tables":  # each unit has another table than the one before
        sections = {"info": (unit(b"\1\0") + unit(b"\1\0", at=len(ONE))) * 35_000, "abbrev": ONE * 2}
    elif kind == "empty units":
        sections = {"info": unit(b"", 4) * 90_000, "abbrev": ONE}
    else:  # 63 attributes that take no bytes
        table = abbrev((0x11, True, {}), (0x34, False, {0x2000 + i: 0x19 for i in range(63)}))
        sections = {"info": unit(b"\1" + b"\2" * 1_000_000 + b"\0"), "abbrev": table}
    start = time.process_time()
    with contextlib.suppress(pykvm.FormatError):
        types = read(**sections)
        for name in ("nosuch", "x", "7f", "1d4bf"):
            types.number_of(name)
    assert time.process_time() - start < 4 * SLOW


# -- sections -----------------------------------------------------------------------------------------------


def with_section(path: Path, name: str, data: bytes, flags: str = "") -> Path:
    """A copy of an ELF file with another section."""
    out = path.with_name(path.name + ".more")
    (path.parent / "section").write_bytes(data)
    more = [f"--set-section-flags={name}={flags}"] if flags else []
    subprocess.run(["objcopy", f"--add-section={name}={path.parent / 'section'}", *more, path, out], check=True)
    return out


def compressed(path: Path, name: str, kind: int, size: int, packed: bytes) -> Path:
    """A copy with a section that is compressed (SHF_COMPRESSED)."""
    out = with_section(path, name, struct.pack("<IIQQ", kind, 0, size, 1) + packed)
    raw = bytearray(out.read_bytes())
    elf = ELFFile(io.BytesIO(bytes(raw)))
    index = elf.get_section_index(name)
    at = elf["e_shoff"] + index * elf["e_shentsize"]
    struct.pack_into("<Q", raw, at + 8, 0x800)
    out.write_bytes(raw)
    return out


@needs_gcc
def test_compressed_sections(linked: Path) -> None:
    text = b"what is in the section " * 100
    for kind, packed in ((1, zlib.compress(text)), (2, zstandard.compress(text))):
        file = HostFile(compressed(linked, ".mine", kind, len(text), packed))
        elf = Elf.of(file)
        file.close()
        assert elf is not None
        assert elf.section(".mine") == text
        assert elf.section(".nosuch") is None
        with pytest.raises(pykvm.FormatError, match=r"section \.mine: .* bytes cannot expand to 2300"):
            elf.section(".mine", 100)


@needs_gcc
@pytest.mark.parametrize(
    ("kind", "size", "packed", "message"),
    [
        (1, 1 << 40, zlib.compress(bytes(1000)), "bytes cannot expand to 1099511627776"),
        (1, 1 << 20, zlib.compress(bytes(1 << 20)), "bytes cannot expand to 1048576"),
        (1, 1000, zlib.compress(bytes(999)), "expands to 999 bytes, not to 1000"),
        (2, 1000, zstandard.compress(bytes(999)), "expands to 999 bytes, not to 1000"),
        (1, 1000, b"no zlib at all", "Error -3"),
        (2, 1000, b"no zstd at all", "Unknown frame descriptor"),
        (3, 1000, b"something", "ch_type 3 is not known"),
        (1, 0, b"", None),
    ],
)
def test_wrong_compression(linked: Path, kind: int, size: int, packed: bytes, message: str | None) -> None:
    file = HostFile(compressed(linked, ".mine", kind, size, packed))
    elf = Elf.of(file)
    file.close()
    assert elf is not None
    if message is None:
        assert elf.section(".mine") == b""
        return
    with pytest.raises(pykvm.FormatError, match=rf"section \.mine: .*{message}"):
        elf.section(".mine")


@needs_gcc
def test_btf_comes_first(linked: Path) -> None:
    from btf_maker import Maker

    m = Maker()
    m.struct("of_btf", 4, [("x", m.integer("int", 4, 1), 0)])
    assert list(kernel_types(with_section(linked, ".BTF", m.data()))) == ["of_btf"]
    with pytest.raises(pykvm.FormatError, match="BTF header: only 3 bytes"):
        kernel_types(with_section(linked, ".BTF", b"\x9f\xeb\1"))


@needs_gcc
def test_module_file(linked: Path) -> None:
    """A module's BTF is not whole without its kernel's; its DWARF is."""
    module = with_section(with_section(linked, ".BTF", b"split"), ".gnu.linkonce.this_module", b"x")
    assert "sockaddr_in" in kernel_types(module)
    subprocess.run(["objcopy", "--strip-debug", module], check=True)
    with pytest.raises(pykvm.FormatError, match="more: a module: its BTF is not whole without its kernel's"):
        kernel_types(module)


# -- damage -------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
@needs_gcc
def test_damage(linked: Path, data: Any) -> None:
    """Bytes of DWARF that are changed, or cut off: whatever is asked, there is an answer or one error."""
    elf = ELFFile(io.BytesIO(linked.read_bytes()))
    names = ("info", "abbrev", "str", "line_str")
    sections = {name: bytearray(elf.get_section_by_name(f".debug_{name}").data()) for name in names}
    for _ in range(data.draw(st.integers(1, 6))):
        part = sections[data.draw(st.sampled_from(names[:2]))]
        at = data.draw(st.integers(0, len(part) - 1))
        part[at : at + 4] = data.draw(
            st.one_of(st.binary(min_size=1, max_size=4), st.sampled_from([b"\0" * 4, b"\xff" * 4]))
        )
    if data.draw(st.booleans()):
        name = data.draw(st.sampled_from(names))
        del sections[name][data.draw(st.integers(0, len(sections[name]))) :]
    with contextlib.suppress(pykvm.FormatError):
        types = read(**{name: bytes(part) for name, part in sections.items()})
        for name in types:
            with contextlib.suppress(pykvm.KvmError):
                s = types.struct(name)
                for path in s.fields:
                    with contextlib.suppress(pykvm.KvmError):
                        field = s.field(path)
                        assert 0 <= field.offset <= field.offset + field.size <= s.size
                        types.form(field)
                        types.pointee(field)
        for _, body in types.bodies():
            assert all(at + size <= body["size"] for at, size, _ in body["fields"].values())


def test_no_dwarf(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"\x7fELF" + bytes(100))
    with pytest.raises(pykvm.FormatError, match=r"damaged ELF file|carries no type information"):
        kernel_types(path)
    path.write_bytes(b"text " * 20)
    file = HostFile(path)
    assert dwarf.read(file) is None
    file.close()


@needs_gcc
def test_structures_of_one_name(tmp_path: Path) -> None:
    """Units may describe different structures by one name, or the same one again."""
    common = "struct linker_file { int id; void *next; };"
    sources = {
        "exec.c": common + "struct elf_file { struct linker_file lf; int dynamic; long count; } a;",
        "obj.c": common + "struct elf_file { struct linker_file lf; long count[4]; } b;",
        "more.c": common + "struct elf_file { struct linker_file lf; long count[4]; } c;",
    }
    for name, text in sources.items():
        (tmp_path / name).write_text(text)
        subprocess.run(["gcc", "-gdwarf-4", "-c", "-o", tmp_path / f"{name}.o", tmp_path / name], check=True)
    objects = [tmp_path / f"{name}.o" for name in sources]
    subprocess.run(["ld", "-r", "-o", tmp_path / "all", *objects], check=True)
    types = kernel_types(tmp_path / "all")
    found = types.same_named("elf_file")
    assert [(s.size, s.offset("count")) for s in found] == [(32, 24), (48, 16)]
    assert ["dynamic" in s for s in found] == [True, False]
    assert types["elf_file"].size == 32
    assert [s.size for s in types.same_named("linker_file")] == [16]
    assert types.same_named("nosuch") == []
