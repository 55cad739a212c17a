"""What a struct file is open on, as /proc/PID/fd shows it to a reader in the first process's root.

Source: d_path() and prepend_path() of fs/d_path.c, and the d_dname of the file systems that have no paths.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pykvm.errors import KvmError
from pykvm.records import text
from pykvm.targets.common.columns import Column, Columns

if TYPE_CHECKING:
    from pykvm.targets.linux.procs.batch import Batch

NAME_MAX = 255
PATH_MAX = 4096  # with the NUL
DELETED = b" (deleted)"
ESCAPED = b"/"  # what is outside of its mount's root: d_path() gives no more
UNKNOWN: Any = object()
NS_NAME, DMA_BUF_NAME = 64, 32


class Dentry(NamedTuple):
    """A name in a directory."""

    parent: int
    name: bytes
    ops: int
    inode: int
    hashed: int
    data: int


class Mount(NamedTuple):
    """Where a file system is mounted: its own root, and the mount and dentry that it covers."""

    root: int
    parent: int
    point: int


Place = tuple[int, int]  # a vfsmount and a dentry in it


def of_files(batch: Batch, files: Sequence[int]) -> list[str | None]:
    """The text of each struct file; None where it cannot be had."""
    read = batch.read
    mounts = read.member(files, "file", "f_path.mnt", "__f_path.mnt")
    dentries = read.member(files, "file", "f_path.dentry", "__f_path.dentry")
    places = [None if not m or not d else (m, d) for m, d in zip(mounts, dentries, strict=True)]
    tree = Tree(batch, [place for place in dict.fromkeys(places) if place is not None])
    return [None if place is None else tree.text(place) for place in places]


class Tree:
    """The dentries and mounts from some places up to the root, each read once, level by level."""

    def __init__(self, batch: Batch, places: Sequence[Place]) -> None:
        self._read = batch.read
        self._batch = batch
        self._dentries: dict[int, Dentry | None] = {}
        self._mounts: dict[int, Mount | None] = {}
        self._paths: dict[Place, bytes | None] = {}
        self._root = self._first_root()
        self._load({d for _, d in places}, {m for m, _ in places})
        self._special = self._special_operations()

    def _first_root(self) -> Place | None:
        """The root of the first process, which is who looks."""
        read, batch = self._read, self._batch.whole
        if 1 not in batch["pid"]:
            return None
        fs = read.member([batch["task"][batch["pid"].index(1)]], "task_struct", "fs")
        (mount,), (dentry,) = (read.member(fs, "fs_struct", f"root.{m}") for m in ("mnt", "dentry"))
        return (mount, dentry) if mount and dentry else None

    # -- reading ------------------------------------------------------------------------------------------------

    def _load(self, dentries: set[int], mounts: set[int]) -> None:
        """These, and all that leads from them to the root. What is deeper than any path can be stays unknown."""
        for _ in range(PATH_MAX):
            if not dentries and not mounts:
                break
            self._load_mounts(sorted(mounts))
            self._load_dentries(sorted(dentries))
            above = [d for at in dentries if (d := self._dentries[at]) is not None]
            around = [m for at in mounts if (m := self._mounts[at]) is not None]
            dentries = {d.parent for d in above} | {m.point for m in around}
            dentries -= self._dentries.keys()
            mounts = {m.parent for m in around} - self._mounts.keys()

    def _load_mounts(self, addrs: Sequence[int]) -> None:
        read = self._read
        inside = read.offset("mount", "mnt")
        outer = [a - inside & read.pointer_mask for a in addrs]
        columns = (
            read.member(outer, "mount", "mnt.mnt_root"),
            read.member(outer, "mount", "mnt_parent"),
            read.member(outer, "mount", "mnt_mountpoint"),
        )
        for addr, root, parent, point in zip(addrs, *columns, strict=True):
            if root is None or parent is None or point is None:
                self._mounts[addr] = None
            else:
                self._mounts[addr] = Mount(root, parent + inside & read.pointer_mask, point)

    def _load_dentries(self, addrs: Sequence[int]) -> None:
        read = self._read
        lengths = read.member(addrs, "dentry", "d_name.len", "__d_name.len")
        pointers = read.member(addrs, "dentry", "d_name.name", "__d_name.name")
        names = self._names(lengths, pointers)
        columns = (
            read.member(addrs, "dentry", "d_parent"),
            names,
            read.member(addrs, "dentry", "d_op"),
            read.member(addrs, "dentry", "d_inode"),
            read.member(addrs, "dentry", "d_hash.pprev"),
            read.member(addrs, "dentry", "d_fsdata"),
        )
        for addr, *values in zip(addrs, *columns, strict=True):
            self._dentries[addr] = None if None in values else Dentry(*values)

    def _names(self, lengths: Column, pointers: Column) -> list[bytes | None]:
        found: list[bytes | None] = []
        for length, pointer in zip(lengths, pointers, strict=True):
            try:
                if length is None or pointer is None or length > NAME_MAX:
                    found.append(None)
                else:
                    found.append(self._read.memory.read(pointer, length))
            except KvmError:
                found.append(None)
        return found

    def _special_operations(self) -> dict[int, str | None]:
        """The function that names the dentries of each dentry_operations: "" where paths do, None if not known."""
        read, symbols = self._read, self._batch.parts.symbols
        known = {symbol.value: name for name in SPECIAL if (symbol := symbols.find(name)) is not None}
        ops = sorted({d.ops for d in self._dentries.values() if d is not None and d.ops})
        found: dict[int, str | None] = {0: ""}
        for op, function in zip(ops, read.member(ops, "dentry_operations", "d_dname"), strict=True):
            if not function:
                found[op] = None if function is None else ""
            else:
                found[op] = known.get(function, known.get(function & ~1))  # a Thumb function is odd
        return found

    # -- telling ------------------------------------------------------------------------------------------------

    def text(self, place: Place) -> str | None:
        """What a place is called."""
        mount, dentry = self._mounts[place[0]], self._dentries[place[1]]
        if mount is None or dentry is None:
            return None
        name: bytes | None
        operation = self._special[dentry.ops]
        if operation != "" and not (dentry.parent == place[1] == mount.root):
            make = SPECIAL.get(operation or "")
            name = None if make is None else make(self._read, dentry)
        else:
            name = self._path(place)
            if name is not None:
                name = name or b"/"
                name += DELETED if not dentry.hashed and dentry.parent != place[1] else b""
        return None if name is None or len(name) >= PATH_MAX else text(name)

    def _path(self, place: Place) -> bytes | None:
        """Down from the root; what leads to it is kept for others."""
        way: list[tuple[Place, bytes]] = []
        at, found = place, self._paths.get(place, UNKNOWN)
        while found is UNKNOWN:
            self._paths[at] = None  # so a loop, which a damaged dump may have, ends here
            step = self._step(at)
            if not isinstance(step, tuple):
                found = step
                self._paths[at] = found
                break
            way.append((at, step[1]))
            at = step[0]
            found = self._paths.get(at, UNKNOWN)
        path: bytes | None = found
        for at, name in reversed(way):
            if path is not None and name and path != ESCAPED:
                path = path + b"/" + name if len(path) + len(name) < PATH_MAX else None
            self._paths[at] = path
        return path

    def _step(self, place: Place) -> tuple[Place, bytes] | bytes | None:
        """The place above, and the name that leads down from it; or the whole path, at the end of the way."""
        mount, dentry = self._mounts.get(place[0]), self._dentries.get(place[1])
        if place == self._root:
            return b""
        if mount is None or dentry is None:
            return None
        if place[1] == mount.root:
            return b"" if mount.parent == place[0] else ((mount.parent, mount.point), b"")
        if dentry.parent == place[1]:
            return ESCAPED
        return (place[0], dentry.parent), dentry.name


def _number(read: Columns, dentry: Dentry) -> bytes | None:
    (number,) = read.member([dentry.inode], "inode", "i_ino")
    return None if number is None else b"%d" % number


def _numbered(word: bytes) -> Callable[[Columns, Dentry], bytes | None]:
    def name(read: Columns, dentry: Dentry) -> bytes | None:
        number = _number(read, dentry)
        return None if number is None else b"%b:[%b]" % (word, number)

    return name


def _namespace(read: Columns, dentry: Dentry) -> bytes | None:
    """mnt:[4026531840], by the operations of the namespace that the inode is of."""
    spaces = read.member([dentry.inode], "inode", "i_private")
    operations = read.member(spaces, "ns_common", "ops")
    (word,) = read.texts(read.member(operations, "proc_ns_operations", "name"), NS_NAME)
    number = _number(read, dentry)
    return None if word is None or number is None else b"%b:[%b]" % (word, number)


def _dma_buffer(read: Columns, dentry: Dentry) -> bytes | None:
    (pointer,) = read.member([dentry.data], "dma_buf", "name")
    (name,) = read.texts([pointer], DMA_BUF_NAME)
    return None if pointer is None or (pointer and name is None) else b"/%b:%b" % (dentry.name, name or b"")


# The functions of dentry_operations.d_dname.
SPECIAL: dict[str, Callable[[Columns, Dentry], bytes | None]] = {
    "pipefs_dname": _numbered(b"pipe"),
    "sockfs_dname": _numbered(b"socket"),
    "anon_inodefs_dname": lambda read, dentry: b"anon_inode:" + dentry.name,
    "pidfs_dname": lambda read, dentry: b"anon_inode:[pidfd]",  # since Linux 6.9
    "simple_dname": lambda read, dentry: b"/" + dentry.name + DELETED,
    "ns_dname": _namespace,
    "dmabuffs_dname": _dma_buffer,
}
