"""Small FreeBSD dumps by hand: a kernel file with a few names, minidumps of any machine, full dumps, dump headers."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

PAGE = 4096
ELF_MACHINES = {"x86_64": 62, "aarch64": 183, "riscv64": 243, "i386": 3, "arm": 40, "mips": 8, "powerpc64": 21}
VERSION = b"FreeBSD 14.2-RELEASE #7 releng/14.2: Fri Nov 1 2024\n    root@builder:/usr/obj/GENERIC\n\0"


def kernel(
    path: Path,
    symbols: Mapping[str, int],
    *,
    machine: str = "x86_64",
    wide: bool = True,
    order: str = "<",
    held: Mapping[int, bytes] | None = None,
) -> Path:
    """An ELF file of these names, that holds these bytes at these addresses."""
    sections = [(b"", 0, 0, b"")]  # name, type, address, contents
    for i, (addr, data) in enumerate((held or {}).items()):
        sections.append((b".data%d" % i, 1, addr, data))
    names, table = b"\0", bytes(24 if wide else 16)
    for name, value in symbols.items():
        at, info, where = len(names), 0x11, 1 if held else 0xFFF1
        names += name.encode() + b"\0"
        table += struct.pack(order + "IBBHQQ", at, info, 0, where, value, 8) if wide else struct.pack(
            order + "IIIBBH", at, value, 4, info, 0, where
        )  # fmt: skip
    sections += [(b".symtab", 2, 0, table), (b".strtab", 3, 0, names)]
    shstr = b"".join(s[0] + b"\0" for s in sections) + b".shstrtab\0"
    sections.append((b".shstrtab", 3, 0, shstr))
    head, entry = (64, 64) if wide else (52, 40)
    body, headers = b"", b""
    for i, (name, kind, addr, data) in enumerate(sections):
        fields = (shstr.find(name + b"\0") if name else 0, kind, 2 if addr else 0, addr, head + len(body), len(data))
        link, size = (i + 1, 24 if wide else 16) if kind == 2 else (0, 0)
        headers += struct.pack(order + ("IIQQQQIIQQ" if wide else "10I"), *fields, link, 1, 1, size)
        body += data
    ident = b"\x7fELF" + bytes((2 if wide else 1, 1 if order == "<" else 2, 1)) + bytes(9)
    header = ident + struct.pack(
        order + ("HHIQQQIHHHHHH" if wide else "HHIIIIIHHHHHH"),
        2, ELF_MACHINES[machine], 1, 0, 0, head + len(body), 0, head, 0, 0, entry, len(sections), len(sections) - 1,
    )  # fmt: skip
    path.write_bytes(header + body + headers)
    return path


def padded(data: bytes, page: int = PAGE) -> bytes:
    return data.ljust(-(-len(data) // page) * page, b"\0")


def minidump(
    header: Callable[[int, int, int, int], bytes],
    pages: Mapping[int, bytes],
    page_map: bytes,
    *,
    page: int = PAGE,
    msgbuf: bytes = b"",
    avail: Sequence[tuple[int, int]] = (),
    avail_word: int = 8,
    order: str = "<",
    room: int = 0,
    word: int = 8,
) -> bytes:
    """A minidump of pages (physical address -> contents). header: made of (msgbufsize, bitmapsize, mapsize,
    availsize)."""
    numbers = {addr // page: addr for addr in pages}
    if avail:
        bit_of, bits = {}, 0
        for start, end in avail:
            first, last = start // page, -(-end // page)
            bit_of.update({n: bits + n - first for n in range(first, last)})
            bits += last - first
    else:
        bit_of = {n: n for n in numbers}
        bits = max(numbers) + 1
    words = [0] * max(-(-bits // 64) * 8 // word, room)
    for n in numbers:
        words[bit_of[n] // (8 * word)] |= 1 << bit_of[n] % (8 * word)
    bitmap = struct.pack(f"{order}{len(words)}{'Q' if word == 8 else 'I'}", *words)
    pairs = b"".join(
        struct.pack(order + ("QQ" if avail_word == 8 else "II"), *pair) for pair in (*avail, (0, 0))
    ) if avail else b""  # fmt: skip
    head = header(len(msgbuf), len(bitmap), len(page_map), len(pairs))
    data = b"".join(pages[numbers[n]].ljust(page, b"\0") for n in sorted(numbers, key=bit_of.__getitem__))
    return b"".join(padded(part, page) for part in (head, msgbuf, pairs, bitmap, page_map)) + data


def full(
    segments: Mapping[int, bytes], *, machine: str = "x86_64", wide: bool = True, delta: tuple[int, int] | None = None
) -> bytes:
    """A full dump: segments by physical address."""
    head, phdr = (64, 56) if wide else (52, 32)
    at, phdrs = PAGE, b""

    def entry(kind: int, offset: int, vaddr: int, paddr: int, size: int) -> bytes:
        if wide:
            return struct.pack("<IIQQQQQQ", kind, 4, offset, vaddr, paddr, size, size, PAGE)
        return struct.pack("<8I", kind, offset, vaddr, paddr, size, size, 4, PAGE)

    for addr, data in segments.items():
        phdrs += entry(1, at, addr, addr, len(data))
        at += len(data)
    if delta is not None:
        phdrs += entry(0x6FB5D000, 0, *delta, 0)
    ident = b"\x7fELF" + bytes((2 if wide else 1, 1, 1, 255)) + bytes(8)
    header = ident + struct.pack(
        "<" + ("HHIQQQIHHHHHH" if wide else "HHIIIIIHHHHHH"),
        4, ELF_MACHINES[machine], 1, 0, head, 0, 0, head, phdr, len(phdrs) // phdr, 0, 0, 0,
    )  # fmt: skip
    return padded(header + phdrs) + b"".join(segments.values())


def dump_header(
    dump: bytes,
    *,
    version: int = 4,
    compression: int = 0,
    key: int = 0,
    block: int = 512,
    magic: bytes = b"FreeBSD Kernel Dump",
    extent: int | None = None,
) -> bytes:
    """struct kerneldumpheader."""
    head = magic.ljust(20, b"\0") + b"amd64".ljust(12, b"\0")
    head += struct.pack(">IIQQ", version, 2, len(dump), 1700000000)
    head += struct.pack(">I", block) if version == 1 else struct.pack(">II", key, block)
    head += b"crashed.example".ljust(64, b"\0") + VERSION[:-1].ljust(192, b"\0")
    head += b"page fault".ljust({1: 192, 2: 188, 3: 187, 4: 175}[version], b"\0")
    if version > 2:
        head += bytes([compression])
    if version > 3:
        head += struct.pack(">Q", len(dump) if extent is None else extent)
    head = head.ljust(508, b"\0")
    parity = 0
    for (word,) in struct.iter_unpack(">I", head):
        parity ^= word
    return (head + struct.pack(">I", parity)).ljust(block, b"\0")
