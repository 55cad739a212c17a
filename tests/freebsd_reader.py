"""A reader of FreeBSD's dumps for tests of their writers: slow, plain, and knowing nothing of pykvm."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

HEADERS = {  # magic: size of the magic, format of what follows, names
    b"minidump FreeBSD/amd64": (24, "4I3QI", "version msgbuf bitmap pmap kernbase dmapbase dmapend avail"),
    b"minidump DFlyBSD/x86-64": (24, "I4x6Q", "version msgbuf bitmap pmap kernbase dmapbase dmapend"),
    b"minidump FreeBSD/arm64": (
        24, "4I4Q2I", "version msgbuf bitmap pmap kernbase dmapphys dmapbase dmapend avail flags"
    ),
    b"minidump FreeBSD/riscv": (24, "4I4QI", "version msgbuf bitmap pmap kernbase dmapphys dmapbase dmapend avail"),
    b"minidump FreeBSD/i386": (24, "7I", "version msgbuf bitmap pmap kernbase pae avail"),
    b"minidump FreeBSD/arm": (24, "8I", "version msgbuf bitmap pmap kernbase arch mmu avail"),
    b"minidump FreeBSD/mips": (24, "4I3QI", "version msgbuf bitmap pmap kernbase dmapbase dmapend avail"),
    b"minidump FreeBSD/powerpc64": (
        32, "32s4I4QI4x2QI", "mmu version msgbuf bitmap pmap kernbase kernend dmapbase dmapend hw start end avail"
    ),
}  # fmt: skip


class Missing(Exception):
    """Nothing at this address."""


class Pages:
    """Physical memory, by the number of the page."""

    def __init__(self, page: int, order: str) -> None:
        self.page, self.order = page, order
        self.at: dict[int, int] = {}
        self.data = b""

    def read(self, pa: int, size: int) -> bytes:
        out = b""
        while size:
            n, inside = divmod(pa, self.page)
            if n not in self.at:
                raise Missing(f"page {n:#x}")
            step = min(size, self.page - inside)
            out += self.data[self.at[n] + inside : self.at[n] + inside + step]
            pa, size = pa + step, size - step
        return out

    def number(self, pa: int, size: int) -> int:
        return int.from_bytes(self.read(pa, size), "little" if self.order == "<" else "big")


class Minidump(Pages):
    """A minidump; words: bytes of those of dump_avail and of the bitmap."""

    def __init__(self, path: Path, page: int, order: str, word: int, avail_word: int = 8, bitmap_word: int = 8) -> None:
        super().__init__(page, order)
        self.data, self.word = path.read_bytes(), word
        self.magic = next(m for m in sorted(HEADERS, key=len) if self.data.startswith(m + b"\0"))
        skip, form, names = HEADERS[self.magic]
        self.h = dict(zip(names.split(), struct.unpack_from(order + form, self.data, skip), strict=True))
        if self.version < (3 if b"amd64" in self.magic else 2):
            self.h["avail"] = 0
        at = page
        self.parts = {}
        for name in ("msgbuf", "avail", "bitmap", "pmap"):
            size = self.h.get(name, 0)
            self.parts[name] = self.data[at : at + size]
            at += -(-size // page) * page
        self.ranges = self._ranges(avail_word)
        step = {4: "I", 8: "Q"}[bitmap_word]
        words = struct.unpack(f"{order}{len(self.parts['bitmap']) // bitmap_word}{step}", self.parts["bitmap"])
        for i, bits in enumerate(words):
            for bit in range(8 * bitmap_word):
                if bits >> bit & 1:
                    self.at[self._pfn(i * 8 * bitmap_word + bit)] = at
                    at += page
        self.end = at

    @property
    def version(self) -> int:
        return self.h["version"]

    def _ranges(self, word: int) -> list[tuple[int, int]]:
        step = self.order + {4: "II", 8: "QQ"}[word]
        out = []
        for start, end in struct.iter_unpack(step, self.parts["avail"]):
            if not end:
                break
            out.append((start // self.page, -(-end // self.page)))
        return out

    def _pfn(self, bit: int) -> int:
        for first, end in self.ranges:
            if bit < end - first:
                return first + bit
            bit -= end - first
        if self.ranges:
            raise ValueError(f"bit {bit} too many")
        return bit

    def pte(self, index: int, size: int) -> int:
        raw = self.parts["pmap"][index * size : (index + 1) * size]
        if len(raw) < size:
            raise Missing(f"entry {index}")
        return int.from_bytes(raw, "little" if self.order == "<" else "big")

    def physical(self, va: int) -> int:
        """Translate a kernel address, by the machine's rules."""
        h, shift = self.h, self.page.bit_length() - 1
        if b"mips" in self.magic:
            return self._mips(va)
        if b"powerpc" in self.magic:
            return va - h["dmapbase"] if h["dmapbase"] <= va <= h["dmapend"] else self._hashed(va)
        if h.get("dmapbase", 1) <= va < h.get("dmapend", 0):
            return va - h["dmapbase"] + h.get("dmapphys", 0)
        if va < h["kernbase"]:
            raise Missing(f"{va:#x}")
        index, inside = va - h["kernbase"] >> shift, va % self.page
        if b"amd64" in self.magic and self.version > 1:
            return self._directory(self.pte(va - h["kernbase"] >> 21, 8), va)
        if b"DFly" in self.magic:
            entry = self.pte(va >> 30 & 0x3FFFF, 8)
            if not entry & 1:
                raise Missing(f"{va:#x}")
            if entry & 0x80:
                return (entry & 0xFFFFFC0000000) + va % (1 << 30)
            return self._directory(self.number((entry & 0xFFFFFFFFFF000) + (va >> 21 & 511) * 8, 8), va)
        if b"/arm\0" in self.magic + b"\0" and h["mmu"] != 3:
            entry = self.pte(index, 4)
            if entry & 3 == 0:
                raise Missing(f"{va:#x}")
            return (entry & 0xFFFF0000) + va % 65536 if entry & 3 == 1 else (entry & 0xFFFFF000) + inside
        entry = self.pte(index, 4 if b"i386" in self.magic and not h["pae"] else 8)
        if b"riscv" in self.magic:
            if not entry & 1:
                raise Missing(f"{va:#x}")
            return (entry >> 10 & 0xFFFFFFFFFFF) * 4096 + inside
        if b"arm" in self.magic:
            if entry & 3 != 3:
                raise Missing(f"{va:#x}")
            return (entry & 0xFFFFFFFFF000 & -self.page) + inside
        if not entry & 1:
            raise Missing(f"{va:#x}")
        return (entry & 0xFFFFFFFFFF000) + inside

    def _directory(self, entry: int, va: int) -> int:
        if not entry & 1:
            raise Missing(f"{va:#x}")
        if entry & 0x80:
            return (entry & 0xFFFFFFFE00000) + va % (2 << 20)
        entry = self.number((entry & 0xFFFFFFFFFF000) + (va >> 12 & 511) * 8, 8)
        if not entry & 1:
            raise Missing(f"{va:#x}")
        return (entry & 0xFFFFFFFFFF000) + va % 4096

    def _mips(self, va: int) -> int:
        if self.word == 8 and va >> 62 == 2:
            return va & (1 << 59) - 1
        top = 0xFFFFFFFF00000000 if self.word == 8 else 0
        if top | 0x80000000 <= va < top | 0xC0000000:
            return va & 0x1FFFFFFF
        size = len(self.parts["pmap"]) // 4096
        entry_size = self.h.get("entry", self.word)
        index = va - self.h["kernbase"] >> 12
        if not 0 <= index < size * 4096 // entry_size:
            raise Missing(f"{va:#x}")
        entry = self.pte(index, entry_size)
        if not entry & 2:
            raise Missing(f"{va:#x}")
        return (entry >> 6 & (0x7FFFFF if entry_size == 4 else 0xFFFFFFF)) * 4096 + va % 4096

    def _hashed(self, va: int) -> int:
        esid, page = va >> 28, (va & 0xFFFFFFF) >> 12
        vsid = ((esid << 8 | esid >> 28) * 0x13BB) % (1 << 36) + (1 << 36)
        groups = len(self.parts["pmap"]) // 128
        value = (vsid % (1 << 39)) ^ page
        for hid, group in ((0, value % groups), (2, (value ^ (1 << 39) - 1) % groups)):
            for slot in range(8):
                high, low = struct.unpack_from(">2Q", self.parts["pmap"], group * 128 + slot * 16)
                if high & 7 == hid | 1 and high >> 12 & (1 << 50) - 1 == vsid and high >> 7 & 31 == page >> 11:
                    return (low & 0xFFFFFFFFFFFF000) + va % 4096
        raise Missing(f"{va:#x}")

    def kernel(self, va: int, size: int) -> bytes:
        """Bytes at a kernel address."""
        out = b""
        while size:
            step = min(size, self.page - va % self.page)
            out += self.read(self.physical(va), step)
            va, size = va + step, size - step
        return out


