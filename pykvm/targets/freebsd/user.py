"""A process's own memory, through the page tables of its pmap: of dumps that have pages of users."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykvm.errors import KvmError
from pykvm.images.minidump import Minidump
from pykvm.machines.mmu import Root, Translation, radix
from pykvm.memory import Memory
from pykvm.targets.base import Parts

if TYPE_CHECKING:
    from pykvm.targets.freebsd.kernel import FreeBSD

TLB_PAGES = 64  # of one process


def space(target: FreeBSD, parts: Parts, vmspace: int) -> Memory:
    """The address space of a struct vmspace; KvmError where this dump has none."""
    scheme = target.scheme
    if isinstance(parts.image.header, Minidump):
        raise KvmError("a minidump does not hold the memory of processes")
    if scheme is None:
        raise KvmError(f"the memory of processes on {target.machine} is not read")
    pmap = target.types.struct("pmap")
    member = next((name for name in scheme.pmap if name in pmap), None)
    if member is None:
        raise KvmError(f"struct pmap has no member {' or '.join(scheme.pmap)}")
    at = vmspace + target.types.struct("vmspace").offset("vm_pmap") + pmap.offset(member)
    root = parts.memory.translate(parts.memory.read_ptr(at))
    translation = Translation(radix([Root(0, scheme.mask, root)], scheme.levels, target.byteorder), scheme.mask)
    memory = Memory()
    memory.attach(parts.image, translation, target.byteorder, target.pointer_size, TLB_PAGES)
    return memory
