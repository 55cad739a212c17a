"""The thread that dumped: its registers are in dumppcb, a struct pcb."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pykvm.errors import KvmError
from pykvm.records import text
from pykvm.targets.base import Parts
from pykvm.targets.common.columns import Columns
from pykvm.targets.freebsd import dumper
from pykvm.targets.freebsd.procs.names import within
from pykvm.targets.freebsd.strings import osreldate
from pykvm.types.decode import CODES

if TYPE_CHECKING:
    from pykvm.targets.freebsd.family import Family

NEW_ARM64 = 1400000  # osreldate about which arm64's struct pcb lost the registers that no function keeps
MAX_REGISTER = 8


@dataclass(frozen=True)
class Pcb:
    """Where a machine keeps registers: by members of struct pcb, and by offset where there are no types."""

    members: Mapping[str, str]
    offsets: Mapping[str, int]


X86_64 = ("r15", "r14", "r13", "r12", "rbp", "rsp", "rbx", "rip")
I386 = ("edi", "esi", "ebp", "esp", "ebx", "eip")
RISCV = ("ra", "sp", "gp", "tp")
# sys/*/include/pcb.h. The order in memory is not that of all releases, but of those whose dumps come without types.
PCBS = {
    "x86_64": Pcb({name: f"pcb_{name}" for name in X86_64}, {name: 8 * i for i, name in enumerate(X86_64)}),
    "i386": Pcb({name: f"pcb_{name}" for name in I386}, {}),
    "aarch64": Pcb(
        {"sp": "pcb_sp", "lr": "pcb_lr"},
        {**{f"x{i}": 8 * i for i in range(30)}, "lr": 240, "sp": 256},
    ),
    "arm": Pcb({"sp": "pcb_regs.sf_sp", "pc": "pcb_regs.sf_pc"}, {}),
    "riscv64": Pcb({name: f"pcb_{name}" for name in RISCV}, {}),
    "powerpc64": Pcb({"sp": "pcb_sp", "lr": "pcb_lr", "cr": "pcb_cr"}, {}),
}
ARRAY = {"aarch64": ("pcb_x", "x")}  # registers that are an array, and how they are called
FIRST_KEPT = 19  # of arm64's, where the array has those only that functions keep


def registers(target: Family, parts: Parts) -> dict[str, int]:
    """Name to value; empty where the kernel has no dumppcb, or its layout is not known."""
    found = parts.symbols.find("dumppcb")
    pcb = PCBS.get(target.machine)
    if found is None or pcb is None:
        return {}
    if "pcb" in target.types:
        return _typed(target, parts, found.value, pcb)
    if target.machine == "aarch64" and osreldate(parts) >= NEW_ARM64:
        return {}
    word = struct.Struct(("<" if target.byteorder == "little" else ">") + CODES[target.pointer_size])
    return {name: word.unpack(parts.memory.read(found.value + at, word.size))[0] for name, at in pcb.offsets.items()}


def _typed(target: Family, parts: Parts, at: int, pcb: Pcb) -> dict[str, int]:
    layout = target.types.struct("pcb")
    order: Any = target.byteorder
    places = {name: layout.field(member) for name, member in pcb.members.items() if member in layout}
    array, prefix = ARRAY.get(target.machine, ("", ""))
    if array and array in layout:
        whole = layout.field(array)
        count = min(whole.size // target.pointer_size, 31)
        first = 0 if count >= 29 else FIRST_KEPT
        for i in range(count):
            places[f"{prefix}{first + i}"] = layout.field(f"{array}[{i}]")
    return {
        name: int.from_bytes(parts.memory.read(at + field.offset, field.size), order)
        for name, field in places.items()
        if field.size <= MAX_REGISTER
    }


def facts(target: Family, parts: Parts) -> dict[str, Any]:
    """The thread that dumped (since 12 its number is in dumptid), its process, and its registers."""
    found: dict[str, Any] = {}
    with contextlib.suppress(KvmError):
        found.update(_thread(target, parts))
    try:
        values = registers(target, parts)
    except KvmError:
        values = {}
    if any(values.values()):
        found["panic registers"] = values
    return found


def _thread(target: Family, parts: Parts) -> dict[str, Any]:
    found = dumper.find(target, parts)
    if found is None:
        return {}
    if found.proc is None:
        return {"panic tid": found.tid}
    read = Columns.of(target, parts)
    (pid,) = read.member([found.proc], "proc", "p_pid", signed=True)
    (name,) = within(read, [found.proc], "proc", "p_comm")
    return {"panic tid": found.tid, "panic pid": pid, "panic command": None if name is None else text(name)}
