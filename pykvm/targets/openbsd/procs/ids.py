"""Who a process is: numbers, credentials, session and terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pykvm.errors import FormatError
from pykvm.records import text
from pykvm.targets.common.columns import Columns, Member
from pykvm.targets.openbsd.procs.numbers import EPROC_CTTY, PS_CONTROLT

if TYPE_CHECKING:
    from pykvm.targets.openbsd.procs.batch import Batch

NGROUPS, NZERO = 16, 20

MEMBERS = {
    "pid": Member("process", "process", ("ps_pid",), signed=True),
    "ps_ppid": Member("process", "process", ("ps_ppid",), signed=True),
    "parent": Member("process", "process", ("ps_pptr",)),
    "parent_pid": Member("parent", "process", ("ps_pid",), signed=True),
    "p_xstat": Member("proc", "proc", ("p_xstat",)),
    "ttyvp": Member("session", "session", ("s_ttyvp",)),
    "cred": Member("process", "process", ("ps_ucred",)),
    "uid": Member("cred", "ucred", ("cr_uid",)),
    "ruid": Member("cred", "ucred", ("cr_ruid",)),
    "svuid": Member("cred", "ucred", ("cr_svuid",)),
    "gid": Member("cred", "ucred", ("cr_gid",)),
    "rgid": Member("cred", "ucred", ("cr_rgid",)),
    "svgid": Member("cred", "ucred", ("cr_svgid",)),
    "ngroups": Member("cred", "ucred", ("cr_ngroups",), signed=True),
    "pgrp": Member("process", "process", ("ps_pgrp",)),
    "pgid": Member("pgrp", "pgrp", ("pg_id",), signed=True),
    "jobc": Member("pgrp", "pgrp", ("pg_jobc",), signed=True),
    "session": Member("pgrp", "pgrp", ("pg_session",)),
    "leader": Member("session", "session", ("s_leader",)),
    "leader_pid": Member("leader", "process", ("ps_pid",), signed=True),
    "ttyp": Member("session", "session", ("s_ttyp",)),
    "psflags": Member("process", "process", ("ps_flags",)),
    "t_dev": Member("tty", "tty", ("t_dev",)),
    "tty_session": Member("tty", "tty", ("t_session",)),
    "t_pgrp": Member("tty", "tty", ("t_pgrp",)),
    "t_pgid": Member("t_pgrp", "pgrp", ("pg_id",), signed=True),
    "nice_raw": Member("process", "process", ("ps_nice",)),
    "xexit": Member("process", "process", ("ps_xexit",)),
    "xsig": Member("process", "process", ("ps_xsig",)),
    "acflag": Member("process", "process", ("ps_acflag",)),
    "rtableid": Member("process", "process", ("ps_rtableid",)),
    "pledge": Member("process", "process", ("ps_pledge",)),
}


def ppid(batch: Batch) -> dict[str, Sequence[Any]]:
    """As the process keeps it; in older kernels its parent's number."""
    rows = zip(batch["ps_ppid"], batch["parent"], batch["parent_pid"], strict=True)
    return {"ppid": [own if own is not None else 0 if parent == 0 else pid for own, parent, pid in rows]}


def sid(batch: Batch) -> dict[str, Sequence[Any]]:
    """The leader's number; of a session that has lost it, 0."""
    rows = zip(batch["leader"], batch["leader_pid"], strict=True)
    return {"sid": [0 if leader == 0 else pid for leader, pid in rows]}


def groups(batch: Batch) -> dict[str, Sequence[Any]]:
    """The supplementary groups."""
    read, order = batch.read, batch.read.byteorder
    counts = batch["ngroups"]
    for count in counts:
        if count is not None and not 0 <= count <= NGROUPS:
            raise FormatError(f"cr_ngroups is {count} (0 to {NGROUPS} are possible)")
    if read.field("ucred", "cr_groups") is None:
        return {"groups": [None] * len(batch)}
    blocks = read.blocks(batch["cred"], read.offset("ucred", "cr_groups"), 4 * NGROUPS)
    return {
        "groups": [
            None
            if count is None or block is None
            else [int.from_bytes(block[i * 4 : i * 4 + 4], order) for i in range(count)]  # type: ignore[arg-type]
            for count, block in zip(counts, blocks, strict=True)
        ]
    }


def terminal(batch: Batch) -> dict[str, Sequence[Any]]:
    """The struct tty of who has one to control."""
    rows = zip(batch["psflags"], batch["ttyp"], strict=True)
    return {"tty": [tty if (flags or 0) & PS_CONTROLT and tty else None for flags, tty in rows]}


def terminals(batch: Batch) -> dict[str, Sequence[Any]]:
    """Its number, the process group in front; whether there is one."""
    return {
        "tdev": batch["t_dev"],
        "tpgid": [None if not group else pgid for group, pgid in zip(batch["t_pgrp"], batch["t_pgid"], strict=True)],
        "eflag": [EPROC_CTTY if vnode else 0 for vnode in batch["ttyvp"]],
    }


def nice(batch: Batch) -> dict[str, Sequence[Any]]:
    """-20 to 20."""
    return {"nice": [None if raw is None else raw - NZERO for raw in batch["nice_raw"]]}


def xstat(batch: Batch) -> dict[str, Sequence[Any]]:
    """What wait(2) says or will say."""
    rows = zip(batch["xexit"], batch["xsig"], batch["p_xstat"], strict=True)
    return {"xstat": [older if code is None or sig is None else code << 8 | sig for code, sig, older in rows]}


def texts(read: Columns, addrs: Sequence[int | None], name: str, member: str) -> list[bytes | None]:
    """A name in a structure, up to its NUL."""
    if read.field(name, member) is None:
        return [None] * len(addrs)
    field = read.text_field(name, member)
    return [None if raw is None else raw.split(b"\0", 1)[0] for raw in read.blocks(addrs, field.offset, field.size)]


def none(batch: Batch) -> dict[str, Sequence[Any]]:
    """OpenBSD always sends SIGCHLD, and says nothing of it."""
    return {"exit_signal": [0] * len(batch)}


def names(batch: Batch) -> dict[str, Sequence[Any]]:
    """The names of program and user."""
    comm = texts(batch.read, batch["process"], "process", "ps_comm")
    if batch.read.field("process", "ps_comm") is None:  # older kernels
        comm = texts(batch.read, batch["proc"], "proc", "p_comm")
    login = texts(batch.read, batch["session"], "session", "s_login")
    return {
        "raw_comm": comm,
        "comm": [None if name is None else text(name) for name in comm],
        "raw_login": login,
        "login": [None if name is None else text(name) for name in login],
    }


MAKERS = {
    "ppid": ppid,
    "sid": sid,
    "groups": groups,
    "tty": terminal,
    "tdev tpgid eflag": terminals,
    "nice": nice,
    "xstat": xstat,
    "exit_signal": none,
    "raw_comm comm raw_login login": names,
}
