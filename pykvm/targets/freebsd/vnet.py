"""Names that are of no symbol as they are: variables of virtual network stacks (VNET), and of CPUs (DPCPU).

Sources: sys/net/vnet.h, and FreeBSD's libkvm for the order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykvm.errors import FormatError, KvmError
from pykvm.symbols.base import Symbol
from pykvm.targets.base import Parts
from pykvm.targets.freebsd import dumper, pcpu

if TYPE_CHECKING:
    from pykvm.targets.freebsd.kernel import FreeBSD

MAGIC = 0x3E0D8F29  # VNET_MAGIC_N


def elsewhere(target: FreeBSD, parts: Parts, name: str) -> Symbol | None:
    """vnet_entry_NAME in the current network stack, or pcpu_entry_NAME of the chosen CPU."""
    bare = name[1:] if name.startswith("_") else name
    found = parts.symbols.find(f"vnet_entry_{bare}")
    if found is not None:
        return _moved(target, parts, found)
    found = parts.symbols.find(f"pcpu_entry_{bare}")
    return None if found is None else pcpu.moved(target, parts, found)


def _moved(target: FreeBSD, parts: Parts, symbol: Symbol) -> Symbol:
    start, stop = (parts.symbols.find(f"__{edge}_set_vnet") for edge in ("start", "stop"))
    if start is None or stop is None or not start.value <= symbol.value < stop.value:
        return symbol
    if target.vnet is None:
        try:
            target.vnet = _base(target, parts)
        except KvmError as e:
            raise KvmError(f"{symbol.name}: its network stack is not to be found: {e}") from e
    return symbol._replace(value=symbol.value + target.vnet & (1 << 8 * target.pointer_size) - 1)


def _base(target: FreeBSD, parts: Parts) -> int:
    """What moves a variable into the current network stack: that of the prison of the thread that made the dump, else
    of proc0. (The original always takes proc0's of a dump.)"""
    memory = parts.memory
    vnet, prison, ucred = map(target.types.struct, ("vnet", "prison", "ucred"))
    cred = _credentials(target, parts)
    jail = memory.read_ptr(cred + ucred.offset("cr_prison"))
    if not jail:
        raise KvmError(f"ucred at {cred:#x}: no jail")
    at = memory.read_ptr(jail + prison.offset("pr_vnet"))
    if not at:
        raise KvmError(f"prison at {jail:#x}: no vnet")
    magic = memory.read_u32(at + vnet.offset("vnet_magic_n"))
    if magic != MAGIC:
        raise FormatError(f"vnet at {at:#x}: invalid vnet magic#: vnet_magic_n is {magic:#x}, must be {MAGIC:#x}")
    return memory.read_ptr(at + vnet.offset("vnet_data_base"))


def _credentials(target: FreeBSD, parts: Parts) -> int:
    types, memory = target.types, parts.memory
    found = dumper.find(target, parts)
    if found is not None and found.td is not None:
        return memory.read_ptr(found.td + types.struct("thread").offset("td_ucred"))
    proc0 = parts.symbols.find("proc0")
    if proc0 is None:
        raise KvmError("proc0: no such symbol")
    return memory.read_ptr(proc0.value + types.struct("proc").offset("p_ucred"))
