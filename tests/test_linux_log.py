"""printk's buffers, from the fixture writers: every kind, both word sizes and byte orders; and what is damaged."""

from __future__ import annotations

import contextlib
import random
import time
from typing import Any

import pytest
from arena import FORMS, Arena, target, types
from bounds import SLOW
from hypothesis import given, settings
from hypothesis import strategies as st
from pykvm_fixtures.linux import log as writer
from pykvm_fixtures.linux.log import CONT, NEWLINE, PREFIX, Form, Record

import pykvm
from pykvm.targets.base import Message
from pykvm.targets.linux import log


def expected(records: list[Record]) -> list[Message]:
    return [Message(r.nsec, r.facility << 3 | r.level, r.text) for r in records]


def reader(arena: Arena, w: writer.Written, by_types: bool) -> tuple[Any, Any]:
    """by_types: the structures are known by their types, and VMCOREINFO has the symbols only."""
    return target(arena, w.symbols, known=types(w.structures)) if by_types else target(arena, w.lines)


def some(count: int, seed: int = 1, longest: int = 60) -> list[Record]:
    """Records of all sorts: empty lines, several lines, bytes that are no text."""
    rng = random.Random(seed)
    made = []
    for i in range(count):
        text = b"%d " % i + rng.randbytes(rng.randrange(longest)).replace(b"\0", b"\n")
        text = rng.choice([text, text, text, b"", b"two\nlines", b"x" * rng.randrange(longest)])
        made.append(Record(text, i * 1_234_567_890, rng.randrange(8), rng.choice([0, 0, 1, 23])))
    return made


@pytest.mark.parametrize("by_types", [False, True])
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize(
    ("count", "count_bits", "size_bits"), [(0, 4, 8), (1, 4, 8), (14, 4, 12), (16, 4, 12), (300, 4, 12), (300, 7, 10)]
)
def test_ring(form: Form, exact: bool, by_types: bool, count: int, count_bits: int, size_bits: int) -> None:
    arena = Arena(form)
    w = writer.ring(arena.define, form, some(count), count_bits=count_bits, size_bits=size_bits, exact=exact)
    assert len(w.kept) == count if count < 15 else 4 < len(w.kept) < 40 or count_bits == 7
    assert list(log.messages(*reader(arena, w, by_types))) == expected(w.kept)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_blocks_that_end_where_the_buffer_ends(form: Form) -> None:
    """64 blocks of 16 bytes fill the first kilobyte; the logical positions begin at minus one buffer."""
    text = b"x" * (16 - form.word)
    records = [Record(text[:-2] + b"%02d" % i, i) for i in range(70)]
    for exact in (False, True):
        arena = Arena(form)
        w = writer.ring(arena.define, form, records, count_bits=7, size_bits=10, exact=exact)
        assert len(w.kept) == (64 if exact else 63)
        assert [m.text for m in log.messages(*target(arena, w.lines))] == [r.text for r in records[-len(w.kept) :]]


def test_records_without_text() -> None:
    form = FORMS["64"]
    arena = Arena(form)
    records = [Record(b"one", 1), Record(b"", 2), Record(b"did not fit", 3, lost=True), Record(b"four", 4)]
    lines = writer.ring(arena.define, form, [*records, Record(b"being written", 5, open=True)], count_bits=4,
                           size_bits=9).lines  # fmt: skip
    assert [(m.time, m.text) for m in log.messages(*target(arena, lines))] == [(1, b"one"), (2, b""), (4, b"four")]


def test_as_dmesg_shows_it() -> None:
    form = FORMS["arm"]
    arena = Arena(form)
    records = [
        Record(b"Linux version 6.12", 0, 5), Record(b"a\nb\n\nc", 12_345_678_999, 6), Record(b"", 123_456_000_000_000)
    ]  # fmt: skip
    lines = writer.ring(arena.define, form, records, count_bits=5, size_bits=9).lines
    assert log.read(*target(arena, lines)) == (
        b"[    0.000000] Linux version 6.12\n"
        b"[   12.345678] a\n[   12.345678] b\n[   12.345678] \n[   12.345678] c\n"
        b"[123456.000000] \n"
    )


