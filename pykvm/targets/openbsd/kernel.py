"""The OpenBSD target: what it is, and which file answers what."""

from __future__ import annotations

from collections.abc import Sequence

from pykvm import constants as k
from pykvm.errors import AddressError, KvmError
from pykvm.records import FileRecord, ProcessRecord
from pykvm.targets.base import Parts, Thread
from pykvm.targets.bsd import argv, files
from pykvm.targets.bsd.family import Bsd
from pykvm.targets.bsd.uvm import Anons
from pykvm.targets.bsd.variables import time_of
from pykvm.targets.common import kinfo2
from pykvm.targets.common.columns import Columns
from pykvm.targets.openbsd import clock
from pykvm.targets.openbsd.procs import old, select
from pykvm.targets.openbsd.procs.batch import Batch
from pykvm.targets.openbsd.procs.numbers import PS_SYSTEM, PS_ZOMBIE
from pykvm.targets.openbsd.uvm import OpenbsdAnons
from pykvm.types.layout import Struct

PACKED = "openbsd-i386"  # the table of records on machines that align integers of 64 bits to less than 8 bytes


class OpenBSD(Bsd):
    """OpenBSD on one of its machines."""

    system = "OpenBSD"
    prefix_words = 5
    records = {4: "openbsd", 8: "openbsd"}
    copies = {"kinfo_proc": kinfo2.COPIES, "kinfo_proc2": kinfo2.COPIES}

    @property
    def record_table(self) -> str:
        return PACKED if self.where.align64 < 8 else super().record_table

    def boot_ns(self, parts: Parts) -> int | None:
        """Nanoseconds since 1970 when the kernel began."""
        now, up = (time_of(parts, (name,), self.pointer_size) for name in ("time_second", "time_uptime"))
        if now is None or up is None:
            return None
        return clock.boot_ns(self, parts, now - up)

    def boot_time(self, parts: Parts) -> float | None:
        found = self.boot_ns(parts)
        return None if found is None else found / 1e9

    def record_struct(self, parts: Parts, two: bool) -> Struct:
        return kinfo2.structure(self) if two else self.types.struct("kinfo_proc")

    def getprocs(self, parts: Parts, op: int, arg: int) -> list[ProcessRecord]:
        return self._selected(parts, "kvm_getprocs", op, arg, None)

    def getproc2(self, parts: Parts, op: int, arg: int, elemsize: int | None) -> list[ProcessRecord]:
        """As MirBSD's kinfo_proc2, which OpenBSD no longer has."""
        return self._selected(parts, "kvm_getproc2", op, arg, elemsize)

    def _selected(self, parts: Parts, name: str, op: int, arg: int, elemsize: int | None) -> list[ProcessRecord]:
        if "process" not in self.types and "proc" in self.types and (op < 0 or not op & k.KERN_PROC_SHOW_THREADS):
            return old.getprocs(self, parts, name, op, arg, elemsize)
        self.types.struct("process")  # which says why there is none
        return select.getprocs(self, parts, name, op, arg, elemsize)

    def process_of(self, parts: Parts, record: ProcessRecord) -> int:
        """The struct process of a record, whose p_paddr is a thread's."""
        self.types.struct("process")  # which says why there is none
        (found,) = Columns.of(self, parts).member([record.paddr], "proc", "p_p")
        if not found:
            raise KvmError(f"process {record.pid}: can't read proc at {record.paddr or 0:#x}")
        return found

    def threads(self, parts: Parts, record: ProcessRecord) -> list[Thread]:
        return select.threads(self, parts, record)

    def getfiles(self, parts: Parts, op: int, arg: int) -> list[FileRecord]:
        """The open files of all processes; op and arg select nothing."""
        self.types.struct("filedesc")  # which says why there is none
        rows = Batch.of(self, parts)
        owners = zip(rows["pid"], rows["fd"], rows["dead"], strict=True)
        return files.getfiles(self, parts, [(p, fd) for p, fd, dead in owners if fd and not dead], _slots, _files)

    def anons(self, parts: Parts, vmspace: int) -> Anons | None:
        return OpenbsdAnons(self, parts, vmspace) if "vm_map_entry" in self.types else None

    def ps_strings(self, parts: Parts, record: ProcessRecord) -> argv.Where | None:
        process = [self.process_of(parts, record)]
        read = Columns.of(self, parts)
        flags, at, vmspace = (
            read.member(process, "process", name)[0] for name in ("ps_flags", "ps_strings", "ps_vmspace")
        )
        if (flags or 0) & (PS_ZOMBIE | PS_SYSTEM) or not at or not vmspace:
            return None
        return argv.Where(at, vmspace)


def _slots(read: Columns, filedesc: int) -> tuple[int, int]:
    """fd_ofiles, up to the last that is in use."""
    where, last = (read.member([filedesc], "filedesc", name, signed=True)[0] for name in ("fd_ofiles", "fd_lastfile"))
    if where is None or last is None:
        raise AddressError(f"can't read filedesc at {filedesc:#x}", filedesc)
    return where & read.pointer_mask, max(0, last + 1)


def _files(read: Columns, slots: Sequence[int | None]) -> Sequence[int | None]:
    """They point at the struct files."""
    return slots
