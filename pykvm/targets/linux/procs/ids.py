"""Who a process is: pid, parent, group, session; user and group ids.

Source: fs/proc/array.c, which takes the ids of real_cred, and numbers of the first PID namespace (struct pid's
numbers[0]).
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pykvm.errors import KvmError
from pykvm.targets.common.columns import Column, Member

if TYPE_CHECKING:
    from pykvm.targets.linux.procs.batch import Batch

NGROUPS_MAX = 65536  # of one process
MAX_GROUPS = 1 << 22  # of all processes
# enum pid_type, where the types do not tell: since Linux 4.19, when thread groups got one of their own, and before.
PIDTYPES = {"PIDTYPE_PGID": 2, "PIDTYPE_SID": 3}
OLD_PIDTYPES = {"PIDTYPE_PGID": 1, "PIDTYPE_SID": 2}

MEMBERS = {
    "pid": Member("task", "task_struct", ("tgid",), signed=True),
    "parent": Member("task", "task_struct", ("real_parent",)),
    "ppid": Member("parent", "task_struct", ("tgid",), signed=True),
    "signal": Member("task", "task_struct", ("signal",)),
    "cred": Member("task", "task_struct", ("real_cred", "cred")),
    "uid": Member("cred", "cred", ("euid.val", "euid")),
    "ruid": Member("cred", "cred", ("uid.val", "uid")),
    "svuid": Member("cred", "cred", ("suid.val", "suid")),
    "gid": Member("cred", "cred", ("egid.val", "egid")),
    "rgid": Member("cred", "cred", ("gid.val", "gid")),
    "svgid": Member("cred", "cred", ("sgid.val", "sgid")),
    "group_info": Member("cred", "cred", ("group_info",)),
    "leader": Member("signal", "signal_struct", ("leader",)),
}


def groups(batch: Batch) -> dict[str, Sequence[Any]]:
    """The supplementary groups, each group_info read once."""
    read, infos = batch.read, batch["group_info"]
    distinct = [a for a in dict.fromkeys(infos) if a]
    sizes = read.member(distinct, "group_info", "ngroups", signed=True)
    start = read.offset("group_info", "gid")
    known: dict[int | None, list[int] | None] = {}
    room = MAX_GROUPS
    for addr, size in zip(distinct, sizes, strict=True):
        if size is None or not 0 <= size <= NGROUPS_MAX:
            continue
        room -= size
        if room < 0:
            raise KvmError(f"group_info: more than {MAX_GROUPS} supplementary groups in all")
        try:
            data = read.memory.read(addr + start, 4 * size)
        except KvmError:
            continue
        known[addr] = list(struct.unpack(f"{read.order}{size}I", data))
    return {"groups": [known.get(a) for a in infos]}


def pids(batch: Batch) -> dict[str, Sequence[Any]]:
    """Process group and session, and the address of the session's struct pid."""
    group, session = struct_pids(batch, batch["task"], batch["signal"])
    return {"pgid": numbers(batch, group), "sid": numbers(batch, session), "session": session}


def struct_pids(batch: Batch, tasks: Column, signals: Column) -> tuple[Column, Column]:
    """The struct pid of the group and of the session of each task."""
    read = batch.read
    field = read.field("signal_struct", "pids")
    if field is not None:
        base, step, types = signals, read.pointer_size, PIDTYPES
        offset = field.offset
    else:  # before Linux 4.19: in the task
        link = read.types.struct("pid_link")
        base, step, types = tasks, link.size, OLD_PIDTYPES
        offset = read.offset("task_struct", "pids") + link.offset("pid")
    group, session = (
        read.pointers(base, offset + step * (read.types.constant(name, usual) or usual))
        for name, usual in types.items()
    )
    return group, session


def numbers(batch: Batch, addrs: Column) -> Column:
    """The number of each struct pid, as the first PID namespace has it."""
    offset = batch.read.offset("pid", "numbers") + batch.read.offset("upid", "nr")
    return batch.read.ints(addrs, offset, 4, signed=True)


def jobc(batch: Batch) -> dict[str, Sequence[Any]]:
    """BSD's pg_jobc: how many members of the process's group have a parent in another group of the same session. A
    group without any is orphaned; the dead do not count."""
    whole = batch.whole
    parents = whole["parent"]
    signals = whole.read.member(parents, "task_struct", "signal")
    group, session = (numbers(whole, column) for column in struct_pids(whole, parents, signals))
    rows = zip(whole["pgid"], whole["sid"], group, session, whole["exit_state"], strict=True)
    count = Counter(pgid for pgid, sid, other, theirs, dead in rows if not dead and other != pgid and theirs == sid)
    return {"jobc": [count[pgid] for pgid in batch["pgid"]]}


MAKERS = {"groups": groups, "pgid sid session": pids, "jobc": jobc}
