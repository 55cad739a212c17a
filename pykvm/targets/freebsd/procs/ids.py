"""Who a process is: pid, parent, group, session; user and group ids; jail; terminal.

Source: fill_kinfo_proc_only() of sys/kern/kern_proc.c.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pykvm.errors import KvmError
from pykvm.records import text
from pykvm.targets.common.columns import Member
from pykvm.targets.freebsd.procs.numbers import P_CONTROLT, P_TRACED, PRS_ZOMBIE

if TYPE_CHECKING:
    from pykvm.targets.freebsd.procs.batch import Batch

NGROUPS_MAX = 65536  # of one process
MAX_GROUPS = 1 << 22  # of all processes
MAX_LOGIN = 256

# What DragonFly has as it was in FreeBSD 4, too.
SHARED = {
    "parent": Member("proc", "proc", ("p_pptr",)),
    "parent_pid": Member("parent", "proc", ("p_pid",), signed=True),
    "cred": Member("proc", "proc", ("p_ucred",)),
    "uid": Member("cred", "ucred", ("cr_uid",)),
    "ruid": Member("cred", "ucred", ("cr_ruid",)),
    "svuid": Member("cred", "ucred", ("cr_svuid",)),
    "rgid": Member("cred", "ucred", ("cr_rgid",)),
    "svgid": Member("cred", "ucred", ("cr_svgid",)),
    "prison": Member("cred", "ucred", ("cr_prison",)),
    "jid": Member("prison", "prison", ("pr_id",), signed=True),
    "pgrp": Member("proc", "proc", ("p_pgrp",)),
    "pgid": Member("pgrp", "pgrp", ("pg_id",), signed=True),
    "session": Member("pgrp", "pgrp", ("pg_session",)),
    "sid": Member("session", "session", ("s_sid",), signed=True),
    "leader": Member("session", "session", ("s_leader",)),
    "ttyvp": Member("session", "session", ("s_ttyvp",)),
    "s_ttyp": Member("session", "session", ("s_ttyp",)),
    "t_dev": Member("tty", "tty", ("t_dev",)),
    "t_pgrp": Member("tty", "tty", ("t_pgrp",)),
    "tty_pgid": Member("t_pgrp", "pgrp", ("pg_id",), signed=True),
    "tty_session": Member("tty", "tty", ("t_session",)),
    "tsid": Member("tty_session", "session", ("s_sid",), signed=True),
}
MEMBERS = {
    **SHARED,
    "pid": Member("proc", "proc", ("p_pid",), signed=True),
    # The real parent: of all processes since 12, of traced ones before.
    "oppid": Member("proc", "proc", ("p_oppid",), signed=True),
    "cr_flags": Member("cred", "ucred", ("cr_flags",)),
    "pg_jobc": Member("pgrp", "pgrp", ("pg_jobc",), signed=True),  # up to 13
}


def parents(batch: Batch) -> dict[str, Sequence[Any]]:
    """The parent, whom a debugger does not take the place of; the debugger."""
    rows = zip(batch["parent"], batch["parent_pid"], batch["oppid"], batch["flags"], strict=True)
    ppid: list[int | None] = []
    tracer: list[int | None] = []
    for parent, pid, own, flags in rows:
        ppid.append(0 if parent == 0 else own or pid)
        tracer.append(None if flags is None else pid if parent and flags & P_TRACED else 0)
    return {"ppid": ppid, "tracer": tracer}


def groups(batch: Batch) -> dict[str, Sequence[Any]]:
    """The effective group id, and all groups, which it is the first of. Each ucred is read once."""
    read, creds = batch.read, batch["cred"]
    known: dict[int | None, list[int] | None] = {}
    field = read.field("ucred", "cr_groups")
    distinct = [a for a in dict.fromkeys(creds) if a] if field is not None else []
    if field is not None:
        counts = read.member(distinct, "ucred", "cr_ngroups", signed=True)
        # An array in struct ucred up to 7; since 15 without the effective group, which is cr_gid.
        own = field.type.endswith("]")
        starts = [a + field.offset for a in distinct] if own else read.pointers(distinct, field.offset)
        apart = "cr_gid" in read.types.struct("ucred")
        firsts = read.member(distinct, "ucred", "cr_gid")
        room = MAX_GROUPS
        for addr, count, start, first in zip(distinct, counts, starts, firsts, strict=True):
            if count is None or start is None or not 0 <= count <= NGROUPS_MAX or (apart and first is None):
                continue
            room -= count
            if room < 0:
                raise KvmError(f"ucred: more than {MAX_GROUPS} groups in all")
            try:
                data = read.memory.read(start, 4 * count) if count else b""
            except KvmError:
                continue
            numbers = list(struct.unpack(f"{read.order}{count}I", data))
            known[addr] = [first, *numbers] if first is not None else numbers
    found = [known.get(a) for a in creds]
    return {"groups": found, "gid": [g[0] if g else None for g in found]}


def login(batch: Batch) -> dict[str, Sequence[Any]]:
    """What setlogin(2) said, of the session."""
    read, sessions = batch.read, batch["session"]
    field = read.field("session", "s_login")
    if field is None or not 0 < field.size <= MAX_LOGIN:
        return {"raw_login": [None] * len(sessions), "login": [None] * len(sessions)}
    raw = [b if b is None else b.split(b"\0", 1)[0] for b in read.blocks(sessions, field.offset, field.size)]
    return {"raw_login": raw, "login": [None if name is None else text(name) for name in raw]}


def terminals(batch: Batch) -> dict[str, Sequence[Any]]:
    """The controlling terminal, and the group in its foreground. Its number is that of devfs's inode."""
    rows = zip(batch["flags"], batch["s_ttyp"], strict=True)
    ttys = [tty if flags is not None and flags & P_CONTROLT else 0 for flags, tty in rows]
    batch.known["tty"] = ttys
    read = batch.read
    inside = read.field("cdev_priv", "cdp_c")
    devices = batch["t_dev"]
    if inside is None or read.field("cdev_priv", "cdp_inode") is None:
        numbers: Sequence[int | None] = [None] * len(ttys)
    else:
        numbers = read.member([d - inside.offset if d else d for d in devices], "cdev_priv", "cdp_inode")
    return {"tty": ttys, "tdev": [n if tty and d else None for n, tty, d in zip(numbers, ttys, devices, strict=True)]}


