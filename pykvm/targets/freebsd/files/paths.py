"""Paths of vnodes, as vn_fullpath(9) gives them to a process whose root is the system's.

Source: sys/kern/vfs_cache.c, fs/devfs/devfs_vnops.c. Names are those that lookups have left in the name cache; devices
have names of their own. What only a file system could tell, from its disk, is not known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykvm.errors import FormatError, KvmError
from pykvm.memory import Reader
from pykvm.records import text
from pykvm.targets.base import Parts
from pykvm.targets.common.columns import Columns
from pykvm.targets.common.descriptors import room

if TYPE_CHECKING:
    from pykvm.targets.freebsd.kernel import FreeBSD

VV_ROOT = 1  # in v_vflag: the root of its file system
VDIR, VCHR = 2, 4  # enum vtype
NCF_TS = 4  # in nc_flag, up to 11: it is a struct namecache_ts, whose name is elsewhere
PATH_MAX = 1024
MAX_NAMES = 1 << 12  # of one vnode, that are looked at: a directory has the ".." of those below
MAX_STEPS = 1 << 18  # for all vnodes of a small dump together: a damaged cache may lead anywhere
MAX_NAME = 255
DEVFS = b"devfs"


def path_of_vnode(target: FreeBSD, parts: Parts, vnode: int) -> str | None:
    """The path of a vnode; None if it is not known. Of many, Paths is faster."""
    return Paths(target, parts).of(vnode)


class Paths:
    """Paths of many vnodes: what leads to them is kept."""

    def __init__(self, target: FreeBSD, parts: Parts) -> None:
        self._read = Columns.of(target, parts)
        self._memory = parts.memory
        self._known: dict[int, bytes | None] = {}
        self._offsets: dict[tuple[str, str], int] = {}
        self._numbers: dict[tuple[str, str], tuple[int, Reader]] = {}
        self._left = max(MAX_STEPS, room(parts) // 8)
        root = parts.symbols.find("rootvnode")
        try:
            self._root = parts.memory.read_ptr(root.value) if root is not None else 0
        except KvmError:
            self._root = 0

    def of(self, vnode: int) -> str | None:
        """The path of a vnode; None if it is not known."""
        way: list[tuple[int, bytes]] = []
        at, found = vnode, None
        while True:
            if at in self._known:
                found = self._known[at]
                break
            self._known[at] = None  # so a loop, which a damaged dump may have, ends here
            if at == self._root:
                found = self._known[at] = b""
                break
            try:
                step = self._step(at)
            except KvmError:
                break
            if step is None or len(way) > PATH_MAX:
                break
            way.append((at, step[1]))
            at = step[0]
        for at, name in reversed(way):
            if found is not None and name:
                found = found + b"/" + name if len(found) + len(name) + 1 < PATH_MAX else None
            self._known[at] = found
        return None if found is None else text(found or b"/")

    # -- a step ---------------------------------------------------------------------------------------------------

    def _step(self, vnode: int) -> tuple[int, bytes] | None:
        """The vnode above, and the name that leads from it to this one ("": none, it is mounted there)."""
        self._left -= 1
        if self._left < 0:
            return None
        mount = self._pointer(vnode, "vnode", "v_mount")
        if self._number(vnode, "vnode", "v_vflag") & VV_ROOT:
            return self._mounted(mount, b"")
        kind = self._number(vnode, "vnode", "v_type")
        if kind == VCHR:
            device = self._pointer(vnode, "vnode", "v_rdev", "v_un.vu_cdev")
            if not device:  # it is gone
                return None
            field = self._read.text_field("cdev", "si_name")
            return self._mounted(mount, self._memory.read_cstr(device + field.offset, field.size))
        found = self._cached(vnode)
        if found is None and kind == VDIR and mount and self._is_devfs(mount):
            return self._in_devfs(vnode, mount)
        return found

    def _mounted(self, mount: int, name: bytes) -> tuple[int, bytes] | None:
        covered = self._pointer(mount, "mount", "mnt_vnodecovered") if mount else 0
        return (covered, name) if covered else None

    def _cached(self, vnode: int) -> tuple[int, bytes] | None:
        """By the first name in the cache that is not the ".." of a directory below."""
        entry = self._pointer(vnode, "vnode", "v_cache_dst.tqh_first")
        for _ in range(MAX_NAMES):
            if not entry or self._left <= 0:
                break
            self._left -= 1
            name = self._name(entry)
            above = self._pointer(entry, "namecache", "nc_dvp")
            if name not in (b"..", b"") and above:
                return above, name
            entry = self._pointer(entry, "namecache", "nc_dst.tqe_next")
        return None

    def _name(self, entry: int) -> bytes:
        size = self._number(entry, "namecache", "nc_nlen")
        where = self._offset("namecache", "nc_name")
        if self._number(entry, "namecache", "nc_flag") & NCF_TS:
            dated = self._read.field("namecache_ts", "nc_name")
            where = where if dated is None else dated.offset
        return self._memory.read(entry + where, size).split(b"\0")[0]

    def _is_devfs(self, mount: int) -> bool:
        field = self._read.text_field("statfs", "f_fstypename")
        at = mount + self._offset("mount", "mnt_stat") + field.offset
        return self._memory.read_cstr(at, field.size) == DEVFS

    def _in_devfs(self, vnode: int, mount: int) -> tuple[int, bytes] | None:
        """A directory of devfs: up by its entries, whose second one is ".."."""
        entry = self._pointer(vnode, "vnode", "v_data")
        names: list[bytes] = []
        while entry and len(names) < PATH_MAX // 2:
            dot = self._pointer(entry, "devfs_dirent", "de_dlist.tqh_first")
            dotdot = self._pointer(dot, "devfs_dirent", "de_list.tqe_next") if dot else 0
            above = self._pointer(dotdot, "devfs_dirent", "de_dir") if dotdot else 0
            if above == entry:
                return self._mounted(mount, b"/".join(reversed(names)))
            dirent = self._pointer(entry, "devfs_dirent", "de_dirent")
            size = self._number(dirent, "dirent", "d_namlen")
            if size > MAX_NAME:
                return None
            names.append(self._memory.read(dirent + self._offset("dirent", "d_name"), size))
            entry = above
        return None

    # -- members --------------------------------------------------------------------------------------------------

    def _offset(self, struct: str, *paths: str) -> int:
        found = self._offsets.get((struct, paths[0]))
        if found is None:
            found = self._offsets[struct, paths[0]] = self._read.offset(struct, *paths)
        return found

    def _pointer(self, at: int, struct: str, *paths: str) -> int:
        return self._memory.read_ptr(at + self._offset(struct, *paths))

    def _number(self, at: int, struct: str, member: str) -> int:
        found = self._numbers.get((struct, member))
        if found is None:
            field, memory = self._read.types.struct(struct).field(member), self._memory
            sizes = {1: memory.read_u8, 2: memory.read_u16, 4: memory.read_u32, 8: memory.read_u64}
            if field.size not in sizes:
                raise FormatError(f"struct {struct}: {member} has {field.size} bytes, which is no integer")
            found = self._numbers[struct, member] = field.offset, sizes[field.size]
        return found[1](at + found[0])
