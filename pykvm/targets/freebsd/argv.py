"""kvm_getargv(3), kvm_getenvv(3): what the kernel keeps of the arguments, and the vectors in user memory.

FreeBSD's own library refuses on a dump ("cannot read user space from dead kernel").
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from pykvm.errors import AddressError, FormatError, KvmError
from pykvm.memory import Memory
from pykvm.records import ProcessRecord
from pykvm.targets.base import Parts
from pykvm.targets.common.columns import Columns
from pykvm.targets.common.vectors import limited
from pykvm.targets.freebsd import user
from pykvm.targets.freebsd.procs.numbers import P_KPROC, PRS_ZOMBIE

if TYPE_CHECKING:
    from pykvm.targets.freebsd.kernel import FreeBSD

SV_ILP32 = 0x100  # sys/sysent.h: pointers of this ABI have 32 bits
ARG_MAX = 1 << 20  # bytes of arguments and environment: 512 KB, 256 KB of 32-bit kernels
MAX_STRINGS = ARG_MAX // 2


class Strings(NamedTuple):
    """What struct ps_strings says of one of the vectors."""

    at: int
    number: int
    word: int


def vector(target: FreeBSD, parts: Parts, record: ProcessRecord, environment: bool, nchr: int) -> list[bytes] | None:
    """The strings; None for a process that has none (of the kernel's own, a zombie). The arguments are those that the
    kernel keeps (p_args: as they were, if they were short, or as setproctitle(3) left them), else those in the
    process's memory; the environment is always there."""
    read = Columns.of(target, parts)
    proc = [record.paddr]
    names = ("p_flag", "p_state", "p_args", "p_vmspace", "p_sysent")
    if read.field("proc", "p_args") is None:
        raise KvmError(f"process {record.pid}: {_what(environment)}: where it is needs the kernel's types (CTF, DWARF)")
    flags, state, args, vmspace, sysent = (read.member(proc, "proc", name)[0] for name in names)
    if flags is None or state is None:
        raise KvmError(f"can't read proc at {record.paddr:#x}")
    if state == PRS_ZOMBIE or flags & P_KPROC or not vmspace or not sysent:
        return None
    try:
        if args and not environment:
            strings = kept(read, args)
        else:
            strings = _in_user_memory(target, parts, read, vmspace, sysent, environment)
    except AddressError as e:
        raise AddressError(f"process {record.pid}: {_what(environment)}: {_why(e)}", e.address) from e
    except KvmError as e:
        raise type(e)(f"process {record.pid}: {_what(environment)}: {e}") from e
    return limited(strings, nchr) if strings else None


def _what(environment: bool) -> str:
    return "environment" if environment else "arguments"


def _why(e: AddressError) -> str:
    told = str(e)
    return f"user memory at {e.address:#x} is not in memory" if told.startswith("invalid address") else told


def kept(read: Columns, at: int) -> list[bytes]:
    """struct pargs."""
    layout = read.types.struct("pargs")
    (length,) = read.member([at], "pargs", "ar_length")
    if length is None:
        raise AddressError(f"can't read struct pargs at {at:#x}", at)
    if length > ARG_MAX:
        raise FormatError(f"struct pargs at {at:#x}: ar_length is {length}")
    data = read.memory.read(at + layout.offset("ar_args"), length)
    return data.removesuffix(b"\0").split(b"\0") if data else []


def _in_user_memory(
    target: FreeBSD, parts: Parts, read: Columns, vmspace: int, sysent: int, environment: bool
) -> list[bytes]:
    memory = user.space(target, parts, vmspace)
    try:
        where = _strings(memory, read, vmspace, sysent, environment)
        if not where.number:
            return []
        if where.number > MAX_STRINGS:
            raise FormatError(f"struct ps_strings says that there are {where.number}")
        raw = memory.read(where.at, where.number * where.word)
        pointers = struct.unpack(f"{read.order}{where.number}{'Q' if where.word == 8 else 'I'}", raw)
        found, room = [], ARG_MAX
        for pointer in pointers:
            if not pointer:  # the program has taken it away
                break
            found.append(memory.read_cstr(pointer, room))
            room -= len(found[-1]) + 1
            if room <= 0:
                raise FormatError(f"more than {ARG_MAX} bytes")
        return found
    finally:
        memory.detach()


def _strings(memory: Memory, read: Columns, vmspace: int, sysent: int, environment: bool) -> Strings:
    """struct ps_strings, at the top of the stack: {char **argv; unsigned n; char **env; unsigned n}."""
    (flags,) = read.member([sysent], "sysentvec", "sv_flags")
    (at,) = read.member([sysent], "sysentvec", "sv_psstrings")
    # Since 14 the stack may begin anywhere; where that is 0, at the ABI's own place.
    (top,) = read.member([vmspace], "vmspace", "vm_stacktop")
    (size,) = read.member([sysent], "sysentvec", "sv_psstringssz")
    if top and size:
        at = top - size
    if not at or flags is None:
        raise KvmError("the ABI has no ps_strings")
    word = 4 if flags & SV_ILP32 else read.pointer_size
    form = struct.Struct(read.order + ("QI4xQI4x" if word == 8 else "4I"))
    argv, nargv, env, nenv = form.unpack(memory.read(at, form.size))
    return Strings(env, nenv, word) if environment else Strings(argv, nargv, word)
