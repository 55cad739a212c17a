"""kvm_getproc2(3) on Linux: every thread group of init_task.tasks, by the offsets that BTF gives.

Fields are read in columns, one member of all tasks at a time, gathered in C.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pykvm import constants as k
from pykvm.errors import AddressError, FormatError, KvmError
from pykvm.records import ProcessRecord, text
from pykvm.targets.base import Parts, Thread
from pykvm.targets.linux import names, neutral
from pykvm.types.decode import CODES

if TYPE_CHECKING:
    from pykvm.targets.linux.kernel import Linux

MAX_TASKS = 1 << 22  # PID_MAX_LIMIT
MAX_THREADS = 1 << 18  # of one process
MAX_GROUPS = 1 << 22  # of all processes
ADDRESS = (1 << 64) - 1
MAX_ELEMSIZE = 1 << 16
PF_KTHREAD = 0x00200000
PIDTYPE_PGID, PIDTYPE_SID = 2, 3
NGROUPS = 16  # of kinfo_proc2; the attribute has them all
MM_FILEPAGES, MM_ANONPAGES, MM_SHMEMPAGES = 0, 1, 3
NODEV = 0xFFFFFFFF
SELECT: dict[int, str] = {
    k.KERN_PROC_PID: "pid",
    k.KERN_PROC_PGRP: "pgid",
    k.KERN_PROC_SESSION: "sid",
    k.KERN_PROC_TTY: "tdev",
    k.KERN_PROC_UID: "uid",
    k.KERN_PROC_RUID: "ruid",
    k.KERN_PROC_GID: "gid",
    k.KERN_PROC_RGID: "rgid",
}


class Columns:
    """Members of many structures at once. Addresses of 0, and what cannot be read, give 0."""

    def __init__(self, target: Linux, parts: Parts) -> None:
        self.memory = parts.memory
        self.types = target.types
        self.order = "<" if target.byteorder == "little" else ">"

    def offset(self, name: str, *paths: str) -> int:
        """The offset of the first of these members that this kernel has (they change their names)."""
        layout = self.types.struct(name)
        for path in paths[:-1]:
            if path in layout:
                return layout.offset(path)
        return layout.offset(paths[-1])

    def raw(self, addrs: Sequence[int], offset: int, size: int) -> bytearray:
        """`size` bytes at an offset from each address."""
        out = bytearray(len(addrs) * size)
        table = array("Q", [a + offset & ADDRESS if a else 0 for a in addrs])
        self.memory.gather_into(table, size, out, 0, size, partial=True)
        return out

    def ints(self, addrs: Sequence[int], offset: int, size: int, signed: bool = False) -> tuple[int, ...]:
        """An integer at an offset from each address."""
        code = CODES.get(size)
        if code is None:
            raise FormatError(f"a member of {size} bytes, which is no integer")
        data = self.raw(addrs, offset, size)
        return struct.unpack(f"{self.order}{len(addrs)}{code.lower() if signed else code}", data)

    def member(self, addrs: Sequence[int], name: str, *paths: str, signed: bool = False) -> tuple[int, ...]:
        """A member of each structure: the first of these paths that this kernel has."""
        layout = self.types.struct(name)
        path = next((p for p in paths if p in layout), paths[-1])
        field = layout.field(path)
        if field.size not in CODES:
            raise FormatError(f"struct {name}: {path} has {field.size} bytes, which is no integer")
        return self.ints(addrs, field.offset, field.size, signed)


def getproc2(target: Linux, parts: Parts, op: int, arg: int, elemsize: int | None) -> list[ProcessRecord]:
    """One record a process, in the order of the kernel's list; the idle task (pid 0) is none."""
    if op not in SELECT and op not in (k.KERN_PROC_ALL, k.KERN_PROC_KTHREAD):
        raise KvmError(f"kvm_getproc2: op {op}: Invalid argument")
    if elemsize is not None and not 0 < elemsize <= MAX_ELEMSIZE:
        raise KvmError(f"kvm_getproc2: elemsize {elemsize}: Invalid argument")
    columns = Columns(target, parts)
    rows = _rows(target, parts, columns, _leaders(parts, columns))
    if op == k.KERN_PROC_ALL:
        rows = [row for row in rows if not row["flags"] & PF_KTHREAD]
    elif op in SELECT:
        rows = [row for row in rows if row[SELECT[op]] is not None and row[SELECT[op]] & NODEV == arg & NODEV]
    layout = target.types.struct("kinfo_proc2")
    buf = bytearray(len(rows) * layout.size)
    packers = {name: _packer(columns.order, layout.field(member)) for name, member in MEMBERS.items()}
    found = []
    for i, row in enumerate(rows):
        base = i * layout.size
        for name, put in packers.items():
            put(buf, base, row[name])
        found.append(ProcessRecord(layout, buf, base, target.byteorder, neutral.NONE, row, elemsize))
    return found