def foreground(batch: Batch) -> dict[str, Sequence[Any]]:
    """The group in the foreground of the terminal."""
    return {"tpgid": [g if tty else None for g, tty in zip(batch["tty_pgid"], batch["tty"], strict=True)]}


def jobc(batch: Batch) -> dict[str, Sequence[Any]]:
    """pg_jobc; since 14 counted when asked for: the members of the group whose parent is in another group of the same
    session (pgrp_calc_jobc())."""
    if batch.read.field("pgrp", "pg_jobc") is not None:
        return {"jobc": batch["pg_jobc"]}
    whole = batch.whole
    places = {pid: i for i, pid in enumerate(whole["pid"])}
    groups_of, sessions = whole["pgid"], whole["sid"]
    count: Counter[int | None] = Counter()
    for pgid, sid, ppid, state in zip(groups_of, sessions, whole["ppid"], whole["state"], strict=True):
        parent = places.get(ppid)
        if state != PRS_ZOMBIE and parent is not None and groups_of[parent] != pgid and sessions[parent] == sid:
            count[pgid] += 1
    return {"jobc": [count[pgid] for pgid in batch["pgid"]]}


MAKERS = {
    "ppid tracer": parents,
    "groups gid": groups,
    "raw_login login": login,
    "tty tdev": terminals,
    "tpgid": foreground,
    "jobc": jobc,
}
