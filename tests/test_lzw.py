"""Files of compress(1): the decoder in C (under valgrind and the sanitizers too), and dumps that are such files."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pykvm
from pykvm._native.ffi import ffi, lib
from pykvm.images import compressed
from pykvm.images.hostfile import HostFile

core = pytest.mark.core
CORE = settings(max_examples=60, deadline=None)
CLEAR, FIRST, LEAST, MOST = 256, 257, 9, 16
WIDTHS = range(LEAST, MOST + 1)
BOTH = pytest.mark.parametrize("block", [True, False], ids=["block", "no-block"])


# -- an encoder, and a decoder that is as slow as it is plain ------------------------------------------------


def codes(data: bytes, most: int = MOST, block: bool = True, clear: int | None = None) -> Iterator[int]:
    """The codes of some data. clear: in block mode, forget all after so many codes that have strings."""
    table: dict[int, int] = {}
    known, limit, prefix = FIRST if block else CLEAR, 1 << most, -1
    for byte in data:
        if prefix < 0:
            prefix = byte
            continue
        key = prefix << 8 | byte
        code = table.get(key)
        if code is not None:
            prefix = code
            continue
        yield prefix
        prefix = byte
        if known < limit:
            table[key] = known
            known += 1
        if block and clear is not None and len(table) >= clear:
            yield CLEAR
            table.clear()
            known = FIRST
    if prefix >= 0:
        yield prefix


class Packed:
    """A stream of codes. `ends`: where each code ends, in bits, and which it is; None for those that mean nothing."""

    def __init__(
        self, of: Iterable[int], most: int = MOST, block: bool = True, junk: int = 0, tail: bool = False
    ) -> None:
        """junk: the bits of codes that mean nothing. tail: fill up a last group whose width would change."""
        self.header = bytes([0x1F, 0x9D, most | block << 7])
        self.ends: list[tuple[int, int | None]] = []
        self._bits = self._n = 0
        self._out = bytearray()
        width, count, group, fill, start = LEAST, 0, 0, 0, FIRST if block else CLEAR
        next_width = width
        for code in of:
            for _ in range(fill):
                self._put(junk, width)
                self.ends.append((self._n + 8 * len(self._out), None))
            if fill or next_width != width:
                group = 0
            width, fill = next_width, 0
            self._put(code, width)
            self.ends.append((self._n + 8 * len(self._out), code & ((1 << width) - 1)))
            group, count = (group + 1) % 8, count + 1
            if block and code == CLEAR:
                count, next_width, fill = 0, LEAST, -group % 8
            elif start + count - 1 == 1 << width and width < max(most, LEAST + 1):
                next_width, fill = width + 1, -group % 8
        for _ in range(fill if tail else 0):
            self._put(junk, width)
        self.body = bytes(self._out) + (bytes([self._bits]) if self._n else b"")
        self.data = self.header + self.body

    def _put(self, code: int, width: int) -> None:
        self._bits |= (code & ((1 << width) - 1)) << self._n
        self._n += width
        while self._n >= 8:
            self._out.append(self._bits & 0xFF)
            self._bits >>= 8
            self._n -= 8


def packed(data: bytes, most: int = MOST, block: bool = True, clear: int | None = None) -> bytes:
    return Packed(codes(data, most, block, clear), most, block).data


def strings(of: Iterable[int], most: int, block: bool) -> tuple[list[bytes], int | None]:
    """What each code stands for, and the first that stands for nothing."""
    out: list[bytes] = []
    table: dict[int, bytes] = {}
    last = b""
    for code in of:
        if block and code == CLEAR:
            table, last = {}, b""
            out.append(b"")
            continue
        new = (FIRST if block else CLEAR) + len(table)
        if code < 256:
            own = bytes([code])
        elif code in table:
            own = table[code]
        elif code == new and last and new < 1 << most:
            own = last + last[:1]
        else:
            return out, code
        if last and new < 1 << most:
            table[new] = last + own[:1]
        out.append(own)
        last = own
    return out, None


def decode(stream: bytes, piece: int | None = None, room: int = 5000) -> tuple[bytes, Any, bool]:
    """By the decoder in C, fed by such pieces: what came out, the code that is none (or None), whether it ended.

    Its memory is of exactly the size that it is told, so that a byte too many is seen."""
    lzw = ffi.gc(lib.pk_lzw_new(stream[2] & 31, stream[2] >> 7), lib.pk_lzw_free)
    assert lzw
    result, size = ffi.new("pk_lzw_result *"), lib.PK_LZW_ROOM + room
    dst, out, at, left, src = ffi.new("uint8_t[]", size), bytearray(), 3, 0, ffi.NULL
    while True:
        if left == 0:
            some = stream[at : at + piece] if piece else stream[at:]
            at, left = at + len(some), len(some)
            src = ffi.new("uint8_t[]", left) if left else ffi.NULL
            if left:
                ffi.memmove(src, some, left)
                end = src + left
        if not lib.pk_lzw_feed(lzw, end - left if left else src, left, dst, size, result):
            return bytes(out), (result.code, result.where, result.highest), False
        assert result.taken <= left
        assert result.made <= size
        out += ffi.buffer(dst, result.made)
        left -= result.taken
        if at == len(stream) and not left and not result.made:
            return bytes(out), None, bool(lib.pk_lzw_ended(lzw))


def whole(data: bytes) -> tuple[bytes, None, bool]:
    return data, None, True


def words(n: int, seed: int = 1) -> bytes:
    """Text that fills the tables: about five bytes a code."""
    rng = random.Random(seed)
    some = [bytes(rng.choices(b"abcdefghijklmnopqrstuvwxyz", k=rng.randrange(2, 9))) for _ in range(400)]
    return b" ".join(rng.choices(some, k=n // 4))[:n]


# -- the decoder ---------------------------------------------------------------------------------------------


@core
@pytest.mark.parametrize(
    ("of", "block", "expected"),
    [
        ([], True, b""),
        ([0], True, b"\0"),
        ([65, 66, 257, 258], True, b"ABABBA"),
        ([65, 66, 256, 257], False, b"ABABBA"),
        ([65, 257], True, b"AAA"),  # the string that this very code makes
        ([65, 256, 257, 258], False, b"A" * 10),
        ([65, 66, 257, 259], True, b"ABABABA"),
        ([65, 66, CLEAR, 67, 257, 257], True, b"ABCCCCC"),
        ([65, 257, CLEAR, CLEAR, 66], True, b"AAAB"),
        ([CLEAR, 65], True, b"A"),
        ([65] * 8 + [CLEAR, 66], True, b"A" * 8 + b"B"),  # the group is full before CLEAR, and after it
        ([65] * 7 + [CLEAR, 66], True, b"A" * 7 + b"B"),
    ],
)
def test_codes(of: list[int], block: bool, expected: bytes) -> None:
    for most in WIDTHS:
        for junk in (0, 0xFFFF):
            assert decode(Packed(of, most, block, junk).data) == whole(expected)


def test_made_by_ncompress() -> None:
    """compress(1) of ncompress 4.2.4 wrote this."""
    stream = bytes.fromhex("1f9d9061c4041c28b0208083080fe2c9a367a11e")
    assert decode(stream) == whole(b"abababababab" + bytes(8) + b"xyzxyz")


@BOTH
@pytest.mark.parametrize("most", WIDTHS)
def test_widths(most: int, block: bool) -> None:
    """All tables full: every width, and more codes of the last one."""
    data = words(40 << most) if most < 13 else random.Random(2).randbytes(3 << most - 1)
    of = list(codes(data, most, block))
    assert len(of) > 1 << most
    for junk, tail in ((0, False), (0x5A5A, True)):
        assert decode(Packed(of, most, block, junk, tail).data) == whole(data)


@BOTH
def test_where_the_width_changes(block: bool) -> None:
    """Streams that end just before, at and after the change, and have a CLEAR there."""
    rng = random.Random(3)
    for n in (*range(250, 262), *range(764, 772), 1022, 1023, 1024, 1025):
        of = [rng.randrange(256) for _ in range(n)]
        for tail in (False, True):
            assert decode(Packed(of, 10, block, 0x155, tail).data) == whole(bytes(of))
        if block:
            more = [*of, CLEAR, *of[:300], CLEAR, 1]
            assert decode(Packed(more, 11, junk=0x7FF).data) == whole(bytes([*of, *of[:300], 1]))


@pytest.mark.parametrize("clear", [1, 2, 7, 8, 250, 255, 256, 257, 1000])
def test_clear(clear: int) -> None:
    data = words(20_000)
    of = list(codes(data, 12, clear=clear))
    assert of.count(CLEAR) > 3
    assert decode(Packed(of, 12, junk=0xFFF).data) == whole(data)


def test_long_strings() -> None:
    for most in (9, 12):
        data = bytes(300_000)
        assert decode(packed(data, most), room=1) == whole(data)
    of = [0, *range(256, 2256)]
    stream = Packed([*of, 0, *([of[-1]] * 50)], block=False).data
    assert decode(stream, piece=3) == whole(bytes(sum(range(1, 2002)) + 1 + 50 * 2001))


def test_longest_strings() -> None:
    """65281 bytes for one code. None is made without room for it."""
    of = [0, *range(256, 1 << 16)]
    lzw = ffi.gc(lib.pk_lzw_new(16, 0), lib.pk_lzw_free)
    stream = Packed([*of, of[-1], of[-1]], block=False).body
    size = 1 << 20
    src, dst = ffi.from_buffer("uint8_t[]", stream), ffi.new("uint8_t[]", size)
    result, at, made, most = ffi.new("pk_lzw_result *"), 0, 0, 0
    while True:
        assert lib.pk_lzw_feed(lzw, src + at, len(stream) - at, dst, size, result) == 1
        at, made, most = at + result.taken, made + result.made, max(most, result.made)
        if not result.made:
            break
    assert made == sum(range(1, 65282)) + 2 * 65281
    assert size - lib.PK_LZW_ROOM < most <= size


@core
@pytest.mark.parametrize("piece", [1, 2, 3, 7, 8, 9, 13, 64, 1000])
def test_pieces(piece: int) -> None:
    data = words(6000) + bytes(3000)
    for room in (0, 1, 500):
        assert decode(packed(data, 10, clear=900), piece, room) == whole(data)


def test_no_room() -> None:
    lzw = ffi.gc(lib.pk_lzw_new(16, 1), lib.pk_lzw_free)
    result, dst = ffi.new("pk_lzw_result *"), ffi.new("uint8_t[]", lib.PK_LZW_ROOM)
    for size in (0, 1, lib.PK_LZW_ROOM - 1):
        assert lib.pk_lzw_feed(lzw, b"abc", 3, dst, size, result) == 1
        assert (result.taken, result.made) == (0, 0)
    assert lib.pk_lzw_feed(lzw, b"a\0", 2, dst, lib.PK_LZW_ROOM, result) == 1
    assert (result.taken, result.made, dst[0]) == (2, 1, ord("a"))


def test_bits_that_cannot_be() -> None:
    for bits in (*range(9), *range(17, 40), 0xFFFFFFFF):
        assert lib.pk_lzw_new(bits, 1) == ffi.NULL
    lib.pk_lzw_free(ffi.NULL)


@core
@pytest.mark.parametrize(
    ("of", "block", "highest"),
    [
        ([257], True, 256), ([256], False, 255), ([511], False, 255), ([65, 258], True, 257), ([65, 257], False, 256),
        ([65, 66, 257, 260], True, 259), ([65, 257, CLEAR, 257], True, 256), ([*range(256), 511, 512, 515], True, 514),
    ],
)  # fmt: skip
def test_codes_that_are_none(of: list[int], block: bool, highest: int) -> None:
    stream = Packed(of, 10, block)
    good, bad = strings(of, 10, block)
    assert bad == of[-1]
    end = stream.ends[-1][0]
    width = 9 if bad < 512 else 10
    for piece in (None, 1):
        out, found, _ = decode(stream.data, piece)
        assert found == (bad, end - width, highest)
        assert b"".join(good).startswith(out)


def test_codes_when_all_are_known() -> None:
    """Codes of 16 bits are all known then; after 9 bits come codes of 10, though half of them is none."""
    full = [*range(256), 300, 301]
    assert decode(Packed([*full, 511, 511], 9).data)[1] is None
    for bad in (512, 513, 1023):
        stream = Packed([*full, bad], 9)
        assert decode(stream.data)[1] == (bad, stream.ends[-1][0] - 10, 511)


@BOTH
def test_cut_anywhere(block: bool) -> None:
    """All whole codes come out; a part of a code is an end too early, unless it is no more than filled up bits."""
    clear = 300 if block else None
    of = Packed(codes(words(800), 10, block, clear), 10, block, junk=0x2AA)
    assert len(of.ends) > 400
    text, bad = strings([code for _, code in of.ends if code is not None], 10, block)
    assert bad is None
    assert any(code == CLEAR for _, code in of.ends)
    for size in range(len(of.body)):
        expected, at, i = b"", 0, 0
        for end, code in of.ends:
            if end > 8 * size:
                break
            at = end
            if code is not None:
                expected += text[i]
                i += 1
        rest = int.from_bytes(of.body[:size], "little") >> at
        ended = 8 * size - at < 8 and rest == 0
        assert decode(of.header + of.body[:size], 100 if size % 2 else None) == (expected, None, ended)


@CORE
@given(st.data())
def test_round_trips(data: st.DataObject) -> None:
    alphabet = data.draw(st.sampled_from([b"a", b"ab", b"\0abc", bytes(range(256))]))
    text = bytes(data.draw(st.lists(st.sampled_from(list(alphabet)), max_size=1500)))
    text *= data.draw(st.integers(1, 3))
    most, block = data.draw(st.integers(LEAST, MOST)), data.draw(st.booleans())
    clear = data.draw(st.none() | st.integers(1, 400)) if block else None
    of = Packed(codes(text, most, block, clear), most, block, data.draw(st.integers(0, 65535)))
    assert decode(of.data, data.draw(st.none() | st.integers(1, 40)), data.draw(st.integers(0, 99))) == whole(text)


@core
@CORE
@given(st.integers(0, 1 << 32), st.integers(LEAST, MOST), st.booleans(), st.integers(0, 40))
def test_any_codes(seed: int, most: int, block: bool, bad_in_thousand: int) -> None:
    """Codes as no encoder would choose them: both decoders say the same."""
    rng, of, known = random.Random(seed), [], 0
    for _ in range(rng.randrange(1, 900)):
        if block and rng.random() < 0.003:
            of.append(CLEAR)
            known = 0
            continue
        top = min((FIRST if block else CLEAR) + max(known - 1, 0), (1 << most) - 1)
        if rng.randrange(10000) < bad_in_thousand:
            top += 5
        of.append(rng.choice([rng.randrange(256), top - bool(not known), rng.randrange(top)]))
        if block and of[-1] == CLEAR:
            known = 0
        else:
            known += 1
    stream = Packed(of, most, block, rng.randrange(65536))
    good, bad = strings([code for _, code in stream.ends if code is not None], most, block)
    out, found, ended = decode(stream.data, rng.choice([None, 1, 11]))
    if bad is None:
        assert (out, found, ended) == whole(b"".join(good))
    else:
        assert found is not None
        assert found[0] == bad
        assert b"".join(good).startswith(out)


@CORE
@given(st.binary(max_size=3000), st.integers(LEAST, MOST), st.booleans(), st.integers(1, 50))
def test_garbage(data: bytes, most: int, block: bool, piece: int) -> None:
    header = bytes([0x1F, 0x9D, most | block << 7])
    one, other = decode(header + data), decode(header + data, piece)
    assert one[1:] == other[1:]
    assert one[0] == other[0] or one[1] is not None


@core
@CORE
@given(st.integers(0, 1 << 32), st.integers(1, 6))
def test_damage(seed: int, flips: int) -> None:
    rng = random.Random(seed)
    raw = bytearray(packed(words(1000, seed), rng.choice([9, 10, 11, 16]), clear=rng.choice([None, 200])))
    for _ in range(flips):
        raw[rng.randrange(3, len(raw))] ^= 1 << rng.randrange(8)
    one, other = decode(bytes(raw)), decode(bytes(raw), 17)
    assert one[1:] == other[1:]


# -- other programs ------------------------------------------------------------------------------------------


def tool(*command: str) -> list[str]:
    path = shutil.which(command[0])
    if path is None:
        pytest.skip(f"{command[0]}(1) is not installed")
    return [path, *command[1:]]


@BOTH
@pytest.mark.parametrize("most", WIDTHS)
@pytest.mark.parametrize("command", [("gzip", "-dc"), ("compress", "-dc")], ids=["gzip", "compress"])
def test_others_read_the_encoder(command: tuple[str, ...], most: int, block: bool) -> None:
    """That the vectors are what they should be."""
    data = words(60_000) + bytes(5000)
    stream = packed(data, most, block, 3000 if block else None)
    done = subprocess.run(tool(*command), input=stream, capture_output=True, check=True)
    assert done.stdout == data


@pytest.mark.parametrize("most", range(LEAST + 1, MOST + 1))
def test_compress(most: int, tmp_path: Path) -> None:
    """Text, and then something else, for which compress begins anew. (What ncompress writes with -b 9 or -C nothing can
    read, itself included.)"""
    for data in (b"x", words(400_000), words(200_000) + random.Random(5).randbytes(300_000) + words(200_000, 9)):
        (tmp_path / "plain").write_bytes(data)
        command = tool("compress", "-f", "-c", "-b", str(most), str(tmp_path / "plain"))
        stream = subprocess.run(command, capture_output=True, check=False).stdout
        assert stream.startswith(b"\x1f\x9d")
        file = opened(tmp_path, stream)
        assert file.pread(0, len(data) + 1) == data
        file.close()


# -- files ---------------------------------------------------------------------------------------------------


def opened(tmp_path: Path, stream: bytes) -> HostFile:
    path = tmp_path / "core.Z"
    path.write_bytes(stream)
    return HostFile(path)


def refused(tmp_path: Path, stream: bytes) -> str:
    with pytest.raises(pykvm.FormatError) as caught:
        opened(tmp_path, stream)
    text = str(caught.value)
    begin = f"{tmp_path / 'core.Z'}: damaged compress stream: "
    assert text.startswith(begin)
    return text[len(begin) :]


def test_header(tmp_path: Path) -> None:
    for bits in (*range(9), *range(17, 32)):
        for block in (0, 0x80):
            said = refused(tmp_path, bytes([0x1F, 0x9D, bits | block]) + b"abc")
            assert said == f"its header says codes of up to {bits} bits, which can be 9 to 16"
    assert refused(tmp_path, b"\x1f\x9d\xb0abc") == "its header has flags 0x20, which mean nothing"
    assert refused(tmp_path, b"\x1f\x9d\x70abc") == "its header has flags 0x60, which mean nothing"
    assert refused(tmp_path, b"\x1f\x9d") == "it ends too early"
    file = opened(tmp_path, b"\x1f\x9d\x90")
    assert (file.size, file.compressed) == (0, "compress")
    file.close()


def test_a_code_that_is_none(tmp_path: Path) -> None:
    assert refused(tmp_path, b"\x1f\x9d\x90abc") == "code 433 at byte 4, where 257 is the highest"
    of = list(codes(random.Random(6).randbytes(900), 12))
    assert 1024 < FIRST + len(of) < 2000
    stream = Packed([*of, 2047], 12)
    at = 3 + (stream.ends[-1][0] - 11) // 8
    assert refused(tmp_path, stream.data) == f"code 2047 at byte {at}, where {FIRST + len(of) - 1} is the highest"


def test_cut_files(tmp_path: Path) -> None:
    data = words(2500)
    stream = packed(data, 11, clear=350)
    good, said = 0, set()
    for size in range(2, len(stream)):
        try:
            file = opened(tmp_path, stream[:size])
        except pykvm.FormatError as e:
            said.add(str(e))
        else:
            good += 1
            assert data.startswith(file.pread(0, file.size))
            file.close()
    assert said == {f"{tmp_path / 'core.Z'}: damaged compress stream: it ends too early"}
    assert good < (len(stream) - 2) / 3


def test_many_calls(tmp_path: Path) -> None:
    """More than one piece of input, and of output."""
    data = random.Random(8).randbytes(150_000) + bytes(3 << 20) + words(200_000)
    file = opened(tmp_path, packed(data))
    assert file.size == len(data) > compressed._Lzw.OUTPUT
    assert file.pread(0, len(data)) == data
    file.close()


def test_bomb(tmp_path: Path) -> None:
    """22 KB that stand for 130 MB of zeros: a hole."""
    file = opened(tmp_path, Packed([0, *range(256, 16400)], block=False).data)
    assert file.size == sum(range(1, 16146))
    assert os.fstat(file.fd).st_blocks * 512 < 1 << 20
    file.close()


def test_dump(mirbsd_dump_factory: Any) -> None:
    """A core of savecore and its kernel."""
    dump = mirbsd_dump_factory()
    names = []
    for path in (dump.core, dump.kernel):
        names.append(path.with_name(path.name + ".Z"))
        names[-1].write_bytes(packed(path.read_bytes(), clear=60_000))
    with pykvm.Kvm(names[0], names[1], dump.swap) as kd:
        assert [p.pid for p in kd.processes()] == [p.pid for p in dump.processes]
        assert kd.image.files[0].compressed == "compress"
        for va, _ in dump.pages[:5]:
            assert len(kd.read(va, 64)) == 64
    with pykvm.Kvm(names[0], names[1], writable=True) as kd:
        assert pykvm.kvm_write(kd, dump.pages[0][0], b"x", 1) == -1
        assert pykvm.kvm_geterr(kd) == f"{names[0]}: compressed with compress: cannot be written to"
    raw = names[0].read_bytes()
    names[0].write_bytes(raw[:1000] + b"\xff" * 64 + raw[1064:])
    with pytest.raises(pykvm.FormatError, match=r"\.Z: damaged compress stream: code \d+ at byte \d+, where \d+ is"):
        pykvm.Kvm(names[0], names[1])
