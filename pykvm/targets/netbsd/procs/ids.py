"""Who a process is: numbers, credentials, session and terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pykvm.errors import FormatError
from pykvm.records import text
from pykvm.targets.common import kinfo2
from pykvm.targets.common.columns import Member
from pykvm.targets.netbsd.procs.numbers import PL_CONTROLT, PS_COREDUMP, WCOREFLAG

if TYPE_CHECKING:
    from pykvm.targets.netbsd.procs.batch import Batch

NGROUPS, NZERO = 16, 20  # <sys/syslimits.h>, <sys/proc.h>

MEMBERS = {
    "pid": Member("proc", "proc", ("p_pid",), signed=True),
    "parent": Member("proc", "proc", ("p_pptr",)),
    "ppid_of": Member("parent", "proc", ("p_pid",), signed=True),
    "p_ppid": Member("proc", "proc", ("p_ppid",), signed=True),
    "cred": Member("proc", "proc", ("p_cred",)),
    "ruid": Member("cred", "kauth_cred", ("cr_uid",)),
    "uid": Member("cred", "kauth_cred", ("cr_euid",)),
    "svuid": Member("cred", "kauth_cred", ("cr_svuid",)),
    "rgid": Member("cred", "kauth_cred", ("cr_gid",)),
    "gid": Member("cred", "kauth_cred", ("cr_egid",)),
    "svgid": Member("cred", "kauth_cred", ("cr_svgid",)),
    "ngroups": Member("cred", "kauth_cred", ("cr_ngroups",)),
    "pgrp": Member("proc", "proc", ("p_pgrp",)),
    "pgid": Member("pgrp", "pgrp", ("pg_id",), signed=True),
    "jobc": Member("pgrp", "pgrp", ("pg_jobc",), signed=True),
    "session": Member("pgrp", "pgrp", ("pg_session",)),
    "sid": Member("session", "session", ("s_sid",), signed=True),
    "leader": Member("session", "session", ("s_leader",)),
    "ttyvp": Member("session", "session", ("s_ttyvp",)),
    "ttyp": Member("session", "session", ("s_ttyp",)),
    "lflag": Member("proc", "proc", ("p_lflag",)),
    "t_dev": Member("tty", "tty", ("t_dev",)),
    "t_session": Member("tty", "tty", ("t_session",)),
    "t_pgrp": Member("tty", "tty", ("t_pgrp",)),
    "t_pgid": Member("t_pgrp", "pgrp", ("pg_id",), signed=True),
    "nice_raw": Member("proc", "proc", ("p_nice",)),
    "exit_signal": Member("proc", "proc", ("p_exitsig",), signed=True),
    "p_xstat": Member("proc", "proc", ("p_xstat",)),
    "p_xexit": Member("proc", "proc", ("p_xexit",)),
    "p_xsig": Member("proc", "proc", ("p_xsig",)),
    "p_sflag": Member("proc", "proc", ("p_sflag",)),
    "acflag": Member("proc", "proc", ("p_acflag",)),
}


def ppid(batch: Batch) -> dict[str, Sequence[Any]]:
    """Of the parent; without one, 0."""
    rows = zip(batch["parent"], batch["ppid_of"], strict=True)
    return {"ppid": [0 if parent == 0 else pid for parent, pid in rows]}


def groups(batch: Batch) -> dict[str, Sequence[Any]]:
    """The supplementary groups."""
    read = batch.read
    counts = batch["ngroups"]
    most = max((min(n, NGROUPS) for n in counts if n), default=0)
    blocks = (
        read.blocks(batch["cred"], read.offset("kauth_cred", "cr_groups"), 4 * most) if most else [b""] * len(batch)
    )
    order: Any = read.byteorder
    found: list[list[int] | None] = []
    for count, block in zip(counts, blocks, strict=True):
        if count is None or block is None:
            found.append(None)
        elif count > NGROUPS:
            raise FormatError(f"cr_ngroups is {count} (at most {NGROUPS} are possible)")
        else:
            found.append([int.from_bytes(block[i * 4 : i * 4 + 4], order) for i in range(count)])
    return {"groups": found}


def terminal(batch: Batch) -> dict[str, Sequence[Any]]:
    """The struct tty of who has one to control."""
    rows = zip(batch["lflag"], batch["ttyp"], strict=True)
    return {"tty": [tty if (flags or 0) & PL_CONTROLT and tty else None for flags, tty in rows]}


def terminals(batch: Batch) -> dict[str, Sequence[Any]]:
    """Its number, whose session it is, and the process group in front."""
    return {
        "tdev": batch["t_dev"],
        "tty_session": [s or 0 for s in batch["t_session"]],
        "tpgid": [None if not group else pgid for group, pgid in zip(batch["t_pgrp"], batch["t_pgid"], strict=True)],
        "eflag": kinfo2.eflag(
            batch["ttyvp"],
            [leader and leader == proc for leader, proc in zip(batch["leader"], batch["proc"], strict=True)],
        ),
    }


def xstat(batch: Batch) -> dict[str, Sequence[Any]]:
    """What wait(2) says or will say: p_xstat, of newer kernels the exit code and the signal."""
    rows = zip(batch["p_xstat"], batch["p_xexit"], batch["p_xsig"], batch["p_sflag"], strict=True)
    return {
        "raw_xstat": [
            whole
            if whole is not None or code is None or sig is None
            else code << 8 | sig | (WCOREFLAG if (flags or 0) & PS_COREDUMP else 0)
            for whole, code, sig, flags in rows
        ]
    }


def login(batch: Batch) -> dict[str, Sequence[Any]]:
    """setlogin(2)'s name of the session."""
    field = batch.read.text_field("session", "s_login")
    blocks = batch.read.blocks(batch["session"], field.offset, field.size)
    raw = [None if block is None else block.split(b"\0", 1)[0] for block in blocks]
    return {"raw_login": raw, "login": [None if name is None else text(name) for name in raw]}


def comm(batch: Batch) -> dict[str, Sequence[Any]]:
    """The name of the program."""
    field = batch.read.text_field("proc", "p_comm")
    blocks = batch.read.blocks(batch["proc"], field.offset, field.size)
    raw = [None if block is None else block.split(b"\0", 1)[0] for block in blocks]
    return {"raw_comm": raw, "comm": [None if name is None else text(name) for name in raw]}


def nice(batch: Batch) -> dict[str, Sequence[Any]]:
    """-20 to 20."""
    return {"nice": [None if raw is None else raw - NZERO for raw in batch["nice_raw"]]}


MAKERS = {
    "nice": nice,
    "ppid": ppid,
    "groups": groups,
    "tty": terminal,
    "tdev tty_session tpgid eflag": terminals,
    "raw_xstat": xstat,
    "raw_login login": login,
    "raw_comm comm": comm,
}
