"""Names: of the program, of threads, of the ABI, of the login class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pykvm.records import text
from pykvm.targets.common.columns import Columns, Member

if TYPE_CHECKING:
    from pykvm.targets.freebsd.procs.batch import Batch

LIMIT = 64

MEMBERS = {
    "sysent": Member("proc", "proc", ("p_sysent",)),
    "emul_at": Member("sysent", "sysentvec", ("sv_name",)),
    "loginclass_at": Member("cred", "ucred", ("cr_loginclass",)),
    "args": Member("proc", "proc", ("p_args",)),
    "textvp": Member("proc", "proc", ("p_textvp",)),
    "fd": Member("proc", "proc", ("p_fd",)),
    "pd": Member("proc", "proc", ("p_pd",)),
}


def within(read: Columns, addrs: Sequence[int | None], name: str, path: str) -> list[bytes | None]:
    """A name that is an array of char in each structure."""
    if read.field(name, path) is None:
        return [None] * len(addrs)
    field = read.text_field(name, path)
    blocks = read.blocks(addrs, field.offset, field.size)
    return [None if block is None else block.split(b"\0", 1)[0] for block in blocks]


def _of(column: str, base: str, name: str, path: str) -> Callable[[Batch], dict[str, Sequence[Any]]]:
    return lambda batch: {column: within(batch.read, batch[base], name, path)}


def comm(batch: Batch) -> dict[str, Sequence[Any]]:
    """The program's name."""
    return {"comm": [None if name is None else text(name) for name in batch["raw_comm"]]}


def emulation(batch: Batch) -> dict[str, Sequence[Any]]:
    """The ABI's name ("FreeBSD ELF64"), each sysentvec's read once."""
    return {"emul": _shared(batch, batch["emul_at"])}


def _shared(batch: Batch, addrs: Sequence[int | None]) -> list[bytes | None]:
    distinct = [a for a in dict.fromkeys(addrs) if a]
    known = dict(zip(distinct, batch.read.texts(distinct, LIMIT), strict=True))
    return [known.get(a) if a else None for a in addrs]


MAKERS = {
    "raw_comm": _of("raw_comm", "proc", "proc", "p_comm"),
    "comm": comm,
    "tdname": _of("tdname", "td", "thread", "td_name"),
    "emul": emulation,
    "loginclass": _of("loginclass", "loginclass_at", "loginclass", "lc_name"),
}
