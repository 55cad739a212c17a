"""The C core's readers of kallsyms and of lists of names. Run under valgrind and the sanitizers too."""

from __future__ import annotations

import random
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pykvm._native.ffi import ffi, lib

pytestmark = pytest.mark.core
CORE = settings(max_examples=80, deadline=None)


def symtab() -> Any:
    return ffi.gc(lib.pk_symtab_new(7), lib.pk_symtab_free)


def rows(tab: Any) -> list[tuple[bytes, int, int, bytes, bytes]]:
    out, found = ffi.new("pk_symbol *"), []
    for i in range(lib.pk_symtab_len(tab)):
        assert lib.pk_symtab_get(tab, i, out) == 1
        name, module = (bytes(ffi.buffer(p, n)) if n else b"" for p, n in ((out.name, out.name_len),
                                                                            (out.module, out.module_len)))  # fmt: skip
        found.append((name, out.value, out.size, bytes([out.type]), module))
    return found


def nmlist(text: bytes, most: int = 1000) -> tuple[int, Any, list[Any], list[Any]]:
    tab, modules, result = symtab(), symtab(), ffi.new("pk_nmlist_result *")
    # Memory of exactly this size, so that a byte too many is seen.
    buf = ffi.new("char[]", len(text)) if text else ffi.NULL
    if text:
        ffi.memmove(buf, text, len(text))
    return lib.pk_symtab_add_nmlist(tab, modules, buf, len(text), most, result), result, rows(tab), rows(modules)


