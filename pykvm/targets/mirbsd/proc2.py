"""kvm_getproc2(3) on a dump: struct kinfo_proc2, made from kinfo_proc and the user area."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from typing import Any

from pykvm.errors import KvmError
from pykvm.memory import Memory
from pykvm.records import ProcessRecord
from pykvm.targets.base import Parts
from pykvm.targets.mirbsd import neutral
from pykvm.targets.mirbsd.eproc import SDEAD, SZOMB
from pykvm.targets.mirbsd.procs import getprocs
from pykvm.targets.mirbsd.structs import Structs
from pykvm.types.decode import SIGNED, element

MAX_ELEMSIZE = 1 << 16

# Members of struct proc that keep their name.
SAME = tuple(
    "p_forw p_back p_fd p_stats p_limit p_vmspace p_sigacts p_exitsig p_flag p_stat p_pid p_estcpu p_cpticks p_pctcpu "
    "p_wchan p_swtime p_slptime p_uticks p_sticks p_iticks p_traceflag p_tracep p_siglist p_holdcnt p_sigmask "
    "p_sigignore p_sigcatch p_priority p_usrpri p_nice p_comm p_addr p_xstat p_acflag p_ru".split()
)
RTIME = ("p_rtime.tv_sec", "p_rtime.tv_usec")
# kinfo_proc2's name for members of struct eproc.
FROM_EPROC = {
    "e_paddr": "p_paddr",
    "e_sess": "p_sess",
    "e_pcred.p_ruid": "p_ruid",
    "e_pcred.p_rgid": "p_rgid",
    "e_ucred.cr_uid": "p_uid",
    "e_ucred.cr_gid": "p_gid",
    "e_ucred.cr_ngroups": "p_ngroups",
    "e_vm.vm_tsize": "p_vm_tsize",
    "e_vm.vm_dsize": "p_vm_dsize",
    "e_vm.vm_ssize": "p_vm_ssize",
    "e_ppid": "p_ppid",
    "e_pgid": "p__pgid",
    "e_jobc": "p_jobc",
    "e_tdev": "p_tdev",
    "e_tpgid": "p_tpgid",
    "e_tsess": "p_tsess",
    "e_wmesg": "p_wmesg",
    "e_xrssize": "p_vm_rssize",
    "e_flag": "p_eflag",
    "e_login": "p_login",
}
# Attributes that kinfo_proc2 has no (true) place for on a dump.
KEPT = ("sid", "wmesg", "tpgid", "svuid", "svgid")
RUSAGE = tuple(
    "maxrss ixrss idrss isrss minflt majflt nswap inblock oublock msgsnd msgrcv nsignals nvcsw nivcsw".split()
)
# kinfo_proc2's name for members of struct user.
FROM_USER = {
    "u_stats.p_ru.ru_utime.tv_sec": "p_uutime_sec",
    "u_stats.p_ru.ru_utime.tv_usec": "p_uutime_usec",
    "u_stats.p_ru.ru_stime.tv_sec": "p_ustime_sec",
    "u_stats.p_ru.ru_stime.tv_usec": "p_ustime_usec",
    **{f"u_stats.p_ru.ru_{name}": f"p_uru_{name}" for name in RUSAGE},
    "u_stats.p_cru.ru_utime.tv_sec": "",
    "u_stats.p_cru.ru_utime.tv_usec": "",
    "u_stats.p_cru.ru_stime.tv_sec": "",
    "u_stats.p_cru.ru_stime.tv_usec": "",
    "u_stats.p_start.tv_sec": "p_ustart_sec",
    "u_stats.p_start.tv_usec": "p_ustart_usec",
}


def getproc2(structs: Structs, parts: Parts, op: int, arg: int, elemsize: int | None) -> list[ProcessRecord]:
    """The records, `elemsize` bytes of each in bytes(p): cut, or filled up with zeros (the original reads past its
    own structure). p_sid is the session leader's pid (there -1), p_rtime the run time (there p_estcpu twice)."""
    size = structs.size("kinfo_proc2")
    if elemsize is not None and not 0 < elemsize <= MAX_ELEMSIZE:
        raise KvmError(f"kvm_getproc2: elemsize {elemsize}: Invalid argument")
    processes = getprocs(structs, parts, op, arg)
    users = _users(structs, parts.memory, processes)
    struct = structs.struct("kinfo_proc2")
    order = [m for m, f in struct.fields.items() if m != "p_groups" and (f.type[-1:] != "]" or f.type[:4] == "char")]
    fits = [_fit(structs, member) for member in order]
    pack_into = structs.unpacker("kinfo_proc2", order).pack_into
    values_of = _source(structs)
    ours, theirs = struct.field("p_groups"), structs.offset("eproc", "e_ucred.cr_groups")
    theirs += structs.offset("kinfo_proc", "kp_eproc")
    buf = bytearray(len(processes) * size)
    found = []
    for i, (process, user) in enumerate(zip(processes, users, strict=True)):
        raw, base = bytes(process), i * size
        values = values_of(raw, user)
        values["p_sid"] = process.sid
        if process.tdev is None:
            values["p_tpgid"] = -1  # as a live kernel; the original has the process before's
        pack_into(buf, base, *[fit(values.get(m, 0)) for m, fit in zip(order, fits, strict=True)])
        buf[base + ours.offset : base + ours.offset + ours.size] = raw[theirs : theirs + ours.size]
        more = {name: getattr(process, name) for name in KEPT}
        found.append(ProcessRecord(struct, buf, base, structs.byteorder, neutral.KINFO_PROC2, more, elemsize))
    return found


