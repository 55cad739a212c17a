"""The Linux target: what it is, and which file answers what."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pykvm.errors import KvmError
from pykvm.images.base import Image
from pykvm.images.vmcoreinfo import VmcoreInfo
from pykvm.loading import loading
from pykvm.machines.mmu import Translation
from pykvm.memory import Memory
from pykvm.records import FileRecord, ProcessRecord
from pykvm.symbols.base import Symbols
from pykvm.targets.base import Message, Parts, Target, Thread
from pykvm.targets.common import kinfo2
from pykvm.targets.linux import alive, facts, log
from pykvm.targets.linux.machines import hole
from pykvm.targets.linux.machines.platform import Platform, Tables
from pykvm.targets.linux.procs import running, tasks, user
from pykvm.targets.linux.symbols import carried, identity, modules
from pykvm.targets.linux.symbols.looks import Looks
from pykvm.targets.linux.types import AllTypes, KernelTypes
from pykvm.types import layout
from pykvm.types.layout import Struct

if TYPE_CHECKING:
    from pykvm.targets.linux.procs.batch import Batch
    from pykvm.targets.linux.waits import Waits

FIXED_1 = 1 << 11  # <linux/sched/loadavg.h>


class Linux(Target):
    """Linux on one of its machines."""

    system = "Linux"

    def __init__(self, where: Platform, info: VmcoreInfo, tables: Tables | None = None) -> None:
        super().__init__()
        self.platform = where
        self.vmcoreinfo = info
        self.machine = where.machine
        self.byteorder = where.byteorder
        self.pointer_size = where.pointer_size
        self.page_size = info.decimal("PAGESIZE") or 4096
        self._tables = tables
        self._waits: Waits | None = None
        self._quiet: Memory | None = None
        self._alive = alive.Alive()

    def translation(self, image: Image, symbols: Symbols | None) -> Translation | None:
        if symbols is not None:
            identity.fit(self, image, symbols)
        return self.platform.kernel(self.tables(image), image)

    def tables(self, image: Image) -> Tables:
        """The kernel's page tables, found once."""
        if self._tables is None:
            self._tables = self.platform.find(self.vmcoreinfo, image)
        return self._tables

    def quiet(self, image: Image) -> Memory:
        """The kernel's memory by itself: what fails in it is not the handle's last error."""
        if self._quiet is None:
            self._quiet = self.platform.memory(self.tables(image), image)
        return self._quiet

    def let_go(self) -> None:
        super().let_go()
        if self._quiet is not None:
            self._quiet.detach()

    def moved(self) -> None:
        self._quiet = self._waits = None

    def refresh(self, parts: Parts) -> None:
        self._alive.look(self, parts)
        self.moved()
        self._all_types = self._with_modules(parts)

    def own_symbols(self, memory: Memory, image: Image) -> Symbols | None:
        found = carried.symbols(self, image)
        image.release()
        return found

    def check(self, parts: Parts) -> None:
        """See that a kernel file is the dump's; what it takes to look for modules and types."""
        if self.platform.has_hole:
            extents = hole.told(parts.image, parts.symbols, self.platform.image_offset(self.vmcoreinfo))
            if extents is not None:
                parts.image.place(extents)
        identity.check(self, parts)
        parts.symbols.chain(lambda: modules.read(self, parts))
        carried.complete(self, parts.image, parts.symbols)
        self.types = KernelTypes(parts, self.pointer_size, self.byteorder)
        self.types.update(layout.builtin("kinfo_proc2"))
        self._all_types = self._with_modules(parts)

    def _with_modules(self, parts: Parts) -> AllTypes:
        types = self.types
        assert isinstance(types, KernelTypes)
        return AllTypes(types, parts, lambda: Looks(self, parts, types).btf_modules())

    def release(self, parts: Parts) -> tuple[str | None, str | None]:
        return self.vmcoreinfo.text("OSRELEASE"), facts.uts(self, parts).get("version")

    def facts(self, parts: Parts) -> dict[str, Any]:
        return facts.facts(self, parts)

    copies = {"kinfo_proc2": kinfo2.COPIES}

    def record_struct(self, parts: Parts, two: bool) -> Struct:
        return self.types.struct("kinfo_proc2")

    def getprocs(self, parts: Parts, op: int, arg: int) -> list[ProcessRecord]:
        """Linux has no kinfo_proc: its records are kinfo_proc2."""
        return self.getproc2(parts, op, arg, None)

    def getproc2(self, parts: Parts, op: int, arg: int, elemsize: int | None) -> list[ProcessRecord]:
        return tasks.getproc2(self, parts, op, arg, elemsize)

    def arguments(self, parts: Parts, record: ProcessRecord, environment: bool, nchr: int) -> list[bytes] | None:
        return user.vector(self, parts, record, environment, nchr)

    def threads(self, parts: Parts, record: ProcessRecord) -> list[Thread]:
        return tasks.threads(self, parts, record)

    def waits(self, parts: Parts) -> Waits:
        """Where tasks wait: made when it is asked for first."""
        if self._waits is None:
            with loading:
                from pykvm.targets.linux.waits import Waits  # seldom asked for, and a start costs milliseconds

            self._waits = Waits(self, parts)
        return self._waits

    def channel(self, parts: Parts, batch: Batch, index: int) -> tuple[str | None, int | None]:
        """(wmesg, wchan) of a process of a batch."""
        return running.channel(self, parts, batch, index)

    def getfiles(self, parts: Parts, op: int, arg: int) -> list[FileRecord]:
        """The open files of all processes; op and arg select nothing."""
        with loading:
            from pykvm.targets.linux import files  # as above

        return files.getfiles(self, parts)

    def loadavg(self, parts: Parts) -> list[float]:
        """avenrun: three longs, in units of 1/2048."""
        try:
            at = parts.address_of("avenrun")
            return [parts.memory.read_ptr(at + i * self.pointer_size) / FIXED_1 for i in range(3)]
        except KvmError as e:
            raise KvmError(f"can't read avenrun: {e}") from e

    def dmesg(self, parts: Parts) -> bytes:
        return log.read(self, parts)

    def messages(self, parts: Parts) -> Iterator[Message]:
        return log.messages(self, parts)
