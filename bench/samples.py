"""The dumps that are measured on: the fixture writer's, and a real kernel where one is at hand."""

from __future__ import annotations

import functools
import lzma
import os
import shutil
import tempfile
from pathlib import Path

from pykvm_fixtures import MirbsdDump, write_mirbsd

HERE = Path(__file__).resolve().parent
REAL = Path(os.environ.get("PYKVM_REAL") or HERE.parent.parent / "shared" / "real")
ROOM = tempfile.TemporaryDirectory(prefix="pykvm-bench-")


@functools.cache
def mirbsd(processes: int) -> MirbsdDump:
    """A synthetic MirBSD/i386 dump with so many processes."""
    return write_mirbsd(Path(ROOM.name) / str(processes), processes=processes)


@functools.cache
def big_kernel() -> Path:
    """A kernel of about 180,000 symbols: Linux's, or a synthetic one where the real files are not."""
    packed = next(REAL.glob("linux/vmlinux*.xz"), None)
    if packed is None:
        return write_mirbsd(Path(ROOM.name) / "big", processes=1, extra_symbols=180_000).kernel
    out = Path(ROOM.name) / "vmlinux"
    with lzma.open(packed) as src, open(out, "wb") as dst:
        shutil.copyfileobj(src, dst)
    return out