def _users(structs: Structs, memory: Memory, processes: Sequence[ProcessRecord]) -> list[tuple[Any, ...] | None]:
    """FROM_USER's members of the user area of each process that has one (zombies do not)."""
    names = tuple(FROM_USER)
    addrs = array("Q", [0 if p.kp_proc.p_stat in (SZOMB, SDEAD) else p.kp_proc.p_addr for p in processes])
    table = structs.table(memory, "user", addrs, names)
    return [table.get(addr) for addr in addrs]


def _source(structs: Structs) -> Callable[[bytes, tuple[Any, ...] | None], dict[str, Any]]:
    """A function from the bytes of a kinfo_proc, and FROM_USER's values, to kinfo_proc2's members."""
    names = sorted((*SAME, *RTIME), key=lambda m: structs.offset("proc", m))
    proc_of = structs.unpacker("proc", names).unpack_from
    eproc_of = structs.unpacker("eproc", tuple(FROM_EPROC)).unpack_from
    start = structs.offset("kinfo_proc", "kp_eproc")

    def values(raw: bytes, user: tuple[Any, ...] | None) -> dict[str, Any]:
        found = dict(zip(names, proc_of(raw), strict=True))
        found.update(zip(FROM_EPROC.values(), eproc_of(raw, start), strict=True))
        found["p_rtime_sec"], found["p_rtime_usec"] = found[RTIME[0]], found[RTIME[1]]
        found["p_comm"] = found["p_comm"].split(b"\0", 1)[0]
        if user is not None:
            found["p_uvalid"] = 1
            from_user = dict(zip(FROM_USER, user, strict=True))
            found.update((name, from_user[member]) for member, name in FROM_USER.items() if name)
            for unit in ("sec", "usec"):  # added, not normalised, as in the original
                found[f"p_uctime_{unit}"] = sum(from_user[f"u_stats.p_cru.ru_{t}time.tv_{unit}"] for t in "us")
        return found

    return values


def _fit(structs: Structs, member: str) -> Any:
    """What C's assignment to the member does to a value: numbers wrap at its width, text stays."""
    field = structs.struct("kinfo_proc2").field(member)
    base, count = element(field.type)
    if base == "char" and count is not None:
        return lambda value: value or b""
    span = 1 << field.size * 8
    half = span // 2 if base in SIGNED else 0
    return lambda value: (value + half) % span - half
