"""What a kernel without types says of its structures: the constants proc_off_p_pid and the like, since FreeBSD 10.3.

Source: sys/kern/kern_proc.c, kern_thread.c and kern_linker.c, for debuggers.
"""

from __future__ import annotations

from typing import NamedTuple

from pykvm.errors import KvmError
from pykvm.targets.base import Parts
from pykvm.targets.freebsd.strings import osreldate
from pykvm.types.layout import Field, Types

MAX_OFFSET = 1 << 14
U_CHAR_CPU = 1100000  # osreldate since which CPU numbers are ints


class Told(NamedTuple):
    """The member that a constant is the offset of: its size (0: a pointer's) and type."""

    struct: str
    member: str
    size: int
    type: str


CONSTANTS = {
    "proc_off_p_pid": Told("proc", "p_pid", 4, "pid_t"),
    "proc_off_p_comm": Told("proc", "p_comm", 20, "char [20]"),
    "proc_off_p_list": Told("proc", "p_list.le_next", 0, "struct proc *"),
    "proc_off_p_hash": Told("proc", "p_hash.le_next", 0, "struct proc *"),
    "proc_off_p_threads": Told("proc", "p_threads.tqh_first", 0, "struct thread *"),
    "thread_off_td_tid": Told("thread", "td_tid", 4, "lwpid_t"),
    "thread_off_td_name": Told("thread", "td_name", 20, "char [20]"),
    "thread_off_td_oncpu": Told("thread", "td_oncpu", 4, "int"),
    "thread_off_td_pcb": Told("thread", "td_pcb", 0, "struct pcb *"),
    "thread_off_td_plist": Told("thread", "td_plist.tqe_next", 0, "struct thread *"),
}


def types(parts: Parts, pointer_size: int) -> Types:
    """struct proc and struct thread with the members that are told of; none if the constants are not in the dump."""
    told: dict[str, dict[str, Field]] = {}
    found = Types()
    old = 0 < osreldate(parts) < U_CHAR_CPU
    for name, (struct, member, size, kind) in CONSTANTS.items():
        symbol = parts.symbols.find(name)
        if symbol is None:
            continue
        try:
            offset = parts.memory.read_i32(symbol.value)
        except KvmError:
            continue
        if not 0 <= offset <= MAX_OFFSET:
            return found
        if member == "td_oncpu" and (old or offset % 4):
            size, kind = 1, "u_char"
        told.setdefault(struct, {})[member] = Field(offset, size or pointer_size, kind)
    for struct, fields in told.items():
        # A page of the constants that is not in the dump, but reads as zeros, says 0 of all of them.
        if any(field.offset for field in fields.values()):
            found.add(struct, max(field.offset + field.size for field in fields.values()), fields)
    return found
