"""The dumps that are measured on: the fixture writer's, and a real kernel where one is at hand."""

from __future__ import annotations

import functools
import lzma
import os
import shutil
import tempfile
from pathlib import Path

from pykvm_fixtures import FreebsdDump, MirbsdDump, write_freebsd, write_mirbsd

from bench.repack import CODECS, repack

HERE = Path(__file__).resolve().parent
REAL = Path(os.environ.get("PYKVM_REAL") or HERE.parent.parent / "shared" / "real")
REAL_LINUX = {
    "ELF": "x86_64-6.12-kaslr.qemu-elf",
    "zlib": "x86_64-6.12-kaslr.zlib-d31.kdump",
    "zstd": "x86_64-6.12-kaslr.zstd-d23.kdump",
}
ROOM = tempfile.TemporaryDirectory(prefix="pykvm-bench-")


@functools.cache
def mirbsd(processes: int) -> MirbsdDump:
    """A synthetic MirBSD/i386 dump with so many processes."""
    return write_mirbsd(Path(ROOM.name) / str(processes), processes=processes)


@functools.cache
def _unpacked(name: str, room: str = "linux") -> Path | None:
    """A real file, expanded once if only its .xz is there."""
    found = REAL / room / name
    if found.exists():
        return found
    packed = found.with_name(name + ".xz")
    if not packed.exists():
        return None
    out = Path(ROOM.name) / name
    with lzma.open(packed) as src, open(out, "wb") as dst:
        shutil.copyfileobj(src, dst)
    return out


@functools.cache
def linux(kind: str) -> Path | None:
    """A real Linux dump of 128 MB: ELF, zlib, zstd; the zstd one packed anew as LZO or snappy. None without it."""
    if kind not in CODECS:
        return _unpacked(REAL_LINUX[kind])
    source, out = linux("zstd"), Path(ROOM.name) / kind
    if source is None:
        return None
    try:
        repack(source, out, kind)
    except FileNotFoundError as e:
        print(f"  {kind}: {e}")
        return None
    return out


def vmlinux(release: str) -> Path | None:
    """The kernel with DWARF, for peers that want it: $PYKVM_BENCH_VMLINUX, or what tools/peers.sh left."""
    given = os.environ.get("PYKVM_BENCH_VMLINUX")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    found = Path(given) if given else cache / "pykvm" / f"vmlinux-{release}"
    return found if found.exists() else None


def freebsd(kind: str) -> tuple[Path, Path] | None:
    """A real dump of FreeBSD 12.1 on amd64, minidump or full, and its kernel. None without them."""
    dump = _unpacked(f"vmcore-12.1-amd64-{kind}", "freebsd-full")
    kernel = _unpacked("kernel-12.1-amd64", "freebsd-full")
    return (dump, kernel) if dump and kernel else None


@functools.cache
def small_freebsd(processes: int | None = None, container: str = "minidump") -> FreebsdDump:
    """A synthetic FreeBSD/amd64 dump, with so many processes more than the few it has.

    A full dump is of a kernel before 13.1, which lies where it was linked to: libfbsdvmcore finds no others in one.
    """
    directory = Path(ROOM.name) / f"freebsd-{container}-{processes}"
    release = "12" if container == "full" else "14"
    return write_freebsd(directory, container=container, release=release, processes=processes)


@functools.cache
def big_kernel() -> Path:
    """A kernel of about 180,000 symbols: Linux's, or a synthetic one where the real files are not."""
    found = _unpacked("vmlinux-6.12.117-x86_64.nodwarf")
    return found or write_mirbsd(Path(ROOM.name) / "big", processes=1, extra_symbols=180_000).kernel


@functools.cache
def netbsd() -> tuple[Path, Path] | None:
    """A real NetBSD/amd64 dump of all memory, and its kernel. None without them."""
    core, kernel = _unpacked("netbsd-amd64-full.core", "netbsd"), _unpacked("netbsd-amd64.kernel", "netbsd")
    return None if core is None or kernel is None else (core, kernel)
