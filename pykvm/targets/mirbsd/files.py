"""kvm_getfiles(3) on a dump."""

from __future__ import annotations

from pykvm.errors import AddressError, KvmError
from pykvm.records import FileRecord
from pykvm.targets.base import Parts
from pykvm.targets.mirbsd.structs import Structs

MAX_FILES = 1 << 20


def getfiles(structs: Structs, parts: Parts) -> list[FileRecord]:
    """All open files, in the order of filehead's list. op and arg select nothing in MirBSD.

    The original reads nfiles from filehead and the list from nfiles, by a slip, and so cannot work on a dump.
    """
    filehead, nfiles = parts.address_of("filehead"), parts.address_of("nfiles")
    try:
        count = parts.memory.read_i32(nfiles)
    except KvmError as e:
        raise KvmError("can't read nfiles") from e
    try:
        first = parts.memory.read_u32(filehead)
    except KvmError as e:
        raise KvmError("can't read filehead") from e
    try:
        addrs = parts.memory.walk_list(first, structs.offset("file", "f_list.le_next"), MAX_FILES, circular=False)
    except AddressError as e:
        raise KvmError("can't read kfp") from e
    if len(addrs) != count:
        raise KvmError(f"inconsistent nfiles: {count}, but {len(addrs)} files are on the list")
    struct = structs.struct("file")
    buf = bytearray(len(addrs) * struct.size)
    try:
        parts.memory.gather_into(addrs, struct.size, buf, 0, struct.size)
    except AddressError as e:
        raise KvmError("can't read kfp") from e
    return [FileRecord(struct, buf, i * struct.size, structs.byteorder, addr) for i, addr in enumerate(addrs)]