def test_lines() -> None:
    done, result, own, modules = nmlist(
        b"ffffffff81000000 T _stext\n 10 d  indented\r\n0000000000000020 0000000000000008 B sized\n"
        b"                 U undefined\nabcdef t in_one\t[one]\nABCDEF t in_one_too [one]\n1 w x\t[two]\nfF V last"
    )
    assert (done, result.line, result.defined, result.nonzero) == (1, 0, 7, 7)
    assert own == [
        (b"_stext", 0xFFFFFFFF81000000, 0, b"T", b""), (b"indented", 0x10, 0, b"d", b""),
        (b"sized", 0x20, 8, b"B", b""), (b"last", 0xFF, 0, b"V", b""),
    ]  # fmt: skip
    assert modules == [
        (b"in_one", 0xABCDEF, 0, b"t", b"one"), (b"in_one_too", 0xABCDEF, 0, b"t", b"one"), (b"x", 1, 0, b"w", b"two"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "line",
    [
        b"1", b"1 ", b"1 T", b"1 T ", b"g T x", b"1 TT x", b"1 1 TT x", b"1 T x y", b"1 T x [", b"1 T x [y",
        b"1 T x []",
        b"1 T x [y] z", b"11111111111111111 T x", b"1 T x\0", b"\0", b"1\0 T x", b"1 11 T", b"T x", b"- T x", b"1 - x",
        b"1 T " + b"x" * 65536, b"1 T x [" + b"y" * 255 + b"]",
    ],
)  # fmt: skip
def test_lines_that_make_no_sense(line: bytes) -> None:
    done, result, own, _ = nmlist(b"1 T one\n\n" + line + b"\n2 T two\n")
    assert (done, result.line, result.begins) == (0, 3, 9)
    assert [row[0] for row in own] == [b"one"]
    assert nmlist(line)[0] == 0


def test_limits() -> None:
    assert nmlist(b"")[0] == 1
    assert nmlist(b"1 T a\n" * 10, 10)[0] == 1
    assert nmlist(b"1 T a\n" * 11, 10)[0] == -1
    done, _, own, modules = nmlist(b"1 T " + b"x" * 65535 + b"\n1 T y [" + b"m" * 254 + b"]\n")
    assert (done, own[0][0], modules[0][4]) == (1, b"x" * 65535, b"m" * 254)


@CORE
@given(st.binary(max_size=200) | st.text("0123456789abcdefTtU? \t\r\n[]x", max_size=200).map(str.encode))
def test_any_text(text: bytes) -> None:
    done, result, own, modules = nmlist(text)
    assert done in (0, 1)
    assert (done == 0) == (result.line > 0)
    assert result.defined == len(own) + len(modules)


@CORE
@given(
    st.lists(
        st.tuples(
            st.integers(0, (1 << 64) - 1), st.sampled_from("TtDdBbAaRrWwVv?"), st.text("abc_.$0", min_size=1),
            st.none() | st.text("mn_", min_size=1, max_size=20),
        ),
        max_size=30,
    )
)  # fmt: skip
def test_what_is_written_is_read(symbols: list[tuple[int, str, str, str | None]]) -> None:
    text = "".join(f"{v:016x} {t} {n}" + (f"\t[{m}]\n" if m else "\n") for v, t, n, m in symbols)
    done, _, own, modules = nmlist(text.encode())
    assert done == 1
    for got, want in ((own, [s for s in symbols if not s[3]]), (modules, [s for s in symbols if s[3]])):
        assert got == [(n.encode(), v, 0, t.encode(), (m or "").encode()) for v, t, n, m in want]


# -- kallsyms ---------------------------------------------------------------------------------------------------


def kallsyms(
    names: bytes,
    values: bytes,
    count: int,
    *,
    tokens: bytes | None = None,
    index: list[int] | None = None,
    **fields: Any,
) -> tuple[int, list[Any]]:
    if tokens is None:
        tokens = b"".join(bytes([i]) + b"\0" if i else b"\0" for i in range(256))
    if index is None:
        index = [max(2 * i - 1, 0) for i in range(256)]
    keep = [ffi.new("uint8_t[]", names), ffi.new("char[]", len(tokens)), ffi.new("uint8_t[]", values)]
    ffi.memmove(keep[1], tokens, len(tokens))
    table = {
        "names": keep[0], "names_size": len(names), "tokens": keep[1], "tokens_size": len(tokens), "count": count,
        "token_index": (c_index := ffi.new("uint16_t[256]", index)), "values": keep[2], "value_size": 4, **fields,
    }  # fmt: skip
    tab = symtab()
    got = lib.pk_symtab_add_kallsyms(tab, ffi.new("pk_kallsyms *", table))
    assert c_index is not None
    return got, rows(tab)


def test_rules_for_values() -> None:
    names, values = b"\2Tx\3dyy\2Az", struct.pack("<3i", -1, 0x20, 0x7FFFFFFF)
    for rule, want in (
        (lib.PK_KALLSYMS_OFFSETS, [0x1FFFFFFFF, 0x100000020, 0x17FFFFFFF]),
        (lib.PK_KALLSYMS_PERCPU, [0x100000000, 0x20, 0x7FFFFFFF]),
    ):
        got, found = kallsyms(names, values, 3, base=0x100000000, rule=rule)
        assert got == 3
        assert [row[:2] for row in found] == list(zip([b"x", b"yy", b"z"], want, strict=True))
    for size, order in ((8, "<"), (8, ">"), (4, "<"), (4, ">")):
        values = struct.pack(order + ("Q" if size == 8 else "I") * 3, 7, 8, 0xFFFFFFFF)
        got, found = kallsyms(
            names, values, 3, rule=lib.PK_KALLSYMS_ADDRESSES, value_size=size, big_endian=order == ">"
        )
        assert [row[1] for row in found] == [7, 8, 0xFFFFFFFF]


def test_long_names_and_tokens() -> None:
    long = b"T" + b"n" * 500
    token = b"q" * 40  # longer than those that are copied in one piece
    tokens = b"".join(bytes([i]) + b"\0" if i else b"\0" for i in range(255)) + token + b"\0"
    names = bytes([len(long) & 0x7F | 0x80, len(long) >> 7]) + long + b"\4Ta\xff\xff" + b"\2\xffr"
    got, found = kallsyms(names, bytes(12), 3, tokens=tokens)
    assert got == 3
    assert [row[0] for row in found] == [long[1:], b"a" + token * 2, token[1:] + b"r"]
    # More than any name has.
    assert kallsyms(b"\x20T" + b"\xff" * 31, bytes(4), 1, tokens=tokens)[0] == 0
    assert kallsyms(b"\x1aT" + b"\xff" * 25, bytes(4), 1, tokens=tokens)[0] == 1


@pytest.mark.parametrize("names", [b"", b"\0", b"\1T", b"\3Tx", b"\x80", b"\x80\0", b"\x82", b"\xff\xffTx", b"\2\0x"])
def test_names_that_make_no_sense(names: bytes) -> None:
    assert kallsyms(b"\2Tx" + names, bytes(8), 2)[0] == 1


def test_tokens_beyond_their_table() -> None:
    index = [max(2 * i - 1, 0) for i in range(256)]
    for bad in (511, 512, 65535):
        index[ord("x")] = bad
        assert kallsyms(b"\2Tx", bytes(4), 1, index=index)[0] == 0
    assert kallsyms(b"\2Tx", bytes(4), 1, tokens=b"x" * 511)[0] == 0


def find(memory: bytes, align: int = 8, big: bool = False) -> tuple[int, Any]:
    place = ffi.new("pk_kallsyms_place *")
    return lib.pk_kallsyms_find(ffi.new("uint8_t[]", memory), len(memory), align, big, place), place


@pytest.mark.parametrize("marker", [4, 8])
@pytest.mark.parametrize("align", [4, 8])
@pytest.mark.parametrize("order", ["<", ">"])
def test_finding_names(align: int, marker: int, order: str) -> None:
    if marker > align:
        pytest.skip("longs have 4 bytes there")
    random.seed(align + marker)
    for count in (257, 512, 700):
        names, markers = b"", []
        for i in range(count):
            if i % 256 == 0:
                markers.append(len(names))
            size = random.choice((1, 5, 12, 40, 127, 128, 300))
            names += (bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])) + random.randbytes(size)
        kinds = {4: "I", 8: "Q"}
        number = struct.pack(order + kinds[marker], count).ljust(align, b"\0")
        before, after = random.randbytes(40 * align), b"\xee" * 3 * align
        packed = names.ljust(-(-len(names) // align) * align, b"\0")
        memory = before + number + packed + struct.pack(order + f"{len(markers)}{kinds[marker]}", *markers) + after
        memory = memory.ljust(-(-len(memory) // align) * align, b"\xee")
        found, place = find(memory, align, order == ">")
        assert found == 1
        assert (place.num_syms, place.names) == (40 * align, 41 * align)
        assert (place.count, place.markers) == (count, 41 * align + len(packed))
        if count > 256 and markers[1]:
            assert place.marker_size == marker
        # Cut anywhere, or with a marker that is wrong, it is not.
        for size in (*range(0, len(memory), 997), place.markers, place.markers + 4):
            assert find(memory[:size], align, order == ">")[0] == 0
        wrong = bytearray(memory)
        wrong[place.markers + marker + (0 if order == "<" else marker - 1)] ^= 1
        assert find(bytes(wrong), align, order == ">")[0] == 0


def test_a_search_ends() -> None:
    """Memory in which a count of names, and names, may begin everywhere."""
    for fill in (b"\1\2\0\0\0\0\0\0", b"\0\1\0\0", b"\1", b"\xff\xff\0\0\0\0\0\0", b"\0\x10\0\0\0\0\0\0"):
        assert find(fill * ((1 << 20) // len(fill)))[0] == 0
    assert find(b"")[0] == find(b"\1")[0] == find(b"\1\1\0\0\0\0\0\0")[0] == 0


@CORE
@given(st.binary(max_size=3000), st.sampled_from([4, 8]), st.booleans())
def test_any_memory(memory: bytes, align: int, big: bool) -> None:
    found, place = find(memory, align, big)
    if found:
        assert place.names + place.count < place.markers <= len(memory)


def test_one_symbol_of_a_module() -> None:
    tab, out = symtab(), ffi.new("pk_symbol *")
    for i in range(2000):
        module = b"m%d" % (i // 3)
        assert lib.pk_symtab_put(tab, b"s%d" % i, len(b"s%d" % i), i, 1, ord("t"), 1, module, len(module)) == 1
    assert [(row[0], row[4]) for row in rows(tab)] == [(b"s%d" % i, b"m%d" % (i // 3)) for i in range(2000)]
    assert lib.pk_symtab_put(tab, b"x", 1, 0, 0, 0, 0, b"m" * 256, 256) == 0
    assert lib.pk_symtab_put(tab, b"x" * 65536, 65536, 0, 0, 0, 0, ffi.NULL, 0) == 0
    assert lib.pk_symtab_find(tab, b"s1999", 5, out) == 1
    assert bytes(ffi.buffer(out.module, out.module_len)) == b"m666"
    assert lib.pk_symtab_at(tab, 77, out) == 1
    assert bytes(ffi.buffer(out.name, out.name_len)) == b"s77"
