"""pykvm, measured as the others are."""

from __future__ import annotations

from array import array

from serve import Dump, Task, serve

import pykvm


class Ours(Dump):
    """pykvm.Kvm."""

    def __init__(self, dump: str, vmlinux: str | None = None) -> None:
        self.kd = pykvm.Kvm(dump)
        self.read_u64 = self.kd.read_u64
        self.symbol = self.kd.symbol
        self.physical = self.kd.read_phys

    def gather(self, addrs: array[int]) -> None:
        self.kd.gather(addrs, 8)

    def walk(self, head: int) -> int:
        return len(self.kd.walk_list(head, 0)) - 1

    def pages(self, addrs: list[int], size: int) -> None:
        read = self.kd.read_phys
        for addr in addrs:
            read(addr, size)

    def bulk(self, pieces: list[tuple[int, int, int]]) -> None:
        """Into one buffer, through the direct map: physical memory can only be had as bytes."""
        read = self.kd.readinto
        buf = memoryview(bytearray(max(size for _, _, size in pieces)))
        for _, addr, size in pieces:
            read(addr, buf[:size])

    def bulk_bytes(self, pieces: list[tuple[int, int, int]]) -> None:
        read = self.kd.read_phys
        for addr, _, size in pieces:
            read(addr, size)

    def tasks(self) -> list[Task]:
        return [(p.pid, p.ppid, p.uid, p.comm) for p in self.kd.processes()]


if __name__ == "__main__":
    serve(Ours)
