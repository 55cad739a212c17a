"""The NetBSD target: what it is, and which file answers what."""

from __future__ import annotations

from collections.abc import Sequence

from pykvm.errors import AddressError
from pykvm.records import FileRecord, ProcessRecord
from pykvm.symbols.elf import netbsd_n_type
from pykvm.targets.base import Parts, Thread
from pykvm.targets.bsd import argv, files
from pykvm.targets.bsd.family import Bsd
from pykvm.targets.bsd.uvm import Anons
from pykvm.targets.bsd.variables import number
from pykvm.targets.common import kinfo2
from pykvm.targets.common.columns import Columns
from pykvm.targets.netbsd.procs import select
from pykvm.targets.netbsd.procs.batch import Batch
from pykvm.targets.netbsd.procs.numbers import PK_32, PK_SYSTEM, SZOMB
from pykvm.targets.netbsd.uvm import NetbsdAnons
from pykvm.types.layout import Struct


class NetBSD(Bsd):
    """NetBSD on one of its machines."""

    system = "NetBSD"
    prefix_words = 4
    records = {4: "netbsd", 8: "netbsd"}
    copies = {"kinfo_proc2": kinfo2.COPIES}

    def check(self, parts: Parts) -> None:
        super().check(parts)
        if parts.symbols.format == "ELF":
            parts.symbols.typed_by(netbsd_n_type)

    def boot_time(self, parts: Parts) -> float | None:
        # struct timespec boottime (NetBSD 6 to 8), else by the uptime.
        both = number(parts, "boottime", 8 + self.pointer_size) or 0
        if self.byteorder == "big":
            seconds, nano = divmod(both, 1 << 8 * self.pointer_size)
        else:
            nano, seconds = divmod(both, 1 << 64)
        return seconds + nano / 1e9 if 0 < seconds < 1 << 40 and nano < 10**9 else super().boot_time(parts)

    def record_struct(self, parts: Parts, two: bool) -> Struct:
        return self.types.struct("kinfo_proc2")

    def getprocs(self, parts: Parts, op: int, arg: int) -> list[ProcessRecord]:
        """As kinfo_proc2: NetBSD's own kvm_getprocs gives a struct proc of the program's own release."""
        return select.getproc2(self, parts, "kvm_getprocs", op, arg, None)

    def getproc2(self, parts: Parts, op: int, arg: int, elemsize: int | None) -> list[ProcessRecord]:
        return select.getproc2(self, parts, "kvm_getproc2", op, arg, elemsize)

    def getlwps(self, parts: Parts, pid: int, paddr: int, elemsize: int | None) -> list[ProcessRecord]:
        return select.getlwps(self, parts, pid, paddr, elemsize)

    def threads(self, parts: Parts, record: ProcessRecord) -> list[Thread]:
        return select.threads(self, parts, record)

    def getfiles(self, parts: Parts, op: int, arg: int) -> list[FileRecord]:
        """The open files of all processes; op and arg select nothing."""
        self.types.struct("filedesc")  # which says why there is none
        rows = Batch.of(self, parts)
        owners = zip(rows["pid"], rows["fd"], rows["realstat"], strict=True)
        return files.getfiles(self, parts, [(p, fd) for p, fd, s in owners if fd and s != SZOMB], _slots, _files)

    def anons(self, parts: Parts, vmspace: int) -> Anons | None:
        return NetbsdAnons(self, parts, vmspace) if "vm_map_entry" in self.types else None

    def ps_strings(self, parts: Parts, record: ProcessRecord) -> argv.Where | None:
        read, proc = Columns.of(self, parts), [record.paddr]
        names = ("p_stat", "p_flag", "p_psstrp", "p_vmspace")
        stat, flag, at, vmspace = (read.member(proc, "proc", name)[0] for name in names)
        if stat == SZOMB or (flag or 0) & PK_SYSTEM or not at or not vmspace:
            return None
        return argv.Where(at, vmspace, 4 if (flag or 0) & PK_32 else None)


def _slots(read: Columns, filedesc: int) -> tuple[int, int]:
    """dt_ff of the struct fdtab, up to the last that is in use."""
    (table,) = read.member([filedesc], "filedesc", "fd_dt")
    (last,) = read.member([filedesc], "filedesc", "fd_lastfile", signed=True)
    if not table or last is None:
        raise AddressError(f"can't read filedesc at {filedesc:#x}", filedesc)
    return table + read.offset("fdtab", "dt_ff"), max(0, last + 1)


def _files(read: Columns, slots: Sequence[int | None]) -> Sequence[int | None]:
    """They point at a struct fdfile each, which leads to the struct file."""
    found = read.member(slots, "fdfile", "ff_file")
    return [0 if not slot else file for slot, file in zip(slots, found, strict=True)]
