"""FreeBSD's kernel dump header (sys/sys/kerneldump.h): 512 bytes in front of and behind the dump on a dump device.

savecore(8) takes it off; netdumps and copies of a device have it still. All numbers are big-endian on every machine.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

from pykvm.errors import FormatError
from pykvm.images import compressed
from pykvm.images.hostfile import HostFile
from pykvm.records import text

SIZE = 512
MAGIC = b"FreeBSD Kernel Dump"
TEXT_MAGIC = b"FreeBSD Text Dump"
CLEARED_MAGIC = b"Cleared Kernel Dump"
# The version and how long its panicstring is.
VERSIONS = {1: 192, 2: 188, 3: 187, 4: 175}
COMPRESSION = {0: None, 1: "gzip", 2: "zstd"}
BLOCKS = (512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)  # of a disk: its header takes one


class DumpHeader(NamedTuple):
    """What it says; `length` is the dump's in bytes, `extent` the room that it takes on the device."""

    version: int
    machine: str
    length: int
    extent: int
    time: int
    block: int
    key: int
    compression: str | None
    host: str
    text: str
    panic: str

    def facts(self) -> dict[str, Any]:
        """For `pykvm info`: what is not empty."""
        said = {
            "dump header": f"version {self.version}, {self.machine}: {self.text}",
            "hostname": self.host,
            "dump time": float(self.time),
            "panic": self.panic,
        }
        return {title: value for title, value in said.items() if value}


def unwrap(file: HostFile) -> None:
    """Narrow a file to the dump between its headers, if it has any. FormatError if there is a header that is damaged,
    or not one of a dump that can be read."""
    start = file.pread(0, SIZE)
    if start.startswith((MAGIC, TEXT_MAGIC, CLEARED_MAGIC)):
        header = parse(start, file.path)
        at = _behind(file, header)
    elif file.size > 2 * SIZE and (found := _at_the_end(file)) is not None:
        header, at = found
    else:
        return
    if header.key:
        raise FormatError(
            f"{file.path}: an encrypted kernel dump (dumpkeysize {header.key}): decrypt it with decryptcore(8) first"
        )
    if at >= file.size or not header.length:
        raise FormatError(
            f"{file.path}: kernel dump header: nothing is behind it: dumplength {header.length}, file size {file.size}"
        )
    size = min(header.length, file.size - at)
    scheme = header.compression
    if scheme is not None and compressed.scheme_of(file.pread(at, compressed.MAGIC_SIZE)) != scheme:
        raise FormatError(f"{file.path}: kernel dump header: compression is {scheme}, the dump behind it is not")
    file.narrow(at, size, scheme)
    file.facts.update(header.facts())


def parse(raw: bytes, path: str) -> DumpHeader:
    """A header; FormatError if it is damaged, of a version that is not known, or says that here is no memory."""
    if len(raw) < SIZE:
        raise FormatError(f"{path}: kernel dump header: only {len(raw)} of {SIZE} bytes are there")
    magic = raw[:20].split(b"\0")[0]
    if magic == TEXT_MAGIC:
        raise FormatError(f"{path}: a textdump (ddb's output as a tar archive), not a dump of memory")
    if magic == CLEARED_MAGIC:
        raise FormatError(f"{path}: a cleared kernel dump: savecore(8) has taken it off this device")
    parity = 0
    for (word,) in struct.iter_unpack(">I", raw):
        parity ^= word
    if parity:
        raise FormatError(f"{path}: kernel dump header: parity is {parity:#x}, must be 0: it is damaged")
    version, _, length, time = struct.unpack_from(">IIQQ", raw, 32)
    if version not in VERSIONS:
        raise FormatError(f"{path}: kernel dump header: version {version} is not known (at most {max(VERSIONS)})")
    # Version 1 has no dumpkeysize: all up to the panic string lies four bytes before.
    shift = 0 if version > 1 else -4
    key = struct.unpack_from(">I", raw, 56)[0] if version > 1 else 0
    (block,) = struct.unpack_from(">I", raw, 60 + shift)
    end = 320 + shift + VERSIONS[version]
    code = raw[end] if version > 2 else 0
    if code not in COMPRESSION:
        raise FormatError(f"{path}: kernel dump header: compression {code} is not known (1: gzip, 2: zstd)")
    extent = struct.unpack_from(">Q", raw, 496)[0] if version > 3 else 0
    return DumpHeader(
        version,
        _string(raw[20:32]),
        length,
        extent or length,
        time,
        block,
        key,
        COMPRESSION[code],
        _string(raw[64 + shift : 128 + shift]),
        " ".join(_string(raw[128 + shift : 320 + shift]).split()),
        _string(raw[320 + shift : end]),
    )


def _string(raw: bytes) -> str:
    return text(raw.split(b"\0")[0])


def _behind(file: HostFile, header: DumpHeader) -> int:
    """Where the dump behind a header in front begins: at the next block of the disk, or right behind it."""
    block = header.block if header.block in BLOCKS else SIZE
    for at in sorted({block, SIZE}, reverse=True):
        start = file.pread(at, 24)
        if start.startswith((b"\x7fELF", b"minidump ")) or compressed.scheme_of(start) == (header.compression or ""):
            return at
    return block


def _at_the_end(file: HostFile) -> tuple[DumpHeader, int] | None:
    """The header in the last block of a device, and where the dump before it begins: behind the same header."""
    for block in BLOCKS:
        last = file.size - block
        raw = file.pread(last, SIZE) if last > 0 else b""
        if not raw.startswith((MAGIC, TEXT_MAGIC)):
            continue
        header = parse(raw, file.path)
        first = last - -(-header.extent // block) * block - block
        if first < 0 or file.pread(first, SIZE) != raw:
            raise FormatError(
                f"{file.path}: kernel dump header in the last block of {block} bytes: there is no such header in front "
                f"of the dump, at {first}"
            )
        return header, first + block
    return None