class Full(Pages):
    """A full dump, and page tables in it: (shift, bits) from the root down, what a leaf and its address are."""

    def __init__(self, path: Path, wide: bool) -> None:
        super().__init__(4096, "<")
        self.data = path.read_bytes()
        self.identity = self.data[:16]
        head = struct.unpack_from("<HHIQQQIHHHHHH" if wide else "<HHIIIIIHHHHHH", self.data, 16)
        self.kind, self.machine, phoff, self.count = head[0], head[1], head[4], head[9]
        self.delta: tuple[int, int] | None = None
        for i in range(self.count):
            if wide:
                kind, _, offset, vaddr, paddr, size, *_rest = struct.unpack_from("<IIQQQQQQ", self.data, phoff + 56 * i)
            else:
                kind, offset, vaddr, paddr, size, *_rest = struct.unpack_from("<8I", self.data, phoff + 32 * i)
            if kind == 0x6FB5D000:
                self.delta = vaddr, paddr
                continue
            assert (kind, vaddr, offset % 4096) == (1, paddr, 0)
            for n in range(size // 4096):
                self.at[paddr // 4096 + n] = offset + n * 4096
            assert offset + size <= len(self.data)

    def walk(self, root: int, va: int, kind: str) -> int:
        """Translate by the tables of amd64, la57, i386, pae or arm."""
        if kind == "arm":
            return self._arm(root, va)
        steps = {"amd64": (39, 30, 21, 12), "la57": (48, 39, 30, 21, 12), "i386": (22, 12), "pae": (30, 21, 12)}[kind]
        size = 4 if kind == "i386" else 8
        table = root
        for shift in steps:
            index = va >> shift & (1 << (10 if kind == "i386" else 2 if (kind, shift) == ("pae", 30) else 9)) - 1
            entry = self.number(table + index * size, size)
            if not entry & 1:
                raise Missing(f"{va:#x}")
            large = shift in (21, 22, 30) and (kind, shift) != ("pae", 30) and entry & 0x80
            if shift == 12 or large:
                return (entry & 0xFFFFFFFFFFFFF & -(1 << shift)) + va % (1 << shift)
            table = entry & 0xFFFFFFFFFF000
        raise AssertionError

    def _arm(self, root: int, va: int) -> int:
        first = self.number(root + (va >> 20) * 4, 4)
        if first & 2:  # bit 0 is PXN
            return (first & 0xFFF00000) + va % (1 << 20)
        if first & 3 != 1:
            raise Missing(f"{va:#x}")
        entry = self.number((first & 0xFFFFFC00) + (va >> 12 & 255) * 4, 4)
        if not entry & 3:
            raise Missing(f"{va:#x}")
        return (entry & 0xFFFF0000) + va % 65536 if entry & 3 == 1 else (entry & 0xFFFFF000) + va % 4096

    def virtual(self, root: int, va: int, size: int, kind: str) -> bytes:
        """Bytes at a virtual address."""
        out = b""
        while size:
            step = min(size, 4096 - va % 4096)
            out += self.read(self.walk(root, va, kind), step)
            va, size = va + step, size - step
        return out


class Structures:
    """Members of structures, by the layouts that the writer tells."""

    def __init__(self, layouts: Mapping[str, tuple[int, Mapping[str, tuple[int, str]]]], read, order: str, word: int):
        self.layouts, self.read, self.order, self.word = layouts, read, order, word

    def number(self, va: int, size: int) -> int:
        return int.from_bytes(self.read(va, size), "little" if self.order == "<" else "big")

    def get(self, at: int, kind: str, *path: str, size: int | None = None) -> int:
        for part in path:
            offset, kind = self.layouts[kind][1][part]
            at += offset
        known = {"int": 4, "u_int": 4, "u_char": 1, "char": 1, "u_short": 2, "uint64_t": 8, "int64_t": 8, "uint32_t": 4}
        return self.number(at, size or known.get(kind, self.word))

    def bytes(self, at: int, kind: str, member: str, size: int) -> bytes:
        return self.read(at + self.layouts[kind][1][member][0], size)

    def string(self, at: int, limit: int = 300) -> bytes:
        out = b""
        while not out.endswith(b"\0") and len(out) < limit:
            out += self.read(at + len(out), 1)
        return out[:-1]