# kinfo_proc2's member for each value of a row.
MEMBERS = {
    "paddr": "p_paddr",
    "pid": "p_pid",
    "ppid": "p_ppid",
    "pgid": "p__pgid",
    "sid": "p_sid",
    "tpgid": "p_tpgid",
    "tdev": "p_tdev",
    "uid": "p_uid",
    "ruid": "p_ruid",
    "svuid": "p_svuid",
    "gid": "p_gid",
    "rgid": "p_rgid",
    "svgid": "p_svgid",
    "groups": "p_groups",
    "ngroups": "p_ngroups",
    "raw_comm": "p_comm",
    "flags": "p_flag",
    "bsd_stat": "p_stat",
    "bsd_nice": "p_nice",
    "mm": "p_vmspace",
    "pages": "p_vm_rssize",
    "valid": "p_uvalid",
    "start_sec": "p_ustart_sec",
    "start_usec": "p_ustart_usec",
    "utime_sec": "p_uutime_sec",
    "utime_usec": "p_uutime_usec",
    "stime_sec": "p_ustime_sec",
    "stime_usec": "p_ustime_usec",
    "exit_code": "p_xstat",
}


def _packer(order: str, field: Any) -> Callable[[bytearray, int, Any], None]:
    if field.type.startswith("char"):
        return lambda buf, base, value: struct.pack_into(f"{field.size}s", buf, base + field.offset, value)
    if "[" in field.type:
        many = struct.Struct(f"{order}{field.size // 4}I")
        count = field.size // 4

        def put(buf: bytearray, base: int, value: Any) -> None:
            many.pack_into(buf, base + field.offset, *value[:count], *([0] * (count - len(value[:count]))))

        return put
    code, mask = {1: "B", 2: "H", 4: "I", 8: "Q"}[field.size], (1 << 8 * field.size) - 1
    one = struct.Struct(order + code)
    return lambda buf, base, value: one.pack_into(buf, base + field.offset, (NODEV if value is None else value) & mask)


def _leaders(parts: Parts, columns: Columns) -> list[int]:
    """Addresses of the thread-group leaders."""
    offset = columns.offset("task_struct", "tasks")
    head = parts.address_of("init_task") + offset
    try:
        nodes = parts.memory.walk_list(head, 0, MAX_TASKS)
    except AddressError as e:
        raise KvmError(f"can't read task at {e.address - offset:#x}") from e
    except KvmError as e:
        raise KvmError(f"init_task.tasks: {e}") from e
    return [node - offset & ADDRESS for node in nodes[1:]]


