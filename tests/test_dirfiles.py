"""Small files of many directories, which the C core reads in one go. Run under valgrind and the sanitizers too."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path

import pytest

from pykvm.errors import KvmError
from pykvm.targets.linux.procfs.tree import File, Tree

pytestmark = pytest.mark.core
BOTH = (File("stat"), File("cmdline", once=False))


def made(root: Path, count: int) -> list[int]:
    """Directories with two files each, whose sizes are around those that are read at once."""
    numbers = [7 * n + 1 for n in range(count)]
    for i, n in enumerate(numbers):
        (root / str(n)).mkdir()
        (root / str(n) / "stat").write_bytes(b"%d " % n * i)
        (root / str(n) / "cmdline").write_bytes(b"\0%d" % n * (8190 // len(str(n)) + i))
    return numbers


@pytest.mark.parametrize("count", [0, 1, 3, 400])
def test_contents(tmp_path: Path, count: int) -> None:
    numbers = made(tmp_path, count)
    found = Tree(str(tmp_path)).texts(numbers, BOTH)
    assert len(found) == count
    for n, texts in zip(numbers, found, strict=True):
        assert texts == [(tmp_path / str(n) / name).read_bytes() for name in ("stat", "cmdline")]


def test_what_is_not_there(tmp_path: Path) -> None:
    made(tmp_path, 3)
    (tmp_path / "8" / "stat").unlink()
    (tmp_path / "15" / "cmdline").unlink()
    (tmp_path / "15" / "cmdline").mkdir()
    (tmp_path / "22").write_bytes(b"no directory")
    found = Tree(str(tmp_path)).texts([1, 8, 15, 22, 29], BOTH)
    assert found[0][0] == b""
    assert found[1][0] == errno.ENOENT
    assert found[1][1] == (tmp_path / "8" / "cmdline").read_bytes()
    assert found[2] == [b"15 15 ", errno.EISDIR]
    assert found[3] == [errno.ENOTDIR] * 2
    assert found[4] == [errno.ENOENT] * 2


def test_limits(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    for size in (0, 1, 99, 100, 101, 8191, 8192, 8193, 20000):
        (tmp_path / "1" / "stat").write_bytes(b"x" * size)
        for limit in (100, 8192, 10000):
            for once in (True, False):
                [[text]] = Tree(str(tmp_path)).texts([1], [File("stat", once, limit)])
                assert text == (b"x" * size if size <= limit else errno.E2BIG), (size, limit, once)


def test_pipe_does_not_hang(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    os.mkfifo(tmp_path / "1" / "stat")
    assert Tree(str(tmp_path)).texts([1], [File("stat")]) == [[b""]]


def test_few_descriptors(tmp_path: Path) -> None:
    """What several threads cannot open at the same time, one can after them."""
    numbers = made(tmp_path, 400)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = os.dup(0)
    os.close(highest)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 3, limits[1]))
        found = Tree(str(tmp_path)).texts(numbers, BOTH)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    for n, texts in zip(numbers, found, strict=True):
        assert texts == [(tmp_path / str(n) / name).read_bytes() for name in ("stat", "cmdline")]


def test_no_root(tmp_path: Path) -> None:
    with pytest.raises(KvmError, match=r"can't read .*nowhere: No such file"):
        Tree(str(tmp_path / "nowhere")).texts([1], BOTH)
