"""Stacks of sleeping tasks by ORC, the tables that x86-64 kernels carry to unwind themselves.

Sources: Documentation/arch/x86/orc-unwinder.rst; arch/x86/include/asm/orc_types.h. Two tables, sorted by address:
32-bit distances from each entry to an instruction, and for each what holds from there on: s16 sp_offset,
s16 bp_offset, and 16 bits with 4 of sp_reg, 4 of bp_reg, and a type that changed its numbers in Linux 6.4.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from pykvm.targets.base import Parts
from pykvm.targets.common.columns import Columns
from pykvm.targets.linux.waits.frames import STACK_MAX

if TYPE_CHECKING:
    from pykvm.targets.linux.kernel import Linux

IP_SIZE, ENTRY_SIZE = 4, 6
MAX_ENTRIES = 1 << 24
UNDEFINED, PREV_SP, BP, SP = 0, 1, 4, 5  # ORC_REG_*
# ORC_TYPE_CALL, with all other bits 0: before Linux 6.4, and since.
CALLS = (0, 2)
WORD = 8


class Entry(NamedTuple):
    """How to get from a frame to its caller's."""

    sp_offset: int
    bp_offset: int
    sp_reg: int
    bp_reg: int
    kind: int


def walk(target: Linux, parts: Parts, read: Columns) -> Callable[[int], Iterator[int]] | None:
    """A walk from the frame that __switch_to_asm() left at thread.sp; None if the kernel has no such tables."""
    table = Table.of(parts)
    if table is None or "inactive_task_frame" not in read.types or read.field("task_struct", "stack") is None:
        return None
    saved = read.offset("task_struct", "thread") + read.offset("thread_struct", "sp")
    stack = read.offset("task_struct", "stack")
    frame = read.types.struct("inactive_task_frame")
    bp_at, ret_at, size = frame.offset("bp"), frame.offset("ret_addr"), frame.size
    memory = parts.memory

    def frames(task: int) -> Iterator[int]:
        bottom, sp = memory.read_ptr(task + stack), memory.read_ptr(task + saved)
        top = bottom + STACK_MAX
        if not bottom <= sp < top:
            return
        bp, ip = memory.read_ptr(sp + bp_at), memory.read_ptr(sp + ret_at)
        sp += size
        call = None
        while True:
            yield ip
            entry = table.entry(ip - 1)  # the call, not what follows it
            # The innermost frame is the scheduler's, which is an ordinary one: that tells how they are marked here.
            call = entry.kind if call is None and entry is not None else call
            if entry is None or entry.kind != call or call not in CALLS:
                return
            base = {SP: sp, BP: bp}.get(entry.sp_reg)
            if base is None:
                return
            below, sp = sp, base + entry.sp_offset
            if not below < sp < top:
                return
            if entry.bp_reg == PREV_SP:
                bp = memory.read_ptr(sp + entry.bp_offset)
            elif entry.bp_reg == BP:
                bp = memory.read_ptr(bp + entry.bp_offset)
            elif entry.bp_reg != UNDEFINED:
                return
            ip = memory.read_ptr(sp - WORD)

    return frames


class Table:
    """The tables of one kernel; entries that were looked up are kept."""

    def __init__(self, parts: Parts, ips: int, count: int, entries: int) -> None:
        self._memory = parts.memory
        self._ips, self._count, self._entries = ips, count, entries
        self._known: dict[int, Entry | None] = {}

    @classmethod
    def of(cls, parts: Parts) -> Table | None:
        """By the symbols of the linker script; None if there are none, or they make no sense."""
        names = ("__start_orc_unwind_ip", "__stop_orc_unwind_ip", "__start_orc_unwind", "__stop_orc_unwind")
        found = [parts.symbols.find(name) for name in names]
        start, stop, entries, end = (0 if symbol is None else symbol.value for symbol in found)
        count = (stop - start) // IP_SIZE
        if not 0 < count <= MAX_ENTRIES or end - entries != count * ENTRY_SIZE:
            return None
        return cls(parts, start, count, entries)

    def entry(self, ip: int) -> Entry | None:
        """The entry that holds at an address: the last one at or before it."""
        if ip not in self._known:
            self._known[ip] = self._look_up(ip)
        return self._known[ip]

    def _look_up(self, ip: int) -> Entry | None:
        low, high = 0, self._count
        while low < high:
            middle = (low + high) // 2
            at = self._ips + middle * IP_SIZE
            if at + self._memory.read_i32(at) <= ip:
                low = middle + 1
            else:
                high = middle
        if low == 0:
            return None
        raw = self._memory.read(self._entries + (low - 1) * ENTRY_SIZE, ENTRY_SIZE)
        sp_offset, bp_offset, bits = struct.unpack("<hhH", raw)
        return Entry(sp_offset, bp_offset, bits & 0xF, bits >> 4 & 0xF, bits >> 8)
