"""Processes of kernels of which only struct proc is known, and little of it (OpenBSD up to 5.1): allproc's list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pykvm.errors import KvmError
from pykvm.records import PROCESS_NAMES, ProcessRecord, text
from pykvm.targets.base import Parts
from pykvm.targets.bsd.lists import whole
from pykvm.targets.common import batch, pack, select
from pykvm.targets.common.columns import Columns, Member
from pykvm.targets.common.lists import one_list
from pykvm.targets.common.record import Records, RowRecord
from pykvm.targets.openbsd.procs.ids import texts
from pykvm.targets.openbsd.procs.lists import MAX_PROCESSES

if TYPE_CHECKING:
    from pykvm.targets.openbsd.kernel import OpenBSD


def _names(rows: Old) -> dict[str, Sequence[Any]]:
    raw = texts(rows.read, rows["proc"], "proc", "p_comm")
    return {"raw_comm": raw, "comm": [None if name is None else text(name) for name in raw]}


def _unknown(name: str) -> Any:
    return lambda rows: {name: [None] * len(rows)}


class Old(batch.Batch["OpenBSD"]):
    """Some processes."""

    MEMBERS = {"pid": Member("proc", "proc", ("p_pid",), signed=True)}
    MAKERS = {
        **{name: _unknown(name) for name in PROCESS_NAMES if name not in ("pid", "paddr")},
        "comm": _names,
        "raw_comm": _names,
    }


class OldRecords(Records[Old]):
    """The records of one list: what is known of a kinfo_proc."""

    def pack(self) -> bytearray:
        rows = self.batch
        known = {"p_paddr": rows["paddr"], "p_pid": rows["pid"], "p_comm": rows["raw_comm"]}
        return pack.pack(known, self.layout, rows.read.order)


def getprocs(target: OpenBSD, parts: Parts, name: str, op: int, arg: int, elemsize: int | None) -> list[ProcessRecord]:
    """One record a process. What is not known cannot be chosen by."""
    select.check(name, op, elemsize)
    if op not in select.EVERY and select.ATTRIBUTES[op] not in ("pid",):
        raise KvmError(f"{name}: op {op}: pykvm's table of this release has no more than the number of a process")
    read = Columns.of(target, parts)
    procs = one_list(read, parts, "allproc", MAX_PROCESSES)
    whole(parts, procs, "nprocs")
    everyone = Old(target, parts, {"proc": procs, "paddr": procs})
    chosen = range(len(everyone)) if op in select.EVERY else select.places(everyone, op, arg, "flags", 0)
    records = OldRecords(everyone.choose(chosen), target.record_struct(parts, name == "kvm_getproc2"))
    return [RowRecord(records, i, elemsize) for i in range(len(records.batch))]
