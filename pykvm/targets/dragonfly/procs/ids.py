"""Who a process is: pid, parent, group, session; user and group ids; jail; terminal; names.

Source: fill_kinfo_proc() and fill_kinfo_proc_kthread() of sys/kern/kern_kinfo.c. Of a thread of the kernel DragonFly
says that its pid is -1; it has no user.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pykvm.errors import FormatError
from pykvm.records import text
from pykvm.targets.common.columns import Column, Member
from pykvm.targets.dragonfly.procs.numbers import NOUDEV, P_CONTROLT, kernel_process
from pykvm.targets.freebsd.procs import ids
from pykvm.types.decode import element

if TYPE_CHECKING:
    from pykvm.targets.dragonfly.procs.batch import Batch

MAX_GROUPS = 1024  # NGROUPS is 16
NO_PID = -1

MEMBERS = {
    **ids.SHARED,
    "p_pid": Member("proc", "proc", ("p_pid",), signed=True),
    "oppid": Member("proc", "proc", ("p_oppid",), signed=True),
    "p_flags": Member("proc", "proc", ("p_flags", "p_flag")),
    "ngroups": Member("cred", "ucred", ("cr_ngroups",), signed=True),
    "jobc": Member("pgrp", "pgrp", ("pg_jobc",), signed=True),
    # devfs's number of the device; before devfs (2.6) it had one of its own.
    "device": Member("t_dev", "cdev", ("si_inode", "si_udev")),
    "major": Member("t_dev", "cdev", ("si_umajor",)),
    "minor": Member("t_dev", "cdev", ("si_uminor",)),
}


def pids(batch: Batch) -> dict[str, Sequence[Any]]:
    """The pid; the parent, whom a debugger does not take the place of: kp_ppid is -1 where there is none."""
    rows = list(zip(batch["proc"], batch["parent"], batch["parent_pid"], batch["oppid"], strict=True))
    kp_ppid = [None if not proc else own or (pid if parent else NO_PID) for proc, parent, pid, own in rows]
    return {
        "pid": [pid if proc else NO_PID for proc, pid in zip(batch["proc"], batch["p_pid"], strict=True)],
        "kp_ppid": kp_ppid,
        "ppid": [0 if row[0] and row[1] == 0 and not row[3] else ppid for row, ppid in zip(rows, kp_ppid, strict=True)],
    }


def kernels(batch: Batch) -> dict[str, Sequence[Any]]:
    """1 for processes of the kernel and for its threads."""
    rows = zip(batch["proc"], batch["pid"], batch["p_flags"], strict=True)
    return {"kernel": [int(not proc or kernel_process(pid, flags or 0)) for proc, pid, flags in rows]}


def groups(batch: Batch) -> dict[str, Sequence[Any]]:
    """All groups, the first of which is the effective one: cr_groups is an array, of which cr_ngroups are used."""
    read, creds = batch.read, batch["cred"]
    nothing: list[Any] = [None] * len(creds)
    field = read.field("ucred", "cr_groups")
    room = 0 if field is None else element(field.type)[1] or 0
    if field is None or not room:
        return {"every_group": nothing, "groups": nothing, "gid": nothing}
    if room > MAX_GROUPS or field.size != 4 * room:
        raise FormatError(f"struct ucred: cr_groups: {field.type} has {field.size} bytes")
    one = struct.Struct(f"{read.order}{room}I")
    every = [None if raw is None else one.unpack(raw) for raw in read.blocks(creds, field.offset, field.size)]
    found = [
        None if all_ is None or n is None or not 0 <= n <= room else list(all_[:n])
        for all_, n in zip(every, batch["ngroups"], strict=True)
    ]
    return {"every_group": every, "groups": found, "gid": [g[0] if g else None for g in found]}


def terminals(batch: Batch) -> dict[str, Sequence[Any]]:
    """The controlling terminal, its number (dev2udev()), and the group in its foreground."""
    rows = zip(batch["p_flags"], batch["s_ttyp"], strict=True)
    ttys: Column = [tty if flags is not None and flags & P_CONTROLT else 0 for flags, tty in rows]
    batch.known["tty"] = ttys
    if batch.read.field("cdev", "si_inode", "si_udev") is not None:
        numbers: Column = batch["device"]
    else:
        numbers = [_packed(a, b) for a, b in zip(batch["major"], batch["minor"], strict=True)]
    devices = [n if tty and d else None for n, tty, d in zip(numbers, ttys, batch["t_dev"], strict=True)]
    return {
        "tty": ttys,
        "tdev": [None if n is None else n & 0xFFFFFFFF for n in devices],
        "tpgid": [group if tty else None for group, tty in zip(batch["tty_pgid"], ttys, strict=True)],
    }


def _packed(major: int | None, minor: int | None) -> int | None:
    if major is None or minor is None:
        return None
    return NOUDEV if major & ~0xFF or minor & 0xFF00 else major << 8 | minor


def _named(base: str, name: str, path: str) -> Callable[[Batch], list[bytes | None]]:
    def read(batch: Batch) -> list[bytes | None]:
        if batch.read.field(name, path) is None:
            return [None] * len(batch)
        field = batch.read.text_field(name, path)
        blocks = batch.read.blocks(batch[base], field.offset, field.size)
        return [None if block is None else block.split(b"\0", 1)[0] for block in blocks]

    return read


_comm, _td_comm = _named("proc", "proc", "p_comm"), _named("td", "thread", "td_comm")
_login = _named("session", "session", "s_login")


def _texts(raw: Sequence[bytes | None]) -> list[str | None]:
    return [None if name is None else text(name) for name in raw]


def names(batch: Batch) -> dict[str, Sequence[Any]]:
    """The program's name, or that of the kernel's thread."""
    td_comm = _td_comm(batch)
    raw = [name if proc else own for proc, name, own in zip(batch["proc"], _comm(batch), td_comm, strict=True)]
    return {"raw_comm": raw, "comm": _texts(raw), "td_comm": td_comm}


def logins(batch: Batch) -> dict[str, Sequence[Any]]:
    """What setlogin(2) said, of the session."""
    raw = _login(batch)
    return {"raw_login": raw, "login": _texts(raw)}


MAKERS = {
    "pid ppid kp_ppid": pids,
    "kernel": kernels,
    "every_group groups gid": groups,
    "tty tdev tpgid": terminals,
    "raw_comm comm td_comm": names,
    "raw_login login": logins,
}
