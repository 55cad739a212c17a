"""The attributes that have one meaning on every system, from MirBSD's records (interface.md, section 2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pykvm.records import text

SIDL, SRUN, SSLEEP, SSTOP, SZOMB, SDEAD = 1, 2, 3, 4, 5, 6
P_SINTR = 0x80
NZERO = 20
MAXSLP = 20  # seconds after which ps(1) calls a sleeper idle
NODEV = 0xFFFFFFFF


def stat(state: int, flag: int, slptime: int) -> str:
    """ps(1)'s letter for a process state."""
    if state in (SZOMB, SDEAD):
        return "Z"
    if state == SSTOP:
        return "T"
    if state == SSLEEP:
        if not flag & P_SINTR:
            return "D"
        return "I" if slptime >= MAXSLP else "S"
    return "R"


def calcru(rtime: float, uticks: int, sticks: int, iticks: int) -> tuple[float, float]:
    """(user, system) seconds: the run time, divided as the statistics clock's ticks are (calcru() of the kernel)."""
    total = uticks + sticks + iticks
    if total == 0:
        return 0.0, rtime
    return rtime * uticks / total, rtime * sticks / total


def seconds(time: Any) -> float:
    """A struct timeval."""
    return float(time.tv_sec + time.tv_usec / 1e6)


def _cpu(p: Any) -> tuple[float, float]:
    proc = p.kp_proc
    return calcru(seconds(proc.p_rtime), proc.p_uticks, proc.p_sticks, proc.p_iticks)


def _cpu2(p: Any) -> tuple[float, float]:
    return calcru(p.p_rtime_sec + p.p_rtime_usec / 1e6, p.p_uticks, p.p_sticks, p.p_iticks)


def _groups(groups: tuple[int, ...], count: int) -> list[int]:
    return list(groups[: max(0, min(count, len(groups)))])


Neutral = Mapping[str, Callable[[Any], Any]]

KINFO_PROC: Neutral = {
    "pid": lambda p: p.kp_proc.p_pid,
    "ppid": lambda p: p.kp_eproc.e_ppid,
    "pgid": lambda p: p.kp_eproc.e_pgid,
    "uid": lambda p: p.kp_eproc.e_ucred.cr_uid,
    "ruid": lambda p: p.kp_eproc.e_pcred.p_ruid,
    "svuid": lambda p: p.kp_eproc.e_pcred.p_svuid,
    "gid": lambda p: p.kp_eproc.e_ucred.cr_gid,
    "rgid": lambda p: p.kp_eproc.e_pcred.p_rgid,
    "svgid": lambda p: p.kp_eproc.e_pcred.p_svgid,
    "groups": lambda p: _groups(p.kp_eproc.e_ucred.cr_groups, p.kp_eproc.e_ucred.cr_ngroups),
    "comm": lambda p: text(p.kp_proc.p_comm),
    "stat": lambda p: stat(p.kp_proc.p_stat, p.kp_proc.p_flag, p.kp_proc.p_slptime),
    "flags": lambda p: p.kp_proc.p_flag & 0xFFFFFFFF,
    "nice": lambda p: p.kp_proc.p_nice - NZERO,
    "tdev": lambda p: None if p.kp_eproc.e_tdev == NODEV else p.kp_eproc.e_tdev,
    "login": lambda p: text(p.kp_eproc.e_login),
    "wchan": lambda p: p.kp_proc.p_wchan,
    "paddr": lambda p: p.kp_eproc.e_paddr,
    "start_time": lambda p: seconds(p.kp_eproc.e_pstats.p_start) if p.kp_eproc.e_pstats_valid else None,
    "utime": lambda p: _cpu(p)[0],
    "stime": lambda p: _cpu(p)[1],
    "threads": lambda p: 1,
}

KINFO_PROC2: Neutral = {
    "pid": lambda p: p.p_pid,
    "ppid": lambda p: p.p_ppid,
    "pgid": lambda p: p.p__pgid,
    "sid": lambda p: p.p_sid,
    "uid": lambda p: p.p_uid,
    "ruid": lambda p: p.p_ruid,
    "svuid": lambda p: p.p_svuid,
    "gid": lambda p: p.p_gid,
    "rgid": lambda p: p.p_rgid,
    "svgid": lambda p: p.p_svgid,
    "groups": lambda p: _groups(p.p_groups, p.p_ngroups),
    "comm": lambda p: text(p.p_comm),
    "stat": lambda p: stat(p.p_stat, p.p_flag, p.p_slptime),
    "flags": lambda p: p.p_flag & 0xFFFFFFFF,
    "nice": lambda p: p.p_nice - NZERO,
    "tdev": lambda p: None if p.p_tdev == NODEV else p.p_tdev,
    "login": lambda p: text(p.p_login),
    "wchan": lambda p: p.p_wchan,
    "paddr": lambda p: p.p_paddr,
    "start_time": lambda p: p.p_ustart_sec + p.p_ustart_usec / 1e6 if p.p_uvalid else None,
    "utime": lambda p: _cpu2(p)[0],
    "stime": lambda p: _cpu2(p)[1],
    "threads": lambda p: 1,
}
