"""libkdumpfile's own Python module."""

from __future__ import annotations

from kdumpfile import KDUMP_KVADDR, KDUMP_MACHPHYSADDR, kdumpfile
from serve import Dump, serve


class Kdumpfile(Dump):
    """kdumpfile.kdumpfile. It reads bytes: a number is made of them, as the others hand one out."""

    def __init__(self, dump: str, vmlinux: str | None = None) -> None:
        self.file = kdumpfile(dump)
        self.file.attr["addrxlat.ostype"] = "linux"

    def read_u64(self, addr: int) -> int:
        return int.from_bytes(self.file.read(KDUMP_KVADDR, addr, 8), "little")

    def physical(self, addr: int, size: int) -> bytearray:
        return self.file.read(KDUMP_MACHPHYSADDR, addr, size)

    def words(self, addrs: list[int]) -> None:
        read, kind, number = self.file.read, KDUMP_KVADDR, int.from_bytes
        for addr in addrs:
            number(read(kind, addr, 8), "little")

    def chase(self, head: int) -> int:
        read, kind, number = self.file.read, KDUMP_KVADDR, int.from_bytes
        count, at = 0, number(read(kind, head, 8), "little")
        while at != head:
            count += 1
            at = number(read(kind, at, 8), "little")
        return count

    def pages(self, addrs: list[int], size: int) -> None:
        read, kind = self.file.read, KDUMP_MACHPHYSADDR
        for addr in addrs:
            read(kind, addr, size)

    def bulk(self, pieces: list[tuple[int, int, int]]) -> None:
        read, kind = self.file.read, KDUMP_MACHPHYSADDR
        for addr, _, size in pieces:
            read(kind, addr, size)


if __name__ == "__main__":
    serve(Kdumpfile)
