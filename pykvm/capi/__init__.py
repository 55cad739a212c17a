"""What libkvm.so asks of pykvm: each of its functions that is not C alone is a function here.

A call comes as a pk_call (decl/capi.h) and goes back with its results. Whatever fails is a message in it: no exception
leaves Python.
"""

from __future__ import annotations

import atexit
from types import TracebackType
from typing import Any

from pykvm._native.ffi import ffi, lib
from pykvm.capi import figures, memory, opening, processes
from pykvm.capi.call import Answer, fail, handles
from pykvm.errors import KvmError

ANSWERS: dict[int, Answer] = {**opening.ANSWERS, **memory.ANSWERS, **processes.ANSWERS, **figures.ANSWERS}


def attach(address: int) -> None:
    """Fill in a struct pk_capi."""
    capi = ffi.cast("pk_capi *", address)
    capi.call = lib.pk_capi_call
    capi.version = lib.PK_CAPI_VERSION
    atexit.register(_detach, capi)


def _detach(capi: Any) -> None:
    """The program's Python ends before the program: nothing is asked any more, but memory can still be read."""
    capi.version = 0
    for kd in handles.values():
        kd.outlive()


def _lost(kind: type[BaseException], _: object, trace: TracebackType | None) -> None:
    """What came when pk_capi_call was about to return: SIGINT is the program's; an exception of an exception's leaves
    the call as it is, which is failed."""
    if trace is not None and issubclass(kind, KeyboardInterrupt):
        trace.tb_frame.f_locals["call"].interrupted = 1


@ffi.def_extern(onerror=_lost)  # type: ignore[untyped-decorator]
def pk_capi_call(call: Any) -> None:
    """The one way in."""
    try:
        call.status = 0
        ANSWERS[call.op](call)
        opening.moved(call)
    except KvmError as e:
        fail(call, str(e), e.soft)
    except MemoryError:
        fail(call, "out of memory", False)
    except KeyboardInterrupt:
        fail(call, "interrupted", False)
        call.interrupted = 1
    except BaseException as e:
        fail(call, f"internal error: {type(e).__name__}: {e}", False)
