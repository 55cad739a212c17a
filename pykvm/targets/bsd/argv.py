"""kvm_getargv(3), kvm_getenvv(3): the vectors that a process's struct ps_strings points at, in its own memory.

Where that is the process's structure says (NetBSD p_psstrp, OpenBSD ps_strings); it is no constant, as their libraries
have it. Pages are found by the process's page tables, those that are not in memory by UVM.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from pykvm.errors import AddressError, KvmError
from pykvm.records import ProcessRecord
from pykvm.targets.base import Parts
from pykvm.targets.bsd.uvm import UserMemory

if TYPE_CHECKING:
    from pykvm.targets.bsd.family import Bsd

ARG_MAX = 512 * 1024  # <sys/syslimits.h>: OpenBSD's, NetBSD has 256 KB: bytes of both vectors together


class Where(NamedTuple):
    """The address of a struct ps_strings, and whose memory it is in; bytes of the process's pointers (None: the
    kernel's)."""

    at: int
    vmspace: int
    word: int | None = None


def vector(target: Bsd, parts: Parts, record: ProcessRecord, environment: bool, nchr: int) -> list[bytes] | None:
    """The strings; None if the process has none. nchr: the most bytes to collect, NULs included, 0 for all: the string
    that reaches it is cut and is the last."""
    where = target.ps_strings(parts, record)
    if where is None:
        return None
    what = "environment" if environment else "arguments"
    try:
        memory = target.user(parts, where.vmspace)
    except AddressError as e:
        said = f"process {record.pid}: {what}: can't read its vmspace at {where.vmspace:#x}: {e}"
        raise AddressError(said, e.address) from e
    except KvmError as e:
        raise type(e)(f"process {record.pid}: {what}: {e}") from e
    try:
        return _strings(target, memory, where, environment, nchr)
    except AddressError as e:
        raise AddressError(f"process {record.pid}: {what}: {_why(parts, e)}", e.address) from e
    except KvmError as e:
        raise type(e)(f"process {record.pid}: {what}: {e}") from e
    finally:
        memory.detach()


def _why(parts: Parts, e: AddressError) -> str:
    told = str(e)
    if "the dump has no memory there" in told or "ends before physical" in told:
        return f"user memory at {e.address:#x} is not in the dump (a sparse dump has none of processes')"
    if "in swap" in told:
        return f"user memory at {e.address:#x} is in swap, which the kernel encrypts"
    return f"user memory at {e.address:#x} is not in memory" if told.startswith("invalid address") else told


def _strings(target: Bsd, memory: UserMemory, where: Where, environment: bool, nchr: int) -> list[bytes] | None:
    word = where.word or target.pointer_size
    form = struct.Struct(target.order + ("Qi4xQi4x" if word == 8 else "IiIi"))
    argv, nargv, env, nenv = form.unpack(memory.read(where.at, form.size))
    base, count, name = (env, nenv, "ps_nenvstr") if environment else (argv, nargv, "ps_nargvstr")
    if count == 0:
        return [] if environment else None
    if not 0 < count <= ARG_MAX // word:
        raise KvmError(f"{name} is {count}, beyond ARG_MAX ({ARG_MAX})")
    raw = memory.read(base, word * count)
    pointers = struct.unpack(f"{target.order}{count}{'Q' if word == 8 else 'I'}", raw)
    found: list[bytes] = []
    left = nchr if nchr > 0 else 2 * ARG_MAX
    for pointer in pointers:
        if not pointer or left <= 0:
            break
        text = memory.read_cstr(pointer, left)
        found.append(text)
        left -= len(text) + 1
    return found