@pytest.mark.parametrize("by_types", [False, True])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize(("count", "size"), [(0, 1024), (1, 1024), (8, 1024), (300, 1024), (300, 8192), (1000, 65536)])
@pytest.mark.parametrize("name", ["printk_log", "log"])
def test_structured(form: Form, by_types: bool, name: str, count: int, size: int) -> None:
    arena = Arena(form)
    records = [Record(r.text, r.nsec, r.level, r.facility, dictionary=b"SUBSYSTEM=x" * (i % 3 == 0))
               for i, r in enumerate(some(count))]  # fmt: skip
    w = writer.structured(arena.define, form, records, size=size, name=name, align=form.align64)
    assert len(w.kept) == count if count < 10 else len(w.kept) > 6
    assert list(log.messages(*reader(arena, w, by_types))) == expected(w.kept)


def test_pieces_of_a_line() -> None:
    form = FORMS["i386"]
    arena = Arena(form)
    records = [
        Record(b"one", 1),
        Record(b"two ", 2, flags=PREFIX | CONT), Record(b"and ", 3, flags=CONT),
        Record(b"three", 4, 4, flags=CONT | NEWLINE), Record(b"four ", 5, flags=PREFIX | CONT), Record(b"five", 6),
        Record(b"six", 7, flags=CONT | NEWLINE),
        Record(b"seven", 8, flags=0), Record(b"eight", 9, flags=CONT | NEWLINE),
        Record(b"nine ", 10, flags=CONT), Record(b"ten", 11, flags=CONT),
    ]  # fmt: skip
    lines = writer.structured(arena.define, form, records, size=4096).lines
    found = [(m.time, m.text) for m in log.messages(*target(arena, lines))]
    assert found == [
        (1, b"one"), (2, b"two and three"), (5, b"four "), (6, b"five"), (7, b"six"), (8, b"seven"), (9, b"eight"),
        (10, b"nine ten"),
    ]  # fmt: skip


@pytest.mark.parametrize("times", [True, False])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_plain(form: Form, times: bool) -> None:
    records = [Record(b"line %d [ 1.5] <x>" % i, i * 10_000_001_000, i % 8, i % 3) for i in range(200)]
    for size, whole in ((65536, True), (512, False)):
        arena = Arena(form)
        lines = writer.plain(arena.define, form, records, size=size, times=times)
        found = list(log.messages(*target(arena, lines)))
        truth = [m if times else m._replace(time=None) for m in expected(records)]
        if whole:
            assert found == truth
        else:  # the first line lost its beginning
            assert 5 < len(found) < 30
            assert found[1:] == truth[1 - len(found) :]
            assert truth[-len(found)].text.endswith(found[0].text)
    assert log.read(*target(arena, lines)).endswith(b"line 199 [ 1.5] <x>\n")
    assert log.read(*target(arena, lines)).count(b"[ 1990.000199] ") == times


def test_no_log() -> None:
    arena = Arena(FORMS["64"])
    with pytest.raises(pykvm.KvmError, match="vmcore: has none of prb, log_first_idx, log_end"):
        log.read(*target(arena, {}))
    assert list(log.messages(*target(arena, writer.plain(arena.define, arena.form, [], size=64)))) == []


def made(kind: str, form: Form) -> tuple[Arena, dict[str, str]]:
    arena = Arena(form)
    if kind == "ring":
        return arena, writer.ring(arena.define, form, some(100), count_bits=5, size_bits=10).lines
    if kind == "structured":
        return arena, writer.structured(arena.define, form, some(100), size=2048).lines
    return arena, writer.plain(arena.define, form, some(100), size=2048)


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("ring", {"SIZE(prb_desc)": "0"}, r"SIZE\(prb_desc\) is 0"),
        ("ring", {"SIZE(printk_info)": "-88"}, r"SIZE\(printk_info\) is -88"),
        ("ring", {"SIZE(prb_desc)": str(1 << 60)}, r"SIZE\(prb_desc\)"),
        ("ring", {"SIZE(printk_info)": "x"}, "printk_info"),
        ("ring", {"OFFSET(printk_info.text_len)": "86"}, "text_len at 86 is beyond its 32 bytes"),
        ("ring", {"OFFSET(prb_desc.state_var)": "-8"}, "state_var at -8"),
        ("ring", {"SYMBOL(prb)": "10"}, r"invalid address \(10\)"),
        ("structured", {"SIZE(printk_log)": "8"}, "printk_log"),
        ("structured", {"OFFSET(printk_log.dict_len)": "14"}, "dict_len at 14 is beyond its 16 bytes"),
        ("structured", {"SYMBOL(log_buf)": "0"}, r"invalid address \(0\)"),
        ("plain", {"SYMBOL(log_buf)": "0"}, r"invalid address \(0\)"),
    ],
)
def test_lies_in_vmcoreinfo(kind: str, changes: dict[str, str], message: str) -> None:
    arena, lines = made(kind, FORMS["64"])
    with pytest.raises(pykvm.KvmError, match=message) as caught:
        log.read(*target(arena, lines | changes))
    assert "\n" not in str(caught.value)


