"""A child's side of the bench: a line of JSON asks for a measurement, a line answers it.

Only the standard library: this runs under whatever Python has the library that is measured.
"""

from __future__ import annotations

import json
import sys
import time
import zlib
from array import array
from collections.abc import Callable, Sequence
from typing import Any

SAMPLE = 64
PARTS = 20
KTHREADD = 2
Task = tuple[int, int, int, str]


class Dump:
    """An open dump. The loops are inside the clock, so each library has them as its users would write them."""

    read_u64: Callable[[int], int]
    physical: Callable[[int, int], Any]
    symbol: Callable[[str], int]

    def __init__(self, dump: str, vmlinux: str | None = None) -> None:
        raise NotImplementedError

    def words(self, addrs: list[int]) -> None:
        """The 8-byte number at each address, one call each."""
        read = self.read_u64
        for addr in addrs:
            read(addr)

    def gather(self, addrs: array[int]) -> None:
        """The same in one call."""
        raise NotImplementedError

    def chase(self, head: int) -> int:
        """Follow a circular list by single reads; the elements beside the head."""
        read = self.read_u64
        count, at = 0, read(head)
        while at != head:
            count += 1
            at = read(at)
        return count

    def walk(self, head: int) -> int:
        """The same in one call."""
        raise NotImplementedError

    def pages(self, addrs: list[int], size: int) -> None:
        """Physical pages, one call each."""
        raise NotImplementedError

    def bulk(self, pieces: list[tuple[int, int, int]]) -> None:
        """Large pieces of memory: physical address, the same in the direct map, bytes."""
        raise NotImplementedError

    def bulk_bytes(self, pieces: list[tuple[int, int, int]]) -> None:
        """The same as bytes of physical memory, where bulk() has a faster way."""
        raise NotImplementedError

    def symbols(self, names: list[str]) -> None:
        """Look up each."""
        symbol = self.symbol
        for name in names:
            symbol(name)

    def tasks(self) -> list[Task]:
        """pid, ppid, effective uid and comm of every process."""
        raise NotImplementedError

    def threads(self) -> list[Task]:
        """The same of every thread."""
        raise NotImplementedError


class Server:
    """The measurements. Each answers the seconds of all its parts, so that the parent can take the best of each, and
    a "check", which must be the same for all who measure it."""

    def __init__(self, kind: type[Dump]) -> None:
        self.kind = kind
        self.open: dict[tuple[str, str | None], Dump] = {}

    def kept(self, dump: str, vmlinux: str | None = None) -> Dump:
        """A dump that stays open."""
        if (dump, vmlinux) not in self.open:
            self.open[dump, vmlinux] = self.kind(dump, vmlinux)
        return self.open[dump, vmlinux]

    def words(self, dump: str, addrs: str) -> dict[str, Any]:
        """Numbers at addresses, one call each."""
        found, table = self.kept(dump), numbers(addrs).tolist()
        return answer(clocks(found.words, table), sum(map(found.read_u64, some(table))))

    def gather(self, dump: str, addrs: str) -> dict[str, Any]:
        """Numbers at addresses in one call."""
        found, table = self.kept(dump), numbers(addrs)
        return answer(clocks(found.gather, table), sum(map(found.read_u64, some(table))))

    def chase(self, dump: str, head: int, times: int) -> dict[str, Any]:
        """A list, so many times."""
        return self._list(self.kept(dump).chase, head, times)

    def walk(self, dump: str, head: int, times: int) -> dict[str, Any]:
        """A list, so many times, each in one call."""
        return self._list(self.kept(dump).walk, head, times)

    def _list(self, call: Callable[[int], int], head: int, times: int) -> dict[str, Any]:
        count = call(head)
        return answer([clock(call, head) for _ in range(times)], count)

    def pages(self, dump: str, addrs: str, size: int) -> dict[str, Any]:
        """Pages, through a dump that has just been opened."""
        table, found = numbers(addrs).tolist(), self.kind(dump)
        found.physical(table[0], 8)
        took = clocks(found.pages, table[1:], size)
        return answer(took, crc(found, [(addr, size) for addr in some(table)]))

    def bulk(self, dump: str, pieces: str, times: int, what: str = "bulk") -> dict[str, Any]:
        """Pieces, through a dump that has just been opened: the fastest of so many passes."""
        flat = numbers(pieces).tolist()
        table = list(zip(flat[::3], flat[1::3], flat[2::3], strict=True))
        found = self.kind(dump)
        found.physical(table[0][0], 8)
        passes = [clocks(getattr(found, what), table) for _ in range(times)]
        took = [min(part) for part in zip(*passes, strict=True)]
        return answer(took, crc(found, [(addr, size) for addr, _, size in some(table)]))

    def bulk_bytes(self, dump: str, pieces: str, times: int) -> dict[str, Any]:
        """As bulk, in the slower of two ways."""
        return self.bulk(dump, pieces, times, "bulk_bytes")

    def first_symbol(self, dump: str, name: str) -> dict[str, Any]:
        """Open a dump and look up a name."""
        start = time.perf_counter()
        value = self.kind(dump).symbol(name)
        return answer([time.perf_counter() - start], value)

    def symbols(self, dump: str, names: str, vmlinux: str | None = None) -> dict[str, Any]:
        """Names, each once."""
        found = self.kept(dump, vmlinux)
        with open(names) as f:
            table = f.read().split()
        found.symbol(table[0])
        return answer(clocks(found.symbols, table), sum(map(found.symbol, some(table))))

    def tasks(self, dump: str, times: int, vmlinux: str | None = None) -> dict[str, Any]:
        """All processes: the fastest of so many times."""
        found = self.kept(dump, vmlinux)
        return answer([min(clock(found.tasks) for _ in range(times))], sorted(map(plain, found.tasks())))

    def threads(self, dump: str, times: int, vmlinux: str | None = None) -> dict[str, Any]:
        """All threads: the fastest of so many times."""
        found = self.kept(dump, vmlinux)
        return answer([min(clock(found.threads) for _ in range(times))], None)


def numbers(path: str) -> array[int]:
    """The unsigned 64-bit numbers in a file."""
    with open(path, "rb") as f:
        return array("Q", f.read())


def some(table: Sequence[Any]) -> Sequence[Any]:
    """A sample of a table."""
    return table[:: max(1, len(table) // SAMPLE)]


def plain(task: Task) -> Task:
    """A task without the name that pykvm, as /proc, gives a kernel thread beyond its comm of 15 bytes."""
    return task if task[1] not in (0, KTHREADD) else (*task[:3], "")


def crc(dump: Dump, pieces: list[tuple[int, int]]) -> int:
    """One number for what some pieces of physical memory hold."""
    found = 0
    for addr, size in pieces:
        found = zlib.crc32(dump.physical(addr, size), found)
    return found


def clock(call: Callable[..., Any], *args: Any) -> float:
    """Seconds of a call."""
    start = time.perf_counter()
    call(*args)
    return time.perf_counter() - start


def clocks(call: Callable[..., Any], table: Sequence[Any], *args: Any) -> list[float]:
    """Seconds of a call on each part of a table."""
    size = -(-len(table) // PARTS)
    return [clock(call, table[i : i + size], *args) for i in range(0, len(table), size)]


def answer(seconds: list[float], check: Any) -> dict[str, Any]:
    """What a measurement says."""
    return {"seconds": seconds, "check": check}


def serve(kind: type[Dump]) -> None:
    """Answer until the parent hangs up."""
    server = Server(kind)
    out, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            found = getattr(server, asked.pop("job"))(**asked)
        except Exception as error:
            found = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(found), file=out, flush=True)