def _rows(target: Linux, parts: Parts, c: Columns, tasks: list[int]) -> list[dict[str, Any]]:
    """The attributes of each task, and what only the record has."""
    task = "task_struct"
    pids = c.member(tasks, task, "tgid", signed=True)
    signals = c.member(tasks, task, "signal")
    parents = c.member(tasks, task, "real_parent")
    creds = c.member(tasks, task, "cred")
    mms = c.member(tasks, task, "mm")
    flags = c.member(tasks, task, "flags")
    states = c.member(tasks, task, "__state", "state")
    exits = c.member(tasks, task, "exit_state", signed=True)
    codes = c.member(tasks, task, "exit_code", signed=True)
    prios = c.member(tasks, task, "static_prio", signed=True)
    starts = c.member(tasks, task, "start_boottime", "real_start_time")
    comms = c.raw(tasks, c.offset(task, "comm"), 16)
    ids = {
        name: c.member(creds, "cred", member)
        for name, member in (
            ("uid", "euid.val"), ("ruid", "uid.val"), ("svuid", "suid.val"),
            ("gid", "egid.val"), ("rgid", "gid.val"), ("svgid", "sgid.val"),
        )
    }  # fmt: skip
    groups = _groups(c, c.member(creds, "cred", "group_info"))
    groups_of = _struct_pids(c, tasks, signals)
    ttys = _terminals(c, signals)
    counts = c.member(signals, "signal_struct", "nr_threads", signed=True)
    times = _times(target, parts, c, tasks, signals, counts)
    rss = _resident(c, mms)
    boot = _boot_time(parts, target)
    ppids = c.member(parents, task, "tgid", signed=True)
    short = [bytes(comms[at : at + 16]).split(b"\0", 1)[0] for at in range(0, len(comms), 16)]
    kthreads = c.member(tasks, task, "worker_private", "set_child_tid")
    whole = names.names(c.memory, c.types, flags, kthreads, short)
    rows = []
    for i, addr in enumerate(tasks):
        start = starts[i] / 1e9 + boot if boot is not None else None
        utime, stime = times[i]
        letter = neutral.stat(states[i], exits[i])
        tdev, tpgid = ttys[i]
        row: dict[str, Any] = {
            "paddr": addr, "pid": pids[i], "ppid": ppids[i], "pgid": groups_of[0][i], "sid": groups_of[1][i],
            "tdev": tdev, "tpgid": tpgid, "groups": groups[i], "ngroups": len(groups[i][:NGROUPS]),
            "raw_comm": short[i], "flags": flags[i], "stat": letter,
            "bsd_stat": neutral.BSD_STAT[letter], "nice": prios[i] - 120, "bsd_nice": prios[i] - 100,
            "mm": mms[i], "pages": rss[i], "rssize": rss[i] * target.page_size, "threads": counts[i],
            "start_time": start, "utime": utime, "stime": stime, "valid": 1, "exit_code": codes[i],
            "login": None, "wmesg": None, "wchan": None,
        }  # fmt: skip
        row.update((name, values[i]) for name, values in ids.items())
        row["comm"] = text(whole[i])
        for name, value in (("start", start or 0), ("utime", utime), ("stime", stime)):
            row[name + "_sec"], row[name + "_usec"] = int(value), int(value % 1 * 1e6)
        rows.append(row)
    return rows


def _groups(c: Columns, infos: Sequence[int]) -> list[list[int]]:
    """The supplementary groups of each group_info, each read once."""
    distinct = [a for a in dict.fromkeys(infos) if a]
    sizes = c.member(distinct, "group_info", "ngroups", signed=True)
    start = c.offset("group_info", "gid")
    known = {}
    room = MAX_GROUPS
    for addr, size in zip(distinct, sizes, strict=True):
        count = max(0, min(size, 65536))
        room -= count
        if room < 0:
            raise KvmError(f"group_info: more than {MAX_GROUPS} supplementary groups in all")
        try:
            data = c.memory.read(addr + start, 4 * count)
        except KvmError:
            data = b""
        known[addr] = list(struct.unpack(f"{c.order}{len(data) // 4}I", data))
    return [known.get(a, []) for a in infos]