def ring_at(lines: dict[str, str], *members: tuple[str, str]) -> int:
    return int(lines["SYMBOL(printk_rb_static)"], 16) + sum(int(lines[f"OFFSET({s}.{m})"]) for s, m in members)


@pytest.mark.parametrize("value", [0, 31, 32, 0xFFFFFFFF, 24])
@pytest.mark.parametrize("which", ["count_bits", "size_bits"])
def test_lies_about_the_rings_size(which: str, value: int) -> None:
    arena, lines = made("ring", FORMS["64"])
    inner = ("desc_ring", "prb_desc_ring") if which == "count_bits" else ("text_data_ring", "prb_data_ring")
    arena.poke(ring_at(lines, ("printk_ringbuffer", inner[0]), (inner[1], which)), value, 4)
    with pytest.raises(pykvm.KvmError, match=f"{which} {value}|invalid address"):
        log.read(*target(arena, lines))


def test_lies_about_ids() -> None:
    """Ids that are far apart: never more steps than there are descriptors."""
    for which in ("head_id", "tail_id"):
        arena, lines = made("ring", FORMS["64"])
        where = ring_at(lines, ("printk_ringbuffer", "desc_ring"), ("prb_desc_ring", which))
        right = len(list(log.messages(*target(arena, lines))))
        for value in (0, 1 << 63, (1 << 64) - 1, arena.read_u64(where) ^ 1 << 40):
            arena.poke(where, value, 8)
            assert len(list(log.messages(*target(arena, lines)))) <= right


@pytest.mark.parametrize("form", [FORMS["64"], FORMS["32-big"]], ids=["64", "32-big"])
def test_lies_about_text(form: Form) -> None:
    arena = Arena(form)
    lines = writer.ring(arena.define, form, [Record(b"text", 1)] * 3, count_bits=4, size_bits=9).lines
    infos = arena.read_ptr(ring_at(lines, ("printk_ringbuffer", "desc_ring"), ("prb_desc_ring", "infos")))
    where = infos + int(lines["SIZE(printk_info)"]) + int(lines["OFFSET(printk_info.text_len)"])
    for length in (9, 0xFFFF):
        arena.poke(where, length, 2)
        with pytest.raises(pykvm.FormatError, match=f"prb: record 0x[0-9a-f]+: text_len {length} is more than"):
            log.read(*target(arena, lines))
    arena.poke(where, 2, 2)
    assert [m.text for m in log.messages(*target(arena, lines))] == [b"text", b"te", b"text"]


def test_blocks_that_overlap() -> None:
    """Every record claims the whole buffer: the text of all cannot be more than the buffer."""
    form = FORMS["64"]
    arena = Arena(form)
    lines = writer.ring(arena.define, form, [Record(b"x" * 40)] * 12, count_bits=4, size_bits=10).lines
    descs = arena.read_ptr(ring_at(lines, ("printk_ringbuffer", "desc_ring"), ("prb_desc_ring", "descs")))
    infos = arena.read_ptr(ring_at(lines, ("printk_ringbuffer", "desc_ring"), ("prb_desc_ring", "infos")))
    for i in range(12):
        at = descs + i * int(lines["SIZE(prb_desc)"]) + int(lines["OFFSET(prb_desc.text_blk_lpos)"])
        arena.poke(at, 1024, 8)
        arena.poke(at + 8, 2048, 8)
        at = infos + i * int(lines["SIZE(printk_info)"])
        arena.poke(at + int(lines["OFFSET(printk_info.text_len)"]), 1000, 2)
    with pytest.raises(pykvm.FormatError, match="the buffer of 1024 bytes"):
        log.read(*target(arena, lines))


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("log_buf_len", 0, "log_buf_len 0"),
        ("log_buf_len", 0xFFFFFFFF, "log_buf_len 4294967295"),
        ("log_next_idx", 0xFFFFFFFF, "log_next_idx 4294967295 is beyond log_buf_len 2048"),
        ("log_next_idx", 2047, "do not lead to log_next_idx 2047"),
        ("log_next_idx", 1, "log_next_idx 1"),
        ("log_first_idx", 0xFFFFFFFF, "log_buf: the records do not lead to"),
        ("log_first_idx", 2040, "log_buf: the records do not lead to"),
    ],
)
def test_lies_about_log_buf(variable: str, value: int, message: str) -> None:
    arena, lines = made("structured", FORMS["64"])
    arena.poke(int(lines[f"SYMBOL({variable})"], 16), value, 4)
    with pytest.raises(pykvm.FormatError, match=message):
        log.read(*target(arena, lines))


