"""The host's own libkvm, for the live system of a BSD host."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pykvm.loading import loading

if TYPE_CHECKING:
    from pykvm.hostlib.library import NativeLibkvm


def native_libkvm(path: str | os.PathLike[str] | None = None) -> NativeLibkvm:
    """kvm(3) of this module over another library: the system's own libkvm, or the shared library at `path`.

    What it gives has the functions kvm_open ... kvm_dump_inval with the arguments and results that they have here, so
    that a script goes on with `pykvm = pykvm.native_libkvm()`, and a class Kvm; its records are read by pykvm's tables
    of the host's structures. A function that the library does not have fails, and kvm_geterr says so. KvmError if there
    is no such library, or it is no libkvm.
    """
    with loading:
        from pykvm.hostlib.library import NativeLibkvm  # needs a C parser, which takes its time

    return NativeLibkvm(None if path is None else os.fspath(path))
