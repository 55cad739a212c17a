"""kvm_getargv(3), kvm_getenvv(3) and their 2-forms on a dump: the vectors that ps_strings points at."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from pykvm.errors import KvmError
from pykvm.records import ProcessRecord
from pykvm.targets.base import Parts
from pykvm.targets.mirbsd.eproc import SDEAD, SZOMB
from pykvm.targets.mirbsd.user import UserSpace

if TYPE_CHECKING:
    from pykvm.targets.mirbsd.kernel import MirBSD

P_SYSTEM = 0x200  # a kernel thread: its vmspace is the kernel's
ARG_MAX = 262144  # <sys/syslimits.h>: bytes of argv and environ together


def vector(target: MirBSD, parts: Parts, record: ProcessRecord, environment: bool, nchr: int) -> list[bytes] | None:
    """The strings; None if the process has none. nchr: the most bytes to collect, NULs included, 0 for all: the
    string that reaches it is cut and is the last.

    The original asks the host for the address of ps_strings; here it is the target's: 16 bytes below USRSTACK.
    """
    proc = record if record.structure == "kinfo_proc2" else record.kp_proc
    if proc.p_stat in (SZOMB, SDEAD) or proc.p_flag & P_SYSTEM:
        return None
    structs = target.structs
    space = UserSpace(structs, parts, proc.p_vmspace, target.page_size)
    strings = structs.unpacker("ps_strings", ("ps_argvstr", "ps_nargvstr", "ps_envstr", "ps_nenvstr"))
    usrstack = target.platform.usrstack
    argvstr, nargv, envstr, nenv = strings.unpack(space.read(usrstack - strings.size, strings.size))
    where, count, name = (envstr, nenv, "ps_nenvstr") if environment else (argvstr, nargv, "ps_nargvstr")
    if count == 0:
        return None
    if not 0 < count <= ARG_MAX:
        raise KvmError(f"{name} of process {record.pid} is {count}, beyond ARG_MAX ({ARG_MAX})")
    if where >= usrstack:
        raise KvmError(f"{name[:3]}{name[4:]} of process {record.pid} is {where:#x}, beyond user space")
    raw = space.read(where, 4 * count)
    pointers = struct.unpack(f"{'<' if target.byteorder == 'little' else '>'}{count}I", raw)
    found, budget = [], nchr if nchr > 0 else ARG_MAX * 2
    for pointer in pointers:
        if pointer == 0:
            break
        text, used = _string(space, pointer, budget)
        found.append(text)
        budget -= used
        if budget <= 0:
            break
    return found


def _string(space: UserSpace, va: int, budget: int) -> tuple[bytes, int]:
    """The string at va, and what of the budget it took (its NUL included)."""
    parts = []
    left = budget
    while left > 0:
        inside = va % space.page_size
        piece = space.page(va)[inside : inside + left]
        text, nul, _ = piece.partition(b"\0")
        parts.append(text)
        left -= len(text) + len(nul)
        if nul:
            break
        va += len(piece)
    return b"".join(parts), budget - left
