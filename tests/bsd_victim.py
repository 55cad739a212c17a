"""A dump of NetBSD or OpenBSD whose bytes can be others for a while: for the tests of hostile input."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pykvm_fixtures.bsd import BsdDump, write_netbsd, write_openbsd
from triage import poke

import pykvm


class Victim:
    """A dump whose bytes can be others for a while."""

    def __init__(self, dump: BsdDump) -> None:
        self.dump = dump
        with pykvm.Kvm(dump.core, dump.kernel) as kd:
            self.pa = {va: kd.translate(va) for va in self._places()}
        self.symbols, self.a = dump.symbols, dump.addresses

    def _places(self) -> list[int]:
        a = self.dump.addresses
        found = [*a.procs.values(), *a.threads.values(), *a.creds.values(), *a.vmspaces.values(), *a.sessions.values()]
        return [*found, self.dump.facts.msgbuf]

    def member(self, kind: str, *path: str) -> int:
        offset = 0
        for name in path:
            at, kind = self.dump.layouts[kind][1][name]
            offset += at
        return offset

    def offset(self, pa: int) -> int:
        """Of a physical address in the file."""
        if self.dump.placed.linear:
            return self.dump.placed.memory + pa
        at = self.dump.placed.memory
        for start, size in self.dump.placed.segments:
            if start <= pa < start + size:
                return at + pa - start
            at += size
        raise ValueError(f"{pa:#x} is not in the dump")

    def where(self, va: int) -> int:
        with pykvm.Kvm(self.dump.core, self.dump.kernel) as kd:
            return self.offset(kd.translate(va))

    def user(self, pid: int, va: int) -> int:
        """Of an address of a process, by its page tables."""
        with pykvm.Kvm(self.dump.core, self.dump.kernel) as kd:
            memory = kd.target.space(kd.parts, self.a.vmspaces[pid])  # type: ignore[attr-defined]
            pa = memory.translate(va)
            memory.detach()
        return self.offset(pa)

    @contextmanager
    def lying(self, offset: int, data: bytes) -> Iterator[Any]:
        """The handle of a dump with these bytes in the file."""
        with open(self.dump.core, "rb") as f:
            f.seek(offset)
            was = f.read(len(data))
        poke(self.dump.core, offset, data)
        try:
            with pykvm.Kvm(self.dump.core, self.dump.kernel) as kd:
                yield kd
        finally:
            poke(self.dump.core, offset, was)

    def word(self, value: int) -> bytes:
        return (value & (1 << 8 * self.dump.word) - 1).to_bytes(self.dump.word, self.dump.order)


def made(directory: Path, system: str, machine: str) -> Victim:
    write = write_netbsd if system == "NetBSD" else write_openbsd
    return Victim(write(directory, machine, pack_types=False))
