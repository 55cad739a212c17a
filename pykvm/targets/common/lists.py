"""Lists of structures (queue(3)), bounded: of processes, of threads."""

from __future__ import annotations

from collections.abc import Sequence

from pykvm.errors import AddressError, FormatError, KvmError
from pykvm.targets.base import Parts
from pykvm.targets.common.columns import Columns


def one_list(
    read: Columns, parts: Parts, name: str, limit: int, struct: str = "proc", member: str = "p_list.le_next"
) -> list[int]:
    """The structures on the list whose head is a variable; AddressError where it cannot be followed. member: what leads
    to the next one."""
    head = parts.address_of(name)
    try:
        first = parts.memory.read_ptr(head)
    except KvmError as e:
        raise KvmError(f"cannot read {name}: {e}") from e
    try:
        offset = read.offset(struct, member)
        return list(parts.memory.walk_list(first, offset, limit, circular=False)) if first else []
    except AddressError as e:
        raise AddressError(f"can't read {struct} at {e.address:#x}: {e}", e.address) from e
    except KvmError as e:
        raise KvmError(f"{name}: {e}") from e


def follow(read: Columns, heads: Sequence[int], offset: int, limit: int, what: str) -> list[list[int]]:
    """Many lists at once, each ended by NULL: the addresses on each. An address on more than one list, or twice on
    one, is an error."""
    found: list[list[int]] = [[] for _ in heads]
    here = {i: head for i, head in enumerate(heads) if head}
    seen: set[int] = set()
    while here:
        for i, at in here.items():
            if at in seen:
                raise FormatError(f"{what} at {at:#x} is on its list twice, or on two lists")
            seen.add(at)
            found[i].append(at)
        if len(seen) > limit:
            raise FormatError(f"more than {limit} of struct {what}")
        places = list(here)
        after = read.pointers([here[i] for i in places], offset)
        if None in after:
            at = here[places[after.index(None)]]
            raise AddressError(f"can't read {what} at {at:#x}", at)
        here = {i: at for i, at in zip(places, after, strict=True) if at}
    return found
