"""struct kinfo_proc of MirBSD: struct proc as it stands in memory, and struct eproc filled in behind it.

Rules: sys/kern/kern_sysctl.c fill_eproc() for what a live kernel gives. MirBSD's library on a dump leaves e_ppid,
e_login, e_emul, e_pstats and e_maxrss as its stack had them, and e_tpgid, e_tsess and e_wmesg as the process before
had them; here they are what a live kernel says, or zero.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from struct import error as StructError
from typing import Any, NamedTuple

from pykvm.errors import FormatError, KvmError
from pykvm.memory import Memory
from pykvm.records import text
from pykvm.targets.mirbsd.structs import Structs

SZOMB, SDEAD = 5, 6
EPROC_CTTY, EPROC_SLEADER = 1, 2
NODEV = 0xFFFFFFFF
NO_PGRP = -1
WMESGLEN = 7  # e_wmesg has room for one more: the NUL, which the original leaves out
RLIMIT_RSS = 5
MESSAGE_LIMIT = 64


class Links(NamedTuple):
    """Pointers of a struct proc, and what decides whether they are followed."""

    cred: int
    ucred: int
    stats: int
    limit: int
    vmspace: int
    parent: int
    wmesg: int
    emul: int
    pgrp: int
    controlt: bool
    stat: int

    @property
    def zombie(self) -> bool:
        """No memory of its own any more."""
        return self.stat in (SZOMB, SDEAD)


class Extra(NamedTuple):
    """What a process is selected by, and attributes that the record has no room for."""

    pgid: int
    sid: int
    tdev: int
    attributes: dict[str, Any]


def records(
    structs: Structs,
    memory: Memory,
    addrs: Sequence[int],
    procs: bytearray,
    indexes: Sequence[int],
    links: Sequence[Links],
) -> tuple[bytearray, list[Extra]]:
    """kinfo_proc records one after another, for the processes at `addrs`, which are number `indexes` of `procs`."""
    proc_size, size = structs.size("proc"), structs.size("kinfo_proc")
    buf = bytearray(len(addrs) * size)
    start = structs.offset("kinfo_proc", "kp_eproc")
    if structs.offset("kinfo_proc", "kp_proc") != 0 or proc_size > start or start + structs.size("eproc") > size:
        raise FormatError(f"struct kinfo_proc of {size} bytes has no room for a struct proc of {proc_size} and eproc")
    pack, more = _relations(structs, memory, addrs, links)
    packer = structs.unpacker("eproc", EPROC_MEMBERS)
    for i, index in enumerate(indexes):
        base = i * size
        buf[base : base + proc_size] = procs[index * proc_size : (index + 1) * proc_size]
        try:
            packer.pack_into(buf, base + start, *pack[i])
        except StructError as e:
            raise FormatError(f"struct eproc: {e}") from e
    _whole_structures(structs, memory, buf, links)
    return buf, more


EPROC_MEMBERS = (
    "e_paddr",
    "e_sess",
    "e_ppid",
    "e_pgid",
    "e_jobc",
    "e_tdev",
    "e_tpgid",
    "e_tsess",
    "e_wmesg",
    "e_flag",
    "e_login",
    "e_emul",
    "e_maxrss",
)


def _relations(
    structs: Structs, memory: Memory, addrs: Sequence[int], links: Sequence[Links]
) -> tuple[list[tuple[Any, ...]], list[Extra]]:
    """The values of EPROC_MEMBERS of each process, and its Extra."""

    def needed(what: str, name: str, pointers: Iterable[int], members: Sequence[str]) -> dict[int, tuple[Any, ...]]:
        wanted = list(pointers)
        found = structs.table(memory, name, wanted, members)
        for addr in wanted:
            if addr not in found:
                raise KvmError(f"can't read {what} at {addr:#x}")
        return found

    pgrps = needed("pgrp", "pgrp", (x.pgrp for x in links), ("pg_session", "pg_id", "pg_jobc"))
    sessions = needed(
        "session", "session", (p[0] for p in pgrps.values()), ("s_leader", "s_ttyvp", "s_ttyp", "s_login")
    )
    tty_of = [sessions[pgrps[x.pgrp][0]][2] if x.controlt else 0 for x in links]
    ttys = needed("tty", "tty", (t for t in tty_of if t), ("t_dev", "t_pgrp", "t_session"))
    fronts = needed("tpgrp", "pgrp", (t[1] for t in ttys.values() if t[1]), ("pg_id",))
    pids = _values(structs, memory, "proc", "p_pid", [x.parent for x in links] + [s[0] for s in sessions.values()])
    emuls = structs.table(memory, "emul", (x.emul for x in links), ("e_name",))
    limits = _rss_limits(structs, memory, [x.limit for x in links])
    messages = {addr: _message(memory, addr) for addr in {x.wmesg for x in links}}

    values, more = [], []
    for addr, link, tty in zip(addrs, links, tty_of, strict=True):
        sess, pgid, jobc = pgrps[link.pgrp]
        leader, ttyvp, _, login = sessions[sess]
        tdev, front, tsess = ttys.get(tty, (NODEV, 0, 0))
        tpgid = 0 if not tty else fronts[front][0] if front else NO_PGRP
        message, sid = messages[link.wmesg], pids.get(leader, 0)
        flag = (EPROC_CTTY if ttyvp else 0) | (EPROC_SLEADER if leader == addr else 0)
        values.append(
            (
                addr,
                sess,
                pids.get(link.parent, 0),
                pgid,
                (jobc + 0x8000 & 0xFFFF) - 0x8000,
                tdev,
                tpgid,
                tsess,
                message[:WMESGLEN],
                flag,
                login.split(b"\0", 1)[0],
                emuls.get(link.emul, (b"",))[0].split(b"\0", 1)[0],
                limits.get(link.limit, 0),
            )
        )
        attributes = {"sid": sid, "wmesg": text(message), "tpgid": tpgid if tty and front else None}
        more.append(Extra(pgid, sid, tdev, attributes))
    return values, more


def _values(structs: Structs, memory: Memory, name: str, member: str, addrs: Iterable[int]) -> dict[int, int]:
    """One 4-byte member of the structure at each address, for those that can be read."""
    offset = structs.offset(name, member)
    distinct = array("Q", [a + offset for a in dict.fromkeys(addrs) if a])
    raw = bytearray(4 * len(distinct))
    ok = memory.gather_into(distinct, 4, raw, 0, 4, partial=True)
    order: Any = structs.byteorder
    return {
        addr - offset: int.from_bytes(raw[i * 4 : i * 4 + 4], order, signed=True)
        for i, (addr, good) in enumerate(zip(distinct, ok, strict=True))
        if good
    }


def _rss_limits(structs: Structs, memory: Memory, addrs: Iterable[int]) -> dict[int, int]:
    """rlim_cur of RLIMIT_RSS in each struct plimit."""
    at = structs.offset("plimit", "pl_rlimit") + RLIMIT_RSS * structs.size("rlimit")
    limits = {addr: addr + at for addr in addrs if addr}
    found = structs.table(memory, "rlimit", limits.values(), ("rlim_cur",))
    return {addr: found[limit][0] for addr, limit in limits.items() if limit in found}


def _message(memory: Memory, addr: int) -> bytes:
    """A wait message, whole; the original reads 7 bytes, whatever their meaning."""
    if addr == 0:
        return b""
    try:
        return memory.read_cstr(addr, MESSAGE_LIMIT)
    except KvmError:
        return b""


def _whole_structures(structs: Structs, memory: Memory, buf: bytearray, links: Sequence[Links]) -> None:
    """pcred, ucred, vmspace and pstats, gathered into the records. What cannot be read stays zero."""
    size, start = structs.size("kinfo_proc"), structs.offset("kinfo_proc", "kp_eproc")

    def place(name: str, member: str, pointers: Iterable[int]) -> bytearray:
        field = structs.struct("eproc").field(member)
        if field.size < structs.size(name):
            raise FormatError(f"struct eproc: {member} has no room for a struct {name} of {structs.size(name)} bytes")
        offset = start + field.offset
        return memory.gather_into(array("Q", pointers), structs.size(name), buf, offset, size, partial=True)

    place("pcred", "e_pcred", (x.cred for x in links))
    place("ucred", "e_ucred", (x.ucred for x in links))
    place("vmspace", "e_vm", (x.vmspace for x in links))
    ok = place("pstats", "e_pstats", (0 if x.zombie else x.stats for x in links))
    valid = start + structs.offset("eproc", "e_pstats_valid")
    order: Any = structs.byteorder
    for i, good in enumerate(ok):
        buf[i * size + valid : i * size + valid + 4] = int(good).to_bytes(4, order)
