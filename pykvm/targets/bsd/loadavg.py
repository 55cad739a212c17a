"""averunnable: struct loadavg of <sys/resource.h> (NetBSD), <vm/vm_param.h> (OpenBSD): three fixed-point numbers of 32
bits, and their scale as a long; the variable fscale is the scale, too."""

from __future__ import annotations

import contextlib
import struct

from pykvm.errors import KvmError
from pykvm.targets.base import Parts

SAMPLES = 3


def read(parts: Parts, order: str, word: int) -> list[float]:
    """All samples; KvmError as kvm_getloadavg(3) has it."""
    at = parts.address_of("averunnable")
    try:
        *samples, scale = struct.unpack(
            order + ("3I4xq" if word == 8 else "3Ii"), parts.memory.read(at, 24 if word == 8 else 16)
        )
    except KvmError as e:
        raise KvmError("can't read averunnable") from e
    symbol = parts.symbols.loose("fscale")
    if symbol is not None:
        with contextlib.suppress(KvmError):
            scale = parts.memory.read_i32(symbol.value)
    if scale <= 0:
        raise KvmError(f"can't read averunnable: fscale is {scale}")
    return [sample / scale for sample in samples]