def test_records_that_loop() -> None:
    """Lengths of 0, again and again; and a record that is shorter than what it holds."""
    form = FORMS["64"]
    arena = Arena(form)
    lines = writer.structured(arena.define, form, [Record(b"x" * 20)] * 100, size=1024).lines
    buffer = arena.read_ptr(int(lines["SYMBOL(log_buf)"], 16))
    keep = bytes(arena.data)
    arena.data[buffer - arena.base : buffer - arena.base + 1024] = bytes(1024)
    with pytest.raises(pykvm.FormatError, match="record at 0: len 0, text_len 0, dict_len 0"):
        log.read(*target(arena, lines))
    arena.data[:] = keep
    arena.poke(buffer + 10, 2000, 2)
    with pytest.raises(pykvm.FormatError, match="record at 0: len 36, text_len 2000, dict_len 0"):
        log.read(*target(arena, lines))


@pytest.mark.parametrize("kind", ["ring", "structured", "plain"])
def test_what_a_lie_costs(kind: str) -> None:
    """A log as large as a small dump may say, and nothing but the smallest records in it."""
    form, size = FORMS["64"], 8 << 20
    arena = Arena(form)
    if kind == "ring":
        records = [Record(b"\n" * 60000)] * 135
        lines = writer.ring(arena.define, form, records, count_bits=9, size_bits=23).lines
    elif kind == "structured":
        lines = writer.structured(arena.define, form, [Record(b"")] * 4, size=4096).lines
        header = form.integer(0, 8) + form.integer(16, 2) + bytes(6)
        arena.poke(int(lines["SYMBOL(log_buf)"], 16), arena.define("", header * (size // 16)), 8)
        arena.poke(int(lines["SYMBOL(log_buf_len)"], 16), size, 4)
        arena.poke(int(lines["SYMBOL(log_next_idx)"], 16), size, 4)
    else:
        lines = writer.plain(arena.define, form, [Record(b"x")], size=4096)
        arena.poke(int(lines["SYMBOL(log_buf)"], 16), arena.define("", b"\n" * (size // 8)), 8)
        arena.poke(int(lines["SYMBOL(log_buf_len)"], 16), size // 8, 4)
        arena.poke(int(lines["SYMBOL(log_end)"], 16), size, 4)
    start = time.process_time()
    with contextlib.suppress(pykvm.FormatError):
        log.read(*target(arena, lines))
    assert time.process_time() - start < 10 * SLOW
    if kind == "ring":
        with pytest.raises(pykvm.FormatError, match="more lines than any kernel's"):
            log.read(*target(arena, lines))


@pytest.mark.parametrize("kind", ["ring", "structured", "plain"])
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_fuzz(kind: str, data: Any) -> None:
    form = FORMS[data.draw(st.sampled_from(sorted(FORMS)))]
    arena, lines = made(kind, form)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(arena.data) - 9))
        arena.data[at : at + 8] = data.draw(
            st.binary(min_size=8, max_size=8) | st.sampled_from([bytes(8), b"\xff" * 8])
        )
    if data.draw(st.booleans()):
        key = data.draw(st.sampled_from(sorted(lines)))
        lines[key] = data.draw(st.sampled_from(["", "0", "-1", "7", "99999999999999999999", "ffff", str(1 << 20)]))
    with contextlib.suppress(pykvm.KvmError):
        assert len(log.read(*target(arena, lines))) < 1 << 20
