"""Records of a library in C by the tables of the systems' structures, with the attributes of one meaning everywhere.

What a record does not tell is None.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pykvm.errors import KvmError
from pykvm.records import ProcessRecord, text
from pykvm.targets.dragonfly.procs import numbers as dragonfly
from pykvm.targets.dragonfly.procs import state as dragonfly_state
from pykvm.targets.freebsd.procs.kinfo import KI_CRF_GRP_OVERFLOW
from pykvm.targets.freebsd.procs.numbers import NO_PID, P_JAILED, P_KPROC
from pykvm.targets.freebsd.procs.state import letters_of
from pykvm.targets.mirbsd import neutral
from pykvm.types import layout
from pykvm.types.layout import Struct, Types

if TYPE_CHECKING:
    from pykvm.hostlib.handle import NativeKvm

Neutral = Mapping[str, Callable[[Any], Any]]
NODEV = 0xFFFFFFFF
MICRO = 10**6
P_SYSTEM = 0x200  # MirBSD's and NetBSD's
RAW = "its layout is not known to pykvm: there is bytes(p) only"


@dataclass(frozen=True)
class Host:
    """Whose records they are: kd.info's words; page_size None: not known."""

    system: str
    machine: str
    byteorder: str
    pointer_size: int
    page_size: int | None = None

    @property
    def order(self) -> Literal["little", "big"]:
        """The byte order, as int.from_bytes takes it."""
        return "big" if self.byteorder == "big" else "little"

    def table(self) -> str | None:
        """The table of its structures; None if there is none."""
        if self.system == "FreeBSD":
            return f"freebsd-{'lp64' if self.pointer_size == 8 else 'i386' if self.machine == 'i386' else 'ilp32'}"
        if self.system == "DragonFly" and self.pointer_size == 8:
            return "dragonfly"
        if self.system == "MirBSD" and self.machine in ("i386", "sparc"):
            return f"mirbsd-{self.machine}"
        if self.system == "OpenBSD":
            return "openbsd-i386" if self.machine == "i386" else "openbsd"
        return {"Linux": "kinfo_proc2", "NetBSD": "netbsd"}.get(self.system)

    def types(self) -> Types:
        """Its structures; none if there is no table."""
        name = self.table()
        found = Types(self.system) if name is None else layout.builtin(name)
        if self.system in ("FreeBSD", "DragonFly"):
            found.update(layout.builtin("kinfo_proc2"))
        return found


# What MirBSD's library leaves at 0 in a kinfo_proc2 that it makes of a dump.
UNTRUE: Mapping[str, Any] = {"svuid": None, "svgid": None}


class NativeRecord(ProcessRecord):
    """A process, as the library's C structure. After it was made it needs neither the library nor the handle."""

    __slots__ = ("handle", "two")

    def __init__(self, kd: NativeKvm, struct: Struct, raw: bytes, two: bool, length: int | None = None) -> None:
        """two: of kvm_getproc2; length: of bytes(p), where it is not the structure's."""
        system = "" if kd.host is None else kd.host.system
        order = sys.byteorder if kd.host is None else kd.host.byteorder
        known = NEUTRAL.get((system, struct.name), {})
        super().__init__(
            struct,
            raw.ljust(struct.size, b"\0"),
            0,
            order,
            known,
            UNTRUE if system == "MirBSD" and two and kd.core is not None else {},
            length,
        )
        self.handle = kd
        self.two = two

    def __getattr__(self, name: str) -> Any:
        if name[:2] != "__" and name not in ("handle", "two") and not self._struct.fields:
            raise KvmError(f"struct {self._struct.name}: {name}: {RAW}")
        if name == "rssize":
            return self._rssize()
        return super().__getattr__(name)

    def _rssize(self) -> int | None:
        host = self.handle.host
        if host is None or host.page_size is None or host.system == "MirBSD":  # whose member is another number
            return None
        for member in PAGES:
            if member in self._struct.fields:
                return int(getattr(self, member)) * host.page_size
        return None

    def __repr__(self) -> str:
        return super().__repr__() if self._struct.fields else f"<{self._struct.name}, {self._struct.size} bytes>"


# Members that are resident pages.
PAGES = ("ki_rssize", "kp_vm_rssize", "p_vm_rssize")


def seconds(time: Any) -> float:
    """A struct timeval."""
    return float(time.tv_sec + time.tv_usec / MICRO)


def _tdev(value: int) -> int | None:
    return None if value & NODEV == NODEV else value


def _freebsd_groups(p: Any) -> list[int] | None:
    """There is room for 16; None if there are more."""
    return None if p.ki_cr_flags & KI_CRF_GRP_OVERFLOW else list(p.ki_groups[: max(0, p.ki_ngroups)])


def _freebsd_tpgid(p: Any) -> int | None:
    return None if _tdev(p.ki_tdev) is None or p.ki_tpgid == NO_PID else p.ki_tpgid


