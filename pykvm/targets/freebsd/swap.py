"""Swap devices: struct swdevt of <vm/swap_pager.h>, on the list swtailq."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Literal, NamedTuple

from pykvm.errors import FormatError, KvmError
from pykvm.records import KvmSwap, text
from pykvm.targets.base import Parts
from pykvm.targets.common.columns import Columns
from pykvm.types.layout import Field

if TYPE_CHECKING:
    from pykvm.targets.freebsd.kernel import FreeBSD

MAX_DEVICES = 1 << 12
SIGNED = 3  # the first members of Device are ints
MAX_CDEVS = 1 << 18
MAX_NAME = 256
VCHR = 4  # v_type of <sys/vnode.h>
NO_DEVICE = "[NFS swap]"


class Device(NamedTuple):
    """What struct swdevt says of a device: sizes in pages; its number all ones (NODEV) if it has none."""

    sw_nblks: int
    sw_used: int
    sw_flags: int
    sw_dev: int
    sw_vp: int


def devices(target: FreeBSD, parts: Parts) -> list[KvmSwap]:
    """In the list's order, newest last."""
    head = parts.symbols.find("swtailq")
    if head is None:
        raise KvmError("unable to find swtailq")
    swdevt, memory = target.types.struct("swdevt"), parts.memory
    unused = _unused(parts)
    fields = [swdevt.field(name) for name in Device._fields]
    none = (1 << 8 * fields[3].size) - 1
    found, names = [], _Names(target, parts)
    first = memory.read_ptr(head.value)
    for at in memory.walk_list(first, swdevt.offset("sw_list"), MAX_DEVICES, circular=False):
        raw = memory.read(at, swdevt.size)
        device = Device(*(_number(target, raw, field, i < SIGNED) for i, field in enumerate(fields)))
        total = device.sw_nblks - unused
        if total < 0 or device.sw_used < 0:
            said = f"sw_nblks {device.sw_nblks}, sw_used {device.sw_used} make no sense"
            raise FormatError(f"{parts.image.path}: swdevt at {at:#x}: {said}")
        name = NO_DEVICE if device.sw_dev == none else names.of(device)
        found.append(KvmSwap(name, device.sw_used, total, device.sw_flags))
    return found


def _number(target: FreeBSD, raw: bytes, field: Field, signed: bool) -> int:
    order: Literal["little", "big"] = "little" if target.byteorder == "little" else "big"
    return int.from_bytes(raw[field.offset : field.offset + field.size], order, signed=signed)


def _unused(parts: Parts) -> int:
    """Pages of every device that are never given out: dmmax, a variable up to FreeBSD 11."""
    found = parts.symbols.find("dmmax")
    return 0 if found is None else parts.memory.read_i32(found.value)


class _Names:
    """Names of devices, by the number that devfs gave them (sw_dev), or by their vnodes."""

    def __init__(self, target: FreeBSD, parts: Parts) -> None:
        self.target = target
        self.parts = parts
        self._by_number: dict[int, int] | None = None

    def of(self, device: Device) -> str:
        """As devname(3) on the dumped system: what cannot be told is its number."""
        for look in (self._listed, self._of_vnode):
            try:
                name = look(device)
            except KvmError:
                continue
            if name:
                return name
        return f"#C:{device.sw_dev:#x}"

    def _listed(self, device: Device) -> str | None:
        """On cdevp_list, all devices that there are (struct cdev_priv)."""
        if self._by_number is None:
            self._by_number = {}
            self._by_number = self._numbers()
        cdev = self._by_number.get(device.sw_dev)
        return None if cdev is None else self._name(cdev)

    def _numbers(self) -> dict[int, int]:
        head = self.parts.symbols.find("cdevp_list")
        if head is None:
            return {}
        node, memory = self.target.types.struct("cdev_priv"), self.parts.memory
        link, inode, inner = (node.field(name) for name in ("cdp_list", "cdp_inode", "cdp_c"))
        if inode.size not in (4, 8):
            return {}
        nodes = memory.walk_list(memory.read_ptr(head.value), link.offset, MAX_CDEVS, circular=False)
        raw = memory.gather([at + inode.offset for at in nodes], inode.size)
        numbers = struct.unpack(f"{self.target.order}{len(nodes)}{'Q' if inode.size == 8 else 'I'}", raw)
        return {number: at + inner.offset for number, at in zip(numbers, nodes, strict=True)}

    def _of_vnode(self, device: Device) -> str | None:
        """sw_vp, where it is the device's own node."""
        target = self.target
        read = Columns.of(target, self.parts)
        (kind,) = read.member([device.sw_vp], "vnode", "v_type")
        if kind != target.types.constant("VCHR", VCHR):
            return None
        (cdev,) = read.member([device.sw_vp], "vnode", "v_rdev", "v_un.vu_cdev")  # the latter up to FreeBSD 10
        return self._name(cdev) if cdev else None

    def _name(self, cdev: int) -> str:
        """si_name: an array, or (up to FreeBSD 7) a pointer."""
        field = self.target.types.struct("cdev").field("si_name")
        at = cdev + field.offset
        if field.size == self.target.pointer_size:
            return text(self.parts.memory.read_cstr(self.parts.memory.read_ptr(at), MAX_NAME))
        return text(self.parts.memory.read_cstr(at, field.size))
