"""kvm_getprocs(3) on a dump: which processes there are, and which of them are asked for.

The processes are read in columns: one structure of all of them at a time, gathered in C.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass

from pykvm import constants as k
from pykvm.errors import AddressError, KvmError
from pykvm.memory import Memory
from pykvm.records import ProcessRecord
from pykvm.targets.base import Parts
from pykvm.targets.mirbsd import eproc, neutral
from pykvm.targets.mirbsd.structs import Structs

P_CONTROLT, P_SYSTEM = 0x2, 0x200
LIST_LIMIT = 1 << 16  # MirBSD's pids end at 32767


@dataclass(slots=True)
class Row:
    """What a process can be selected by; `links` are the pointers to follow from it."""

    pid: int
    flag: int
    stat: int
    ruid: int
    rgid: int
    uid: int
    gid: int
    links: eproc.Links
    pgid: int = 0
    sid: int = 0
    tdev: int | None = None


# What op selects by: known from the process itself and its credentials, or only with its group and session.
OWN: dict[int, Callable[[Row], int]] = {
    k.KERN_PROC_PID: lambda row: row.pid,
    k.KERN_PROC_UID: lambda row: row.uid,
    k.KERN_PROC_RUID: lambda row: row.ruid,
    k.KERN_PROC_GID: lambda row: row.gid,
    k.KERN_PROC_RGID: lambda row: row.rgid,
}
RELATED: dict[int, Callable[[Row], int | None]] = {
    k.KERN_PROC_PGRP: lambda row: row.pgid,
    k.KERN_PROC_SESSION: lambda row: row.sid,
    k.KERN_PROC_TTY: lambda row: row.tdev,
}


def getprocs(structs: Structs, parts: Parts, op: int, arg: int) -> list[ProcessRecord]:
    """The records of the processes that op and arg select: allproc's, newest first, then zombproc's.

    Unlike MirBSD's library on a dump: op SESSION selects (there it is ignored), an unknown op is an error as on
    a live kernel (there it selects all), a failure is an error (there a count of -1).
    """
    if op not in OWN and op not in RELATED and op not in (k.KERN_PROC_ALL, k.KERN_PROC_KTHREAD):
        raise KvmError(f"kvm_getprocs: op {op}: Invalid argument")
    nprocs, allproc, zombproc = (parts.address_of(name) for name in ("nprocs", "allproc", "zombproc"))
    try:
        limit = parts.memory.read_i32(nprocs)
    except KvmError as e:
        raise KvmError("can't read nprocs") from e
    found = _one_list(structs, parts.memory, "allproc", allproc, op, arg, limit)
    try:
        found += _one_list(structs, parts.memory, "zombproc", zombproc, op, arg, limit - len(found))
    except KvmError as e:
        # As the original: a damaged zombproc costs the zombies only. The message stays in the handle.
        parts.memory.note(e)
    return found


def _one_list(
    structs: Structs, memory: Memory, name: str, head: int, op: int, arg: int, room: int
) -> list[ProcessRecord]:
    """The selected processes of a list, at most `room`."""
    if room <= 0:
        return []
    try:
        first = memory.read_u32(head)
    except AddressError as e:
        raise KvmError(f"cannot read {name}") from e
    try:
        next_offset = structs.offset("proc", "p_list.le_next")
        addrs = array("Q", memory.walk_list(first, next_offset, LIST_LIMIT, circular=False))
    except AddressError as e:
        raise KvmError(f"can't read proc at {e.address:#x}") from e
    except KvmError as e:
        raise KvmError(f"{name}: {e}") from e
    size = structs.size("proc")
    raw = bytearray(len(addrs) * size)
    ok = memory.gather_into(addrs, size, raw, 0, size, partial=True)
    if 0 in ok:
        raise KvmError(f"can't read proc at {addrs[ok.index(0)]:#x}")
    rows = _rows(structs, memory, raw)
    keep = [i for i, row in enumerate(rows) if _selected(row, op, arg)]
    if op not in RELATED:
        keep = keep[:room]
    chosen = [rows[i] for i in keep]
    buf, more = eproc.records(structs, memory, [addrs[i] for i in keep], raw, keep, [row.links for row in chosen])
    for row, extra in zip(chosen, more, strict=True):
        row.pgid, row.sid = extra.pgid, extra.sid
        row.tdev = extra.tdev if row.flag & P_CONTROLT else None
    selected = [i for i, row in enumerate(chosen) if op not in RELATED or _is(RELATED[op](row), arg)]
    struct = structs.struct("kinfo_proc")
    return [
        ProcessRecord(struct, buf, i * struct.size, structs.byteorder, neutral.KINFO_PROC, more[i].attributes)
        for i in selected[:room]
    ]


def _selected(row: Row, op: int, arg: int) -> bool:
    if op == k.KERN_PROC_ALL:
        return not row.flag & P_SYSTEM
    return op not in OWN or _is(OWN[op](row), arg)


def _is(value: int | None, arg: int) -> bool:
    """Equal as 32-bit numbers: uids and devices are unsigned in their records, arg is an int."""
    return value is not None and value & 0xFFFFFFFF == arg & 0xFFFFFFFF


def _rows(structs: Structs, memory: Memory, raw: bytearray) -> list[Row]:
    """Credentials that cannot be read count as 0, as it is no error in the original."""
    names = "p_cred p_stats p_limit p_vmspace p_flag p_stat p_pid p_pptr p_wmesg p_emul p_pgrp"
    members = structs.unpacker("proc", names.split())
    procs = list(members.iter_unpack(raw))
    pcreds = structs.table(memory, "pcred", (p[0] for p in procs), ("pc_ucred", "p_ruid", "p_rgid"))
    ucreds = structs.table(memory, "ucred", (c[0] for c in pcreds.values()), ("cr_uid", "cr_gid"))
    rows = []
    for cred, stats, limit, vmspace, flag, stat, pid, parent, wmesg, emul, pgrp in procs:
        ucred, ruid, rgid = pcreds.get(cred, (0, 0, 0))
        uid, gid = ucreds.get(ucred, (0, 0))
        controlt = bool(flag & P_CONTROLT)
        links = eproc.Links(cred, ucred, stats, limit, vmspace, parent, wmesg, emul, pgrp, controlt, stat)
        rows.append(Row(pid, flag, stat, ruid, rgid, uid, gid, links))
    return rows