def _struct_pids(c: Columns, tasks: Sequence[int], signals: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Process group and session of each task, as numbers of the first PID namespace."""
    number = c.offset("pid", "numbers")
    if "pids" in c.types.struct("signal_struct"):
        at = c.offset("signal_struct", "pids")
        found = [c.ints(signals, at + 8 * kind, 8) for kind in (PIDTYPE_PGID, PIDTYPE_SID)]
    else:  # before Linux 4.19: pids[type].pid in the task, without a type for thread groups
        field = c.types.struct("task_struct").field("pids")
        link = c.types.struct("pid_link")
        found = [c.ints(tasks, field.offset + link.size * kind + link.offset("pid"), 8) for kind in (1, 2)]
    return c.ints(found[0], number, 4, True), c.ints(found[1], number, 4, True)


def _terminals(c: Columns, signals: Sequence[int]) -> list[tuple[int | None, int | None]]:
    """(device number, foreground process group) of each controlling terminal."""
    ttys = c.member(signals, "signal_struct", "tty")
    drivers = c.member(ttys, "tty_struct", "driver")
    indexes = c.member(ttys, "tty_struct", "index", signed=True)
    majors = c.member(drivers, "tty_driver", "major", signed=True)
    minors = c.member(drivers, "tty_driver", "minor_start", signed=True)
    fronts = c.ints(c.member(ttys, "tty_struct", "ctrl.pgrp", "pgrp"), c.offset("pid", "numbers"), 4, True)
    found: list[tuple[int | None, int | None]] = []
    for tty, index, major, minor, front in zip(ttys, indexes, majors, minors, fronts, strict=True):
        low = minor + index
        # new_encode_dev() of <linux/kdev_t.h>
        found.append(((low & 0xFF) | major << 8 | (low & ~0xFF) << 12, front) if tty else (None, None))
    return found


def _members_of(c: Columns, signal: int, leader: int, count: int) -> list[int]:
    """The threads of a process, of which nr_threads says the number. A dead leader is still on the list."""
    if count <= 1:
        return [leader]
    limit = min(count, MAX_THREADS) + 2  # the head, and a dead leader
    node = c.offset("task_struct", "thread_node")
    head = signal + c.offset("signal_struct", "thread_head")
    try:
        return [a - node & ADDRESS for a in c.memory.walk_list(head, 0, limit)[1:]] or [leader]
    except KvmError:
        return [leader]


def _times(
    target: Linux, parts: Parts, c: Columns, tasks: Sequence[int], signals: Sequence[int], counts: Sequence[int]
) -> list[tuple[float, float]]:
    """(user, system) seconds of each process: thread_group_cputime_adjusted() of kernel/sched/cputime.c."""
    members, room = [], MAX_TASKS
    for task, signal, count in zip(tasks, signals, counts, strict=True):
        members.append(_members_of(c, signal, task, count))
        # Lists may be shared in a damaged dump; one that could not be followed has cost its limit.
        room -= len(members[-1]) if len(members[-1]) > 1 else max(1, min(count, MAX_THREADS))
        if room < 0:
            raise KvmError(f"thread_head: more than {MAX_TASKS} threads in all")
    flat = [t for group in members for t in group]
    columns = [c.member(flat, "task_struct", m) for m in ("utime", "stime", "se.sum_exec_runtime")]
    done = [c.member(signals, "signal_struct", m) for m in ("utime", "stime", "sum_sched_runtime")]
    prev = [c.member(signals, "signal_struct", m) for m in ("prev_cputime.utime", "prev_cputime.stime")]
    found, at = [], 0
    for i, group in enumerate(members):
        utime, stime, rtime = (
            sum(column[at : at + len(group)]) + past[i] for column, past in zip(columns, done, strict=True)
        )
        at += len(group)
        found.append(neutral.adjusted(utime, stime, rtime, prev[0][i], prev[1][i]))
    return found


def _resident(c: Columns, mms: Sequence[int]) -> list[int]:
    """Resident pages of each mm: file, anonymous and shared memory."""
    field = c.types.struct("mm_struct").field("rss_stat")
    counter = c.types.get("percpu_counter")
    if "percpu_counter" in field.type and counter is not None:  # since Linux 6.2
        step, inside = counter.size, counter.offset("count")
    else:
        step, inside = 8, 0
    columns = [
        c.ints(mms, field.offset + step * kind + inside, 8, True)
        for kind in (MM_FILEPAGES, MM_ANONPAGES, MM_SHMEMPAGES)
    ]
    return [sum(max(0, n) for n in counts) for counts in zip(*columns, strict=True)]


def _boot_time(parts: Parts, target: Linux) -> float | None:
    """Seconds since 1970 at boot: tk_core's offsets of the real-time and the boot-time clock."""
    core = parts.symbols.find("tk_core")
    if core is None or "timekeeper" not in target.types:
        return None
    keeper = target.types.struct("timekeeper")
    # tk_core is a nameless structure: a sequence counter, padded to the timekeeper's alignment (8).
    at = core.value + 8
    try:
        real, boot = (parts.memory.read_i64(at + keeper.offset(m)) for m in ("offs_real", "offs_boot"))
    except KvmError:
        return None
    return (real - boot) / 1e9


def threads(target: Linux, parts: Parts, record: ProcessRecord) -> list[Thread]:
    """The threads of a process, the leader first."""
    c = Columns(target, parts)
    leader = record.paddr
    signal = c.member([leader], "task_struct", "signal")[0]
    count = c.member([signal], "signal_struct", "nr_threads", signed=True)[0]
    members = _members_of(c, signal, leader, count)
    pids = c.member(members, "task_struct", "pid", signed=True)
    states = c.member(members, "task_struct", "__state", "state")
    exits = c.member(members, "task_struct", "exit_state", signed=True)
    comms = c.raw(members, c.offset("task_struct", "comm"), 16)
    return [
        Thread(tid, text(bytes(comms[16 * i : 16 * i + 16]).split(b"\0", 1)[0]), neutral.stat(s, e), None, None, addr)
        for i, (addr, tid, s, e) in enumerate(zip(members, pids, states, exits, strict=True))
    ]