FREEBSD: Neutral = {
    **{
        name: (lambda member: lambda p: getattr(p, member))(f"ki_{name}")
        for name in "pid ppid pgid sid uid ruid svuid rgid svgid nice wchan paddr".split()
    },
    "flags": lambda p: p.ki_flag & 0xFFFFFFFF & ~P_JAILED,
    "tpgid": _freebsd_tpgid,
    "gid": lambda p: p.ki_groups[0],
    "groups": _freebsd_groups,
    "comm": lambda p: text(p.ki_comm),
    "stat": lambda p: letters_of([p.ki_stat], [p.ki_tdflags], [p.ki_slptime])[0],
    "tdev": lambda p: _tdev(p.ki_tdev),
    "login": lambda p: text(p.ki_login),
    "wmesg": lambda p: text(p.ki_wmesg) or None,
    "start_time": lambda p: seconds(p.ki_start),
    "utime": lambda p: seconds(p.ki_rusage.ru_utime),
    "stime": lambda p: seconds(p.ki_rusage.ru_stime),
    "threads": lambda p: p.ki_numthreads,
}


def _dragonfly_stat(p: Any) -> str | None:
    lwp = p.kp_lwp
    if p.kp_stat != dragonfly.SACTIVE:
        return dragonfly_state.LETTERS.get(p.kp_stat)
    if lwp.kl_stat != dragonfly.LSSLEEP:
        return dragonfly_state.LWP_LETTERS.get(lwp.kl_stat)
    if lwp.kl_flags & dragonfly.LWP_SINTR:
        return None  # I or S: the record has the sleep of all lwps together
    return "S" if lwp.kl_tdflags & dragonfly.TDF_SINTR else "D"


def _dragonfly_groups(p: Any) -> list[int] | None:
    return list(p.kp_groups[: max(0, p.kp_ngroups)]) if p.kp_paddr else None


def _if_process(name: str) -> Callable[[Any], Any]:
    """A member that threads of the kernel do not have."""
    return lambda p: getattr(p, name) if p.kp_paddr else None


DRAGONFLY: Neutral = {
    "pid": lambda p: p.kp_pid,
    "paddr": lambda p: p.kp_paddr or None,
    **{name: _if_process(f"kp_{name}") for name in "pgid sid uid ruid svuid rgid svgid nice".split()},
    "ppid": lambda p: None if not p.kp_paddr else max(0, p.kp_ppid),
    "flags": lambda p: p.kp_flags & 0xFFFFFFFF,
    "tpgid": lambda p: None if _tdev(p.kp_tdev) is None else p.kp_tpgid,
    "gid": lambda p: p.kp_groups[0] if p.kp_paddr and p.kp_ngroups > 0 else None,
    "groups": _dragonfly_groups,
    "comm": lambda p: text(p.kp_comm),
    "stat": _dragonfly_stat,
    "tdev": lambda p: _tdev(p.kp_tdev),
    "login": lambda p: text(p.kp_login) or None,
    "wmesg": lambda p: text(p.kp_lwp.kl_wmesg) or None,
    "wchan": lambda p: p.kp_lwp.kl_wchan,
    "start_time": lambda p: seconds(p.kp_start) if p.kp_paddr else None,
    "threads": lambda p: p.kp_nthreads,
}
# MirBSD's records as other kernels have them: whether a sleeper can be woken they do not say, nor how many threads.
SLEEPING = 3
KINFO2: Neutral = {
    **{name: get for name, get in neutral.KINFO_PROC2.items() if name not in ("stat", "threads")},
    "tpgid": lambda p: None if p.p_tdev == NODEV else p.p_tpgid,
    "stat": lambda p: None if p.p_stat == SLEEPING else {2: "R", 4: "T", 5: "Z"}.get(p.p_stat),
    "utime": lambda p: p.p_uutime_sec + p.p_uutime_usec / MICRO,
    "stime": lambda p: p.p_ustime_sec + p.p_ustime_usec / MICRO,
    "wmesg": lambda p: text(p.p_wmesg) or None,
}
# What OpenBSD and NetBSD have made of it: p_flag has P_SINTR where it was.
NEWER: Neutral = {
    **KINFO2,
    "stat": lambda p: neutral.stat(p.p_stat, p.p_flag, p.p_slptime),
    "threads": lambda p: p.p_nlwps,  # OpenBSD's has none
}
NEUTRAL: Mapping[tuple[str, str], Neutral] = {
    ("FreeBSD", "kinfo_proc"): FREEBSD,
    ("DragonFly", "kinfo_proc"): DRAGONFLY,
    ("OpenBSD", "kinfo_proc"): NEWER,
    ("NetBSD", "kinfo_proc2"): NEWER,
    ("MirBSD", "kinfo_proc"): neutral.KINFO_PROC,
    ("MirBSD", "kinfo_proc2"): neutral.KINFO_PROC2,
    **{(system, "kinfo_proc2"): KINFO2 for system in ("FreeBSD", "DragonFly", "Linux")},
}


def is_kernel(system: str, p: ProcessRecord) -> bool:
    """Whether a record is of a process of the kernel's own, on the systems whose KERN_PROC_ALL gives these, too."""
    if system == "FreeBSD":
        return bool(p.flags & P_KPROC)
    if system == "DragonFly":
        return bool(not p.paddr or dragonfly.kernel_process(p.pid, p.flags))
    if system == "NetBSD":
        return bool(p.flags & P_SYSTEM)
    raise KvmError(f"{system}: which processes are the kernel's own: {RAW}")
